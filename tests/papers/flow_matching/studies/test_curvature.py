"""Curvature: closed forms, the pairs that a network is trained on, and the claims and figures on tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from common.transport.coupling import independent, minibatch_ot
from papers.flow_matching.objective import cfm_loss
from papers.flow_matching.path import OT
from papers.flow_matching.solvers import grid
from papers.flow_matching.studies import curvature as study
from papers.flow_matching.studies.curvature import (
    CLAIMS,
    COMPARED,
    FIGURES,
    LAWS,
    PairedConfig,
    TrajectoryConfig,
    curvature_of,
    paired_loss,
    pairing,
    pooled,
    trajectories,
)
from papers.flow_matching.studies.looks import PATHS
from papers.flow_matching.studies.plane import EXACT_PATHS, noise
from tests.papers.fake_run import FakeRun
from tests.papers.flow_matching.cases import randn, seeded
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, lines, shows, table, verdict, wobble

OF = {claim.id: claim for claim in CLAIMS}
DRAWN = {figure.name: figure.draw for figure in FIGURES}


def test_a_straight_line_at_constant_speed_has_no_curvature_and_others_have_theirs() -> None:
    t, v = torch.linspace(0, 1, 2001, dtype=torch.float64), randn(3, 7, 2)
    ones = t[:, None, None, None]
    torch.testing.assert_close(curvature_of(t, 5 + ones * v), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-12)
    # The speed 2t has the variance 1/3; half a circle of radius 1 has the energy π² over a squared way of 4.
    accelerated = curvature_of(t, ones**2 * v)
    torch.testing.assert_close(accelerated, torch.full((3,), 1 / 3, dtype=torch.float64), rtol=1e-5, atol=0)
    angle = torch.pi * t
    circle = torch.stack([angle.cos(), angle.sin()], -1)[:, None, None]
    assert float(curvature_of(t, circle)) == pytest.approx(torch.pi**2 / 4 - 1, rel=1e-5)
    # Neither the unit of time nor that of length matters.
    torch.testing.assert_close(curvature_of(3 * t, 7 * ones**2 * v), accelerated)


def test_conditional_trajectories_are_those_of_the_path(tmp_path: Path) -> None:
    """OT's are straight; VP's have the energy of σ' x_0 + m' x_1, averaged over t."""
    found: dict[str, Row] = {}
    for path in COMPARED:
        runs = tuple(FakeRun(tmp_path / f"{path}{s}") for s in range(2))
        config = TrajectoryConfig(path, "digits", steps=150, n_samples=60)
        rows, _ = made(trajectories, config, (3, 8), runs)
        found |= {f"{path} {row['trajectories']}": row for row in rows}
        assert runs[0].arrays["marginal"].shape[0] == config.steps + 1
        np.testing.assert_array_equal(
            runs[1].arrays["marginal"][0],
            noise(config.n_samples, (8,), dim=runs[1].arrays["marginal"].shape[-1])[0, :60].float(),
        )
    assert abs(float(found["ot conditional"]["curvature"])) < 1e-9
    t, vp = grid(EXACT_PATHS["vp"], 20_000), EXACT_PATHS["vp"]
    points = study.digits().x0[: study.N_DIGITS].double()
    power = float(points.square().mean())
    energy = torch.trapezoid(vp.sigma_dot(t).square() + power * vp.mean_scale_dot(t).square(), t)
    way = (vp.sigma(t[-1]) - vp.sigma(t[0])) ** 2 + power * (vp.mean_scale(t[-1]) - vp.mean_scale(t[0])) ** 2
    expected = float(energy * t[-1] / way - 1)
    assert found["vp conditional"]["curvature"] == pytest.approx(expected, rel=0.1)


def test_marginal_trajectories_are_not_straight(tmp_path: Path) -> None:
    config = TrajectoryConfig("ot", "digits", steps=60, n_samples=20)
    (rows,) = made(trajectories, config, (3,), (FakeRun(tmp_path / "run"),))
    (marginal,) = (row for row in rows if row["trajectories"] == "marginal")
    assert marginal["curvature"] > 0.05


def test_pairs_come_from_the_pool_that_a_generator_drew_for_itself() -> None:
    sample, (first, second) = pooled(independent, 16), (seeded(1), seeded(2))
    x_1, cond = sample(400, first)
    pairs = torch.cat([x_1, cond["x_0"]], 1).unique(dim=0)
    assert len(pairs) == 16
    again, _ = sample(400, first)
    assert torch.isin(again, x_1).all()
    other, _ = sample(400, second)
    assert not torch.isin(other, x_1).any()


def test_optimal_pairs_are_nearer_than_independent_ones() -> None:
    def cost(couple: Any) -> float:
        x_1, cond = pooled(couple, 512)(4000, seeded())
        return float((x_1 - cond["x_0"]).square().sum(1).mean())

    assert cost(independent) == pytest.approx(4, rel=0.1)  # two independent points of unit variance, in the plane
    assert cost(minibatch_ot(256)) < 0.5


def test_the_loss_is_cfm_s_on_the_given_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    x_0, x_1, t = randn(2, 5, 2), randn(2, 5, 2, seed=1), torch.rand(2, 5, dtype=torch.float64)
    monkeypatch.setattr(study, "uniform", lambda shape, generator, **others: t if shape == (2, 5) else None)

    def net(x: Tensor, t: Tensor) -> Tensor:
        return x.sin() * t[..., None]

    found = paired_loss(net, x_1, (seeded(), seeded(1)), x_0=x_0)
    torch.testing.assert_close(found, cfm_loss(net, x_0, x_1, t, path=OT()))


@pytest.mark.parametrize("among", [1, 4])
def test_a_network_is_trained_on_its_pairs_and_judged_on_its_trajectories(
    among: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def learn(loss: Any, sample: Any, config: Any, seeds: Any, runs: Any) -> Any:
        seen.update(loss=loss, batch=sample(600, seeded()))
        return lambda x, t: x

    monkeypatch.setattr(study, "learn", learn)
    runs = tuple(FakeRun(tmp_path / str(s)) for s in range(2))
    config = PairedConfig(among=among, pool=64, converged_steps=400, n_samples=30)
    for rows, x_0 in zip(made(pairing, config, (3, 8), runs), noise(30, (3, 8)), strict=True):
        (row,) = rows
        # x grows as e^t: E ∫ |x'|² over the squared way is (e² − 1)/2 / (e − 1)².
        assert row["curvature"] == pytest.approx((np.e**2 - 1) / 2 / (np.e - 1) ** 2 - 1, rel=1e-3)
        assert row["euler_error"] == pytest.approx(float(x_0.square().mean().sqrt()) * (np.e - 1.25**4), rel=1e-3)
    assert seen["loss"] is paired_loss
    x_1, cond = seen["batch"]
    near = float((x_1 - cond["x_0"]).square().sum(1).mean())
    assert (near < 2.5) == (among == 4)


def keys(config: TrajectoryConfig) -> list[Row]:
    return [{"trajectories": name} for name in ("conditional", "marginal")]


def curved(**curvatures: float) -> Callable[[Row], dict[str, float]]:
    """By path and kind of trajectories."""
    return lambda row: {"curvature": curvatures[f"{row['path']}_{row['trajectories']}"] * wobble(row)}


TRUE = curved(ot_conditional=1e-16, ot_marginal=0.15, vp_conditional=0.9, vp_marginal=1.1)
FALSE = {
    "curvature": curved(ot_conditional=0.9, ot_marginal=1e-16, vp_conditional=1e-16, vp_marginal=0.15),
    "straighter": curved(ot_conditional=1e-16, ot_marginal=1.1, vp_conditional=0.9, vp_marginal=1.1),
}


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
@pytest.mark.parametrize("claim", ["curvature", "straighter"])
def test_claims_on_exact_trajectories(claim: str, preset: str) -> None:
    assert verdict(OF[claim], (trajectories, table(trajectories, preset, keys, TRUE))) == "holds"
    assert verdict(OF[claim], (trajectories, table(trajectories, preset, keys, FALSE[claim]))) == "fails"


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
def test_mini_batch_pairs_straighten_or_do_not(preset: str) -> None:
    for power, expected in ((0.5, "holds"), (0.0, "fails")):

        def plant(row: Row, power: float = power) -> dict[str, float]:
            return {"curvature": row["among"] ** -power * wobble(row)}

        rows = table(pairing, preset, lambda config: [{}], plant)
        assert verdict(OF["mini-batch-ot"], (pairing, rows)) == expected


def made_up(preset: str, arrays: Callable[[Row], Any] = dict) -> tuple[MadeUp, dict[Any, Any]]:
    tables = {trajectories: table(trajectories, preset, keys), pairing: table(pairing, preset, lambda config: [{}])}
    return MadeUp(tables, arrays), tables


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_trajectories_are_those_of_their_panel(preset: str) -> None:
    def arrays(run: Row) -> dict[str, np.ndarray]:
        level = (
            (10 if run.get("path") == "vp" else 20)
            + run["seed"]
            + 100 * (run.get("law") == "digits")
            + run.get("among", 0)
        )
        line = np.linspace(0, 1, 41)[:, None, None] * np.ones((1, 3, 2))
        return {name: line + level + 0.1 * k for k, name in enumerate(("conditional", "marginal", "trajectories"))}

    results, _ = made_up(preset, arrays)
    panels = DRAWN["trajectories"](results).axes
    assert [panel.get_title() for panel in panels] == [
        "OT, conditional", "OT, exact field", "VP, exact field", "OT, network, pairs among 256",
    ]  # fmt: skip
    for panel, level in zip(panels, (20, 20.1, 10.1, 276.2), strict=True):
        assert np.asarray(panel.lines[0].get_ydata())[0] == pytest.approx(level)


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_curvatures_are_means_over_seeds(preset: str) -> None:
    results, tables = made_up(preset)
    left, right = DRAWN["curvature"](results).axes
    rows = tables[trajectories][tables[trajectories]["trajectories"] == "marginal"]
    for place, law in enumerate(LAWS):
        for path, shift in (("ot", -0.12), ("vp", 0.12)):
            values = rows[(rows["law"] == law) & (rows["path"] == path)]["curvature"]
            assert shows(left, [[place + shift, np.exp(np.log(values).mean())]], PATHS[path].colour)
    (curve,) = lines(right, PATHS["ot"].name)
    np.testing.assert_allclose(curve, tables[pairing].groupby("among")["curvature"].mean().reset_index().to_numpy())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TrajectoryConfig("ve", "mixture"), "path is one of"),
        (lambda: TrajectoryConfig("ot", "moons"), "law is one of"),
        (lambda: PairedConfig(among=0), "among"),
        (lambda: PairedConfig(among=64, pool=32), "pool"),
    ],
)
def test_settings_out_of_range_are_named(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
