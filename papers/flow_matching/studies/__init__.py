"""The studies of flow matching, one question each.

Of known laws and small networks in the plane: `simulation_free` (equal gradients, and what a step without a solver
saves), `marginal_law` (the marginal velocity carries p_t), `checkerboard` (samples with few evaluations),
`numerical_error` (evaluations to equal error), `curvature` (how straight trajectories are).

On images, with one set of trained networks (`training`): `table` (Table 1), `fd_cost` (Figure 7), `training_speed`
(Figures 5 and 10), `likelihood_samples` (draws of the likelihood estimate), `class_time` (when a class can be read).
With networks of their own: `entropy` (bits of a known law), `stability` and `gradient_noise` (flow matching beside
score matching on one path), `super_resolution` (Table 2).

What several of them share: `looks` has names and colours, `plane` the laws of data in the plane, their exact fields and
how networks are trained on them, `images` and `networks` the same for images, `spread` how far trainings end apart.
"""
