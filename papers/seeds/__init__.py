"""SEEDS: "Exponential SDE Solvers for Fast High-Quality Sampling from Diffusion Models" (Gonzalez et al. 2023).

arXiv 2305.14267. The reverse SDE of a diffusion model is semi-linear: but for the network its drift is a multiple of x,
and its noise does not depend on x. In the log-SNR both can be solved exactly, the first by variation of constants and
the second by Itô's isometry, so that a solver has only the integral of the network to approximate. With two and three
evaluations a step, and stages that share the noise of one Brownian path, the law of the samples is met to second order.

    exponential.py   Section 3: the SDE in the log-SNR, its exact solution, and the coefficients
    seeds.py         Section 3: SEEDS-1, 2 and 3
    runge_kutta.py   one-step methods as tables of coefficients, and the loop that runs them
    multistep.py     what SEEDS is compared with: Euler–Maruyama, DDPM, SDE-DPM-Solver++ (2M)
    deis.py          the further reading: DEIS, and DDIM
    brownian.py      noise: fresh, or a Brownian path that solvers and step sizes share
    moments.py       what a solver makes of Gaussian data, exactly
    grids.py         grids of times
    published.py     the papers' own numbers
    studies/         one module for each question that is put to the papers

States are x_t = α x0 + σ ε, (B, *D), with the data at t = 0. In this package λ is the paper's, log(α/σ): half of the
`log_snr` of everywhere else.
"""
