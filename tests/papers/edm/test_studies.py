"""The grids of EDM's studies."""

from typing import Any

import pytest

from common.harness.studies.experiment import Experiment
from papers.edm.paper import PAPER


def _config_rows(experiment: Experiment) -> list[Any]:
    return [config for grid in experiment.presets.values() for config in grid.configs]


@pytest.mark.parametrize("experiment", PAPER.experiments.values(), ids=lambda experiment: experiment.name)
def test_grids_are_of_their_config_and_nothing_is_run_twice(experiment: Experiment) -> None:
    for grid in experiment.presets.values():
        assert len(set(grid.configs)) == len(grid.configs)
    assert all(isinstance(config, experiment.config) for config in _config_rows(experiment))
