"""Flow matching: "Flow Matching for Generative Modeling" (Lipman, Chen, Ben-Hamu, Nickel & Le 2022, arXiv 2210.02747).

Time runs from noise at t = 0 to data at t = 1: the other way than in the rest of this repository. A model is a velocity
v(x, t), and its samples are the ends of dx/dt = v(x, t) started from noise. The velocity that carries noise to all the
data at once is not known, but the one that carries noise to a single data point is a formula. The paper's finding is
that regression on the latter, with random data points, has the same gradient as regression on the former, so that such
a model trains without a simulation. It holds for every Gaussian path; the path of straight lines is the best one.

    path.py              Section 4, Theorem 3: conditional paths and their velocity; OT, VP and VE
    objective.py         Section 3.2 and Appendix E.1: flow matching, and what it is compared with, on a path
    marginal.py          Section 3.1, Theorem 1: the exact marginal velocity, where the data law is known
    solvers.py           from noise to data: Euler, midpoint, RK4 and dopri5, with evaluations counted
    likelihood.py        Appendix C: the change of log-density, and bits per dimension
    super_resolution.py  Section 6.3: images from images of low resolution
    published.py         the paper's own numbers
    studies/             one module for each question that is put to the paper

Points are (B, D), images (B, C, H, W), times () or (B,). Several networks at once, as one, take (S, B, ...) and times
() or (S, B).
"""
