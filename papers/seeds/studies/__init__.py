"""The studies of SEEDS, one question each.

Exact, without a trained network: `strong_order` (paths converge), `weak_order` (laws converge, by recursion),
`identities` (what SEEDS contains, and what contains it), and of the further reading `deis` and `deis_orders`.

With networks, and with exact denoisers beside them: `evaluations` (how many SEEDS saves), `optimal_quality` (SDE
against ODE) and `few_evaluations` (ten of them, and the published tables).

What several of them share: `looks` has names and colours, `methods` the solvers by name, `ring` the same for the
ODE of DEIS, and its law of data; `images`, `networks` and `training` the networks, `samplers` the solvers as they draw
samples, `curves` and `network_curves` quality against evaluations, `reading` what is read off it, and `drawing` its
figures.
"""
