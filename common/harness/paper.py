"""The card of a paper: what it is, what it claims, and where its experiments are. Imports nothing heavy.

`papers/<slug>/paper.py` defines `PAPER = Paper(...)`; `discover()` finds all of them without importing torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.harness.claims import Claim

if TYPE_CHECKING:
    from common.harness.experiment import Experiment


@dataclass(frozen=True)
class Reading:
    """A pointer for further reading."""

    title: str
    arxiv: str
    why: str = ""


@dataclass(frozen=True)
class Paper:
    """One paper of the reading group.

    `experiments` and `figures` name modules (`papers.edm.experiments`, `papers.edm.figures`), imported only when used.
    The first has `EXPERIMENTS: tuple[Experiment, ...]`. The second has `FIGURES: tuple[Figure, ...]`.
    """

    slug: str
    title: str
    authors: tuple[str, ...]
    arxiv: str
    week: int
    date: str
    """ISO date of the session."""
    theme: str
    summary: str
    """One or two plain sentences: what the paper does."""
    claims: tuple[Claim, ...]
    experiments: str
    figures: str
    further_reading: tuple[Reading, ...] = ()

    def load_experiments(self) -> Mapping[str, Experiment]:
        """The paper's experiments by name (imports torch)."""
        module = importlib.import_module(self.experiments)
        return {experiment.name: experiment for experiment in module.EXPERIMENTS}


def discover(package: str = "papers") -> dict[str, Paper]:
    """All cards below `package`, by slug, in the order of their weeks. A package that has no card yet is no paper."""
    root = importlib.import_module(package)
    cards = [
        importlib.import_module(f"{package}.{found.name}.paper").PAPER
        for found in pkgutil.iter_modules(root.__path__)
        if found.ispkg and importlib.util.find_spec(f"{package}.{found.name}.paper")
    ]
    return {card.slug: card for card in sorted(cards, key=lambda card: (card.week, card.slug))}
