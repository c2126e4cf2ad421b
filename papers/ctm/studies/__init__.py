"""The studies of CTM, one question each.

On the ring, whose trajectories and score are known: `jumps` (any jump, and jumps that agree), `gamma` (more steps) and
`score` (the denoiser and the density in the same network), both on digits, too, `matching` (how far the teacher goes),
`spread` (variance with γ) and `sensitivity` (what the code decides). Exact, without a network: `official_likelihood`.

On images, with one set of trained students: `one_step` (one evaluation beside the teacher's many, beside consistency
distillation, and without a teacher), `losses` (what the discriminator and score matching add) and `guidance` (a wanted
class from a student that knows of none).

What several of them share: `looks` has names and colours, `ring` the law, the students and their training, `quality`
what one jump of a student is worth; `images`, `teachers`, `methods`, `students` and `image_quality` the data and its
judges, the teachers and their trajectories, how students are trained, their training, and quality against evaluations.
"""
