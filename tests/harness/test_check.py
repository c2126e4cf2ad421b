"""Regression: what moves enough to fail, what does not, and that a planted fault turns a check red."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Toy
from toy import checked
from toy.means import LEVEL, PAPER, RATE

from common.harness.cli import check as command
from common.harness.cli import workplace
from common.harness.cli.main import main
from common.harness.reports import findings, report
from common.harness.reports.compare import Baseline, Change, compare, read_baseline
from common.harness.runs.launch import launch
from common.harness.runs.plan import plan
from common.harness.runs.store import Store
from common.harness.studies.claims import Claim, Judgement, Measurement
from common.harness.studies.errors import UsageError
from common.harness.studies.statistics import student_t

BEFORE = {0: -0.50, 1: -0.49, 2: -0.51}


def rate(values: dict[int, float]) -> Judgement:
    estimate = student_t(list(values.values()))
    measured = Measurement(RATE, values, estimate, RATE.criterion.judge(estimate))
    return Judgement(Claim("rate", "", "", (RATE,)), (measured,))


def changes(now: dict[int, float], before: dict[int, float] = BEFORE, verdict: str = "holds") -> list[Change]:
    return compare([rate(now)], Baseline({"rate": verdict}, {("rate", "slope"): before}))


def failed(found: list[Change]) -> list[str]:
    return [change.what for change in found if change.failed]


def test_nothing_moves_when_nothing_changes() -> None:
    found = changes(BEFORE)
    assert failed(found) == []
    assert [change.why for change in found] == ["", ""]


def test_rounding_is_not_shown_as_a_move() -> None:
    found = changes({seed: value * (1 + 1e-9) for seed, value in BEFORE.items()})
    assert [change.why for change in found] == ["", ""]
    assert "floor" in changes({seed: value * (1 + 1e-5) for seed, value in BEFORE.items()})[1].why


def test_a_shift_below_the_floor_passes() -> None:
    found = changes({seed: value + 0.009 for seed, value in BEFORE.items()})
    assert failed(found) == []
    assert "floor" in found[1].why


def test_a_shift_within_the_spread_of_seeds_passes() -> None:
    # means 0.012 apart: above the floor of 0.01, and 1.5 standard errors
    found = changes({seed: value + 0.012 for seed, value in BEFORE.items()})
    assert failed(found) == []
    assert "spread" in found[1].why


def test_a_shift_above_both_fails() -> None:
    found = changes({seed: value + 0.03 for seed, value in BEFORE.items()}, verdict="inconclusive")
    assert failed(found) == ["slope"] or failed(found) == ["verdict", "slope"]
    assert "slope" in failed(changes({seed: value - 0.03 for seed, value in BEFORE.items()}))


@pytest.mark.parametrize("before", ["fails", "inconclusive"])
def test_a_verdict_that_turns_fails_even_for_the_better(before: str) -> None:
    assert failed(changes(BEFORE, verdict=before)) == ["verdict"]


def test_values_that_are_not_finite_or_gone_fail() -> None:
    assert "slope" in failed(changes({0: float("nan"), 1: -0.5, 2: -0.5}))
    assert "slope" in failed(changes({}))
    assert "slope" in failed(changes(BEFORE, before={}))


def test_rounding_is_no_change_where_the_floor_is_nought() -> None:
    exact = Claim("exact", "", "", (LEVEL,))

    def judgement(value: float) -> Judgement:
        estimate = student_t([value], "linear", deterministic=True)
        quantity = type(LEVEL)("level", LEVEL.experiment, LEVEL.measure, LEVEL.criterion, deterministic=True)
        return Judgement(exact, (Measurement(quantity, {0: value}, estimate, "holds"),))

    known = Baseline({"exact": "holds"}, {("exact", "level"): {0: 0.25}})
    assert failed(compare([judgement(0.25 * (1 + 1e-9))], known)) == []
    assert failed(compare([judgement(0.25 * (1 + 1e-5))], known)) == ["level"]


def test_claims_of_one_side_only_fail() -> None:
    found = compare([rate(BEFORE)], Baseline({"old": "holds"}, {}))
    assert {(change.claim, change.what) for change in found if change.failed} == {
        ("rate", "verdict"),
        ("rate", "slope"),
        ("old", "verdict"),
    }


def test_a_report_is_read_back_as_it_was_judged(tmp_path: Path) -> None:
    specs, store = plan(PAPER, "quick"), Store(tmp_path / "runs")
    launch(specs, store, progress=False)
    found = findings.collect(PAPER, "quick", specs, store)
    baseline = read_baseline(report.write(found, store, tmp_path / "reports"))
    assert baseline.verdicts == {"rate": "holds", "table": "holds"}
    assert all(not change.why for change in compare(found.judgements, baseline))


def test_a_planted_fault_turns_the_check_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs, store = plan(PAPER, "quick"), Store(tmp_path / "runs")
    launch(specs, store, progress=False)
    baseline = read_baseline(report.write(findings.collect(PAPER, "quick", specs, store), store, tmp_path / "reports"))

    from toy import means

    honest = means.means.function

    def wrong(config: means.Draws, seed: int, run: means.Run) -> list[means.Row]:
        (row,) = honest(config, seed, run)
        return [{**row, "error": float(row["error"]) * config.n**-0.04}]  # a rate of -0.54 where -0.5 is right

    monkeypatch.setattr(means, "means", replace(means.means, function=wrong))
    fresh = Store(tmp_path / "fresh")
    launch(specs, fresh, progress=False)
    found = compare(findings.collect(PAPER, "quick", specs, fresh).judgements, baseline)
    assert ("rate", "slope") in {(change.claim, change.what) for change in found if change.failed}


@pytest.mark.parametrize("claims", ["", "[{", '[{"id": "rate"}]', "[1]"])
def test_a_baseline_that_cannot_be_read_is_bad_input(tmp_path: Path, claims: str) -> None:
    (tmp_path / "claims.json").write_text(claims)
    (tmp_path / "values.csv").write_text("claim,quantity,seed,value\n")
    with pytest.raises(UsageError, match="cannot be read"):
        read_baseline(tmp_path)


def test_no_baseline_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no committed report at .*; `repro bless` makes one"):
        read_baseline(tmp_path)


@pytest.fixture
def two_papers(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two papers with committed reports, and a store that has none of their runs; the folder of the reports."""
    root = tmp_path / "reports"
    for module in (command, workplace):
        monkeypatch.setattr(module, "discover", lambda: checked.PAPERS)
        monkeypatch.setattr(module, "REPORTS", root)
    for slug in checked.PAPERS:
        assert main(["bless", slug, "--workers", "0"]) == 0
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "later"))
    return root


CHECK = ["check", "--workers", "0"]


def test_a_check_of_two_papers_passes_where_nothing_changed(two_papers: Path) -> None:
    assert main(CHECK) == 0


@pytest.mark.parametrize("slug", checked.PAPERS)
@pytest.mark.parametrize(
    ("experiment", "named"),
    [
        ("unclaimed", ["unclaimed() seed 0", "unclaimed(n=2) seed 0"]),  # always, and no claim reads it
        ("claimed 1", ["claimed() seed 1"]),  # one seed of three
    ],
)
def test_a_run_that_raises_fails_the_check_of_any_paper(
    slug: str,
    experiment: str,
    named: list[str],
    two_papers: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REPRO_TOY_RAISE", f"{slug}/{experiment}")
    capsys.readouterr()
    assert main(CHECK) == 1
    said = capsys.readouterr().out.splitlines()
    for name in named:
        assert f"FAILED  {slug}/{name}: ArithmeticError: two and two are five" in said
    assert main([*CHECK, "--json"]) == 1
    records = json.loads(capsys.readouterr().out)
    failed = [(record["paper"], record["what"]) for record in records if record["failed"] and record["claim"] is None]
    assert failed == [(slug, f"{slug}/{name}") for name in named]


def test_a_run_that_is_missing_fails_the_check(
    two_papers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever became of it: here the launch forgets the last of the runs."""

    def forgetful(specs: list[Any], *others: Any) -> Any:
        return honest(specs[:-1], *others)

    honest = command.start
    monkeypatch.setattr(command, "start", forgetful)
    assert main([*CHECK, "second"]) == 1
    assert "FAILED  second/unclaimed(n=2) seed 0: not run" in capsys.readouterr().out.splitlines()


def test_a_report_with_a_run_that_raises_is_not_blessed(
    two_papers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (two_papers / "first" / "quick" / "claims.json").read_bytes()
    monkeypatch.setenv("REPRO_TOY_RAISE", "first/unclaimed")
    assert main(["bless", "first", "--workers", "0"]) == 1
    said = capsys.readouterr().out
    assert "FAILED  first/unclaimed() seed 0: ArithmeticError" in said
    assert "stays as it is" in said
    assert (two_papers / "first" / "quick" / "claims.json").read_bytes() == before
