"""The checkerboard: which flow is followed from which noise, what is counted, and the claims and figures on tables."""

from __future__ import annotations

from collections.abc import Callable
from math import exp
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.flow_matching.path import OT
from papers.flow_matching.published import MIDPOINT_NFE
from papers.flow_matching.studies import checkerboard as study
from papers.flow_matching.studies.checkerboard import CLAIMS, FIGURES, FIXED_STEP, BoardConfig, board
from papers.flow_matching.studies.looks import METHODS
from papers.flow_matching.studies.plane import in_support, noise
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, lines, table, verdict, wobble

OF = {claim.id: claim for claim in CLAIMS}
DRAWN = {figure.name: figure.draw for figure in FIGURES}
GROWTH: dict[str, Callable[[float], float]] = {
    "euler": lambda h: 1 + h,
    "midpoint": lambda h: 1 + h + h**2 / 2,
    "rk4": lambda h: 1 + h + h**2 / 2 + h**3 / 6 + h**4 / 24,
}


@pytest.fixture
def growth(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Every method's flow is dx/dt = x, whose steps are known. Keeps what was to be learned."""
    seen: dict[str, Any] = {}
    objective = SimpleNamespace(loss="the loss of ddpm", path=OT(), velocity=lambda net: net)

    class Grows:
        def __call__(self, x: Tensor, t: Tensor) -> Tensor:
            return x

        def member(self, s: int) -> Grows:
            return self

    def learn(loss: Any, sample: Any, config: Any, seeds: Any, runs: Any) -> Grows:
        seen.update(loss=loss, batch=sample(5000, torch.Generator().manual_seed(0))[0], config=config, seeds=seeds)
        return Grows()

    monkeypatch.setattr(study, "OBJECTIVES", {"ddpm": objective})
    monkeypatch.setattr(study, "learn", learn)
    return seen


def test_rows_are_those_of_each_solver_from_each_seed_s_noise(growth: dict[str, Any], tmp_path: Path) -> None:
    config = BoardConfig(method="ddpm", budgets=(4, 8, 10), tolerances=(1e-1, 1e-5), n_samples=300)
    runs = tuple(FakeRun(tmp_path / str(s)) for s in range(2))
    both = made(board, config, (3, 8), runs)
    assert (growth["loss"], growth["config"], growth["seeds"]) == ("the loss of ddpm", config, (3, 8))
    assert float(in_support(growth["batch"])) == 1
    for x_0, rows, run in zip(noise(300, (3, 8)), both, runs, strict=True):
        size = float(x_0.square().mean().sqrt())
        fixed = [row for row in rows if row["solver"] in FIXED_STEP]
        budgets = [(row["solver"], row["nfe"]) for row in fixed]
        assert budgets == [*(("euler", n) for n in (4, 8, 10)), *(("midpoint", n) for n in (4, 8, 10)),
                           ("rk4", 4), ("rk4", 8)]  # fmt: skip
        for row in fixed:
            steps = row["nfe"] // FIXED_STEP[row["solver"]][1]
            grown = GROWTH[row["solver"]](1 / steps) ** steps
            # The exact flow has the error of 60 midpoint steps itself.
            assert row["rmse"] == pytest.approx(size * (exp(1) - grown), rel=1e-3, abs=2e-4)
            assert row["in_support"] == float(in_support(x_0 * grown))
        (converged,) = (row for row in rows if row["solver"] == "converged")
        assert converged["nfe"] == 120
        assert converged["in_support"] == pytest.approx(float(in_support(exp(1) * x_0)), abs=0.01)
        loose, tight = (row for row in rows if row["solver"] == "dopri5")
        assert (loose["tolerance"], tight["tolerance"]) == (1e-1, 1e-5)
        assert loose["nfe"] < tight["nfe"]
        for nfe in (4, 8, 10):
            shown = x_0.numpy() * GROWTH["midpoint"](2 / nfe) ** (nfe // 2)
            np.testing.assert_allclose(run.arrays[f"midpoint_{nfe}"], shown, rtol=1e-5)


def keys(config: BoardConfig) -> list[Row]:
    fixed = [{"solver": s, "nfe": n} for s, (_, per) in FIXED_STEP.items() for n in config.budgets if n % per == 0]
    adaptive = [{"solver": "dopri5", "tolerance": at, "nfe": 10 + 12 * k} for k, at in enumerate(config.tolerances)]
    return [*fixed, *adaptive, {"solver": "converged", "nfe": 2 * config.converged_steps}]


def support(lead: float, **exchanged: str) -> Callable[[Row], dict[str, float]]:
    """The methods in the paper's order, each `lead` ahead of the next."""
    order = ("fm-ot", "fm-vp", "ddpm", "score")

    def plant(row: Row) -> dict[str, float]:
        method = exchanged.get(row["method"].replace("-", "_"), row["method"])
        of_seed = 0.001 * (row["seed"] % 8) * (1 + order.index(row["method"]))
        return {"in_support": 0.8 - lead * order.index(method) + of_seed}

    return plant


SWAPPED = {"fm_ot": "fm-vp", "fm_vp": "fm-ot"}
JUDGED = [(claim, preset) for claim in CLAIMS for preset in claim.presets]


@pytest.mark.parametrize(("claim", "preset"), JUDGED, ids=lambda value: getattr(value, "id", value))
def test_a_claim_holds_in_the_paper_s_order_and_fails_with_the_diffusion_path_in_ot_s_place(
    claim: Any, preset: str
) -> None:
    ahead, behind, close = (
        table(board, preset, keys, plant) for plant in (support(0.1), support(0.1, **SWAPPED), support(0.02))
    )
    assert verdict(claim, (board, ahead)) == "holds"
    assert verdict(claim, (board, behind)) == "fails"
    assert verdict(claim, (board, close)) == ("fails" if claim.id in ("board-few", "board-four") else "holds")


@pytest.mark.parametrize(("claim", "preset"), JUDGED, ids=lambda value: getattr(value, "id", value))
def test_numbers_that_are_made_up_meet_no_claim(claim: Any, preset: str) -> None:
    assert verdict(claim, (board, table(board, preset, keys))) != "holds"


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_curves_are_means_over_seeds_of_their_solver_and_method(preset: str) -> None:
    rows_of = table(
        board, preset, keys, lambda row: {"in_support": 0.5 + 0.01 * wobble(row) + hash(row["solver"]) % 7 / 50}
    )
    for panel, solver in zip(DRAWN["support"](MadeUp({board: rows_of})).axes, ("midpoint", "euler"), strict=True):
        shown = [method for method in METHODS if (rows_of["method"] == method).any()]
        assert [line.get_label() for line in panel.lines] == [METHODS[method].name for method in shown]
        for method in shown:
            rows = rows_of[(rows_of["method"] == method) & (rows_of["solver"] == solver)]
            (curve,) = lines(panel, METHODS[method].name)
            np.testing.assert_allclose(curve, rows.groupby("nfe")["in_support"].mean().reset_index().to_numpy())


def test_clouds_are_those_of_the_first_seed_one_row_for_each_method() -> None:
    first = board.presets["small"].first
    tables = {board: table(board, "small", keys)}

    def arrays(run: Row) -> dict[str, np.ndarray]:
        height = list(METHODS).index(run["method"]) + 0.1 * run["seed"]
        return {f"midpoint_{nfe}": np.full((4, 2), height + 0.01 * nfe) for nfe in MIDPOINT_NFE}

    panels = DRAWN["checkerboard"](MadeUp(tables, arrays)).axes
    assert [panel.get_title() for panel in panels] == [METHODS[method].name for method in study.COMPARED]
    for panel, method in zip(panels, study.COMPARED, strict=True):
        assert [text.get_text() for text in panel.get_xticklabels()] == [f"NFE {nfe}" for nfe in MIDPOINT_NFE]
        for cloud, nfe in zip(panel.collections, MIDPOINT_NFE, strict=True):
            height = list(METHODS).index(method) + 0.1 * first + 0.01 * nfe
            np.testing.assert_allclose(np.asarray(cloud.get_offsets())[:, 1], height)
            assert cloud.get_rasterized()


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"method": "edm"}, "method is one of"), ({"budgets": (4, 0)}, "budgets"), ({"lr": -1.0}, "lr")],
)
def test_settings_out_of_range_are_named(fields: Row, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BoardConfig(**fields)
