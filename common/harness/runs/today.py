"""The fingerprints of a paper's experiments today, from its files alone: for commands that load no study.

They are kept beside Python's own compiled files, under a hash of the files that they may depend on, so that a command
that asks again only reads files.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from common.harness.runs.provenance import TREE

if TYPE_CHECKING:
    from common.harness.runs.fingerprint import Code
    from common.harness.studies.paper import Paper

READERS = ("definitions.py", "fingerprint.py")


def fingerprints(paper: Paper) -> dict[str, str]:
    """The fingerprint of each experiment that the studies of a paper in `papers` make, by name.

    A file that cannot be read as Python leaves the paper without any.
    """
    package = TREE / "papers" / paper.slug
    kept = package / "__pycache__" / "fingerprints.json"
    key = hashlib.sha256(f"{_common()} {_hash(package)} {paper.studies} {sys.version}".encode()).hexdigest()
    with suppress(OSError, ValueError, KeyError):
        found = json.loads(kept.read_text())
        if found["of"] == key:
            return dict(found["fingerprints"])
    try:
        today = _read(paper)
    except (SyntaxError, ValueError):
        return {}
    with suppress(OSError):
        kept.parent.mkdir(exist_ok=True)
        new = kept.with_name(f"{kept.name}.{os.getpid()}")
        new.write_text(json.dumps({"of": key, "fingerprints": today}))
        new.replace(kept)
    return today


def _read(paper: Paper) -> dict[str, str]:
    # All modules beside the studies: what several studies share may be made in one that is none itself.
    files = sorted((TREE / "papers" / paper.slug / "studies").glob("*.py"))
    modules = [f"papers.{paper.slug}.studies.{file.stem}" for file in files]
    return {name: _code().fingerprint((module, name)) for module in modules for name in _code().makes(module)}


@cache
def _code() -> Code:
    from common.harness.runs.fingerprint import OURS, Code

    return Code({name: TREE / name for name in OURS})


@cache
def _common() -> str:
    """Of what all papers share; the harness only decides how files are read."""
    rooms = [path for path in sorted((TREE / "common").iterdir()) if path.name != "harness"]
    readers = [TREE / "common" / "harness" / "runs" / name for name in READERS]
    return " ".join(map(_hash, (*rooms, *readers)))


def _hash(place: Path) -> str:
    """Of the Python files in a place, with their paths below it."""
    digest = hashlib.sha256()
    for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
        digest.update(f"{path.relative_to(place)} ".encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()
