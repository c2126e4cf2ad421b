"""What the continuous-time papers share: Gaussian paths, objectives, exact denoisers, solvers, and likelihoods.

`path.py` has the coordinates, `objective.py` the losses, `oracle.py` the exact denoisers, `solvers.py` Euler and Heun
on the probability-flow ODE, `churn.py` EDM's stochastic sampler, `likelihood.py` the change of log-density along the
ODE. Noise increases with time everywhere: the data are at t = 0.
"""
