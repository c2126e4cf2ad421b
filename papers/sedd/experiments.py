"""The experiments of SEDD: exact bounds, samplers with exact scores, precision, training, and what is generated."""

from papers.sedd.experiments_exact import EXACT_EXPERIMENTS
from papers.sedd.experiments_generation import GENERATION_EXPERIMENTS
from papers.sedd.experiments_precision import PRECISION_EXPERIMENTS
from papers.sedd.experiments_sampling import SAMPLING_EXPERIMENTS
from papers.sedd.experiments_training import TRAINING_EXPERIMENTS

EXPERIMENTS = (
    *EXACT_EXPERIMENTS,
    *SAMPLING_EXPERIMENTS,
    *PRECISION_EXPERIMENTS,
    *TRAINING_EXPERIMENTS,
    *GENERATION_EXPERIMENTS,
)
