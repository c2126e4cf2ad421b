"""The paper's own numbers (Shi et al. 2023, Section 6), as mean and standard deviation over five seeds.

What could not be checked against the paper's text is left out rather than guessed: some cells of its tables are
missing here. The two cells of CFM and FM are read from their place in the table, whose heading was not legible.
"""

from typing import NamedTuple


class Published(NamedTuple):
    """A cell of a table. `spread` is None where only the mean is known here."""

    mean: float
    spread: float | None = None


GAUSSIAN_KL: dict[tuple[str, int], Published] = {
    ("DSB", 5): Published(3.26, 1.60),
    ("DSB", 20): Published(13.0, 3.49),
    ("DSB", 50): Published(32.8, 1.28),
    ("SB-CFM", 5): Published(1.45, 0.73),
    ("SB-CFM", 20): Published(12.3, 1.47),
    ("SB-CFM", 50): Published(49.4, 3.91),
    ("DSBM-IPF", 5): Published(1.23, 0.23),
    ("DSBM-IPF", 20): Published(4.42, 0.76),
    ("DSBM-IPF", 50): Published(8.75, 0.87),
    ("DSBM-IMF", 5): Published(1.34, 0.51),
    ("DSBM-IMF", 20): Published(5.05, 0.95),
    ("DSBM-IMF", 50): Published(9.76, 1.67),
}
"""By method and dimension: mean of KL(P_t | SB_t) over 21 times, in 10⁻³ nats."""

PLANE_W2: dict[tuple[str, str], Published] = {
    ("DSBM-IPF", "moons"): Published(0.140, 0.006),
    ("DSBM-IPF", "scurve"): Published(0.140, 0.024),
    ("DSBM-IPF", "8gaussians"): Published(0.315, 0.079),
    ("DSBM-IPF", "moons-8gaussians"): Published(0.812, 0.092),
    ("DSBM-IMF", "moons"): Published(0.144, 0.024),
    ("DSBM-IMF", "scurve"): Published(0.145, 0.037),
    ("DSBM-IMF", "8gaussians"): Published(0.338, 0.091),
    ("DSBM-IMF", "moons-8gaussians"): Published(0.838, 0.098),
    ("DSBM-IMF+", "moons"): Published(0.123, 0.014),
    ("DSBM-IMF+", "scurve"): Published(0.130, 0.025),
    ("DSBM-IMF+", "8gaussians"): Published(0.276, 0.030),
    ("DSBM-IMF+", "moons-8gaussians"): Published(0.802, 0.172),
    ("DSB", "moons"): Published(0.190, 0.049),
    ("DSB", "scurve"): Published(0.272, 0.065),
    ("DSB", "8gaussians"): Published(0.411, 0.084),
    ("DSB", "moons-8gaussians"): Published(0.987, 0.324),
    ("OT-CFM", "moons"): Published(0.111),
    ("OT-CFM", "scurve"): Published(0.102),
    ("OT-CFM", "8gaussians"): Published(0.253),
    ("OT-CFM", "moons-8gaussians"): Published(0.716, 0.187),
    ("RF", "moons"): Published(0.129, 0.022),
    ("RF", "scurve"): Published(0.126),
    ("RF", "8gaussians"): Published(0.267),
    ("RF", "moons-8gaussians"): Published(1.522, 0.304),
    ("SB-CFM", "moons-8gaussians"): Published(0.843, 0.079),
    ("CFM", "moons"): Published(0.215, 0.028),
    ("FM", "moons"): Published(0.212, 0.025),
}
"""By method and task: W2 to the data of samples by Euler's method in 20 steps."""

PLANE_ENERGY: dict[tuple[str, str], Published] = {
    ("DSBM-IPF", "moons"): Published(1.598),
    ("DSBM-IPF", "scurve"): Published(2.110),
    ("DSBM-IPF", "8gaussians"): Published(14.91),
    ("DSBM-IPF", "moons-8gaussians"): Published(42.16),
    ("SB-CFM", "moons"): Published(1.649),
    ("SB-CFM", "scurve"): Published(2.144),
    ("SB-CFM", "8gaussians"): Published(15.08),
    ("SB-CFM", "moons-8gaussians"): Published(45.69),
    ("CFM", "moons-8gaussians"): Published(116.5, 2.6),
    ("OT-CFM", "moons-8gaussians"): Published(30.50, 0.63),
}
"""By method and task: ∫ E‖v‖² dt along the ODE."""
