"""The experiments of EDM, by what they take: nothing, training, a trained network, or an official checkpoint."""

from papers.edm.experiments_official import OFFICIAL_EXPERIMENTS
from papers.edm.experiments_precond import PRECOND_EXPERIMENTS
from papers.edm.experiments_sampling import SAMPLING_EXPERIMENTS
from papers.edm.experiments_stochastic import STOCHASTIC_EXPERIMENTS
from papers.edm.experiments_training import TRAINING_EXPERIMENTS

EXPERIMENTS = (
    *SAMPLING_EXPERIMENTS,
    *PRECOND_EXPERIMENTS,
    *TRAINING_EXPERIMENTS,
    *STOCHASTIC_EXPERIMENTS,
    *OFFICIAL_EXPERIMENTS,
)
