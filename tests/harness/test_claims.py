"""Intervals, verdicts and measures: scipy's own intervals, coverage by simulation, tables with known answers."""

import json
import re
from dataclasses import replace
from math import inf, log, nan
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from toy.experiments import Noise

from common.harness.studies.claims import Claim, Criterion, Judgement, Quantity, incomplete, judge, judge_all
from common.harness.studies.criteria import criterion_hash, criterion_hashes
from common.harness.studies.experiment import Grid, Row, Run, experiment
from common.harness.studies.measures import (
    Measure,
    NotReached,
    argmin_location,
    loglog_slope,
    mean_over,
    paired_difference,
    paired_ratio,
    value_at,
)
from common.harness.studies.statistics import Estimate, student_t

VALUES = [1.1, 0.7, 1.9, 1.2]


def test_interval_is_that_of_scipy() -> None:
    expected = stats.ttest_1samp(VALUES, 0.0).confidence_interval(0.95)
    found = student_t(VALUES)
    assert (found.mean, found.low, found.high, found.n) == pytest.approx((np.mean(VALUES), *expected, 4))


def test_interval_covers_the_mean_95_times_in_100() -> None:
    draws = np.random.default_rng(0).normal(3.0, 2.0, (2000, 3))
    intervals = [student_t(row) for row in draws]
    covered = sum(interval.low <= 3.0 <= interval.high for interval in intervals)
    # Binomial(2000, 0.95): standard deviation 9.7; four of them. A normal interval in place of Student's would cover
    # 84 %.
    assert abs(covered - 1900) < 39


def test_log_scale_is_geometric_and_reciprocal() -> None:
    ratios, turned = student_t(VALUES, "log"), student_t([1 / value for value in VALUES], "log")
    assert ratios.mean == pytest.approx(stats.gmean(VALUES))
    assert (1 / ratios.mean, 1 / ratios.high, 1 / ratios.low) == pytest.approx((turned.mean, turned.low, turned.high))
    logs = stats.ttest_1samp(np.log(VALUES), 0.0).confidence_interval(0.95)
    assert (log(ratios.low), log(ratios.high)) == pytest.approx(tuple(logs))


def test_one_value_has_an_interval_only_if_nothing_is_random() -> None:
    assert not student_t([2.0]).has_interval
    assert student_t([2.0], deterministic=True) == Estimate(2.0, 2.0, 2.0, 1)
    assert student_t([2.0, 2.0, 2.0]) == Estimate(2.0, 2.0, 2.0, 3)
    assert student_t([2.0, 2.0], "log").low == pytest.approx(2.0)


@pytest.mark.parametrize("values", [[1.0, nan], [1.0, inf], [inf, -inf]])
def test_values_that_are_not_finite_leave_no_interval(values: list[float]) -> None:
    found = student_t(values)
    assert not np.isfinite(found.mean)
    assert not found.has_interval


def test_a_ratio_of_nought_has_no_logarithm() -> None:
    assert not student_t([1.0, 0.0], "log").has_interval


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.95, 1.05, "holds"),
        (0.9, 1.1, "holds"),
        (0.85, 1.0, "inconclusive"),
        (0.5, 1.5, "inconclusive"),
        (1.2, 1.4, "fails"),
        (0.1, 0.89, "fails"),
    ],
)
def test_equivalence_holds_where_the_whole_interval_is_inside(low: float, high: float, verdict: str) -> None:
    assert Criterion(0.9, 1.1).judge(Estimate((low + high) / 2, low, high, 5)) == verdict


def test_one_sided_criteria_and_what_has_no_interval() -> None:
    assert Criterion(lower=2).judge(Estimate(3, 2.5, 3.5, 3)) == "holds"
    assert Criterion(upper=2).judge(Estimate(3, 2.5, 3.5, 3)) == "fails"
    assert Criterion(lower=2).judge(Estimate(3, nan, nan, 1)) == "inconclusive"
    assert Criterion(lower=2).judge(Estimate(nan, nan, nan, 0)) == "inconclusive"
    assert Criterion(lower=2).judge(Estimate(inf, nan, nan, 3)) == "fails"


@pytest.mark.parametrize("bounds", [(2.0, 1.0), (-inf, inf), (nan, 1.0)])
def test_a_criterion_that_decides_nothing_is_refused(bounds: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="lower <= upper"):
        Criterion(*bounds)


def quantity(name: str, values: list[float], criterion: Criterion, **more: Any) -> Quantity:
    return Quantity(name, toy, Measure(lambda table: pd.Series(values)), criterion, **more)


@experiment(Noise, {"quick": Grid((Noise(),))}, {"x": float})
def toy(config: Noise, seed: int, run: Run) -> list[Row]:
    return [{"x": 1.0}]


@experiment(Noise, {"quick": Grid((Noise(),))}, {"x": float})
def other(config: Noise, seed: int, run: Run) -> list[Row]:
    return [{"x": 1.0}]


TOY = {"toy": pd.DataFrame({"seed": [0, 1, 2]})}
INSIDE = quantity("inside", [1.0, 1.01, 0.99], Criterion(0.5, 1.5), published=1.0)
OUTSIDE = quantity("outside", [3.0, 3.01, 2.99], Criterion(0.5, 1.5))
ACROSS = quantity("across", [1.4, 1.5, 1.6], Criterion(0.5, 1.5))


def judged(*quantities: Quantity) -> Judgement:
    return judge(Claim("id", "it is so", "Table 1", quantities, deviation="smaller"), TOY)


def test_a_claim_holds_if_all_hold_and_fails_if_any_fails() -> None:
    assert judged(INSIDE).verdict == "holds"
    assert judged(INSIDE, ACROSS).verdict == "inconclusive"
    assert judged(INSIDE, ACROSS, OUTSIDE).verdict == "fails"


def test_record_has_exactly_the_keys_of_the_design() -> None:
    record = judged(INSIDE).as_record("repro run toy", "3 runs")
    keys = """id kind headline statement source published expected measured ci n_seeds criterion excludes verdict reason
        command budget deviation"""
    assert list(record) == keys.split()
    assert (record["measured"], record["published"], record["n_seeds"]) == (pytest.approx(1.0), 1.0, 3)
    assert (record["kind"], record["headline"], record["excludes"], record["reason"]) == ("scaled", False, "", "")
    several = judged(INSIDE, OUTSIDE).as_record("", "")
    assert several["published"] == {"inside": 1.0, "outside": None}
    assert several["measured"]["outside"] == pytest.approx(3.0)
    assert several["ci"]["outside"][0] < 3.0 < several["ci"]["outside"][1]


def test_record_carries_what_the_claim_says_of_itself() -> None:
    derived = quantity("derived", [1.0, 1.01], Criterion(0.5, 1.5), expected=0.75)
    claim = Claim("id", "", "", (INSIDE, derived), kind="theorem", headline=True, excludes="Euler's method")
    record = judge(claim, TOY).as_record("", "")
    assert (record["kind"], record["headline"], record["excludes"]) == ("theorem", True, "Euler's method")
    assert record["expected"] == {"inside": None, "derived": 0.75}


def test_two_quantities_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="claim 'id' has more than one quantity named 'inside'"):
        Claim("id", "", "", (INSIDE, INSIDE))


def test_a_claim_that_does_not_say_what_it_excludes_is_incomplete() -> None:
    whole = Claim("whole", "", "", (INSIDE,), excludes="independent pairs")
    bare = [Claim("bare", "", "", (INSIDE,)), Claim("blank", "", "", (INSIDE,), kind="theorem", excludes=" ")]
    assert incomplete([whole]) == []
    assert incomplete([whole, *bare]) == [
        "claim 'bare' does not say what it excludes",
        "claim 'blank' does not say what it excludes",
    ]


NEITHER = Criterion(0.5, 1.5)


@pytest.mark.parametrize(
    ("values", "criterion", "more", "sentence"),
    [
        ([0.96, 0.97, 0.98], Criterion(lower=1), {}, "q is 0.97 (0.95 to 0.99); at least 1 was asked."),
        ([2.9, 3.0, 3.1], NEITHER, {}, "q is 3 (2.8 to 3.2); 0.5 to 1.5 was asked."),
        ([3.0], Criterion(upper=2.5), {"deterministic": True}, "q is 3; at most 2.5 was asked."),
        ([0.99, 1.015, 1.04], Criterion(lower=1), {}, "The interval of q, 0.95 to 1.1, straddles 1."),
        ([0.7, 1.0, 1.3], NEITHER, {}, "The interval of q, 0.25 to 1.7, straddles 0.5 and 1.5."),
        # Rounded to two digits these would touch the bound, or each other.
        ([0.9991, 0.9992, 0.9993], Criterion(lower=1), {}, "q is 0.9992 (0.999 to 0.9994); at least 1 was asked."),
        ([1.005, 1.105, 1.205], Criterion(lower=0.858), {}, "The interval of q, 0.857 to 1.35, straddles 0.858."),
        ([3.0], NEITHER, {}, "q is 3 in its one seed, which leaves no interval; 0.5 to 1.5 was asked."),
        ([1.0, inf], NEITHER, {}, "q is not finite in every seed; 0.5 to 1.5 was asked."),
        ([1.0, -1.0], NEITHER, {"scale": "log"}, "q is not positive in every seed; 0.5 to 1.5 was asked."),
    ],
)
def test_the_reason_is_one_sentence_made_from_the_numbers(
    values: list[float], criterion: Criterion, more: dict[str, Any], sentence: str
) -> None:
    assert judged(quantity("q", values, criterion, **more)).as_record("", "")["reason"] == sentence


def test_the_reason_names_the_quantity_that_decides() -> None:
    assert judged(INSIDE, ACROSS).as_record("", "")["reason"].startswith("The interval of across, ")
    assert judged(INSIDE, ACROSS, OUTSIDE).as_record("", "")["reason"].startswith("Outside is 3 ")
    assert judged(INSIDE).as_record("", "")["reason"] == ""


def test_a_symbol_at_the_beginning_of_a_reason_stays_as_it_is() -> None:
    reasons = [
        judged(quantity(name, [3.0, 3.1], NEITHER)).as_record("", "")["reason"]
        for name in ("mean kl", "kl of it", "fd_digits", "|x|")
    ]
    assert [text.split(" is ")[0] for text in reasons] == ["Mean kl", "kl of it", "fd_digits", "|x|"]


def test_what_was_not_run_is_the_reason() -> None:
    elsewhere = Quantity("there", other, value_at("x"), Criterion(lower=0))
    assert judge(Claim("id", "", "", (elsewhere,)), TOY).as_record("", "")["reason"] == "Not run."
    assert judged(INSIDE, elsewhere).as_record("", "")["reason"] == "There was not run."


HASHED = Quantity("q", toy, value_at("x", n=3), Criterion(0, 1, "a guess"))


@pytest.mark.parametrize(
    "changed",
    [
        {"criterion": Criterion(0, 1.5)},
        {"criterion": Criterion(-1, 1)},
        {"measure": value_at("x", n=4)},
        {"measure": value_at("y", n=3)},
        {"experiment": other},
        {"scale": "log"},
        {"deterministic": True},
    ],
)
def test_the_hash_of_a_criterion_is_of_all_that_decides(changed: dict[str, Any]) -> None:
    assert criterion_hash(replace(HASHED, **changed)) != criterion_hash(HASHED)


def test_the_hash_of_a_criterion_is_not_of_words() -> None:
    worded = replace(HASHED, name="p", criterion=Criterion(0.0, 1.0, "measured"), published=2.0, unit="bits")
    assert criterion_hash(worded) == criterion_hash(HASHED)
    assert re.fullmatch("[0-9a-f]{8}", criterion_hash(HASHED))


def test_hashes_are_by_the_experiment_that_is_read() -> None:
    elsewhere = replace(HASHED, name="p", experiment=other)
    claims = [Claim("a", "", "", (HASHED, elsewhere)), Claim("b", "", "", (HASHED,), presets=("small",))]
    assert criterion_hashes(claims) == {
        "toy": {"a/q": criterion_hash(HASHED), "b/q": criterion_hash(HASHED)},
        "other": {"a/p": criterion_hash(elsewhere)},
    }


def test_seeds_are_counted_where_they_are_fewest() -> None:
    assert judged(INSIDE, quantity("two", [1.0, 1.1], Criterion(0.5, 1.5))).n_seeds == 2


def test_what_is_not_finite_is_shown_and_is_json() -> None:
    record = judged(quantity("q", [1.0, inf], Criterion(lower=0))).as_record("", "")
    assert (record["measured"], record["ci"], record["verdict"]) == ("inf", None, "fails")
    json.dumps(record, allow_nan=False)


def test_not_run_is_inconclusive() -> None:
    claim = Claim("id", "", "", (Quantity("q", other, value_at("x"), Criterion(lower=0)),))
    for tables in ({}, {"other": pd.DataFrame()}):
        found = judge(claim, tables)
        assert (found.verdict, found.n_seeds, found.as_record("", "")["measured"]) == ("inconclusive", 0, None)


def test_a_curve_that_never_gets_there_fails_and_says_why() -> None:
    def never(table: pd.DataFrame) -> pd.Series:
        raise NotReached("an error of 0.1 is not on the curve")

    found = judge(Claim("id", "", "", (Quantity("q", toy, Measure(never), Criterion(lower=0)),)), TOY)
    assert found.verdict == "fails"
    assert found.as_record("", "")["reason"] == "q could not be measured: an error of 0.1 is not on the curve."


@pytest.mark.parametrize("measure", [value_at("x"), Measure(lambda table: table["gone"])])
def test_a_fault_in_a_measure_is_raised_and_names_the_claim(measure: Measure) -> None:
    claim = Claim("my-claim", "", "", (Quantity("q", toy, measure, Criterion(lower=0)),))
    with pytest.raises((KeyError, ValueError)) as caught:
        judge(claim, TOY)
    assert "my-claim" in "".join(caught.value.__notes__)


def test_claims_are_judged_in_their_presets() -> None:
    claims = [Claim("a", "", "", (INSIDE,), presets=("quick",)), Claim("b", "", "", (INSIDE,), presets=("small",))]
    assert [found.claim.id for found in judge_all(claims, "small", TOY)] == ["b"]


@pytest.fixture
def table() -> pd.DataFrame:
    """error = 5 (1 + seed) n^-order, on orders 1 and 2, seed 2 only for order 1."""
    rows = [
        {"solver": solver, "n": n, "seed": seed, "error": 5 * (1 + seed) * n ** -float(order)}
        for solver, order in (("euler", 1), ("heun", 2))
        for n in (32, 8, 16)
        for seed in (1, 0, 2)
        if (solver, seed) != ("heun", 2)
    ]
    return pd.DataFrame(rows)


def test_slope_per_seed(table: pd.DataFrame) -> None:
    assert dict(loglog_slope("n", "error", solver="heun")(table)) == pytest.approx({0: -2.0, 1: -2.0})


def test_a_slope_through_nought_is_not_a_number(table: pd.DataFrame) -> None:
    assert not np.isfinite(loglog_slope("n", "error", solver="heun")(table.assign(error=0.0))).any()


def test_pairs_are_made_on_shared_seeds(table: pd.DataFrame) -> None:
    ratio = paired_ratio("error", {"solver": "euler"}, {"solver": "heun"}, n=16)(table)
    assert dict(ratio) == pytest.approx({0: 16.0, 1: 16.0})
    difference = paired_difference("error", {"n": 8}, {"n": 16}, solver="heun")(table)
    assert dict(difference) == pytest.approx({0: 5 / 64 - 5 / 256, 1: 10 / 64 - 10 / 256})


def test_a_diverged_run_stays_in_its_pair(table: pd.DataFrame) -> None:
    table.loc[(table.solver == "heun") & (table.seed == 0), "error"] = inf
    assert paired_difference("error", {"solver": "heun"}, {"solver": "euler"}, n=8)(table)[0] == inf


def test_argmin_value_and_mean(table: pd.DataFrame) -> None:
    assert dict(argmin_location("n", "error", solver="euler")(table)) == {0: 32, 1: 32, 2: 32}
    assert dict(value_at("error", solver="heun", n=8)(table)) == pytest.approx({0: 5 / 64, 1: 10 / 64})
    assert mean_over("n", solver="heun")(table)[1] == pytest.approx(56 / 3)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"solvr": "heun"}, "no column 'solvr'"),
        ({"solver": "rk4"}, "there are euler, heun"),
        ({"n": 8}, "several rows"),
    ],
)
def test_a_pick_that_is_not_one_row_says_so(table: pd.DataFrame, where: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        value_at("error", **where)(table)
