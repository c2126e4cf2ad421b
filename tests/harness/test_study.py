"""Studies: a slip in a claim or a figure is refused by name when the study is loaded; rows are what was declared."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
from toy.means import LEVEL, PAPER, STUDY, Draws, means
from toy.paper import PAPER as TOY

from common.harness.runs import rows
from common.harness.runs.launch import launch
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Row, Run, experiment, may_hold
from common.harness.studies.figure import Figure
from common.harness.studies.measures import (
    Measure,
    argmin_location,
    loglog_slope,
    mean_over,
    paired_difference,
    paired_ratio,
    per_seed,
    value_at,
)
from common.harness.studies.study import Study, StudyError, check


@dataclass(frozen=True)
class Solve:
    field: str
    n: int = 4


@experiment(
    Solve,
    {"quick": Grid((Solve("mixture"), Solve("digits")), 2), "small": Grid((Solve("digits", 8),))},
    {"solver": ("euler", "heun"), "error": float, "nfe": int},
)
def solve(config: Solve, seed: int, run: Run) -> Sequence[Row]:
    return [{"solver": "heun", "error": 0.1, "nfe": 7}]


def loaded(measure: Measure, presets: tuple[str, ...] = ("quick",)) -> None:
    claim = Claim("my-claim", "", "", (Quantity("my number", solve, measure, Criterion(0)),), presets)
    check("my-study", Study("", "", (solve,), (claim,)), (solve,))


GOOD = [
    value_at("error", solver="heun", field="digits", n=4, seed=1),
    loglog_slope("nfe", "error", solver="euler"),
    argmin_location("nfe", "error"),
    mean_over("nfe", nfe=12),
    paired_ratio("error", first={"solver": "euler"}, second={"solver": "heun"}, field="mixture"),
    per_seed(len, ("error", "seed"), error=1),
]


@pytest.mark.parametrize("measure", GOOD)
def test_what_the_grid_and_the_columns_have_is_accepted(measure: Measure) -> None:
    loaded(measure)


@pytest.mark.parametrize(
    ("measure", "said"),
    [
        (value_at("eror", solver="heun"), "unknown column 'eror' (perhaps you meant 'error')"),
        (value_at("error", sovler="heun"), "unknown column 'sovler' (perhaps you meant 'solver')"),
        (value_at("error", solver="huen"), "column 'solver' of 'solve' never holds 'huen'"),
        (value_at("error", nfe="7"), "column 'nfe' of 'solve' never holds '7'"),
        (value_at("error", nfe=True), "column 'nfe' of 'solve' never holds True"),
        (
            value_at("error", field="digit"),
            "in quick has field = 'digit'; there are mixture, digits",
        ),
        (mean_over("error", n=8), "no config of 'solve' in quick has n = 8; there are 4"),
        (loglog_slope("nef", "error"), "'nef'"),
        (argmin_location("nfe", "wrong"), "'wrong'"),
        (paired_ratio("error", first={"solver": "rk4"}, second={"solver": "heun"}), "never holds 'rk4'"),
        (paired_difference("error", first={"solver": "heun"}, second={"solver": "rk4"}), "never holds 'rk4'"),
        (per_seed(len, ("gone",)), "'gone'"),
    ],
)
def test_a_slip_is_refused_by_name(measure: Measure, said: str) -> None:
    with pytest.raises(StudyError) as caught:
        loaded(measure)
    message = str(caught.value)
    assert said in message
    assert "study 'my-study', claim 'my-claim', 'my number'" in message
    assert "\n" not in message


def test_a_claim_is_checked_in_every_preset_where_it_is_judged() -> None:
    loaded(mean_over("error", n=8), ("small",))
    with pytest.raises(StudyError, match="in small has field = 'mixture'"):
        loaded(value_at("error", field="mixture"), ("quick", "small"))
    with pytest.raises(StudyError, match="'solve' has none of the presets gpu"):
        loaded(value_at("error"), ("gpu",))


def test_what_belongs_to_no_study_is_refused() -> None:
    stray = replace(solve)
    claim = Claim("c", "", "", (Quantity("q", stray, value_at("error"), Criterion(0)),), ("quick",))
    with pytest.raises(StudyError, match="no study has experiment 'solve'"):
        check("s", Study("", "", (solve,), (claim,)), (solve,))
    with pytest.raises(StudyError, match="figure 'f': no study has experiment 'solve'"):
        check("s", Study("", "", (solve,), (), (Figure("f", "", "", (stray,), lambda results: None),)), (solve,))  # type: ignore[arg-type, return-value]


def test_a_paper_loads_its_studies_and_the_card_must_agree() -> None:
    assert PAPER.load() == {"means": STUDY}
    assert list(PAPER.experiments) == ["means", "never"]
    assert [claim.id for claim in PAPER.claims] == ["rate", "table", "later"]
    with pytest.raises(StudyError, match="the card says quick, its studies have quick, small"):
        replace(PAPER, presets=("quick",)).load()
    with pytest.raises(StudyError, match="two studies have"):
        replace(PAPER, studies=("means", "means_again")).load()


def test_a_measure_changes_its_values_and_nothing_else() -> None:
    turned = LEVEL.measure.then(lambda values: -values)
    import pandas as pd

    table = pd.DataFrame({"n": [16, 4], "seed": [0, 0], "error": [0.25, 0.5]})
    assert dict(turned(table)) == {0: -0.25}
    assert (turned.reads, turned.picks) == (LEVEL.measure.reads, LEVEL.measure.picks)


def test_an_experiment_is_still_its_function() -> None:
    (row,) = means(Draws(4), 0, None)  # type: ignore[call-overload]
    assert row == means.function(Draws(4), 0, None)[0]
    assert (means.name, means.module) == ("means", "toy.means")


@pytest.mark.parametrize(
    ("values", "value", "held"),
    [(float, 1, True), (float, True, False), (int, 1.0, False), (bool, 1, False), (str, "x", True), ((1, 2), 3, False)],
)
def test_what_a_column_may_hold(values: Any, value: Any, held: bool) -> None:
    assert may_hold(values, value) is held


def test_rows_hold_what_is_declared() -> None:
    rows.check([{"solver": "heun", "error": 1}], solve.columns)
    with pytest.raises(ValueError, match=r"unknown column 'eror' \(perhaps you meant 'error'\)"):
        rows.check([{"eror": 0.1}], solve.columns)
    with pytest.raises(ValueError, match="column 'solver' may not hold 'rk4'"):
        rows.check([{"solver": "rk4"}], solve.columns)


def test_a_run_whose_rows_are_not_as_declared_fails(toy: Any) -> None:
    assert "moody" in TOY.experiments
    (spec,) = toy.plan("small", only=["moody"], overrides={"mood": "undeclared"})
    outcome = launch([spec], toy.store, progress=False)
    assert "unknown column 'valeu'" in outcome.failed[0].message
    assert not toy.store.finished(spec)
