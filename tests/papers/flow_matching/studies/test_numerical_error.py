"""Numerical error: orders on exact fields, evaluations read off curves, and the claims and figure on tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.harness.studies.measures import NotReached
from papers.flow_matching.studies.checkerboard import FIXED_STEP, board
from papers.flow_matching.studies.looks import METHODS, PATHS
from papers.flow_matching.studies.numerical_error import (
    CLAIMS,
    COMPARED,
    FIGURES,
    ORDER,
    ExactConfig,
    OrderConfig,
    exact_error,
    nfe_to,
    orders,
)
from papers.flow_matching.studies.plane import SPREAD
from tests.papers.fake_run import FakeRun
from tests.papers.flow_matching.studies.test_checkerboard import keys as board_keys
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, lines, table, verdict, wobble

OF = {claim.id: claim for claim in CLAIMS}


def fixed(config: Any) -> list[Row]:
    return [{"solver": s, "nfe": n} for s, (_, per) in FIXED_STEP.items() for n in config.budgets if n % per == 0]


def exact_keys(config: ExactConfig) -> list[Row]:
    return [*fixed(config), *({"solver": "dopri5", "tolerance": at, "nfe": 10 + 12 * k}
                              for k, at in enumerate(config.tolerances))]  # fmt: skip


def test_exact_rows_are_each_seed_s_own_and_dopri5_is_better_where_it_is_asked_to_be(tmp_path: Path) -> None:
    config = ExactConfig("vp", budgets=(4, 16, 32), tolerances=(1e-2, 1e-4), reference_steps=60, n_samples=20)
    runs = tuple(FakeRun(tmp_path / str(s)) for s in range(2))
    both = made(exact_error, config, (3, 8), runs)
    (alone,) = made(exact_error, config, (8,), runs[1:])
    for among, single in zip(both[1], alone, strict=True):
        assert among["rmse"] == pytest.approx(single["rmse"], rel=1e-6)
    assert both[0][0]["rmse"] != both[1][0]["rmse"]
    by_solver = pd.DataFrame(both[1]).groupby("solver")
    for _, rows in by_solver:
        assert rows.sort_values("nfe")["rmse"].is_monotonic_decreasing
    assert by_solver["nfe"].apply(list).to_dict() | {"dopri5": 0} == {
        "euler": [4, 16, 32], "midpoint": [4, 16, 32], "rk4": [4, 16, 32], "dopri5": 0,
    }  # fmt: skip


def test_the_ratio_is_that_of_two_power_laws() -> None:
    """Errors 4/n² and 16/n² meet 0.01 at n = 20 and n = 40."""
    n = np.array([4, 16, 64])
    rows = pd.concat(
        pd.DataFrame({"path": path, "solver": "midpoint", "nfe": n, "rmse": c / n**2, "seed": seed})
        for path, c in (("ot", 4.0), ("vp", 16.0))
        for seed in (0, 1)
    )
    measure = nfe_to(0.01, "midpoint", {"path": "ot"}, {"path": "vp"})
    assert measure(rows).tolist() == pytest.approx([0.5, 0.5])
    with pytest.raises(NotReached):
        nfe_to(1e-4, "midpoint", {"path": "ot"}, {"path": "vp"})(rows)


def errors(ot: float, euler: float, unit: float = 1.0) -> Callable[[Row], dict[str, float]]:
    """Errors of the second order, which OT reaches with `ot` times the evaluations; Euler's have their own factor."""

    def plant(row: Row) -> dict[str, float]:
        if row["solver"] == "converged":
            return {}
        first = row.get("path", row.get("method")) in ("ot", "fm-ot")
        if row["solver"] == "euler":
            return {"rmse": (euler if first else 1.0) * unit / row["nfe"] * wobble(row) ** first}
        scaled = row["nfe"] / (ot if first else 1.0)
        return {"rmse": 4 * unit / scaled**2 * wobble(row) ** first}

    return plant


@pytest.mark.parametrize("preset", ["small", "gpu"])
def test_evaluations_hold_at_the_paper_s_saving_and_fail_with_none(preset: str) -> None:
    for ot, expected in ((0.6, "holds"), (1.0, "fails")):
        tables = (
            (exact_error, table(exact_error, preset, exact_keys, errors(ot, 1.5))),
            (board, table(board, preset, board_keys, errors(ot, 1.5, SPREAD))),
        )
        assert verdict(OF["evaluations"], *tables) == expected
        of_board = verdict(OF["euler-reversed"], *tables)
        assert of_board == "holds"


def test_evaluations_on_exact_fields_in_quick() -> None:
    for ot, expected in ((0.6, "holds"), (1.0, "fails")):
        rows = table(exact_error, "quick", exact_keys, errors(ot, 1.5))
        assert verdict(OF["evaluations-exact"], (exact_error, rows)) == expected


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
def test_euler_is_reversed_only_where_ot_is_worse(preset: str) -> None:
    for euler, expected in ((1.5, "holds"), (0.6, "fails")):
        rows = table(board, preset, board_keys, errors(0.6, euler))
        assert verdict(OF["euler-reversed"], (board, rows)) == expected


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
def test_orders_hold_for_each_method_and_fail_for_another_s(preset: str) -> None:
    def plant(order: dict[str, float]) -> Callable[[Row], dict[str, float]]:
        return lambda row: {"rmse": 5 * wobble(row) * row["nfe"] ** -order[row["solver"]]}

    right = {name: float(order) for name, order in ORDER.items()}
    assert verdict(OF["orders"], (orders, table(orders, preset, fixed, plant(right)))) == "holds"
    for solver, other in (("euler", 2.0), ("midpoint", 1.0), ("rk4", 3.0)):
        rows = table(orders, preset, fixed, plant(right | {solver: other}))
        assert verdict(OF["orders"], (orders, rows)) == "fails"


def test_the_orders_of_the_study_are_those_of_its_solvers(tmp_path: Path) -> None:
    """On the rows of one seed, with few points: the criterion, and that Euler's does not meet the midpoint's."""
    found: list[Row] = []
    for path in COMPARED:
        config = OrderConfig(path, n_samples=16)
        (rows,) = made(orders, config, (5,), (FakeRun(tmp_path / path),))
        found += [{**row, "path": path, "seed": seed} for row in rows for seed in (0, 1, 2)]
    measured = pd.DataFrame(found)
    assert verdict(OF["orders"], (orders, measured)) == "holds"
    renamed = measured.assign(solver=measured["solver"].map({"euler": "midpoint", "midpoint": "euler", "rk4": "rk4"}))
    assert verdict(OF["orders"], (orders, renamed)) == "fails"


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_the_figure_has_the_means_in_units_of_the_data_s_spread(preset: str) -> None:
    tables = {exact_error: table(exact_error, preset, exact_keys), board: table(board, preset, board_keys)}
    panels = FIGURES[0].draw(MadeUp(tables)).axes
    assert [panel.get_title() for panel in panels] == ["midpoint", "dopri5", "Euler", "RK4"]
    for panel, solver in zip(panels, ("midpoint", "dopri5", "euler", "rk4"), strict=True):
        by = "tolerance" if solver == "dopri5" else "nfe"
        for path, method in (("ot", "fm-ot"), ("vp", "fm-vp")):
            for experiment, picks, unit, label in (
                (exact_error, {"path": path}, 1.0, f"{PATHS[path].name}, exact field"),
                (board, {"method": method}, SPREAD, f"{METHODS[method].name}, network"),
            ):
                rows = tables[experiment]
                for column, value in {**picks, "solver": solver}.items():
                    rows = rows[rows[column] == value]
                means = rows.groupby(by)[["nfe", "rmse"]].mean().sort_index(ascending=by == "nfe")
                (curve,) = lines(panel, label)
                np.testing.assert_allclose(curve, means.to_numpy() / [1, unit])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ExactConfig("ve"), "path is one of"),
        (lambda: OrderConfig("ot", budgets=(0,)), "budgets"),
        (lambda: ExactConfig("ot", tolerances=(0.0,)), "tolerances"),
    ],
)
def test_settings_out_of_range_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
