"""The experiments of DSBM, by what they take."""

from common.harness.experiment import Experiment

EXPERIMENTS: tuple[Experiment, ...] = ()
