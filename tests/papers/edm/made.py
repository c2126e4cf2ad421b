"""What the tests of EDM's studies share: an experiment's rows without a launch, and a training that takes no time."""

from collections.abc import Sequence
from typing import Any

from common.harness.runs.rows import check
from common.harness.studies.experiment import Experiment, Row
from papers.edm.studies.networks import AblationConfig
from tests.papers.fake_run import FakeRun

TINY = AblationConfig("E", "digits", 8, images=2 * 64, batch=64, width=16, n_samples=70)
"""A training of two steps."""


def made(experiment: Experiment, config: Any, seed: int, run: FakeRun) -> Sequence[Row]:
    """The rows of one run, held to the columns that its experiment declares."""
    rows = experiment(config, seed, run)
    check(rows, experiment.columns)
    return rows


def by(rows: Sequence[Row], *keys: str) -> dict[Any, Row]:
    return {tuple(row[key] for key in keys) if len(keys) > 1 else row[keys[0]]: row for row in rows}
