"""The presets of experiments that need no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.harness.studies.experiment import Grid


def everywhere(configs: Sequence[Any], quick: int, more: int) -> dict[str, Grid]:
    """The same work in every preset: `quick` seeds of it, and `more` where there is an hour."""
    return {"quick": Grid(configs, quick), "small": Grid(configs, more), "gpu": Grid(configs, more)}
