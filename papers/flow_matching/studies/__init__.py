"""The studies of flow matching, one question each.

Of known laws and small networks in the plane: `simulation_free` (equal gradients, and what a step without a solver
saves), `marginal_law` (the marginal velocity carries p_t), `checkerboard` (samples with few evaluations),
`numerical_error` (evaluations to equal error), `curvature` (how straight trajectories are).

What several of them share: `looks` has names and colours, `plane` the laws of data in the plane, their exact fields and
how networks are trained on them.
"""
