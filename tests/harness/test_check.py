"""Regression: what moves enough to fail, what does not, and that a planted fault turns a check red."""

from dataclasses import replace
from pathlib import Path

import pytest
from toy.means import LEVEL, PAPER, RATE

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
