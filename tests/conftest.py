"""Tests see the machine that they need and no more: one thread, and none of what its user has set for other work. And
how they are shared out where several processes run them (`make test` starts one per core)."""

import os
from pathlib import Path

import pytest

# Before torch is imported anywhere, and for the processes that tests start. One thread in every test: results do not
# depend on the machine's cores, and small tensors are faster.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

# Where data and finished runs lie is wanted: what needs data is left out without, and what is run need not run again.
KEPT = {"REPRO_DATA", "REPRO_RUNS"}
# The width and colours of a terminal, a cluster that the user has joined, a repository whose hook runs the tests.
OTHERS = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "MPLBACKEND")
for variable in list(os.environ):
    if variable in OTHERS or (variable.startswith(("REPRO_", "RAY_", "GIT_")) and variable not in KEPT):
        del os.environ[variable]

HERE = Path(__file__).parent
LONGEST_FIRST = ("regression", "site", "harness", "papers", "common", "benchmarks")
"""Folders in the order in which their tests are handed out: no process is left alone with a long one at the end."""


def pytest_itemcollected(item: pytest.Item) -> None:
    """A file's tests stay in one process, which then makes its fixtures once; a folder's, where they share one build.

    Each test of `regression` runs a whole paper: those are shared out one by one.
    """
    place = item.path.relative_to(HERE)
    whole = {"regression": item.nodeid, "site": "site"}.get(place.parts[0], str(place))
    item.add_marker(pytest.mark.xdist_group(whole))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    folder = item.path.relative_to(HERE).parts[0]
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else -1
