"""The studies of CTM, one question each.

On the ring, whose trajectories and score are known: `jumps` (any jump, and jumps that agree), `gamma` (more steps),
`score` (the denoiser and the density in the same network), `matching` (how far the teacher goes), `spread` (variance
with γ) and `sensitivity` (what the code decides). Exact, without a network: `official_likelihood`.

What several of them share: `looks` has names and colours, `ring` the law, the students and their training, `quality`
what one jump of a student is worth.
"""
