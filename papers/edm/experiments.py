"""The experiments of EDM: without training (`experiments_sampling.py`) and with it (`experiments_training.py`)."""

from papers.edm.experiments_sampling import SAMPLING_EXPERIMENTS
from papers.edm.experiments_training import TRAINING_EXPERIMENTS

EXPERIMENTS = (*SAMPLING_EXPERIMENTS, *TRAINING_EXPERIMENTS)
