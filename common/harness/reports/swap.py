"""A folder that is there whole or not at all: written beside the old one, and put in its place when complete."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from common.harness.runs.store import hold
from common.harness.studies.errors import UsageError


def check_writable(root: Path) -> None:
    """UsageError, before any work, where no report can be written below `root`."""
    there = next(path for path in (root.absolute(), *root.absolute().parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        raise UsageError(f"cannot write a report to {root}: {there} is not a writable folder; name one that is")


@contextmanager
def swapped_in(target: Path) -> Iterator[Path]:
    """A new folder that takes the place of `target` on leaving without an error; nothing is left otherwise.

    One process writes at a time. No system puts a folder in another's place in one step, so a kill may come when the
    old one is set aside and the new one not yet there: `recover` then brings the old one back.
    """
    new, old = _beside(target)
    with ExitStack() as stack:
        try:
            stack.enter_context(hold(_lock(target)))
            _settle(target)
            new.mkdir()
        except OSError as error:
            raise UsageError(
                f"cannot write a report to {target}: {error.strerror}; name a folder that is writable"
            ) from error
        try:
            yield new
            if target.exists():
                os.replace(target, old)
            os.replace(new, target)
        finally:
            _settle(target)


def recover(target: Path) -> None:
    """Bring back the report that a kill in the middle of `swapped_in` left under another name."""
    if any(path.exists() for path in _beside(target)):
        with hold(_lock(target)):
            _settle(target)


def _settle(target: Path) -> None:
    new, old = _beside(target)
    if old.exists() and not target.exists():
        os.replace(old, target)
    shutil.rmtree(old, ignore_errors=True)
    shutil.rmtree(new, ignore_errors=True)


def _beside(target: Path) -> tuple[Path, Path]:
    return target.with_name(f".{target.name}.new"), target.with_name(f".{target.name}.old")


def _lock(target: Path) -> Path:
    return target.with_name(f".{target.name}.lock")
