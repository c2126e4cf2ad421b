"""What the continuous-time papers share: Gaussian paths, exact denoisers, losses, solvers, and likelihoods.

`path.py` has the coordinates, `oracle.py` the exact denoisers, `schedule.py`, `precond.py` and `denoising_loss.py`
the noise levels, the preconditioning and the loss of EDM, `objective.py` any loss as a weighting of noise levels,
`solvers.py` Euler and Heun on the probability-flow ODE, `churn.py` EDM's stochastic sampler, `likelihood.py` the change
of log-density along the ODE. Noise increases with time everywhere: the data are at t = 0.
"""
