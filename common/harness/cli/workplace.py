"""Where things lie: the repository, its reports, and the papers by name."""

from __future__ import annotations

import os
from pathlib import Path

from common.harness.studies.errors import unknown
from common.harness.studies.experiment import PRESETS
from common.harness.studies.paper import Paper, discover

ROOT = Path(__file__).resolve().parents[3]
REPORTS = ROOT / "reports"


def find_paper(slug: str) -> Paper:
    """The card with this short name; UsageError with what is near."""
    cards = discover()
    if slug not in cards:
        raise unknown("paper", slug, cards)
    return cards[slug]


def check_preset(preset: str) -> str:
    """The preset itself; UsageError with what is near."""
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    return preset


def runs_folder() -> Path:
    """Where runs lie: `REPRO_RUNS`, else runs/ in the repository."""
    return Path(os.environ.get("REPRO_RUNS") or ROOT / "runs").expanduser().absolute()


def shown(path: Path) -> str:
    """A path as a person would type it from here."""
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
