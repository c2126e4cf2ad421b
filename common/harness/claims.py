"""A claim: what the paper says, what we measured over seeds, and the verdict by a criterion stated before the run.

A claim has one or more quantities. `Quantity.measure` maps the paper's tidy run table to one value per seed; the harness
adds a Student-t 95 % confidence interval over seeds, compares it with the criterion, and decides:

- holds: the interval satisfies the criterion everywhere,
- fails: it violates it everywhere,
- inconclusive: it straddles the boundary (or there are fewer than two seeds where seeds differ).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Criterion:
    """`lower <= value <= upper`, with the reason for its margin."""

    lower: float = -inf
    upper: float = inf
    reason: str = ""

    def __str__(self) -> str:
        if self.lower == -inf:
            return f"≤ {self.upper:g}"
        if self.upper == inf:
            return f"≥ {self.lower:g}"
        return f"{self.lower:g} to {self.upper:g}"


@dataclass(frozen=True)
class Quantity:
    """One number of a claim.

    `measure(table)` returns a Series indexed by seed: `table` holds the rows of `experiment` in the preset at hand, with the
    config's fields and `seed` as columns. `floor` is the smallest difference that matters to `repro check`, in the
    quantity's own unit.
    """

    name: str
    experiment: str
    measure: Callable[[pd.DataFrame], pd.Series]
    criterion: Criterion
    published: float | None = None
    unit: str = ""
    floor: float = 0.0


@dataclass(frozen=True)
class Claim:
    """One claim of a paper, in one sentence as the paper makes it, with its source (section, table, figure, theorem).

    `presets` says where it is judged: a claim that takes MNIST is not judged by `quick`.
    """

    id: str
    statement: str
    source: str
    quantities: tuple[Quantity, ...]
    presets: tuple[str, ...] = ("quick", "small")
    deviation: str = ""
    """How our set-up differs from the paper's, in one sentence."""
