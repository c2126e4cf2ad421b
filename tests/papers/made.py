"""Rows of an experiment without a launch, for several seeds at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.harness.runs.rows import check
from common.harness.studies.experiment import Experiment
from tests.papers.fake_run import FakeRun
from tests.papers.planted import Row


def made(experiment: Experiment, config: Any, seeds: Sequence[int], runs: Sequence[FakeRun]) -> list[list[Row]]:
    """The rows of each seed, held to the columns that the experiment declares."""
    if experiment.together > 1:
        found = experiment(config, tuple(seeds), tuple(runs))
    else:
        found = [experiment(config, seed, run) for seed, run in zip(seeds, runs, strict=True)]
    for rows in found:
        check(rows, experiment.columns)
    return [[dict(row) for row in rows] for rows in found]
