"""The card of a paper: what it is, and which studies it has. Imports nothing heavy.

`papers/<slug>/paper.py` defines `PAPER = Paper(...)`; `discover()` finds all of them without importing torch.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from common.harness.studies.experiment import PRESETS

if TYPE_CHECKING:
    from common.harness.studies.claims import Claim
    from common.harness.studies.experiment import Experiment
    from common.harness.studies.study import Study


@dataclass(frozen=True)
class Reading:
    """A pointer for further reading."""

    title: str
    arxiv: str
    why: str = ""


@dataclass(frozen=True)
class Paper:
    """One paper of the reading group.

    `studies` names the modules below `papers.<slug>.studies`, in the order in which a reader meets them. They are
    imported only when used.
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
    studies: tuple[str, ...]
    presets: tuple[str, ...] = ("quick", "small", "gpu")
    further_reading: tuple[Reading, ...] = ()

    package: str = ""
    """Where the studies lie; `papers.<slug>.studies` if empty."""

    def load(self) -> dict[str, Study]:
        """The studies by name (imports torch). StudyError where one of them contradicts itself."""
        package = self.package or f"papers.{self.slug}.studies"
        return _load(self.slug, package, self.studies, self.presets)

    @property
    def experiments(self) -> dict[str, Experiment]:
        """Of all studies, by name."""
        return {each.name: each for study in self.load().values() for each in study.experiments}

    @property
    def claims(self) -> list[Claim]:
        """Of all studies, those of the headlines first."""
        return [claim for study in self.load().values() for claim in study.claims]


@cache
def _load(slug: str, package: str, names: tuple[str, ...], presets: tuple[str, ...]) -> dict[str, Study]:
    from common.harness.studies.study import StudyError, check

    studies: dict[str, Study] = {name: importlib.import_module(f"{package}.{name}").STUDY for name in names}
    experiments = [each for study in studies.values() for each in study.experiments]
    twice = {each.name for each in experiments if sum(other.name == each.name for other in experiments) > 1}
    claims = [claim.id for study in studies.values() for claim in study.claims]
    twice |= {name for name in claims if claims.count(name) > 1}
    if twice:
        raise StudyError(f"{slug}: two studies have {', '.join(sorted(twice))}")
    if presets != (had := tuple(p for p in PRESETS if any(p in study.presets for study in studies.values()))):
        raise StudyError(f"{slug}: the card says {', '.join(presets)}, its studies have {', '.join(had)}")
    for name, study in studies.items():
        check(name, study, experiments)
    return studies


def discover(package: str = "papers") -> dict[str, Paper]:
    """All cards below `package`, by slug, in the order of their weeks. A package that has no card yet is no paper."""
    root = importlib.import_module(package)
    cards = [
        importlib.import_module(f"{package}.{found.name}.paper").PAPER
        for found in pkgutil.iter_modules(root.__path__)
        if found.ispkg and importlib.util.find_spec(f"{package}.{found.name}.paper")
    ]
    return {card.slug: card for card in sorted(cards, key=lambda card: (card.week, card.slug))}
