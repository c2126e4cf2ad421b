"""The studies of EDM, one question each.

Without a network: `convergence` (order of the solvers), `cost` (evaluations to equal error), `rho` (time steps),
`curvature` (how straight trajectories are), `preconditioning` (unit variances). With one: `training` (configurations A
to F), `churn` (stochastic sampling), `official` (the published networks).

What several of them share: `laws` has the distributions of known denoiser, `images` the data sets and how images are
sampled and judged, `fid` the FID, `networks` the configurations A to F at another scale, `methods` names and colours,
`comparison` the quantity that says that one configuration is better than another.
"""
