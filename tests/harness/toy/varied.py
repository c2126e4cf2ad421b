"""Rows of every kind that a table may hold: some are missing, and two experiments share a column's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from common.harness.studies.experiment import Grid, Row, Run, experiment
from common.harness.studies.study import Study
from toy.paper import PAPER as TOY


@dataclass(frozen=True)
class Wide:
    n: int = 3
    scale: float = 1.0
    kind: Literal["2", "3"] = "2"
    shifts: tuple[float, ...] = (0.0, 0.3)
    names: tuple[str, ...] = ("f", "b")
    limit: int | None = 5
    label: str | None = "7"
    letter: str = ""
    checked: bool = False


@dataclass(frozen=True)
class Bare:
    label: int = 7
    note: str | None = None


@experiment(
    Wide,
    {"quick": Grid([Wide(), Wide(4, 0.1, "3", (), (), None, None, "C", True)], seeds=2)},
    {"x": float, "count": int, "word": str, "flag": bool, "solver": ("1", "heun"), "order": (1, 2), "rest": float},
)
def wide(config: Wide, seed: int, run: Run) -> Sequence[Row]:
    first: Row = {"x": 1 / 3, "count": 10**17, "word": "12", "flag": True, "solver": "1", "order": 2}
    return [first, {"x": float("inf"), "flag": False, "solver": "heun", "order": 1}, {"x": 5e-324, "solver": "heun"}]


@experiment(Bare, {"quick": Grid([Bare()])}, {"word": float, "count": float})
def bare(config: Bare, seed: int, run: Run) -> Sequence[Row]:
    return [{"word": 1.0, "count": 2.5}]


STUDY = Study("Rows", "Which rows are there?", (wide, bare))
PAPER = replace(TOY, slug="varied", studies=("varied",), presets=("quick",))
