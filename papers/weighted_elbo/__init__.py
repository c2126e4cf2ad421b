"""Weighted ELBOs: "Understanding Diffusion Objectives as the ELBO with Simple Data Augmentation" (Kingma & Gao 2023,
arXiv 2303.00848), with the bound that it generalises, "Variational Diffusion Models" (Kingma et al. 2021, 2107.00630).

Every diffusion loss in use is a squared error of a prediction, at noise levels from some law, with some weight. Written
over the log-SNR λ of the noise levels it is ½ ∫ w(λ) E‖ε̂ − ε‖² dλ: the noise schedule is gone, and w(λ) is all that is
left of the objective. The paper's finding is that this is a weighted integral of ELBOs, one for each noise level, and
that for a w that never rises with λ it is the expected ELBO of data with Gaussian noise added, as an augmentation.

    weighting.py    Section 3 and Table 1: w(λ) of the objectives in use, and their law p_w over noise levels
    objectives.py   Table 1: the objectives as they are trained: path, prediction, noise levels and weight
    identity.py     Section 4: both sides of the identity, each computed by itself
    adaptive.py     Section 3.2: noise levels drawn where the loss is, from a running estimate of it
    vdm.py          2107.00630: the ELBO in bits per dimension, its three terms, and ancestral sampling
    published.py    the papers' own numbers
    studies/        one module for each question that is put to the papers

Noise increases with time t, so λ = log(α²/σ²) decreases. Points are (B, *D), times () or (B,); several networks at once
take (S, B, *D) and () or (S, B).
"""
