"""SEDD: "Discrete Diffusion Modeling by Estimating the Ratios of the Data Distribution" (Lou et al. 2024).

arXiv 2310.16834. On tokens there is no gradient of a density, and the ratios p_t(y)/p_t(x) between neighbouring
sequences take the place of the score. The paper learns them by score entropy, a loss that keeps them positive, whose
denoising form bounds the likelihood, and samples by running the noise, a Markov chain on every position, backward in
time. `graph.py` has the chains and their score entropy (Sections 3.1 to 3.3), `noise.py` the noise levels, `loss.py`
the training loss, the bound and concrete score matching (Section 3, Algorithm 1), `sampler.py` τ-leaping, Tweedie
τ-leaping and infilling (Section 4, Algorithms 2 and 3), `categorical.py` the draws and why they are in float64,
`network.py` how a network's outputs become ratios. `cross_entropy.py` and `autoregression.py` are the baselines.
`oracle.py` has the exact ratios of a Markov source, and `exact.py` does everything without sampling where sequences
can be enumerated.

`studies` has the questions that are put to all this, one module each: `bound` and `masked` to the loss, `training` and
`concrete_score` to trained networks, `sampling` to exact scores, `generation` to what networks write, `infilling`,
`precision` of the draws, and `sentence`, a picture of the chain. `published.py` has the paper's own numbers.
"""
