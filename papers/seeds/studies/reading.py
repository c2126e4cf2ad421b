"""What is read off curves of quality against evaluations: how many a solver takes, and where two curves cross.

Between the evaluations that were measured a curve is a straight line in the logarithms of both. Nothing is
extrapolated: a curve that does not come down to its target, or begins below it, cannot be read (`NotReached`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, log
from typing import TYPE_CHECKING

from common.harness.studies.measures import Measure, first_reached, per_seed, pick

if TYPE_CHECKING:
    import pandas as pd

    Target = Callable[[pd.DataFrame], float]
    """The distance that is asked for, from the rows of a seed."""

PLATEAU = ("seeds-3-data", "em-sigma", "em-vp", "ddpm")
"""The stochastic solvers whose quality at the most evaluations is the plateau of the SDE."""
WITHIN = 1.1
"""What counts as at the plateau: within 10 % of it."""
DETERMINISTIC = ("ddim", "tab3", "2m", "heun")
"""Among which the best solver of the ODE is sought at each number of evaluations."""


def distances(rows: pd.DataFrame, sampler: str, column: str = "distance") -> pd.Series:
    """The distance of a solver's samples, or another `column`, by evaluations, ascending."""
    return pick(rows, {"sampler": sampler}).set_index("nfe")[column].sort_index()


def _picks(samplers: Sequence[str]) -> tuple[dict[str, str], ...]:
    return tuple({"sampler": name} for name in dict.fromkeys(samplers))


def plateau(rows: pd.DataFrame) -> float:
    """`WITHIN` times the plateau of the SDE: the geometric mean of `PLATEAU` at the most evaluations."""
    last = [float(distances(rows, name).iloc[-1]) for name in PLATEAU]
    return WITHIN * exp(sum(map(log, last)) / len(last))


def saved(sampler: str, other: str, target: float | Target, column: str = "distance", /, **where: str) -> Measure:
    """Evaluations that `other` takes to a distance over those that `sampler` takes."""

    def ratio(rows: pd.DataFrame) -> float:
        goal = target(rows) if callable(target) else target
        curves = (distances(rows, name, column) for name in (other, sampler))
        theirs, ours = (first_reached([*each.index], [*each], goal) for each in curves)
        return theirs / ours

    return per_seed(ratio, ("nfe", column), _picks((sampler, other, *(PLATEAU if callable(target) else ()))), **where)


def best(rows: pd.DataFrame) -> pd.Series:
    """The least distance of all `DETERMINISTIC` by evaluations, where each of them was measured."""
    import pandas as pd

    return pd.concat([distances(rows, name) for name in DETERMINISTIC], axis=1).dropna().min(axis=1)


def crossing(rows: pd.DataFrame, sampler: str) -> float:
    """The evaluations at which a stochastic solver is first as good as the best deterministic one at as many."""
    over = _over_best(rows, sampler)
    return first_reached([*over.index], [*over], 1.0)


def _over_best(rows: pd.DataFrame, sampler: str) -> pd.Series:
    return (distances(rows, sampler) / best(rows)).dropna()


def crossings(sampler: str, other: str, **where: str) -> Measure:
    """The crossing of `sampler` over that of `other`, which is at the most evaluations at the least if it has none."""

    def ratio(rows: pd.DataFrame) -> float:
        over = _over_best(rows, other)
        theirs = crossing(rows, other) if over.min() <= 1 else float(over.index[-1])
        return crossing(rows, sampler) / theirs

    return per_seed(ratio, ("nfe", "distance"), _picks((sampler, other, *DETERMINISTIC)), **where)


def over_best(sampler: str, nfe: int, **where: str) -> Measure:
    """The distance of a solver over that of the best deterministic one, both with `nfe` evaluations."""

    def ratio(rows: pd.DataFrame) -> float:
        return float(_over_best(rows, sampler)[nfe])

    return per_seed(ratio, ("nfe", "distance"), _picks((sampler, *DETERMINISTIC)), **where)
