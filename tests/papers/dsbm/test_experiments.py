"""DSBM's experiments: their exact rows against the paper's numbers, their measurements on oracles, and tiny runs."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from common.harness.runs.plan import plan
from common.harness.studies.errors import UsageError
from papers.dsbm import experiments_gaussian, experiments_plane
from papers.dsbm.experiments_exact import (
    EulerConfig,
    IteratesConfig,
    LimitsConfig,
    exact_euler,
    exact_iterates,
    exact_limits,
)
from papers.dsbm.experiments_gaussian import (
    SCALED,
    SIGMA,
    A,
    coupling_row,
    drift_error,
    exact_iterates_of,
    gaussian,
    mean_kl,
    path_of,
    samples,
)
from papers.dsbm.experiments_plan import PlanConfig, Truth, compare, plan_distance, rms
from papers.dsbm.experiments_plane import PlaneConfig, plane
from papers.dsbm.experiments_transfer import TransferConfig, transfer
from papers.dsbm.gaussian import imf, independent_bridge, ipf, schrodinger_bridge, unit_gaussians
from papers.dsbm.imf import IMFConfig, zero_drift
from papers.dsbm.methods import METHODS, Learned, learn
from papers.dsbm.paper import PAPER
from papers.dsbm.process import reversed_flow, simulate
from tests.papers.dsbm.cases import doubled, generator
from tests.papers.fake_run import FakeRun


def test_exact_rows_have_the_papers_iterates(run: FakeRun) -> None:
    table = pd.DataFrame(exact_iterates(IteratesConfig(sigmas=(1.0,), iterates=4, identities=1), 0, run))
    unit = table[table["pair"] == "unit"].set_index(["method", "iterate"])
    assert unit.loc["imf"]["correlation"].tolist() == pytest.approx([0, 0.5463, 0.6111, 0.6174, 0.6180], abs=5e-5)
    assert unit.loc["ipf"]["correlation"].tolist() == pytest.approx([1, 1 / 2, 2 / 3, 3 / 5, 5 / 8], abs=1e-9)
    assert unit.loc["ipf"]["var_0"].tolist() == pytest.approx([1, 0.75, 1, 0.96, 1], abs=1e-9)
    assert unit.loc["imf"][["var_0", "var_1"]].to_numpy() == pytest.approx(1, abs=1e-12)


def test_discretisation_alone_is_what_simulated_exact_drifts_do(run: FakeRun) -> None:
    """By draws, with 400 000 points of one dimension; and with fine steps the exact iterates again."""
    ends, n = unit_gaussians(1, A), 400_000

    def rows(steps: int) -> dict[tuple[object, object], tuple[float, float, float]]:
        found = exact_euler(EulerConfig(passes=3, steps=steps), 0, run)
        columns = ("correlation", "var_free", "mean_free")
        return {(r["method"], r["pass_number"]): tuple(float(r[c]) for c in columns) for r in found}  # type: ignore[misc]

    coarse, fine = rows(20), rows(4000)
    iterates = {"ipf": ipf(*ends, SIGMA), "imf": imf(independent_bridge(*ends, SIGMA))}
    for method, found in iterates.items():
        for number, (before, exact) in enumerate(islice(pairwise(found), 3), 1):
            backward = number % 2 == 1
            drift = before.backward_drift if backward else before.forward_drift
            start = torch.randn(n, 1, generator=generator(number), dtype=torch.float64) + (A if backward else -A)
            end = simulate(drift, start, SIGMA, 20, generator(7), "b" if backward else "f")
            correlation, variance, mean = coarse[method, number]
            joint = torch.cat([start, end], dim=1).T.cov()
            assert float(joint[0, 1]) == pytest.approx(correlation, abs=5 * 1.5 / n**0.5)
            assert float(joint[1, 1]) == pytest.approx(variance, abs=5 * (2 / n) ** 0.5 * variance)
            assert float(end.mean()) == pytest.approx(mean, abs=5 * 1.1 / n**0.5)
            free = (exact.cov_0, exact.mean_0) if backward else (exact.cov_1, exact.mean_1)
            wanted = (float(exact.cross), float(free[0]), float(free[1]))
            assert fine[method, number] == pytest.approx(wanted, abs=1e-3)


def test_limits_go_where_the_paper_says(run: FakeRun) -> None:
    table = pd.DataFrame(exact_limits(LimitsConfig(sigmas=(0.01, 100.0)), 0, run))
    little, much = (table[table["sigma"] == sigma].set_index("pair") for sigma in (0.01, 100.0))
    assert (little[["first_to_rectified", "bridge_to_transport"]].to_numpy() < 1e-3).all()
    assert (much["bridge_to_independent"] < 1e-3).all()
    # Rectified flow is optimal transport after one pass in one dimension, and not in general.
    size = little["first_to_independent"]
    assert size["unit"] == pytest.approx(1, abs=1e-3)
    assert abs(size["general"] - 1) > 0.1


def test_the_exact_drift_measures_as_the_exact_bridge() -> None:
    # Simulated with 20 steps of Euler's: the endpoint has variance 1.0156 and the covariance is .618 (by the recursion
    # of a linear chain), each within five standard errors over 10 000 points and two coordinates.
    ends = unit_gaussians(2, A)
    bridge = schrodinger_bridge(*ends, SIGMA)
    for direction, drift in (("f", bridge.forward_drift), ("b", bridge.backward_drift)):
        learned = Learned(1, direction, doubled(drift), None, None)  # type: ignore[arg-type]
        path = path_of(learned, *samples(ends, 10_000, generator()), generator(1))
        row = coupling_row(path, bridge)
        assert row["var_1" if direction == "f" else "var_0"] == pytest.approx(1.0156, abs=5 * (2 / 20_000) ** 0.5)
        assert row["correlation"] == pytest.approx(0.618, abs=5 * (1.4 / 20_000) ** 0.5)
        assert (row["mean_0"], row["mean_1"]) == pytest.approx((-A, A), abs=5 / 20_000**0.5)
        # 2 D/(2n) is the bias of the fit, 0.2e-3; Euler's error adds (0.0156/2)² D at the end, 0.12e-3, less before.
        assert mean_kl(path, bridge, diagonal=True) < 1.0


def test_another_coupling_is_told_from_the_bridge() -> None:
    # The independent coupling's variance at t = ½ is 3/4 and the bridge's 1.059: KL is largest there.
    ends = unit_gaussians(2, A)
    bridge, other = schrodinger_bridge(*ends, SIGMA), independent_bridge(*ends, SIGMA)
    times = torch.linspace(0, 1, 21, dtype=torch.float64)
    x_0, x_1 = other.sample(10_000, generator())
    eps = torch.randn(21, *x_0.shape, generator=generator(1), dtype=x_0.dtype)
    t = times[:, None, None]
    path = (1 - t) * x_0 + t * x_1 + (t * (1 - t)).sqrt() * eps
    ratios = [other.cov(float(s))[0, 0] / bridge.cov(float(s))[0, 0] for s in times]
    expected = 1e3 * float(sum(ratio - 1 - ratio.log() for ratio in ratios)) / 21  # two coordinates, ½ each
    assert mean_kl(path, bridge, diagonal=True) == pytest.approx(expected, rel=0.1)


def test_the_error_of_a_drift_is_relative() -> None:
    bridge = independent_bridge(*unit_gaussians(3, A), SIGMA)
    for scale in (1.0, 1.3):
        scaled = lambda x, t, s=scale: (s * bridge.forward_drift(x.double(), t)).float()  # noqa: E731
        assert drift_error(scaled, bridge, True, generator()) == pytest.approx(scale - 1, abs=1e-5)
    assert drift_error(doubled(bridge.forward_drift), bridge, False, generator()) > 0.5


def test_every_method_is_compared_with_its_own_iterates() -> None:
    ends = unit_gaussians(1, A)
    first = {method: [b.cross.item() for b in islice(exact_iterates_of(method, ends), 3)] for method in METHODS}
    for method in ("DSB", "DSBM-IPF"):
        assert first[method] == pytest.approx([1, 1 / 2, 2 / 3])
    for method in ("DSBM-IMF", "IMF-b"):
        assert first[method] == pytest.approx([0, 0.5463, 0.6111], abs=5e-5)
    assert first["SB-CFM"] == pytest.approx([0.6180] * 3, abs=5e-5)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_and_is_repeatable(method: str) -> None:
    config = IMFConfig(1.0, 4, passes=2, inner_steps=40, batch=32, lr=1e-2, cache=64, refresh_every=40)
    x_0, x_1 = torch.randn(64, 2, generator=generator()), torch.randn(64, 2, generator=generator(1)) + 4
    x = torch.randn(5, 2, generator=generator(2)) + 2

    def flow() -> torch.Tensor:
        *_, last = learn(method, x_0, x_1, config, generator(3))
        velocity = last.flow or reversed_flow(last.backward or zero_drift)  # IMF-b has no ODE
        assert (last.backward is None) == (method in ("SB-CFM", "OT-CFM", "CFM", "FM", "RF"))
        with torch.no_grad():
            return velocity(x, torch.tensor(0.5))

    assert torch.equal(flow(), flow())
    assert (flow() > 0).all()  # from π_0 to π_1, whatever its networks run


@pytest.mark.parametrize("method", ["DSBM-IMF", "DSBM-IPF"])
def test_exact_passes_measure_as_exact(method: str, run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    # Passes that have the exact drifts in place of networks: pass n is the projection of iterate n - 1, and its
    # coupling is iterate n.
    def exact_passes(method: str, *_: object) -> Any:
        for number, before in enumerate(islice(exact_iterates_of(method, unit_gaussians(2, A)), 3), 1):
            backward = number % 2 == 1
            drift = before.backward_drift if backward else before.forward_drift
            yield Learned(number, "b" if backward else "f", doubled(drift), None, None)

    monkeypatch.setattr(experiments_gaussian, "learn", exact_passes)
    rows = gaussian(replace(SCALED, method=method, dim=2, passes=3), 0, run)
    assert len(rows) == 3
    for row in rows:
        assert row["drift_error"] == pytest.approx(0, abs=1e-5)
        for name in ("correlation", "var_0", "var_1", "mean_0", "mean_1"):
            # Five standard errors over 20 000 coordinates of variance up to 1.1, and 0.03 for 20 steps of Euler's.
            assert row[name] == pytest.approx(row[f"exact_{name}"], abs=5 * 1.1 * (2 / 20_000) ** 0.5 + 0.03), name
    # The projection of the independent coupling has its variance at t = ½, 3/4, for the bridge's 1.059: far off in KL.
    assert float(rows[0]["kl_diagonal"]) > 5 * float(rows[2]["kl_diagonal"])


def test_the_energy_is_taken_where_the_path_was(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    # v(x, t) = (2t, 0): twenty steps from t = 1 see t = 1, 0.95, …, 0.05 and move by -Σ 2t/20 = -1.05.
    def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return 2 * t * torch.tensor([1.0, 0.0]).expand_as(x)

    monkeypatch.setattr(experiments_plane, "trained", lambda *_: Learned(1, "f", None, None, velocity))
    (row,) = plane(PlaneConfig("CFM", "moons", n_test=250), 0, run)
    assert row["path_energy"] == pytest.approx(sum(4 * (k / 20) ** 2 for k in range(1, 21)) / 20, rel=1e-5)
    moved = run.arrays["flow_path"][-1] - run.arrays["flow_path"][0]
    assert moved == pytest.approx(np.tile([-1.05, 0.0], (200, 1)), abs=1e-5)


def test_a_short_training_finds_the_bridge_in_one_dimension(run: FakeRun) -> None:
    # Far from converged at 300 steps a pass, yet the covariance is that of the bridge and not of either start (0 or 1).
    rows = gaussian(replace(SCALED, dim=1, passes=3, inner_steps=200, refresh_every=200), 0, run)
    assert [row["direction"] for row in rows] == ["b", "f", "b"]
    assert [row["final"] for row in rows] == [False, False, True]
    assert float(rows[-1]["correlation"]) == pytest.approx(0.618, abs=0.1)
    assert run.arrays["fitted_var"].shape == run.arrays["exact_var"].shape == (21,)
    assert run.arrays["exact_var"][10] == pytest.approx(0.5 + 0.5 * 0.618 + 0.25, abs=1e-3)


def test_a_plane_run_starts_in_pi_1_and_ends_near_pi_0(run: FakeRun) -> None:
    config = PlaneConfig("DSBM-IMF", "8gaussians", passes=2, inner_steps=150, refresh_every=150, n_test=300)
    (row,) = plane(config, 0, run)
    assert set(row) == {"w2", "w2_sde", "path_energy", "n"}
    start, end = run.arrays["flow_path"][0], run.arrays["flow_path"][-1]
    assert abs(start.std() - 1) < 0.2  # N(0, I), where the eight Gaussians have 3.7
    assert end.std() > 2.5
    assert (run.arrays["data_1"][:200] == start).all()


def test_the_true_plan_is_at_its_floor_and_another_coupling_is_not() -> None:
    ends, sigma, n = unit_gaussians(2, 1.0), 1.0, 600
    bridge = schrodinger_bridge(*ends, sigma)
    x_0, x_1 = samples(ends, n, generator())
    truth = Truth.of(x_0, x_1, sigma)
    config = PlanConfig("DSBM-IMF", sigma, n_test=n, repeats=8)
    right = compare(Learned(1, "f", doubled(bridge.forward_drift), None, None), truth, config, generator(1))
    sibling = Truth.of(x_0, samples(ends, n, generator(2))[1], sigma)
    exact_floor = rms(truth.mean() - sibling.mean())
    floor = rms(truth.mean() - sibling.drawn_mean(8, generator(3)))
    # The mean of eight ends has a standard error of √(Var(x_1 | x_0)/8), Var = 1 - .618² for either coordinate.
    noise = (2 * (1 - 0.618**2) / 8) ** 0.5
    assert floor == pytest.approx((exact_floor**2 + noise**2) ** 0.5, rel=0.1)
    assert right["map_error"] == pytest.approx(floor, rel=0.2)
    crossed = compare(Learned(1, "f", lambda x, t: -2 * x, None, None), truth, config, generator(1))
    assert crossed["map_error"] > 3 * right["map_error"]
    assert crossed["joint_w2"] > 2 * right["joint_w2"]


def test_plan_distance_has_a_row_for_every_pass(run: FakeRun) -> None:
    rows = plan_distance(PlanConfig("DSBM-IPF", 2.0, passes=2, inner_steps=5, n_test=60, repeats=2), 0, run)
    assert [(row["pass_number"], row["direction"]) for row in rows] == [(1, "b"), (2, "f")]


def test_transfer_runs_on_digits(run: FakeRun) -> None:
    config = TransferConfig(
        "DSBM-IMF", "digits", passes=2, first_steps=2, inner_steps=2, batch=8, width=8, levels=2, steps=2, cache=16,
        refresh_every=2, n_test=70,
    )  # fmt: skip
    rows = transfer(config, 0, run)
    assert [row["direction"] for row in rows] == ["b", "f"]
    assert run.arrays["transferred_b"].shape == (32, 1, 8, 8)
    assert (run.folder / "drift_b.safetensors").exists()


@pytest.mark.parametrize(
    ("experiment", "fields", "message"),
    [
        ("gaussian", {"method": "ddpm"}, "method is one of"),
        ("gaussian", {"dim": "0"}, "dim is at least 1, not 0"),
        ("gaussian", {"lr": "0"}, "lr is 0.0; it must be positive"),
        ("plane", {"task": "rings"}, "task is one of moons, scurve, 8gaussians, moons-8gaussians, not 'rings'"),
        ("plane", {"sigma_factor": "-1"}, "sigma_factor is -1.0; it must be positive"),
        ("plane", {"passes": "1"}, "passes is at least 2, not 1"),
        ("exact_iterates", {"sigmas": "1,0"}, "it must be positive"),
    ],
)
def test_bad_input_is_named(experiment: str, fields: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(PAPER, "quick", only=[experiment], overrides=fields)
