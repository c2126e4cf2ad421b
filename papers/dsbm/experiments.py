"""The experiments of DSBM: exact arithmetic, the Gaussians, the plane, entropic plans, and images."""

from papers.dsbm.experiments_exact import EXACT_EXPERIMENTS
from papers.dsbm.experiments_gaussian import GAUSSIAN_EXPERIMENTS
from papers.dsbm.experiments_plan import PLAN_EXPERIMENTS
from papers.dsbm.experiments_plane import PLANE_EXPERIMENTS
from papers.dsbm.experiments_transfer import TRANSFER_EXPERIMENTS

EXPERIMENTS = (
    *EXACT_EXPERIMENTS,
    *GAUSSIAN_EXPERIMENTS,
    *PLANE_EXPERIMENTS,
    *PLAN_EXPERIMENTS,
    *TRANSFER_EXPERIMENTS,
)
