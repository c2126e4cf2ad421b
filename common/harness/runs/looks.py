"""What lies in the folder of a finished run: read and hashed once per command, until one of its files changes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Stamp = tuple[tuple[int, int, int] | None, ...]


@dataclass(frozen=True)
class Look:
    """What was found in a finished run's folder."""

    record: Mapping[str, Any]
    """Its `run.json`; empty where the run is damaged."""
    damage: str | None


class Looks:
    """The folders that were looked at. A copy in another process starts with none."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[Stamp, Look]] = {}

    def __reduce__(self) -> tuple[type[Looks], tuple[()]]:
        return Looks, ()

    def __call__(self, folder: Path) -> Look | None:
        """What is in a run's folder; None where there is none."""
        stamp = tuple(_stamp(folder / name) for name in ("run.json", "rows.csv", "arrays.npz"))
        if stamp[0] is None and not folder.is_dir():
            return None
        known = self._known.get(folder)
        if known is None or known[0] != stamp:
            found = damage(folder)
            known = self._known[folder] = stamp, Look({} if found else read_record(folder), found)
        return known[1]


def damage(folder: Path) -> str | None:
    """What is wrong with a finished run's folder, in words; None if nothing is."""
    try:
        record = read_record(folder)
        if record["address"] != folder.name:
            return "run.json is of another run"
        for name, expected in record["sha256"].items():
            if sha256(folder / name) != expected:
                return f"{name} is not what the run wrote"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "run.json cannot be read"
    return None if "rows.csv" in record["sha256"] else "run.json names no rows.csv"


def read_record(folder: Path) -> dict[str, Any]:
    """A run's `run.json`."""
    return json.loads((folder / "run.json").read_text())


def sha256(path: Path) -> str:
    """The hash of a file, in hex digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
