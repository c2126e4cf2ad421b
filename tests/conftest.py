"""Tests see the machine that they need and no more: one thread, and none of what its user has set for other work. And
how they are shared out where several processes run them (`make test` starts one per core)."""

import os
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

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


class ByFile(LoadScopeScheduling):
    """A file's tests stay in one process, which then makes its fixtures once; a folder's, where they share one build.

    Each test of `regression` may run a whole paper: those are shared out one by one.
    """

    def _split_scope(self, nodeid: str) -> str:
        path = nodeid.partition("::")[0]
        folder = path.removeprefix("tests/").partition("/")[0]
        return {"regression": nodeid, "site": folder}.get(folder, path)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    """Marks of groups (`xdist_group`) do not reach the scheduler with this version of pytest."""
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    folder = item.path.relative_to(HERE).parts[0]
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else -1
