"""DSBM: "Diffusion Schrödinger Bridge Matching" (Shi, De Bortoli, Campbell & Doucet 2023, arXiv 2303.16852).

Among all processes that carry π_0 to π_1, the Schrödinger bridge is the one closest to a Brownian motion of scale σ. It
is the only one that is at once a mixture of Brownian bridges (the reciprocal class) and Markov. The paper alternates
projections onto these two properties (iterative Markovian fitting), each a regression on bridges between pairs, so
that both marginals are kept throughout. `bridge.py` has the bridges and what a network regresses on, `process.py`
simulates, `coupling.py` has the pairs that one can start from, `imf.py` is Algorithm 1 and its relatives. `gaussian.py`
and `plan.py` know the exact answer; `experiments.py` runs, `paper.py` states what should come out, `figures.py` draws.

Time runs as in the paper: x_0 ~ π_0 at t = 0 and x_1 ~ π_1 at t = 1. Points are (B, D), images
(B, C, H, W), times () or (B,).
"""
