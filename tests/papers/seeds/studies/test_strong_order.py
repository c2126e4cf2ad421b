"""Strong orders: rows of a few paths, what claims and the figure read, and that no convergence turns the verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from papers.seeds.studies.looks import SOLVERS
from papers.seeds.studies.strong_order import (
    CLAIMS,
    COMPARED,
    FIGURES,
    MODES,
    UNCOUPLED,
    SeparatedConfig,
    StrongConfig,
    separated,
    strong,
)
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, lines, table, verdict

OF = {claim.id: claim for claim in CLAIMS}
PRESETS = pytest.mark.parametrize("preset", ["quick", "small", "gpu"])


def keys(config: StrongConfig) -> list[Row]:
    followed = [(s, "same path") for s in COMPARED] + [(s, "another path") for s in UNCOUPLED]
    return [{"solver": s, "path": p, "n_steps": n} for s, p in followed for n in config.steps]


def separated_keys(config: SeparatedConfig) -> list[Row]:
    return [{"n_steps": n} for n in config.steps]


def falling(row: Row, order: float) -> float:
    """n^−order, with an order that differs a little from seed to seed."""
    return float(row["n_steps"] ** -(order + 0.002 * (row["seed"] - 1)))


def of_order(order: float = 1.0, of: str = "", uncoupled: float = 0.0) -> Callable[[Row], dict[str, float]]:
    """Errors of first order, of another for the solver `of`, and on another path."""

    def plant(row: Row) -> dict[str, float]:
        if row["path"] == "another path":
            return {"rms": falling(row, uncoupled)}
        return {"rms": falling(row, order if of in ("", row["solver"]) else 1.0)}

    return plant


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    config = StrongConfig(steps=(12, 48), reference_steps=96, n_samples=150)
    (found,) = made(strong, config, (1,), (FakeRun(Path(tmp_path_factory.mktemp("strong"))),))
    return pd.DataFrame(found)


def test_on_the_same_path_errors_fall_and_on_another_they_do_not(rows: pd.DataFrame) -> None:
    for (solver, path), own in rows.groupby(["solver", "path"]):
        few, many = own.sort_values("n_steps")["rms"]
        if path == "another path":
            assert few / many == pytest.approx(1, abs=0.3)
            assert many > 0.2
        else:
            assert few / many > 2.5, solver
            assert many < 0.1
    assert rows.groupby("path")["solver"].unique().map(list).to_dict() == {
        "same path": list(COMPARED), "another path": list(UNCOUPLED),
    }  # fmt: skip


def test_with_two_modes_flips_make_nearly_all_of_the_square_error(tmp_path: Path) -> None:
    config = SeparatedConfig(steps=(16, 64), reference_steps=128, n_samples=1000)
    (found,) = made(separated, config, (1,), (FakeRun(tmp_path / "run"),))
    few, many = found
    assert 2 < few["flipped"] / many["flipped"] < 8
    assert few["rms"] ** 2 == pytest.approx(2.0**2 * few["flipped"], rel=0.25)
    assert 1.4 < few["rms"] / many["rms"] < 2.9


@PRESETS
def test_strong_orders_hold_at_one_and_fail_at_a_half(preset: str) -> None:
    def judged(claim: str, **orders: Any) -> str:
        return verdict(OF[claim], (strong, table(strong, preset, keys, of_order(**orders))))

    assert judged("strong-order") == judged("no-coupling") == "holds"
    assert judged("no-coupling", uncoupled=1.0) == "fails"
    assert {judged("strong-order", order=0.5, of=solver) for solver in COMPARED} == {"fails"}


@PRESETS
def test_separated_modes_hold_at_their_orders_alone(preset: str) -> None:
    def judged(rms: float = 0.5, mean_abs: float = 1.0, flipped: float = 1.0) -> str:
        orders = {"rms": rms, "mean_abs": mean_abs, "flipped": flipped}

        def plant(row: Row) -> dict[str, float]:
            return {name: falling(row, order) for name, order in orders.items()}

        return verdict(OF["separated-modes"], (separated, table(separated, preset, separated_keys, plant)))

    assert judged() == "holds"
    assert judged(rms=1.0) == judged(mean_abs=0.5) == judged(flipped=0.5) == "fails"


def test_the_figure_has_the_means_of_the_same_path_and_of_two_modes() -> None:
    one, two = table(strong, "quick", keys), table(separated, "quick", separated_keys)
    left, right = FIGURES[0].draw(MadeUp({strong: one, separated: two})).axes
    for solver in COMPARED:
        own = one[(one["solver"] == solver) & (one["path"] == "same path")].groupby("n_steps")["rms"].mean()
        (curve,) = lines(left, SOLVERS[solver].name)
        np.testing.assert_allclose(curve, np.stack([own.index, own], axis=1))
    for column, (name, _) in MODES.items():
        means = two.groupby("n_steps")[column].mean()
        (curve,) = lines(right, name)
        np.testing.assert_allclose(curve, np.stack([means.index, means], axis=1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StrongConfig(steps=(10,)), "twice each must divide"),
        (lambda: StrongConfig(n_samples=0), "n_samples"),
        (lambda: SeparatedConfig(steps=(10,)), "each must divide"),
        (lambda: SeparatedConfig(sigma_max=0.05), "sigma_max is 0.05"),
    ],
)
def test_settings_out_of_range_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
