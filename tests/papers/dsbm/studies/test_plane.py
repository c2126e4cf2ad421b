"""The experiment in the plane: what it trains and is judged on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.dsbm.dsb import zero_drift
from papers.dsbm.process import Drift
from papers.dsbm.studies import plane as study
from papers.dsbm.studies.energy import SWEEP, plane_sigma
from papers.dsbm.studies.methods import AVERAGED, TRAIN, Learned, N
from papers.dsbm.studies.plane import MIXED, PlaneConfig, PlaneFloorConfig, plane, plane_floor
from papers.dsbm.studies.tasks import TASKS, plane_network
from tests.papers.dsbm.cases import Recorder, is_stream
from tests.papers.fake_run import FakeRun


def test_the_energy_is_taken_where_the_path_was(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    # v(x, t) = (2t, 0): twenty steps from t = 1 see t = 1, 0.95, …, 0.05 and move by -Σ 2t/20 = -1.05.
    def velocity(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return 2 * t * torch.tensor([1.0, 0.0]).expand_as(x)

    monkeypatch.setattr(study, "trained", lambda *_: Learned(1, "f", None, None, velocity))
    (row,) = plane(PlaneConfig("CFM", "moons", n_test=250), 0, run)
    assert row["path_energy"] == pytest.approx(sum(4 * (k / 20) ** 2 for k in range(1, 21)) / 20, rel=1e-5)
    moved = run.arrays["flow_path"][-1] - run.arrays["flow_path"][0]
    assert moved == pytest.approx(np.tile([-1.05, 0.0], (200, 1)), abs=1e-5)


def test_a_plane_run_starts_in_pi_1_and_ends_near_pi_0(run: FakeRun) -> None:
    config = PlaneConfig("DSBM-IMF", "8gaussians", passes=2, inner_steps=150, refresh_every=150, n_test=300)
    (row,) = plane(config, 0, run)
    assert set(row) == {"w2", "w2_sde", "path_energy", "n"}
    start, end = run.arrays["flow_path"][0], run.arrays["flow_path"][-1]
    assert abs(start.std() - 1) < 0.2  # N(0, I), where the eight Gaussians have 3.7
    assert end.std() > 2.5
    assert (run.arrays["data_1"][:200] == start).all()


Compared = list[tuple[Tensor, Tensor]]


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Compared:
    """What W2 was taken between; the first distance is 1, the second 2, and so on."""
    seen: Compared = []

    def w2(generated: Tensor, points: Tensor) -> float:
        seen.append((generated, points))
        return float(len(seen))

    monkeypatch.setattr(study, "w2", w2)
    return seen


def recorded(monkeypatch: pytest.MonkeyPatch, *learned: Learned) -> Recorder:
    recorder = Recorder(*learned)
    monkeypatch.setattr(study, "learn", recorder)
    return recorder


def test_plane_runs_take_sigmas_factor_and_are_judged_on_other_points(
    run: FakeRun, compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    early, last = Learned(1, "b", None, None, None), Learned(2, "f", zero_drift, zero_drift, zero_drift)
    recorder = recorded(monkeypatch, early, last)
    config = PlaneConfig("DSBM-IMF", MIXED, sigma_factor=0.5, n_test=10_000, lr=0.7, refresh_every=77)
    (row,) = plane(config, 3, run)
    made = recorder.config
    assert (made.sigma, made.steps, made.inner_steps, made.passes) == (3.5, 20, 1000, 8)
    assert (made.lr, made.refresh_every, made.ema_halflife, made.cache, made.batch) == (0.7, 77, AVERAGED, N, 128)
    assert (recorder.method, recorder.net) == ("DSBM-IMF", plane_network)
    assert (len(recorder.x_0), len(recorder.x_1)) == (N, N)
    assert is_stream(recorder.generator, 3, TRAIN)
    # π_0, the eight Gaussians, has a hole in its middle; π_1, the moons, is around 0 with the spread 7.
    assert float(recorder.x_0.norm(dim=1).median()) == pytest.approx(12, abs=0.5)
    assert float(recorder.x_1.std()) == pytest.approx(7, abs=0.2)
    (flowed, truth), (diffused, again) = compared
    assert (row["w2"], row["w2_sde"], row["n"]) == (1.0, 2.0, 10_000)
    assert torch.equal(truth, again)
    assert float(truth.norm(dim=1).median()) == pytest.approx(12, abs=0.5)
    assert not recorder.has(truth)
    assert not recorder.has(flowed)  # at zero velocity the flow ends where it starts
    assert float(flowed.std()) == pytest.approx(7, abs=0.2)
    # Without a drift the SDE adds noise of its σ: five standard errors of a variance over 20 000 coordinates.
    assert (diffused - flowed).var().item() == pytest.approx(3.5**2, rel=5 * (2 / 20_000) ** 0.5)
    plane(PlaneConfig("OT-CFM", "moons", n_test=100), 0, run)
    assert (recorder.config.inner_steps, recorder.config.passes, recorder.config.sigma) == (4000, 1, 1.0)


def test_the_sde_is_that_of_the_last_backward_drift_and_the_ode_runs_from_pi_1(
    run: FakeRun, compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drifts that say who they are: the backward one moves by 100, the velocity, run backwards, by −10."""

    def constant(value: float) -> Drift:
        return lambda x, t: torch.full_like(x, value)

    recorded(monkeypatch, Learned(2, "f", constant(1.0), constant(100.0), constant(10.0)))
    plane(PlaneConfig("DSBM-IMF", "moons", n_test=4000), 0, run)
    (flowed, _), (diffused, _) = compared
    start = torch.as_tensor(run.arrays["data_1"])
    assert torch.allclose(flowed[:500], start - 10, atol=1e-4)
    assert float((diffused[:, 0] - flowed[:, 0]).mean()) == pytest.approx(110, abs=5 / 4000**0.5)
    assert (run.arrays["flow_path"][0] == run.arrays["data_1"][:200]).all()
    assert np.allclose(run.arrays["generated"], flowed[:500])
    assert np.allclose(run.arrays["sde_generated"], diffused[:500])


def test_the_floor_compares_the_test_points_of_its_seed_with_others(
    run: FakeRun, compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded(monkeypatch, Learned(2, "f", None, None, zero_drift))
    for seed in (0, 1):
        plane(PlaneConfig("CFM", "8gaussians", n_test=300), seed, run)
        (row,) = plane_floor(PlaneFloorConfig("8gaussians", 300), seed, run)
        assert (row["w2"], row["n"]) == (len(compared), 300)
    (_, truth), (tested, others), (_, other_seed), _ = compared
    assert torch.equal(truth, tested)
    for points in (others, other_seed):
        assert not torch.isin(points, truth).any()
        assert float(points.norm(dim=1).median()) == pytest.approx(5, abs=0.5)


def test_the_sweep_is_the_same_run_at_another_sigma(
    run: FakeRun, compared: Compared, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = recorded(monkeypatch, Learned(2, "f", None, None, zero_drift))
    for config in SWEEP:
        plane_sigma(config, 0, run)
        assert recorder.config.sigma == TASKS[config.task].sigma * config.sigma_factor
    assert {(config.method, config.task) for config in SWEEP} == {("DSBM-IMF", "moons"), ("DSBM-IMF", MIXED)}
    assert {config.sigma_factor for config in SWEEP} == {0.25, 0.5, 2.0}
