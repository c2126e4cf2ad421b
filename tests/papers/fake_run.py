"""A run for experiments that are called as functions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any


class FakeRun:
    """What an experiment is handed beside its config and seed, with the arrays that it leaves."""

    def __init__(self, folder: Path, **needs: Path) -> None:
        self.folder, self.device = folder, "cpu"
        self.needs: Mapping[str, Path] = needs
        self.arrays: dict[str, Any] = {}
        folder.mkdir(exist_ok=True)

    def log(self, **metrics: float) -> None: ...

    def save_arrays(self, **arrays: Any) -> None:
        self.arrays = arrays
