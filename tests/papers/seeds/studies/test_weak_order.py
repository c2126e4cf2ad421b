"""Weak orders: rows of the recursion, what claims and the figure read, and that a wrong order turns the verdict."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from papers.seeds.studies.looks import SOLVERS
from papers.seeds.studies.methods import METHODS
from papers.seeds.studies.weak_order import CLAIMS, EQUAL_NFE, FIGURES, ORDER, STAGES, WeakConfig, weak
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, lines, table, verdict

OF = {claim.id: claim for claim in CLAIMS}
TRUE = {solver: float(ORDER.get(solver, 1)) for solver in SOLVERS} | {"2m-sde": 2.0}


def stages(solver: str) -> int:
    return STAGES.get(solver, {"fresh-stages": 2, "official-phi": 3}.get(solver, 1))


def keys(config: WeakConfig) -> list[Row]:
    return [{"solver": s, "n_steps": n, "nfe": n * stages(s)} for s in SOLVERS for n in config.steps]


def of_order(orders: dict[str, float], scale: Callable[[str], float] = lambda solver: 1.0) -> Callable[[Row], Row]:
    return lambda row: {"variance_error": scale(row["solver"]) * row["n_steps"] ** -orders[row["solver"]]}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    (found,) = made(weak, WeakConfig(steps=(64, 128, 256)), (0,), (FakeRun(Path(tmp_path_factory.mktemp("weak"))),))
    return pd.DataFrame(found)


def test_every_solver_has_its_row_its_evaluations_and_its_order(rows: pd.DataFrame) -> None:
    assert set(METHODS) == set(SOLVERS) == set(rows["solver"])
    for solver, own in rows.groupby("solver"):
        assert own["nfe"].tolist() == [steps * stages(str(solver)) for steps in (64, 128, 256)]
        slope = math.log2(float(np.divide(*own["variance_error"].iloc[1:])))
        assert slope == pytest.approx(TRUE[str(solver)], abs=0.3), solver


def test_errors_of_the_two_mistakes_are_those_that_other_code_has(rows: pd.DataFrame) -> None:
    """At 64 steps .136 and .093, against .0134 and .0010 without them."""
    at_64 = rows[rows["n_steps"] == 64].set_index("solver")["variance_error"]
    for solver, expected in (("fresh-stages", 0.136), ("official-phi", 0.093), ("2m-sde", 0.0151)):
        assert float(at_64[solver]) == pytest.approx(expected, rel=0.05)
    assert float(at_64["seeds-2a-data"]) == pytest.approx(0.0134, rel=0.05)


def test_the_mean_is_exact_in_data_prediction_alone(rows: pd.DataFrame) -> None:
    worst = rows.groupby("solver")["mean_error"].max()
    assert (worst[[solver for solver in STAGES if solver.endswith("data")]] < 1e-12).all()
    assert (worst[[solver for solver in STAGES if solver.endswith("noise")]] > 1e-5).all()


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
def test_claims_hold_at_the_orders_and_fail_at_others(preset: str) -> None:
    right = table(weak, preset, keys, of_order(TRUE))
    assert verdict(OF["weak-order"], (weak, right)) == "holds"
    assert verdict(OF["shared-noise"], (weak, right)) == "holds"
    for solver, order in ORDER.items():
        wrong = table(weak, preset, keys, of_order(TRUE | {solver: 3.0 - order}))
        assert verdict(OF["weak-order"], (weak, wrong)) == "fails", solver
    for solver in ("fresh-stages", "official-phi"):
        wrong = table(weak, preset, keys, of_order(TRUE | {solver: 2.0}))
        assert verdict(OF["shared-noise"], (weak, wrong)) == "fails", solver


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_equal_evaluations_are_compared_at_192(preset: str) -> None:
    """Errors that fall with the steps as they do: second order with 96 and 64 steps beside first order with 192."""

    def plant(solver: str, value: float) -> Callable[[Row], Row]:
        def errors(row: Row) -> Row:
            if row["nfe"] != EQUAL_NFE:
                return {}
            return {"variance_error": value if row["solver"] == solver else 0.01 if stages(row["solver"]) > 1 else 0.1}

        return errors

    assert verdict(OF["equal-evaluations"], (weak, table(weak, preset, keys, plant("none", 0)))) == "holds"
    for solver, value in (
        ("seeds-2a-data", 0.05),
        ("seeds-3-data", 0.03),
        ("seeds-1-data", 0.02),
        ("em-sigma-squared", 0.02),
    ):
        assert verdict(OF["equal-evaluations"], (weak, table(weak, preset, keys, plant(solver, value)))) == "fails"


def test_the_figure_shows_errors_by_evaluations() -> None:
    rows = table(weak, "quick", keys)
    left, right = FIGURES[0].draw(MadeUp({weak: rows})).axes
    for panel, solvers in ((left, ("seeds-1-data", "2m-sde")), (right, ("seeds-2a-data", "official-phi"))):
        for solver in solvers:
            own = rows[rows["solver"] == solver]
            (curve,) = lines(panel, SOLVERS[solver].name)
            np.testing.assert_allclose(curve, own[["nfe", "variance_error"]].to_numpy())


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"steps": (0,)}, "steps"), ({"std": 0.0}, "std"), ({"sigma_max": 0.01}, "sigma_max is 0.01")],
)
def test_settings_out_of_range_are_named(fields: Row, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WeakConfig(**fields)
