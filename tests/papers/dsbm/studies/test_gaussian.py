"""The Gaussian experiment: what it trains and is judged on, on exact passes and a short training."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor

from papers.dsbm.dsb import zero_drift
from papers.dsbm.gaussian import schrodinger_bridge, unit_gaussians
from papers.dsbm.imf import network
from papers.dsbm.studies import gaussian as study
from papers.dsbm.studies.gaussian import PUBLISHED, SCALED, GaussianConfig, gaussian
from papers.dsbm.studies.methods import AVERAGED, TEST, TRAIN, Learned
from papers.dsbm.studies.pairs import SIGMA, A
from papers.dsbm.studies.passes import exact_iterates_of
from tests.papers.dsbm.cases import Recorder, doubled, generator, is_stream
from tests.papers.fake_run import FakeRun


@pytest.mark.parametrize("method", ["DSBM-IMF", "DSBM-IPF"])
def test_exact_passes_measure_as_exact(method: str, run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    # Passes that have the exact drifts in place of networks: pass n is the projection of iterate n - 1, and its
    # coupling is iterate n.
    def exact_passes(method: str, *_: object) -> Any:
        for number, before in enumerate(islice(exact_iterates_of(method, unit_gaussians(2, A)), 3), 1):
            backward = number % 2 == 1
            drift = before.backward_drift if backward else before.forward_drift
            yield Learned(number, "b" if backward else "f", doubled(drift), None, None)

    monkeypatch.setattr(study, "learn", exact_passes)
    rows = gaussian(replace(SCALED, method=method, dim=2, passes=3), 0, run)
    assert len(rows) == 3
    for row in rows:
        assert row["drift_error"] == pytest.approx(0, abs=1e-5)
        for name in ("correlation", "var_0", "var_1", "mean_0", "mean_1"):
            # Five standard errors over 20 000 coordinates of variance up to 1.1, and 0.03 for 20 steps of Euler's.
            assert row[name] == pytest.approx(row[f"exact_{name}"], abs=5 * 1.1 * (2 / 20_000) ** 0.5 + 0.03), name
    # The projection of the independent coupling has its variance at t = ½, 3/4, for the bridge's 1.059: far off in KL.
    assert float(rows[0]["kl_diagonal"]) > 5 * float(rows[2]["kl_diagonal"])


def test_a_short_training_finds_the_bridge_in_one_dimension(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    # Far from converged at 100 steps a pass, yet the covariance is that of the bridge and not of either start (0 or 1).
    monkeypatch.setattr(study, "N", 2000)
    rows = gaussian(replace(SCALED, dim=1, passes=3, inner_steps=100, lr=3e-3, refresh_every=100), 0, run)
    assert [row["direction"] for row in rows] == ["b", "f", "b"]
    assert [row["final"] for row in rows] == [False, False, True]
    assert float(rows[-1]["correlation"]) == pytest.approx(0.618, abs=0.1)
    assert run.arrays["fitted_var"].shape == run.arrays["exact_var"].shape == (21,)
    assert run.arrays["exact_var"][10] == pytest.approx(0.5 + 0.5 * 0.618 + 0.25, abs=1e-3)


Judged = list[tuple[Learned, Tensor, Tensor, torch.Generator]]


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Judged:
    """What each pass is simulated from, and by which stream."""
    seen: Judged = []

    def path_of(learned: Learned, x_0: Tensor, x_1: Tensor, g: torch.Generator) -> Tensor:
        seen.append((learned, x_0, x_1, g))
        return x_0.expand(21, *x_0.shape)

    monkeypatch.setattr(study, "path_of", path_of)
    return seen


def recorded(monkeypatch: pytest.MonkeyPatch, run: FakeRun, config: GaussianConfig, seed: int = 0) -> Recorder:
    recorder = Recorder(Learned(1, "b", zero_drift, None, zero_drift), Learned(2, "f", zero_drift, None, zero_drift))
    monkeypatch.setattr(study, "learn", recorder)
    gaussian(config, seed, run)
    return recorder


@pytest.mark.parametrize(
    ("method", "inner_steps", "first_steps", "passes"),
    [("DSBM-IMF", 1000, 2000, 10), ("DSB", 1000, 2000, 10), ("SB-CFM", 5000, None, 1)],
)
def test_gaussian_runs_train_as_their_claims_say_and_are_judged_on_other_points(
    method: str,
    inner_steps: int,
    first_steps: int | None,
    passes: int,
    run: FakeRun,
    judged: Judged,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recorder = recorded(monkeypatch, run, replace(SCALED, method=method, dim=1, lr=0.7, refresh_every=77), seed=3)
    config = recorder.config
    assert recorder.method == method
    assert (config.inner_steps, config.first_steps, config.passes) == (inner_steps, first_steps, passes)
    assert (config.sigma, config.steps, config.lr, config.refresh_every) == (1.0, 20, 0.7, 77)
    assert (config.batch, config.cache, len(recorder.x_0), len(recorder.x_1)) == (128, 10_000, 10_000, 10_000)
    assert (config.ema_halflife, config.ema_rampup) == (AVERAGED, 0.05)
    assert (config.weighted, config.noisy_end, config.first_passes, config.clip) == (False, True, 1, None)
    assert recorder.net is network
    # π_0 is around −a and π_1 around a: five standard errors of each mean, a third of what exchanged ends would be off.
    for points, mean in ((recorder.x_0, -A), (recorder.x_1, A), (judged[0][1], -A), (judged[0][2], A)):
        assert float(points.mean()) == pytest.approx(mean, abs=5 / 10_000**0.5)
    assert recorder.has(recorder.x_0)
    assert not any(recorder.has(points) for _, *both, _ in judged for points in both)
    assert [learned.number for learned, *_ in judged] == [1, 2]
    assert is_stream(recorder.generator, 3, TRAIN)
    assert all(is_stream(g, 3, TEST) for *_, g in judged)


def test_methods_of_a_seed_share_their_points_and_seeds_do_not(
    run: FakeRun, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(SCALED, dim=2)
    runs = [(config, 0), (replace(config, method="SB-CFM"), 0), (config, 1)]
    trained = [recorded(monkeypatch, run, each, seed).x_0 for each, seed in runs]
    tested = [x_0 for learned, x_0, _, _ in judged if learned.number == 1]
    for points in (trained, tested):
        assert torch.equal(points[0], points[1])
        assert not torch.isin(points[0][:, 0], points[2][:, 0]).double().mean() > 0.5
    assert not torch.equal(trained[0], tested[0])


def test_the_average_of_the_weights_is_the_configs(
    run: FakeRun, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    for averaged in (None, 500.0):
        assert recorded(monkeypatch, run, replace(SCALED, averaged=averaged)).config.ema_halflife == averaged


def test_the_published_training_is_the_papers() -> None:
    assert (PUBLISHED.passes, PUBLISHED.inner_steps, PUBLISHED.lr, PUBLISHED.refresh_every) == (40, 10_000, 1e-4, 78)
    assert PUBLISHED.averaged is None


def test_correlated_coordinates_are_seen_by_the_full_fit_alone(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    dim, rho = 5, 0.5
    bridge = schrodinger_bridge(*unit_gaussians(dim, A), SIGMA)

    def path_of(*_: Any) -> Tensor:
        times = torch.linspace(0, 1, 21, dtype=torch.float64).tolist()
        z, common = torch.randn(20_000, dim + 1, dtype=torch.float64, generator=generator()).split([dim, 1], dim=1)
        points = (1 - rho) ** 0.5 * z + rho**0.5 * common
        return torch.stack([bridge.mean(t) + bridge.cov(t).diagonal().sqrt() * points for t in times])

    monkeypatch.setattr(study, "path_of", path_of)
    monkeypatch.setattr(study, "learn", lambda *_: iter([Learned(1, "b", None, None, None)]))
    (row,) = gaussian(replace(SCALED, dim=dim, passes=1), 0, run)
    assert float(row["kl_diagonal"]) < 2
    # -½ log det of the correlations, (1 - ρ)^(D-1) (1 + (D-1) ρ).
    expected = -0.5e3 * ((dim - 1) * log(1 - rho) + log(1 + (dim - 1) * rho))
    assert float(row["kl_full"]) == pytest.approx(expected, rel=0.05)
