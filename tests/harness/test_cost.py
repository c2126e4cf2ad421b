"""What the harness costs: milliseconds of processor time a run, and no more of them where there are more runs."""

from __future__ import annotations

import importlib.util
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from common.harness.runs import looks, provenance
from common.harness.runs.execute import Done
from common.harness.runs.launch import launch
from common.harness.runs.progress import Progress
from common.harness.runs.store import Store

PLACE = Path(__file__).resolve().parents[1] / "benchmarks" / "harness_cost.py"
found = importlib.util.spec_from_file_location("harness_cost", PLACE)
assert found is not None
assert found.loader is not None
bench = importlib.util.module_from_spec(found)
sys.modules["harness_cost"] = bench  # where its experiment is looked for
found.loader.exec_module(bench)


def best_of_three(measure: Callable[[], float]) -> float:
    """Other work on the machine only ever adds."""
    return min(measure() for _ in range(3))


def test_a_run_costs_milliseconds() -> None:
    assert best_of_three(lambda: bench.per_run(150)["made"]) < 8
    assert best_of_three(lambda: bench.per_run(50)["found"]) < 1


def test_planning_is_linear() -> None:
    """Four times as many runs take four times as long; six with what else the machine does."""
    bench.planning(100)
    few = best_of_three(lambda: bench.planning(2000))
    many = best_of_three(lambda: bench.planning(8000))
    assert many / few < 6


def test_an_estimate_costs_the_same_however_many_runs_there_are() -> None:
    """It is drawn four times a second."""
    specs = bench.planned(10_000)

    def display(runs: int) -> Progress:
        made = Progress(specs[:runs], reused=0, stream=io.StringIO())
        for spec in specs[: runs // 2]:
            made.ended(Done(spec, 1.0))
        return made

    def cost(drawn: Progress) -> float:
        return best_of_three(lambda: bench.cpu(lambda: [drawn.summary() for _ in range(300)]))

    few, many = display(100), display(10_000)
    assert many.seconds_left() == pytest.approx(5000)
    assert cost(many) < 3 * cost(few) + 0.01


def test_versions_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = provenance.metadata.version

    def version(package: str) -> str:
        asked.append(package)
        return real(package)

    monkeypatch.setattr(provenance.metadata, "version", version)
    provenance.versions.cache_clear()
    assert provenance.versions() == provenance.versions()
    assert asked == list(provenance.PACKAGES)


def test_threads_are_bound_for_libraries_that_come_later() -> None:
    """They are looked for anew when a module more is loaded: here numpy's BLAS, after a run without it."""
    code = (
        "import sys; from common.harness.runs.execute import threads\n"
        "with threads(1): assert 'numpy' not in sys.modules\n"
        "import os; os.environ['OPENBLAS_NUM_THREADS'] = '2'; import numpy\n"
        "from threadpoolctl import threadpool_info as info\n"
        "def counts(): return {each['num_threads'] for each in info()}\n"
        "before = counts()\n"
        "with threads(1): inside = counts()\n"
        "print(before, inside, counts())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["{2}", "{1}", "{2}"]


def test_a_finished_run_is_hashed_once_per_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    specs, store = bench.planned(3), Store(tmp_path)
    launch(specs, store, progress=False)
    hashed: list[str] = []
    real = looks.sha256

    def sha256(path: Path) -> str:
        hashed.append(path.parent.name)
        return real(path)

    monkeypatch.setattr(looks, "sha256", sha256)
    again = Store(tmp_path)
    launch(specs, again, progress=False)
    assert len(again.table(specs)) == len(again.results(specs).table(bench.nothing)) == 3
    assert [again.state(spec) for spec in specs] == ["finished"] * 3
    assert sorted(hashed) == sorted(spec.address for spec in specs)
    (again.folder(specs[0]) / "rows.csv").write_text("x\n2.0\n")
    assert again.state(specs[0]) == "damaged", "it is looked at again when a file changes"
