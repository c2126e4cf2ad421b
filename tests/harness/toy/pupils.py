"""A study that builds on the runs of another study of its paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from common.harness.studies.experiment import Grid, Need, Row, Run, experiment
from common.harness.studies.study import Study
from toy.batched import Stack, stacks


@dataclass(frozen=True)
class Pupil:
    raises: int = -1


def _stack(config: Pupil, seed: int) -> Mapping[str, Need]:
    return {"stack": Need(stacks, Stack(raises=config.raises), seed)}


@experiment(Pupil, {"quick": Grid((Pupil(),), seeds=5)}, {"sum": float}, needs=_stack)
def pupil(config: Pupil, seed: int, run: Run) -> Sequence[Row]:
    with np.load(run.needs["stack"] / "arrays.npz") as arrays:
        return [{"sum": float(arrays["x"].sum())}]


STUDY = Study("Pupils", "What do they learn?", (pupil,))
