"""The paper's own numbers, each with its section, table or figure."""

from typing import NamedTuple

BASELINE_NFE = {"vp": 256, "ve": 8192, "iddpm": 250}
"""Evaluations at which the paper counts each original deterministic sampler as done: the least whose FID is within 3 %
of the best (Section 3, the dots of Figure 2)."""

NFE_RATIO = {"vp": 7.3, "ve": 303.0, "iddpm": 3.2}
"""By how many times fewer evaluations Heun on the EDM schedule reaches that FID (Section 3, Figure 2)."""

RHO = 7.0
"""The paper's choice (Section 3)."""
BEST_RHO = (5.0, 10.0)
"""Where the best rho for images lies (Section 3, Appendix D.1, Figure 13)."""


class FID(NamedTuple):
    """A pair of cells of Table 2: CIFAR-10, deterministic sampler, 35 NFE."""

    conditional: float
    unconditional: float


VP_FID = {
    "A": FID(2.48, 3.01),
    "B": FID(2.18, 2.51),
    "C": FID(2.08, 2.31),
    "D": FID(2.09, 2.29),
    "E": FID(1.88, 2.05),
    "F": FID(1.79, 1.97),
}
VE_FID = {
    "A": FID(3.11, 3.77),
    "B": FID(2.48, 2.94),
    "C": FID(2.52, 2.83),
    "D": FID(2.64, 3.10),
    "E": FID(1.86, 1.99),
    "F": FID(1.79, 1.98),
}
