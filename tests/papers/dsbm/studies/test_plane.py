"""The experiment in the plane: what it trains and is judged on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.dsbm.imf import zero_drift
from papers.dsbm.studies import plane as study
from papers.dsbm.studies.methods import Learned
from papers.dsbm.studies.plane import PlaneConfig, plane
from tests.papers.dsbm.cases import Recorder
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


def test_plane_runs_take_sigmas_factor_and_are_judged_on_other_points(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(Learned(2, "f", zero_drift, zero_drift, zero_drift))
    compared: list[Tensor] = []

    def w2(generated: Tensor, points: Tensor) -> float:
        compared.extend([generated, points])
        return 0.0

    monkeypatch.setattr(study, "learn", recorder)
    monkeypatch.setattr(study, "w2", w2)
    plane(PlaneConfig("DSBM-IMF", "moons-8gaussians", sigma_factor=0.5, n_test=10_000), 0, run)
    assert (recorder.config.sigma, recorder.config.inner_steps, recorder.config.passes) == (3.5, 1000, 8)
    flowed, truth, diffused, again = compared
    assert torch.equal(truth, again)
    assert not recorder.has(truth)
    assert not recorder.has(flowed)  # at zero velocity the flow ends where it starts
    # Without a drift the SDE adds noise of its σ: five standard errors of a variance over 20 000 coordinates.
    assert (diffused - flowed).var().item() == pytest.approx(3.5**2, rel=5 * (2 / 20_000) ** 0.5)
    plane(PlaneConfig("OT-CFM", "moons", n_test=100), 0, run)
    assert (recorder.config.inner_steps, recorder.config.passes) == (4000, 1)
