"""The toy paper, a store of its own for each test, and a way to launch the toy in another process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

# E402: the toys beside this file must be importable first.
from common.harness.runs.plan import RunSpec, plan  # noqa: E402
from common.harness.runs.store import Store  # noqa: E402


@dataclass
class Toy:
    """The toy paper with its store, and the drivers that a test starts."""

    store: Store
    log: Path
    environment: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def plan(self, preset: str = "quick", papers: Sequence[str] = ("toy",), **wishes: Any) -> list[RunSpec]:
        """The toy's runs."""
        from toy.paper import PAPERS

        return [spec for name in papers for spec in plan(PAPERS[name], preset, **wishes)]

    def start(self, **wishes: Any) -> subprocess.Popen[str]:
        """Begin a launch in a process (and process group) of its own."""
        driver = subprocess.Popen(
            [sys.executable, str(HERE / "drive.py"), json.dumps(wishes)],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # Tests that a shell runs in the background inherit a Ctrl-C that is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.started.append(driver)
        return driver

    def drive(self, **wishes: Any) -> tuple[int, dict[str, Any], str]:
        """Launch in another process: exit code, outcome, and what it said."""
        driver = self.start(**wishes)
        out, said = driver.communicate(timeout=300)
        return driver.returncode, json.loads(out) if out else {}, said

    @contextmanager
    def held(self, *seeds: int) -> Iterator[None]:
        """What is started meanwhile waits in the middle of its runs of these seeds until the end of the block."""
        place = self.log.with_name("hold")
        place.write_text(" ".join(map(str, seeds)))
        self.environment["REPRO_TOY_HOLD"] = str(place)
        yield
        del self.environment["REPRO_TOY_HOLD"]
        place.unlink()

    def events(self) -> list[str]:
        """What the experiments said: '<event> <address> <pid> <parent pid>' for each start."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def starts(self) -> list[str]:
        """The address of each start of an experiment, in order."""
        return [line.split()[-3] for line in self.events()]

    def rows(self) -> dict[str, bytes]:
        """Every finished run's rows.csv, by its path in the store."""
        found = self.store.root.glob("*/*/*/rows.csv")
        return {str(path.relative_to(self.store.root)): path.read_bytes() for path in found if path.parent.suffix == ""}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toy]:
    """The toy with an empty store."""
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("REPRO_TOY_LOG", str(tmp_path / "log"))
    monkeypatch.delenv("REPRO_TOY_CRASH", raising=False)
    monkeypatch.setenv("COLUMNS", "1000")  # messages are looked for whole
    paths = [str(HERE), str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "CUDA_VISIBLE_DEVICES": ""}
    toy = Toy(Store(), tmp_path / "log", environment)
    yield toy
    for driver in toy.started:
        if driver.poll() is None:
            os.killpg(driver.pid, signal.SIGKILL)
            driver.wait()


def wait_until(condition: Callable[[], bool], seconds: float = 180.0) -> None:
    """Poll until `condition` is true; fails after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.fixture
def until() -> Callable[..., None]:
    """`wait_until`."""
    return wait_until
