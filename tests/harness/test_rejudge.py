"""A report judged again from its own rows: the tables are those that the measures saw, and what was changed shows."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from toy import means, varied

from common.harness.reports import findings, report
from common.harness.reports.compare import Change
from common.harness.reports.rejudge import rejudge, tables_from
from common.harness.runs.launch import launch
from common.harness.runs.plan import plan
from common.harness.runs.store import Store
from common.harness.studies.claims import Criterion
from common.harness.studies.errors import UsageError
from common.harness.studies.paper import Paper


def written(paper: Paper, folder: Path) -> tuple[findings.Findings, Path]:
    specs, store = plan(paper, "quick"), Store(folder / "runs")
    launch(specs, store, progress=False)
    found = findings.collect(paper, "quick", specs, store)
    return found, report.write(found, store, folder / "reports")


@pytest.mark.parametrize("paper", [means.PAPER, varied.PAPER], ids=lambda paper: paper.slug)
def test_tables_are_those_that_the_measures_saw(paper: Paper, tmp_path: Path) -> None:
    found, folder = written(paper, tmp_path)
    tables = tables_from(folder / "runs.csv", paper)
    assert tables.keys() == found.tables.keys()
    for name, table in found.tables.items():
        pd.testing.assert_frame_equal(tables[name], table, check_like=True, check_exact=True)


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(means.PAPER, tmp_path_factory.mktemp("means"))[1]


@pytest.fixture
def folder(tmp_path: Path, honest: Path) -> Path:
    return Path(shutil.copytree(honest, tmp_path / "quick"))


def moved(folder: Path) -> list[Change]:
    return [change for change in rejudge(means.PAPER, "quick", folder) if change.failed or change.why]


def test_a_report_of_today_is_judged_as_it_was(folder: Path) -> None:
    assert moved(folder) == []


def edit(folder: Path, name: str, before: str, after: str) -> None:
    text = (folder / name).read_text()
    assert before in text
    (folder / name).write_text(text.replace(before, after, 1))


def test_a_row_that_was_changed_shows(folder: Path) -> None:
    error = float((folder / "runs.csv").read_text().splitlines()[1].split(",")[3])
    edit(folder, "runs.csv", str(error), str(error * (1 + 1e-7)))
    assert "slope" in {change.what for change in moved(folder)}


@pytest.mark.parametrize("key", ["measured", "ci", "n_seeds"])
def test_a_number_that_the_rows_do_not_give_shows(folder: Path, key: str) -> None:
    records = json.loads((folder / "claims.json").read_text())
    value = records[0][key]
    records[0][key] = [end * (1 + 1e-8) for end in value] if key == "ci" else value * (1 + 1e-8)
    (folder / "claims.json").write_text(json.dumps(records))
    assert [(change.claim, change.what) for change in moved(folder)] == [("rate", key)]


def test_a_criterion_a_verdict_and_a_run_that_are_not_todays_show(folder: Path) -> None:
    edit(folder, "claims.json", "-0.55 to -0.45", "-0.54 to -0.46")
    edit(folder, "claims.json", '"verdict": "holds"', '"verdict": "fails"')
    (address, *_) = json.loads((folder / "provenance.json").read_text())["addresses"]
    edit(folder, "provenance.json", address, "0" * 16)
    assert {change.what for change in moved(folder)} == {"criterion", "verdict", "runs of means"}


def test_a_study_that_judges_otherwise_shows(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    level = replace(means.LEVEL, scale="linear", criterion=Criterion(0.2, 0.3))
    table = replace(means.CLAIMS[1], quantities=(means.RATE, level))
    study = replace(means.STUDY, claims=(means.CLAIMS[0], table))
    monkeypatch.setattr(type(means.PAPER), "load", lambda paper: {"means": study})
    assert {(change.claim, change.what) for change in moved(folder)} == {("table", "measured"), ("table", "ci")}


def test_rows_of_other_studies_are_refused_by_name(folder: Path) -> None:
    edit(folder, "runs.csv", "means,", "sums,")
    with pytest.raises(UsageError, match="rows of 'sums', which is no experiment of means"):
        moved(folder)
    edit(folder, "runs.csv", "sums,", "means,")
    edit(folder, "runs.csv", ",error,", ",eror,")
    with pytest.raises(UsageError, match="'means' has no column eror"):
        moved(folder)
