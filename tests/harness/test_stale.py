"""Runs of older code, and of other libraries: seen, made again, never taken unasked, and lost to nobody."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from toy import experiments, means
from trees import make_tree, python, session

from common.harness.cli.listing import _made_by
from common.harness.cli.new import create
from common.harness.reports import findings, report
from common.harness.runs import provenance, today
from common.harness.runs.launch import launch
from common.harness.runs.plan import RunSpec, plan
from common.harness.runs.store import Store


def edited(specs: list[RunSpec]) -> list[RunSpec]:
    """The same runs, after their code has changed."""
    return [
        replace(
            spec,
            fingerprint="0" * 15 + "1",
            needs={key: edited([need])[0] for key, need in spec.needs.items()},
        )
        for spec in specs
    ]


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "run.json").read_text())
    return found


def test_a_run_of_other_code_is_stale_and_made_again(toy: Any, capfd: pytest.CaptureFixture[str]) -> None:
    specs = toy.plan(only=["noise"])
    launch(specs, toy.store, progress=False)
    assert {record(toy.store.folder(spec))["fingerprint"] for spec in specs} == {specs[0].fingerprint}
    new = edited(specs[:2]) + specs[2:]
    assert [spec.address for spec in new] == [spec.address for spec in specs]
    assert [toy.store.state(spec) for spec in new] == ["stale", "stale", "finished", "finished"]
    assert [bool(toy.store.finished(spec)) for spec in new] == [False, False, True, True]
    assert len(toy.store.table(new)) == 10
    outcome = launch(new, toy.store)
    assert [spec.address for spec in outcome.finished] == [spec.address for spec in specs[:2]]
    assert "2 runs made by older code found, making them again" in capfd.readouterr().err
    assert [toy.store.state(spec) for spec in new] == ["finished"] * 4
    assert [toy.store.state(spec) for spec in specs] == ["stale", "stale", "finished", "finished"]
    assert {path.suffix for path in toy.store.root.glob("*/*/*")} == {""}


def test_a_run_without_a_fingerprint_is_stale(toy: Any) -> None:
    [spec] = toy.plan(only=["noise"], seeds=[0], overrides={"n": "3"})
    launch([spec], toy.store, progress=False)
    path = toy.store.folder(spec) / "run.json"
    path.write_text(json.dumps({name: value for name, value in record(path.parent).items() if name != "fingerprint"}))
    assert toy.store.state(spec) == "stale"


def test_stale_runs_are_taken_where_that_is_asked_for(toy: Any) -> None:
    specs = toy.plan(only=["noise"])
    launch(specs, toy.store, progress=False)
    taking = Store(toy.store.root, accept_stale=True)
    outcome = launch(edited(specs), taking, progress=False)
    assert (len(outcome.finished), len(outcome.reused)) == (0, 4)
    assert len(taking.table(edited(specs))) == 16
    assert taking.state(edited(specs)[0]) == "stale", "and still is what it is"


def test_a_stale_run_stays_until_the_new_one_is_whole(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    [spec] = toy.plan(only=["noise"], seeds=[0], overrides={"n": "3"})
    launch([spec], toy.store, progress=False)
    rows = toy.rows()
    [new] = edited([spec])

    def fails(config: Any, seed: int, run: Any) -> Any:
        assert toy.rows() == rows, "while the new one is made"
        raise ArithmeticError("the new code is wrong")

    with monkeypatch.context() as patch:
        patch.setattr(experiments, "noise", replace(experiments.noise, function=fails))
        assert len(launch([new], toy.store, progress=False).failed) == 1
    assert toy.rows() == rows
    assert toy.store.finished(spec)
    assert Store(toy.store.root, accept_stale=True).finished(new)
    assert len(launch([new], toy.store, progress=False).finished) == 1
    assert toy.rows() == rows, "the same numbers, of today's code"


def test_a_kill_between_the_renames_loses_nothing(toy: Any) -> None:
    [spec] = toy.plan(only=["noise"], seeds=[0], overrides={"n": "3"})
    launch([spec], toy.store, progress=False)
    rows, folder = toy.rows(), toy.store.folder(spec)
    folder.rename(folder.with_suffix(".replaced"))
    toy.store.partial(spec).mkdir()
    outcome = launch([spec], Store(toy.store.root, accept_stale=True), progress=False)
    assert [each.address for each in outcome.reused] == [spec.address]
    assert toy.rows() == rows
    shutil.copytree(folder, folder.with_suffix(".replaced"))  # killed after both
    with toy.store.lock(spec):
        assert not folder.with_suffix(".replaced").exists()
    assert toy.rows() == rows


@pytest.mark.parametrize("accept", [False, True])
def test_checkpoints_of_older_code_are_gone_on_from_only_where_that_is_asked_for(
    toy: Any, accept: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """And such a run is never one of today's code."""
    [spec] = toy.plan(only=["walk"], overrides={"crash": "false"})
    [new] = edited([spec])
    toy.store.begin(spec)
    (toy.store.partial(spec) / "checkpoint.json").write_text('{"step": 3, "x": 0.25}')
    store = Store(toy.store.root, accept_stale=accept)
    launch([new], store)
    said = capfd.readouterr().err
    assert ("1 interrupted run of older code found, starting afresh" in said) is not accept
    assert ("1 interrupted run found, resuming" in said) is accept
    assert toy.events()[0].startswith(f"start at {3 if accept else 0}")
    assert record(store.folder(new))["fingerprint"] == (None if accept else new.fingerprint)
    assert Store(toy.store.root).state(new) == ("stale" if accept else "finished")


def test_a_run_that_builds_on_a_stale_one_is_stale_itself(toy: Any) -> None:
    teacher, student = toy.plan(only=["student"])
    launch([replace(teacher, asked=True)], toy.store, progress=False)
    [student] = [replace(student, needs={"teacher": edited([teacher])[0]})]
    taking = Store(toy.store.root, accept_stale=True)
    assert len(launch([*student.needs.values(), student], taking, progress=False).finished) == 1
    assert record(taking.folder(student))["fingerprint"] is None
    assert toy.store.state(student) == "stale"


def test_a_need_that_changes_makes_those_stale_that_build_on_it(toy: Any) -> None:
    """`student` names `moody` in its needs alone."""
    moody, student = toy.plan(only=["student"])
    assert moody.fingerprint != student.fingerprint
    source = Path(experiments.__file__).read_text()
    assert source.count("two and two are five") == 1
    from common.harness.runs.fingerprint import Code

    def fingerprints(text: str, folder: Path) -> dict[str, str]:
        (folder / "toy").mkdir(parents=True)
        (folder / "toy" / "experiments.py").write_text(text)
        code = Code({"toy": folder / "toy"})
        return {name: code.fingerprint(("toy.experiments", name)) for name in code.makes("toy.experiments")}

    before = fingerprints(source, toy.store.root / "a")
    after = fingerprints(source.replace("two and two are five", "two and two are six"), toy.store.root / "b")
    assert {name for name in before if before[name] != after[name]} == {"moody", "student"}


# Other libraries


@pytest.fixture
def newer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same code with another numpy and torch, the latter but for its build."""
    versions = dict(provenance.versions())
    versions |= {"numpy": "99.0", "torch": versions["torch"].partition("+")[0] + "+cpu"}
    monkeypatch.setattr(provenance, "versions", lambda: versions)


def test_a_run_of_other_libraries_is_used_and_marked_but_not_by_a_check(
    toy: Any, newer: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.undo()
    specs = plan(means.PAPER, "quick")
    new = provenance.versions
    monkeypatch.setattr(provenance, "versions", lambda: {**new(), "numpy": "1.0"})
    launch(specs, toy.store, progress=False)
    monkeypatch.setattr(provenance, "versions", new)
    assert all(toy.store.finished(spec) for spec in specs)
    found = findings.collect(means.PAPER, "quick", specs, toy.store)
    assert found.remarks == ["means quick: 9 finished runs were made with other libraries: numpy 1.0 (now 99.0)"]
    about = json.loads((report.write(found, toy.store, toy.store.root / "reports") / "provenance.json").read_text())
    assert about["other_libraries"] == ["numpy 1.0 (now 99.0)"]
    strict = Store(toy.store.root, same_libraries=True)
    assert not any(strict.finished(spec) for spec in specs)
    assert len(launch(specs, strict, progress=False).finished) == 9
    assert findings.collect(means.PAPER, "quick", specs, strict).remarks == []


# Findings and reports


def test_findings_and_provenance_say_what_is_stale(toy: Any) -> None:
    specs = plan(means.PAPER, "quick")
    launch(specs, toy.store, progress=False)
    fresh = findings.collect(means.PAPER, "quick", specs, toy.store)
    assert (fresh.stale, fresh.refused, fresh.remarks) == ([], [], [])
    root = toy.store.root / "reports"
    about = json.loads((report.write(fresh, toy.store, root) / "provenance.json").read_text())
    assert (about["stale"], about["fingerprints"]) == ([], {"means": specs[0].fingerprint})
    assert findings.is_current(fresh, root)

    new = edited(specs)
    refused = findings.collect(means.PAPER, "quick", new, toy.store)
    assert (len(refused.finished), len(refused.missing), len(refused.refused)) == (0, 9, 9)
    assert refused.remarks == ["means quick: 9 runs were made by older code, and not taken; --accept-stale takes them"]
    taking = Store(toy.store.root, accept_stale=True)
    taken = findings.collect(means.PAPER, "quick", new, taking)
    assert (taken.stale, len(taken.finished)) == (["means"], 9)
    assert taken.remarks == ["means quick: runs by older code are taken: means"]
    assert not findings.is_current(taken, root), "a report has to say so"
    about = json.loads((report.write(taken, taking, root) / "provenance.json").read_text())
    assert (about["stale"], about["fingerprints"]) == (["means"], {"means": specs[0].fingerprint})

    launch(new[:1], toy.store, progress=False)
    mixed = findings.collect(means.PAPER, "quick", new, taking)
    assert mixed.fingerprints == {"means": None}


# The commands


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = make_tree(tmp_path_factory.mktemp("tree"))
    create(tree, 11, "foo", "Foo: a study", "2401.01234")
    return tree


def test_from_an_edit_to_a_report_of_today(tree: Path, tmp_path: Path) -> None:
    runs, into = tmp_path / "runs", ["--into", str(tmp_path / "reports")]
    made = ["run", "foo", "--workers", "0"]
    study, method = (tree / "papers" / "foo" / name for name in ("studies/convergence.py", "estimator.py"))
    first, _, listed = session(
        tree, made, ["report", "foo", "--into", str(tree / "reports")], ["list", "--json"], REPRO_RUNS=str(runs)
    )
    assert "20 runs made" in first.out
    assert [each["stale"] for each in json.loads(listed.out) if each["paper"] == "foo"] == [[]]

    text = study.read_text()
    for old, new in (("Criterion(-0.55", "Criterion(-0.56"), ("falls by half", "falls"), ('"""Draws per mean."""', "")):
        assert old in text
        text = text.replace(old, new)
    study.write_text(f"# A comment.\n{text}")
    again, listed = session(tree, made, ["list"], REPRO_RUNS=str(runs), COLUMNS="200")
    assert "0 runs made, 20 reused" in again.out
    assert "today's code" in listed.out

    old = method.read_text()
    method.write_text(old.replace("x.mean(dim=-1)", "x.sum(dim=-1) / x.shape[-1]"))
    assert method.read_text() != old
    listed, state, planned, refused, taken, checked, run, after = session(
        tree,
        ["list"],
        ["status", "foo"],
        ["run", "foo", "--dry-run"],
        ["report", "foo", *into],
        ["report", "foo", "--accept-stale", *into],
        ["check", "foo", "--workers", "0"],
        [*made, "--json"],
        ["status", "foo", "--json"],
        REPRO_RUNS=str(runs),
        COLUMNS="200",
    )
    assert "older code" in listed.out
    assert _made_by(["a"], ["a", "b"]) == "older code: a"
    assert _made_by(list("abcd"), list("abcde")) == "older code: a, b, c and 1 more"
    assert "20 runs were made by older code; `repro run` makes them again" in state.out
    assert "20 runs, 20 to make" in planned.out
    assert planned.out.count("made by older code: to run again") == 20
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "the runs of foo in any preset are of older code" in refused.err
    assert "--accept-stale takes them" in refused.err
    assert (taken.code, taken.err) == (0, "foo quick: runs by older code are taken: convergence\n")
    about = json.loads((tmp_path / "reports" / "foo" / "quick" / "provenance.json").read_text())
    assert about["stale"] == ["convergence"]
    assert "20 runs made by older code found, making them again" in checked.err
    assert "found" not in run.err
    assert json.loads(after.out)["runs"][0]["finished"] == 20


def test_a_check_takes_finished_runs_and_keeps_what_it_makes(tree: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    session(tree, ["run", "foo", "--workers", "0", "--seeds", "0..3"], REPRO_RUNS=str(runs))
    before = {path: path.stat().st_mtime_ns for path in runs.glob("foo/*/*/run.json")}
    blessed, checked, fresh = session(
        tree,
        ["bless", "foo", "--workers", "0"],
        ["check", "foo", "--workers", "0"],
        ["check", "foo", "--workers", "0", "--fresh"],
        REPRO_RUNS=str(runs),
    )
    assert (blessed.code, checked.code, fresh.code) == (0, 0, 0), blessed.out + checked.out + fresh.out
    assert len(before) == 16
    assert blessed.err.count("finished foo/") == 4
    assert checked.err == ""
    assert fresh.err.count("finished foo/") == 20
    after = {path: path.stat().st_mtime_ns for path in runs.glob("foo/*/*/run.json")}
    assert len(after) == 20
    assert after.items() >= before.items()


def test_what_the_list_remembers_is_what_is_so(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kept beside compiled files; an edit, a file that is no Python, and a folder that is closed do no harm."""
    code = (
        "from common.harness.runs import today; from common.harness.studies.paper import discover; "
        "from common.harness.runs.fingerprint import fingerprint; paper = discover()['foo']; "
        "print(today.fingerprints(paper)['convergence'], fingerprint(paper.experiments['convergence']))"
    )

    def told() -> str:
        done = python(tree, "-c", code)
        assert done.returncode == 0, done.stderr
        quick, loaded = done.stdout.split()
        assert quick == loaded, "from files alone as from the study that is loaded"
        return str(quick)

    kept = tree / "papers" / "foo" / "__pycache__" / "fingerprints.json"
    first = told()
    assert first in kept.read_text()
    kept.write_text(kept.read_text().replace(first, "remembered"))
    quick = python(tree, "-c", code).stdout.split()[0]
    assert quick == "remembered", "it is what is kept that is told"
    kept.write_text("no JSON")
    assert told() == first
    method = tree / "papers" / "foo" / "estimator.py"
    text = method.read_text()
    method.write_text(text.replace("return ", "return 2 * "))
    assert told() != first
    method.write_text("this is no Python")
    monkeypatch.setattr(today, "TREE", tree)
    listed = session(tree, ["list", "--json"])[0]
    assert listed.code == 0
    method.write_text(text)
    assert told() == first
