"""EDM: "Elucidating the Design Space of Diffusion-Based Generative Models" (Karras et al. 2022, arXiv 2206.00364).

Diffusion models had come as packages: a process, a network and a sampler that seemed to need each other. The paper
shows that the sampler, the network's preconditioning and its training are independent choices around one object, the
denoiser D(x; σ), and makes each anew. `sampler.py` has the samplers for any schedule (Sections 3 and 4, Algorithms 1
and 3), `augment.py` the non-leaky augmentation (Section 5, Appendix F.2), `configs.py` the training configurations A to
F (Table 2), `published.py` the paper's own numbers. What later papers use too is in `common/diffusion`: `schedule.py`
with σ(t), s(t) and the time steps (Sections 2 and 3, Table 1), `churn.py` with the stochastic sampler (Section 4,
Algorithm 2), `precond.py` and `denoising_loss.py` with the preconditioning and the loss (Section 5). `studies/` has one
module for each question that is asked of them, from its configs to its verdict and its figures.
"""
