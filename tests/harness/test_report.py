"""Reports: complete, the same bit for bit when written twice, and never half written."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest
from toy.means import PAPER

from common.harness.reports import findings, index, report, swap
from common.harness.runs.launch import launch
from common.harness.runs.plan import RunSpec, plan
from common.harness.runs.store import Store
from common.harness.studies.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
KEYS = """id kind headline statement source published expected measured ci n_seeds criterion excludes verdict reason
    command budget deviation"""


@pytest.fixture(scope="module")
def specs() -> list[RunSpec]:
    return plan(PAPER, "quick")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, specs: list[RunSpec]) -> Store:
    store = Store(tmp_path_factory.mktemp("runs"))
    launch(specs, store, progress=False, command="repro run means")
    return store


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, specs: list[RunSpec], store: Store) -> Path:
    root = tmp_path_factory.mktemp("reports")
    folder = report.write(findings.collect(PAPER, "quick", specs, store), store, root)
    index.rebuild(root)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_files_of_a_report(folder: Path) -> None:
    assert set(contents(folder)) == {
        "runs.csv",
        "values.csv",
        "claims.json",
        "claims.md",
        "figures.md",
        "figures/error.svg",
        "provenance.json",
    }


def test_written_twice_it_is_the_same_bit_for_bit(
    folder: Path, specs: list[RunSpec], store: Store, tmp_path: Path
) -> None:
    once = contents(report.write(findings.collect(PAPER, "quick", specs, store), store, tmp_path))
    assert once == contents(folder)


def test_runs_are_tidy(folder: Path) -> None:
    table = pd.read_csv(folder / "runs.csv")
    assert list(table.columns) == ["experiment", "n", "seed", "error", "solver"]
    assert len(table) == 9
    assert set(table["experiment"]) == {"means"}


def test_claims_are_those_of_the_preset_with_the_keys_of_the_design(folder: Path) -> None:
    records = json.loads((folder / "claims.json").read_text())
    assert [record["id"] for record in records] == ["rate", "table"]
    assert all(list(record) == KEYS.split() for record in records)
    assert records[0]["measured"] == pytest.approx(-0.5)
    assert records[0]["published"] == -0.5
    assert set(records[1]["measured"]) == {"slope", "level at 16"}
    assert records[1]["deviation"] == "Fewer draws."
    assert records[1]["n_seeds"] == 3


def test_values_per_seed_make_the_measured_mean(folder: Path) -> None:
    with (folder / "values.csv").open() as file:
        rows = list(csv.DictReader(file))
    level = [float(row["value"]) for row in rows if row["quantity"] == "level at 16"]
    records = json.loads((folder / "claims.json").read_text())
    assert len(level) == 3
    assert (level[0] * level[1] * level[2]) ** (1 / 3) == pytest.approx(records[1]["measured"]["level at 16"])


def test_claims_table_has_words_for_verdicts_and_no_broken_cells(folder: Path) -> None:
    lines = (folder / "claims.md").read_text().splitlines()
    assert all(line.replace("\\|", "").count("|") == 6 for line in lines)
    assert '<span class="verdict holds">holds</span>' in lines[2]


def test_figures_are_those_that_the_preset_has(folder: Path) -> None:
    page = (folder / "figures.md").read_text()
    assert "![A falling line.](../reports/means/quick/figures/error.svg)" in page
    assert "other" not in page
    assert "[start:error]" in page
    svg = (folder / "figures" / "error.svg").read_text()
    ElementTree.fromstring(svg)
    assert "<dc:date>" not in svg
    assert "font-family" not in svg, "text is outlines, so that it looks the same everywhere"


def test_provenance_says_how_it_was_made(folder: Path) -> None:
    about = json.loads((folder / "provenance.json").read_text())
    assert about["command"].startswith("repro run means --preset quick")
    assert about["run_commands"] == ["repro run means"]
    assert about["threads"] == [1]
    assert (about["runs"], about["missing"], len(about["addresses"])) == (9, 0, 9)
    assert about["wall_seconds"] >= 0
    assert about["peak_memory_bytes"] > 1e6
    assert about["experiments"]["means"]["seeds"] == 3
    assert "torch" in about["versions"][0]
    assert about["machines"][0]["cpu"]


def test_index_and_results_span_papers(folder: Path) -> None:
    root = folder.parents[1]
    (entry,) = json.loads((root / "index.json").read_text())
    assert (entry["slug"], entry["week"], entry["preset"]) == ("means", 3, "quick")
    assert entry["counts"] == {"holds": 2, "fails": 0, "inconclusive": 0}
    results = (root / "results.md").read_text()
    assert results.count('<tr data-paper="means" data-preset="quick" data-verdict="holds" markdown="1">') == 2
    assert (root / "means" / "chips.md").read_text() == '<span class="verdict holds">2 hold</span>\n'


def test_no_claim_sees_half_a_seed(specs: list[RunSpec], store: Store, tmp_path: Path) -> None:
    some = Store(tmp_path)
    shutil.copytree(store.root, tmp_path, dirs_exist_ok=True)
    gone = next(spec for spec in specs if spec.seed == 1 and spec.config.n == 64)
    shutil.rmtree(some.folder(gone))
    found = findings.collect(PAPER, "quick", specs, some)
    assert found.missing == [gone]
    assert set(found.tables["means"]["seed"]) == {0, 2}
    assert found.judgements[0].n_seeds == 2


def test_a_preset_that_was_not_run_is_inconclusive_and_says_so(specs: list[RunSpec], tmp_path: Path) -> None:
    store = Store(tmp_path / "runs")
    found = findings.collect(PAPER, "quick", specs, store)
    assert {record["verdict"] for record in found.records} == {"inconclusive"}
    folder = report.write(found, store, tmp_path / "reports")
    assert "not run" in (folder / "claims.md").read_text()
    assert "0 of 9 runs" in (folder / "claims.md").read_text()


def test_what_cannot_be_written_to_is_bad_input(specs: list[RunSpec], store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"cannot write a report to .*/file/means/quick"):
        report.write(findings.collect(PAPER, "quick", specs, store), store, tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_error_leaves_the_old_report_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "means" / "quick"

    def fill(text: str) -> None:
        with swap.swapped_in(target) as folder:
            (folder / "claims.md").write_text(text)
            if text == "half":
                raise RuntimeError("half way")

    fill("old")
    with pytest.raises(RuntimeError, match="half way"):
        fill("half")
    assert contents(tmp_path) == {"means/quick/claims.md": b"old"}
    fill("new")
    assert contents(tmp_path) == {"means/quick/claims.md": b"new"}


@pytest.mark.parametrize("renames", [0, 1])
def test_a_kill_between_the_renames_loses_nothing(tmp_path: Path, renames: int) -> None:
    """The process dies without a word before the first or the second rename; the next command puts things right."""
    target = tmp_path / "means" / "quick"
    with swap.swapped_in(target) as folder:
        (folder / "claims.md").write_text("old")
    killed = f"""
import os
from pathlib import Path
from common.harness.reports import swap
rename, left = os.replace, [{renames}]
def replace(source, destination):
    if not left[0]:
        os._exit(9)
    left[0] -= 1
    rename(source, destination)
swap.os.replace = replace
with swap.swapped_in(Path({str(target)!r})) as folder:
    (folder / "claims.md").write_text("new")
"""
    assert subprocess.run([sys.executable, "-c", killed], cwd=ROOT).returncode == 9
    assert target.exists() is (renames == 0)
    swap.recover(target)
    assert contents(tmp_path) == {"means/quick/claims.md": b"old"}
    assert [path.name for path in target.parent.iterdir()] == ["quick"]


def test_two_processes_that_write_a_report_take_turns(tmp_path: Path) -> None:
    target = tmp_path / "means" / "quick"
    writer = f"""
import time
from pathlib import Path
from common.harness.reports import swap
for _ in range(20):
    with swap.swapped_in(Path({str(target)!r})) as folder:
        (folder / "one").write_text("")
        time.sleep(0.01)
        (folder / "two").write_text("")
"""
    both = [subprocess.Popen([sys.executable, "-c", writer], cwd=ROOT) for _ in range(2)]
    assert [process.wait(timeout=60) for process in both] == [0, 0]
    assert sorted(contents(tmp_path)) == ["means/quick/one", "means/quick/two"]


def test_report_is_current_until_runs_or_claims_change(
    folder: Path, specs: list[RunSpec], store: Store, tmp_path: Path
) -> None:
    found = findings.collect(PAPER, "quick", specs, store)
    assert findings.is_current(found, folder.parents[1])
    assert not findings.is_current(found, tmp_path)
    assert not findings.is_current(findings.collect(PAPER, "quick", specs[1:], store), folder.parents[1])
