"""A report finds by itself which criteria are younger than its runs: each run stores those that it was made under."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy import checked, means
from toy.means import LEVEL, PAPER, RATE

from common.harness.reports import findings, report
from common.harness.runs.launch import launch
from common.harness.runs.plan import RunSpec, plan
from common.harness.runs.store import Store
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.criteria import criterion_hash


@pytest.fixture
def claims(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give the toy's study other claims."""

    def put(*claims: Claim) -> None:
        study = replace(means.STUDY, claims=claims)
        monkeypatch.setattr(type(PAPER), "load", lambda paper: {"means": study})

    return put


def said_of(specs: Sequence[RunSpec], store: Store, folder: Path) -> tuple[dict[str, list[str]], list[str]]:
    found = findings.collect(PAPER, "quick", specs, store)
    about = json.loads((report.write(found, store, folder) / "provenance.json").read_text())
    return about["criteria_younger_than_runs"], about["criteria_age_unknown"]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "runs")
    launch(plan(PAPER, "quick"), store, progress=False)
    return store


def table(*quantities: Quantity) -> Claim:
    return replace(means.CLAIMS[1], quantities=quantities)


def test_a_run_stores_the_criteria_that_will_judge_it(store: Store) -> None:
    specs = plan(PAPER, "quick")
    record = json.loads((store.folder(specs[0]) / "run.json").read_text())
    assert record["criteria"] == {
        "rate/slope": criterion_hash(RATE),
        "table/slope": criterion_hash(RATE),
        "table/level at 16": criterion_hash(LEVEL),
    }


def test_criteria_are_no_part_of_the_address(claims: Any) -> None:
    before = plan(PAPER, "quick")
    claims(table(replace(LEVEL, criterion=Criterion(0.1, 0.3))))
    after = plan(PAPER, "quick")
    assert [spec.address for spec in after] == [spec.address for spec in before]
    assert after[0].criteria != before[0].criteria


def test_only_what_changed_since_is_younger_than_its_runs(store: Store, tmp_path: Path, claims: Any) -> None:
    specs = plan(PAPER, "quick")
    assert said_of(specs, store, tmp_path / "same") == ({}, [])
    claims(
        table(RATE, replace(LEVEL, criterion=Criterion(0.1, 0.3)), replace(LEVEL, name="new")),
        replace(means.CLAIMS[0], statement="It falls, in other words."),
    )
    assert said_of(specs, store, tmp_path / "other") == ({"table": ["level at 16", "new"]}, [])
    assert findings.collect(PAPER, "quick", specs, store).younger == {("table", "level at 16"), ("table", "new")}


def test_a_criterion_under_another_name_is_no_younger(store: Store, tmp_path: Path, claims: Any) -> None:
    """As long as it decides the same, in the same claim, and its old name is gone."""
    specs, renamed = plan(PAPER, "quick"), replace(LEVEL, name="level, n = 16")
    claims(table(RATE, renamed), means.CLAIMS[0])
    assert said_of(specs, store, tmp_path / "renamed") == ({}, [])
    claims(table(RATE, replace(renamed, criterion=Criterion(0.1, 0.3))), means.CLAIMS[0])
    assert said_of(specs, store, tmp_path / "changed")[0] == {"table": ["level, n = 16"]}
    claims(table(RATE, LEVEL, renamed), means.CLAIMS[0])
    assert said_of(specs, store, tmp_path / "added")[0] == {"table": ["level, n = 16"]}
    claims(table(RATE, LEVEL), replace(table(renamed), id="other"), means.CLAIMS[0])
    assert said_of(specs, store, tmp_path / "elsewhere")[0] == {"other": ["level, n = 16"]}


def test_one_run_of_many_made_under_another_criterion_is_enough(store: Store, tmp_path: Path, claims: Any) -> None:
    claims(table(RATE, replace(LEVEL, criterion=Criterion(0.1, 0.3))), means.CLAIMS[0])
    specs = plan(PAPER, "quick")
    for spec in specs[1:]:
        forge(store.folder(spec), criteria=dict(spec.criteria))
    assert said_of(specs, store, tmp_path) == ({"table": ["level at 16"]}, [])
    forge(store.folder(specs[0]), criteria=dict(specs[0].criteria))
    assert said_of(specs, store, tmp_path) == ({}, [])


def test_of_runs_made_before_criteria_were_stored_nothing_is_known(store: Store, tmp_path: Path) -> None:
    specs = plan(PAPER, "quick")
    forge(store.folder(specs[0]), criteria=None)
    assert said_of(specs, store, tmp_path) == ({}, ["rate", "table"])


def test_runs_of_another_experiment_say_nothing_of_a_criterion(tmp_path: Path) -> None:
    paper, store = checked.PAPERS["first"], Store(tmp_path)
    specs = plan(paper, "quick")
    launch(specs, store, progress=False)
    assert {spec.experiment for spec in specs} == {"claimed", "unclaimed"}
    assert findings.collect(paper, "quick", specs, store).younger == set()


def test_a_claim_whose_runs_are_not_there_is_neither(tmp_path: Path) -> None:
    assert said_of(plan(PAPER, "quick"), Store(tmp_path / "runs"), tmp_path) == ({}, [])


def forge(folder: Path, criteria: dict[str, str] | None) -> None:
    """Give a run other criteria, or none."""
    record = json.loads((folder / "run.json").read_text())
    record.pop("criteria")
    (folder / "run.json").write_text(json.dumps(record if criteria is None else {**record, "criteria": criteria}))
