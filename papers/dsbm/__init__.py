"""DSBM: "Diffusion Schrödinger Bridge Matching" (Shi, De Bortoli, Campbell & Doucet 2023, arXiv 2303.16852).

Among all processes that carry π_0 to π_1, the Schrödinger bridge is the one closest to a Brownian motion of scale σ. It
is the only one that is at once a mixture of Brownian bridges (the reciprocal class) and Markov. The paper alternates
projections onto these two properties (iterative Markovian fitting), each a regression on bridges between pairs, so
that both marginals are kept throughout.

    bridge.py      Section 3: bridges, and what a network regresses on to make a mixture of them Markov
    process.py     simulation, either way in time, and the probability flow
    coupling.py    the pairs that IPF starts from; all others are in common/transport
    imf.py         Algorithm 1, and its relatives in one alternation
    dsb.py         what DSB, the method that it replaces, regresses on
    gaussian.py    the exact answer between Gaussians: the bridge, and every iterate of IMF and of IPF
    divergence.py  how far from it: KL of Gaussians, of samples, and of whole path laws (Lemma 6)
    plan.py        the exact answer between samples: the entropic optimal plan
    published.py   Section 6: the paper's own numbers
    studies/       one module for each question that is put to the paper

Time runs as in the paper: x_0 ~ π_0 at t = 0 and x_1 ~ π_1 at t = 1. Points are (B, D), images
(B, C, H, W), times () or (B,).
"""
