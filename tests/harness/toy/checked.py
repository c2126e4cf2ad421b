"""Two papers that a check goes through: one study with a claim, and an experiment that no claim reads.

REPRO_TOY_RAISE names the runs that raise, as the beginning of "<slug>/<experiment> <seed>".
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Row, Run, experiment
from common.harness.studies.measures import value_at
from common.harness.studies.study import Study
from toy.paper import PAPER as TOY


@dataclass(frozen=True)
class Draws:
    n: int = 8


def raise_if_told(experiment: str, seed: int, run: Run) -> None:
    slug = run.folder.parent.parent.name
    if (told := os.environ.get("REPRO_TOY_RAISE")) and f"{slug}/{experiment} {seed}".startswith(told):
        raise ArithmeticError("two and two are five")


@experiment(Draws, {"quick": Grid([Draws()], seeds=3), "small": Grid([Draws(16)], seeds=2)}, {"mean": float})
def claimed(config: Draws, seed: int, run: Run) -> Sequence[Row]:
    raise_if_told("claimed", seed, run)
    return [{"mean": 1 + np.random.default_rng(seed).normal(0, 0.01, config.n).mean()}]


@experiment(Draws, {"quick": Grid([Draws(), Draws(2)], seeds=1)}, {"mean": float})
def unclaimed(config: Draws, seed: int, run: Run) -> Sequence[Row]:
    raise_if_told("unclaimed", seed, run)
    return [{"mean": 0.0}]


MEAN = Quantity("mean of the draws", claimed, value_at("mean"), Criterion(0.9, 1.1, "ten standard errors"))
CLAIM = Claim("mean", "The mean is one.", "Theorem 1", (MEAN,), excludes="draws around two")
STUDY = Study("Draws", "Is the mean one?", (claimed, unclaimed), (CLAIM,))
PAPERS = {
    slug: replace(TOY, slug=slug, week=week, studies=("checked",), presets=("quick", "small"))
    for week, slug in enumerate(("first", "second"), 1)
}
