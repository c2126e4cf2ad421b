"""Reports: complete, the same bit for bit when written twice, and never half written."""

import csv
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas as pd
import pytest
import shown
from toy.means import CLAIMS, PAPER, STUDY

from common.harness.reports import findings, glance, index, report, swap
from common.harness.reports.study_page import Found, page
from common.harness.runs.launch import launch
from common.harness.runs.plan import RunSpec, plan
from common.harness.runs.store import Store
from common.harness.studies.claims import Judgement
from common.harness.studies.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]
KEYS = (
    "id kind headline statement source published expected measured ci n_seeds criterion excludes verdict reason "
    "command budget deviation"
)


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
        "means.md",
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


def test_figures_are_those_that_the_preset_has(folder: Path) -> None:
    page = (folder / "means.md").read_text()
    assert "![A falling line.](../generated/reports/means/quick/figures/error.svg)" in page
    assert "other" not in page
    svg = (folder / "figures" / "error.svg").read_text()
    ElementTree.fromstring(svg)
    assert "<dc:date>" not in svg
    assert "font-family" not in svg, "text is outlines, so that it looks the same everywhere"


@pytest.fixture
def both(folder: Path, tmp_path: Path) -> Path:
    """A root with the quick report, and a small one that differs in every claim; one claim is in small alone."""
    root = tmp_path / "both"
    shutil.copytree(folder.parents[1], root)
    small = shutil.copytree(root / "means" / "quick", root / "means" / "small")
    records = json.loads((small / "claims.json").read_text())
    records[1] |= {
        "headline": True,
        "kind": "theorem",
        "verdict": "fails",
        "reason": "It is 2; at most 0.3 was asked.",
        "measured": {"slope": -0.48, "level at 16": 2.0},
        "ci": {"slope": [-0.49, -0.47], "level at 16": [1.9, 2.1]},
    }
    records.append(records[0] | {"id": "late", "statement": "Late.", "kind": "ours"})
    provenance = json.loads((small / "provenance.json").read_text())
    provenance["studies"]["means"]["decides"] |= {"late": "slope", "table": "level at 16"}
    report.write_json(records, small / "claims.json")
    report.write_json(provenance, small / "provenance.json")
    index.rebuild(root)
    return root


def test_glance_and_details_agree_with_the_claims(both: Path, folder: Path) -> None:
    assert shown.disagreements(folder.parents[1]) == []
    # The small report's details are those of quick, copied: only its glance is made anew.
    assert [fault for fault in shown.disagreements(both) if "means small" not in fault] == []


def test_headlines_come_first_and_the_others_are_folded(both: Path) -> None:
    text = (both / "means" / "glance.md").read_text()
    first, _, folded = text.partition("<details")
    assert [row.cells[0].text.partition(".")[0] for row in shown.Tables(first).rows] == ["The table | is so"]
    assert len(shown.Tables(folded).rows) == 2
    assert "2 more claims" in folded
    assert "In small: It is 2; at most 0.3 was asked." in first
    assert "not judged in quick" in folded


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('data-label="quick"', 'data-label="small"'),
        ('"verdict holds">holds', '"verdict fails">fails'),
        ('"verdict holds">holds', '"verdict fails">holds'),
        ('"verdict fails">fails', '"verdict holds">holds'),
        ("#study-means", "#study-other"),
        ("2.00 ± 0.10", "2.00 ± 0.20"),
        ("level at 16", "slope"),
        ("It is 2", "It is 3"),
    ],
)
def test_a_planted_swap_in_the_glance_is_seen(both: Path, old: str, new: str) -> None:
    glance = both / "means" / "glance.md"
    text = glance.read_text()
    assert old in text
    glance.write_text(text.replace(old, new, 1))
    assert [fault for fault in shown.disagreements(both) if "glance" in fault]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"verdict holds">holds</span></td></tr>\n</tbody>', '"verdict fails">fails</span></td></tr>\n</tbody>'),
        ('"verdict holds">holds', '"verdict inconclusive">inconclusive'),
        (">level at 16", ">level at 64"),
        ("0.2 to 0.3", "0.1 to 0.3"),
        ('<span class="kind">scaled', '<span class="kind">theorem'),
    ],
)
def test_a_planted_swap_in_the_details_is_seen(both: Path, old: str, new: str) -> None:
    page = both / "means" / "quick" / "means.md"
    text = page.read_text()
    assert old in text
    page.write_text(text.replace(old, new, 1))
    assert [fault for fault in shown.disagreements(both) if "means quick" in fault]


def test_the_last_row_of_a_page_has_its_own_verdict(specs: list[RunSpec], store: Store, tmp_path: Path) -> None:
    """One quantity fails, the other holds: the claim fails, and each row says its own."""
    found = findings.collect(PAPER, "quick", specs, store)
    slope, level = found.judgements[1].measurements
    level = replace(level, verdict="fails")
    spoiled = replace(found, judgements=[replace(found.judgements[1], measurements=(slope, level))])
    rows = shown.Tables((report.write(spoiled, store, tmp_path) / "means.md").read_text()).rows
    assert [row.cells[-1].verdicts[0][0] for row in rows] == ["fails", "holds", "fails"]


def test_flags_and_conclusion_are_those_of_the_report(both: Path) -> None:
    found = Found("means", "quick", replace(STUDY, conclusion={"quick": "So it is.", "small": "No."}), [], [], 0)
    provenance = json.loads((both / "means" / "quick" / "provenance.json").read_text())
    text = page(found, provenance | {"stale": ["means"]})
    assert "So it is." in text
    assert "No." not in text
    assert "made by older code: means" in text
    judged = replace(found, judgements=[Judgement(CLAIMS[0], ())])
    assert "younger than these runs: slope" in page(
        judged, provenance | {"criteria_younger_than_runs": {"rate": ["slope"]}}
    )
    assert "not recorded" in page(judged, provenance | {"criteria_age_unknown": ["rate"]})
    assert 'class="flag"' not in page(judged, provenance)


def test_a_study_has_a_tab_for_every_preset_the_largest_first(both: Path) -> None:
    text = (both / "means" / "studies" / "means.md").read_text()
    assert text.startswith("### Means { #study-means }\n\nHow fast does a mean converge?\n")
    assert re.findall(r"/// tab \| (\w+)\n\n--8<-- \"(.+)\"\n\n///\n", text) == [
        ("small", "reports/means/small/means.md"),
        ("quick", "reports/means/quick/means.md"),
    ]
    (both / "means" / "studies" / "gone.md").write_text("")
    index.rebuild(both)
    assert [path.name for path in (both / "means" / "studies").iterdir()] == ["means.md"]


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


def test_index_and_results_span_papers(both: Path) -> None:
    """Three claims, two of them judged in both presets: each counts once, as the larger preset found it."""
    quick, small = json.loads((both / "index.json").read_text())
    assert (quick["slug"], quick["week"], quick["preset"]) == ("means", 3, "quick")
    assert quick["counts"] == {"holds": 2, "fails": 0, "inconclusive": 0}
    assert quick["kinds"] == {}
    assert small["kinds"] == {"theorem": {"fails": 1}, "scaled": {"holds": 1}, "ours": {"holds": 1}}
    results = (both / "results.md").read_text()
    assert results.count('data-preset="quick" data-kind="scaled" data-verdict="holds"') == 1
    assert results.count('data-preset="small" data-kind="theorem" data-verdict="fails"') == 1
    assert results.count("<tr data-paper=") == 5
    chips = (both / "means" / "chips.md").read_text()
    assert re.sub(r"<span class=\"unseen\">.*?</span>", "", chips).split("</span>")[:3] == [
        '<span class="verdict fails">theorem 0/1',
        ' <span class="verdict holds">scaled 1/1',
        ' <span class="verdict holds">ours 1/1',
    ]
    assert chips.strip() in (both / "means" / "glance.md").read_text()


def test_what_the_larger_preset_did_not_measure_counts_as_the_smaller_found_it(both: Path) -> None:
    path = both / "means" / "small" / "claims.json"
    records = json.loads(path.read_text())
    records[0] |= {"measured": None, "ci": None, "verdict": "inconclusive"}
    report.write_json(records, path)
    index.rebuild(both)
    quick, small = json.loads((both / "index.json").read_text())
    assert quick["kinds"] == {"scaled": {"holds": 1}}
    assert small["kinds"] == {"theorem": {"fails": 1}, "ours": {"holds": 1}}


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
    assert "not run" in (folder / "means.md").read_text()
    assert "not complete: 9 more would be" in (folder / "means.md").read_text()
    index.rebuild(tmp_path / "reports")
    assert "9 runs of the quick preset are missing" in (tmp_path / "reports" / "means" / "glance.md").read_text()


def test_what_cannot_be_written_to_is_bad_input(specs: list[RunSpec], store: Store, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UsageError, match=r"cannot write a report to .*/file/means/quick"):
        report.write(findings.collect(PAPER, "quick", specs, store), store, tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_error_leaves_the_old_report_as_it_was(tmp_path: Path) -> None:
    target = tmp_path / "means" / "quick"

    def fill(text: str) -> None:
        with swap.swapped_in(target) as folder:
            (folder / "one.md").write_text(text)
            if text == "half":
                raise RuntimeError("half way")

    fill("old")
    with pytest.raises(RuntimeError, match="half way"):
        fill("half")
    assert contents(tmp_path) == {"means/quick/one.md": b"old"}
    fill("new")
    assert contents(tmp_path) == {"means/quick/one.md": b"new"}


@pytest.mark.parametrize("renames", [0, 1])
def test_a_kill_between_the_renames_loses_nothing(tmp_path: Path, renames: int) -> None:
    """The process dies without a word before the first or the second rename; the next command puts things right."""
    target = tmp_path / "means" / "quick"
    with swap.swapped_in(target) as folder:
        (folder / "one.md").write_text("old")
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
    (folder / "one.md").write_text("new")
"""
    assert subprocess.run([sys.executable, "-c", killed], cwd=ROOT).returncode == 9
    assert target.exists() is (renames == 0)
    swap.recover(target)
    assert contents(tmp_path) == {"means/quick/one.md": b"old"}
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


def _report(preset: str, *claims: tuple[str, str]) -> dict[str, Any]:
    record = {
        "kind": "scaled",
        "headline": False,
        "verdict": "holds",
        "measured": 1.0,
        "ci": [0.9, 1.1],
        "criterion": "≥ 0",
    }
    study = {"title": "", "question": "", "decides": {claim: None for claim, _ in claims}}
    return {
        "preset": preset,
        "claims": [{"id": claim, "statement": statement, **record} for claim, statement in claims],
        "studies": {"s": study},
        "missing": 0,
    }


def test_one_claim_on_other_data_is_one_line_of_the_glance() -> None:
    """A preset may ask it of other data, under another id; two of one preset are two."""
    found = glance.entries([_report("quick", ("bits", "It rises.")), _report("small", ("bits-text", "It rises."))])
    assert [list(entry.records) for entry in found] == [["quick", "small"]]
    assert glance.count(found)["scaled"].total() == 1
    two = glance.entries([_report("quick", ("bits", "It rises."), ("other", "It rises."))])
    assert len(two) == 2
