"""The presets of experiments that need no network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.harness.studies.experiment import Grid


def everywhere(
    configs: Sequence[Any], quick: int, more: int, quick_configs: Sequence[Any] | None = None
) -> dict[str, Grid]:
    """`quick` seeds in `quick`, and `more` where there is an hour; the same configs, but for those of `quick`."""
    return {
        "quick": Grid(configs if quick_configs is None else quick_configs, quick),
        "small": Grid(configs, more),
        "gpu": Grid(configs, more),
    }
