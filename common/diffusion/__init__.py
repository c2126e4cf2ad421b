"""What the continuous-time papers share: Gaussian paths, exact denoisers, solvers, and likelihoods.

`path.py` has the coordinates, `oracle.py` the exact denoisers, `solvers.py` Euler and Heun on the probability-flow ODE,
`likelihood.py` the change of log-density along it. Noise increases with time everywhere: the data are at t = 0.
"""
