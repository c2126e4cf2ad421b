"""DEIS: rows of few samples, what claims and figure read, and that another order of the methods turns the verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from papers.seeds.studies.deis import CLAIMS, FIGURES, GRIDS, MANY, DeisConfig, solved
from papers.seeds.studies.deis_orders import CLAIMS as ORDER_CLAIMS
from papers.seeds.studies.deis_orders import ORDERS, IntegralConfig, integrals
from papers.seeds.studies.looks import ODE_SOLVERS
from papers.seeds.studies.ring import SOLVERS
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, lines, table, verdict, wobble

OF = {claim.id: claim for claim in (*CLAIMS, *ORDER_CLAIMS)}
ERRORS = {"euler": 1.0, "frozen-score": 2.8, "ddim": 1.6, "tab1": 0.9, "tab2": 0.6, "tab3": 0.3, "rho-ab3": 0.5}
"""Errors on either grid as they lie at ten evaluations on the quadratic one; those that differ are planted by name."""


def keys(config: DeisConfig) -> list[Row]:
    return [{"solver": s, "nfe": n} for s, (_, per) in SOLVERS.items() for n in config.budgets if n % per == 0]


def integral_keys(config: IntegralConfig) -> list[Row]:
    return [{"nfe": nfe} for nfe in config.budgets]


Change = dict[tuple[str, str, int], float]
USUAL: Change = {
    ("tab3", "uniform", 50): 0.5,
    ("tab3", "quadratic", 50): 0.05,
    ("ddim", "uniform", 10): 0.1,
    ("ddim", "uniform", 20): 0.1,
    ("rho-heun", "quadratic", 10): 3.0,
    ("rho-heun", "quadratic", 50): 0.5,
}


def errors(change: Change) -> Callable[[Row], dict[str, float]]:
    def plant(row: Row) -> dict[str, float]:
        where = (row["solver"], row["grid"], row["nfe"])
        value = (USUAL | change).get(where, ERRORS.get(row["solver"]))
        return {} if value is None else {"rmse": value * wobble(row) ** (row["solver"] in ("tab3", "ddim"))}

    return plant


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
@pytest.mark.parametrize(
    ("claim", "change"),
    [
        ("ten-evaluations", {("tab3", "quadratic", 10): 0.8}),
        ("ingredients", {("frozen-score", "uniform", 50): 1.2}),
        ("ingredients", {("ddim", "uniform", 50): 2.7}),
        ("ingredients", {("tab3", "uniform", 50): 1.5}),
        ("ingredients", {("tab3", "quadratic", 50): 0.4}),
        ("past-evaluations", {("tab1", "quadratic", 10): 1.7}),
        ("past-evaluations", {("tab2", "quadratic", 10): 0.95}),
        ("past-evaluations", {("rho-ab3", "quadratic", 10): 0.2}),
        ("uniform-times", {("ddim", "uniform", 20): 0.5}),
        ("runge-kutta", {("rho-heun", "quadratic", 10): 1.0}),
        ("runge-kutta", {("rho-heun", "quadratic", 50): 2.0}),
    ],
)  # fmt: skip
def test_claims_hold_as_the_pilot_has_them_and_fail_with_one_error_changed(
    preset: str, claim: str, change: Change
) -> None:
    assert verdict(OF[claim], (solved, table(solved, preset, keys, errors({})))) == "holds"
    assert verdict(OF[claim], (solved, table(solved, preset, keys, errors(change)))) == "fails"


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
def test_orders_hold_for_each_method_and_fail_for_another_s(preset: str) -> None:
    def plant(orders: dict[str, float]) -> Callable[[Row], dict[str, float]]:
        def rows(row: Row) -> dict[str, float]:
            if row["solver"] not in orders or row["grid"] != "quadratic" or row["nfe"] not in MANY:
                return {}
            return {"rmse": row["nfe"] ** -(orders[row["solver"]] + 0.01 * row["seed"])}

        return rows

    right = {solver: float(order) for solver, order in ORDERS.items()}
    assert verdict(OF["deis-orders"], (solved, table(solved, preset, keys, plant(right)))) == "holds"
    for solver, order in right.items():
        rows = table(solved, preset, keys, plant(right | {solver: order - 1}))
        assert verdict(OF["deis-orders"], (solved, rows)) == "fails"


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
def test_integrals_matter_with_many_evaluations_alone(preset: str) -> None:
    def judged(claim: str, few: float = 0.01, many: float = 2.0, apart: float = 1e-15) -> str:
        def plant(row: Row) -> dict[str, float]:
            share = few if row["nfe"] == 10 else many
            return {"rmse": 0.1, "moved": 0.1 * share * wobble(row), "tab0_from_ddim": apart}

        return verdict(OF[claim], (integrals, table(integrals, preset, integral_keys, plant)))

    assert judged("official-integrals") == judged("ddim") == "holds"
    assert judged("official-integrals", few=0.2) == judged("official-integrals", many=0.1) == "fails"
    assert judged("ddim", apart=1e-6) == "fails"


def test_rows_of_the_study_are_as_the_pilot_found(tmp_path: Path) -> None:
    """rms errors of other code on the same law, at ten evaluations; 64 samples here."""
    found: list[Row] = []
    for grid in GRIDS:
        config = DeisConfig(grid, budgets=(10, 50), n_samples=64)
        (rows,) = made(solved, config, (4,), (FakeRun(tmp_path / grid),))
        found += [{**row, "grid": grid} for row in rows]
    rmse = pd.DataFrame(found).set_index(["grid", "solver", "nfe"])["rmse"]
    pilot = {
        ("quadratic", "euler", 10): 0.047, ("quadratic", "frozen-score", 10): 0.141, ("quadratic", "ddim", 10): 0.078,
        ("quadratic", "tab1", 10): 0.029, ("quadratic", "tab3", 10): 0.016, ("quadratic", "tab2", 50): 9.7e-4,
        ("quadratic", "rho-ab3", 50): 7.2e-4, ("quadratic", "rho-heun", 50): 0.0053, ("uniform", "euler", 50): 0.0155,
        ("uniform", "frozen-score", 50): 0.0435, ("uniform", "ddim", 50): 0.0256, ("uniform", "tab3", 10): 0.257,
    }  # fmt: skip
    for where, expected in pilot.items():
        assert float(rmse[where]) == pytest.approx(expected, rel=0.35), where


def test_the_official_integrals_move_samples_as_the_pilot_found(tmp_path: Path) -> None:
    config = IntegralConfig(budgets=(10, 50), n_samples=64)
    (rows,) = made(integrals, config, (4,), (FakeRun(tmp_path / "run"),))
    moved = [row["moved"] for row in rows]
    assert moved == pytest.approx([1.2e-4, 2e-5], rel=0.6)
    assert all(row["tab0_from_ddim"] < 1e-12 for row in rows)
    assert all(1e-5 < row["coefficients"] < 1e-3 for row in rows)


def test_the_figure_has_the_means_of_each_grid() -> None:
    rows = table(solved, "quick", keys)
    panels = FIGURES[0].draw(MadeUp({solved: rows})).axes
    assert set(SOLVERS) == set(ODE_SOLVERS)
    for panel, grid in zip(panels, GRIDS, strict=True):
        assert panel.get_title() == f"{grid} times"
        for solver, look in ODE_SOLVERS.items():
            means = rows[(rows["grid"] == grid) & (rows["solver"] == solver)].groupby("nfe")["rmse"].mean()
            (curve,) = lines(panel, look.name)
            np.testing.assert_allclose(curve, np.stack([means.index, means], axis=1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: DeisConfig("cubic"), "grid is one of"),
        (lambda: DeisConfig("uniform", budgets=(0,)), "budgets"),
        (lambda: IntegralConfig(points=0), "points"),
    ],
)
def test_settings_out_of_range_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
