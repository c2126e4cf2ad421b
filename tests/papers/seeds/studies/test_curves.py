"""Curves: from the same noise, of the law and the network that are named, and what is said of samples of the law."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from common.diffusion.oracle import GaussianMixture
from common.training.stream import stream
from papers.seeds.studies import curves as study
from papers.seeds.studies.curves import (
    COMPONENT_STD,
    LONGER,
    NFES,
    SPOILED,
    ExactConfig,
    PlaneConfig,
    around,
    curve,
    digit_law,
    exact_curves,
    plane_curves,
    spread_error,
)
from papers.seeds.studies.images import SAMPLING
from papers.seeds.studies.network_curves import FEW, CurveConfig, digit_curves
from papers.seeds.studies.networks import NetworkConfig
from papers.seeds.studies.training import NETWORKS, digit_training, network
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.seeds.cases import randn

TINY = NetworkConfig("starved", "digits", 8, images=4 * 32, batch=32, width=8)


def test_the_denoiser_around_points_is_that_of_the_mixture() -> None:
    points, x = randn(5, 3, seed=1), 2 * randn(7, 3)
    law = GaussianMixture(points, torch.full((5,), 0.3))
    for sigma in (0.01, 0.4, 20.0):
        expected = law(x, sigma)
        torch.testing.assert_close(around(points, 0.3)(x, torch.tensor(sigma, dtype=torch.float64)), expected)


def test_a_spoiled_denoiser_has_a_score_that_is_too_long_at_its_noise_levels_alone() -> None:
    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        return 0.1 * x

    x = randn(4, 2)
    for source, wrong in (
        ("exact", ()),
        ("spoiled at high noise", (1.01, 60.0)),
        ("spoiled at low noise", (0.002, 0.29)),
    ):
        for sigma in (0.002, 0.29, 0.31, 0.99, 1.01, 60.0):
            length = (SPOILED[source](denoiser)(x, torch.tensor(sigma)) - x) / (0.1 * x - x)
            torch.testing.assert_close(length, torch.full_like(x, LONGER if sigma in wrong else 1.0))


def test_the_error_of_the_spread_is_of_the_variance_about_the_points() -> None:
    points = 10 * randn(6, 64, seed=2)
    noise = randn(3000, 64, seed=3)
    for ratio in (1.0, 1.1, 0.8):
        samples = points[torch.arange(3000) % 6] + COMPONENT_STD * ratio**0.5 * noise
        assert spread_error(samples, points) == pytest.approx(abs(ratio - 1), abs=0.01)


def test_the_law_of_digits_has_its_samples_about_its_points() -> None:
    points, scale, draw = digit_law(20, 3)
    assert points.shape == (20, 64)
    images = draw(400, stream(0, 9))
    assert images.shape == (400, 1, 8, 8)
    assert spread_error(scale.encode(images).flatten(1), points) < 0.03
    assert torch.cdist(points, points).add(torch.eye(20) * 9).min() > 10 * COMPONENT_STD


def test_all_solvers_start_from_the_same_noise_whatever_their_evaluations(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def drawn(name: str, denoiser: object, noise: Tensor, nfe: int, generator: object) -> tuple[Tensor, int]:
        seen.append(noise)
        return noise, nfe

    monkeypatch.setattr(study, "drawn", drawn)
    monkeypatch.setattr(study, "CHUNK", 4)
    budgets = ExactConfig("exact", ("ddpm", "heun"), (7, 13), many=()).budgets
    rows = curve(around(randn(2, 3), 0.1), (3,), budgets, 6, 5, "cpu", lambda samples: {"distance": len(samples)})
    expected = torch.randn(6, 3, generator=stream(5, SAMPLING), dtype=torch.float64)
    assert len(seen) == 8
    for k in range(0, 8, 2):
        torch.testing.assert_close(torch.cat(seen[k : k + 2]), expected)
    assert [(row["sampler"], row["nfe"], row["distance"]) for row in rows] == [
        ("ddpm", 7, 6), ("ddpm", 13, 6), ("heun", 7, 6), ("heun", 13, 6)
    ]  # fmt: skip


def test_the_curves_of_a_network_are_of_the_network_that_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NETWORKS, "perceptron", TINY)
    made(digit_training, TINY, (2,), (FakeRun(tmp_path / "net"),))
    config = CurveConfig("perceptron", "starved", ("seeds-3-data", "ddim"), (7,), n_samples=40)
    (need,) = digit_curves.needs(config, 2).values()
    assert (need.experiment, need.seed) == (digit_training, 2)
    assert need.config == network("perceptron", "starved")
    (rows,) = made(digit_curves, config, (2,), (FakeRun(tmp_path / "curves", network=tmp_path / "net"),))
    assert [(row["sampler"], row["nfe"]) for row in rows] == [
        ("seeds-3-data", 7), ("ddim", 7), *(("ddim", nfe) for nfe in FEW)
    ]  # fmt: skip
    assert all(row["distance"] > row["floor"] > 0 for row in rows)


def test_with_an_exact_denoiser_and_many_evaluations_samples_are_those_of_the_law(tmp_path: Path) -> None:
    config = ExactConfig("exact", ("seeds-3-data", "heun"), (97,), n_samples=250, n_points=30)
    (rows,) = made(exact_curves, config, (1,), (FakeRun(tmp_path / "exact"),))
    spoiled = replace(config, source="spoiled at high noise")
    (wrong,) = made(exact_curves, spoiled, (1,), (FakeRun(tmp_path / "spoiled"),))
    for row in rows:
        assert row["distance"] < 1.6 * row["floor"]
        assert row["spread"] < 0.1
    assert wrong[1]["distance"] > 2.5 * rows[1]["distance"]  # Heun's


def test_in_the_plane_many_evaluations_come_to_the_floor(run: FakeRun) -> None:
    config = PlaneConfig(("seeds-3-data",), (7, 97), n_samples=2000, projections=16)
    (rows,) = made(plane_curves, config, (1,), (run,))
    assert rows[0]["distance"] > 2 * rows[1]["distance"]
    assert rows[1]["distance"] < 3 * rows[1]["floor"]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CurveConfig("large", "usual"), "network is one of"),
        (lambda: CurveConfig("unet", "none"), "noise is one of"),
        (lambda: CurveConfig("unet", "usual", ("euler",)), "samplers has 'euler'"),
        (lambda: ExactConfig("rough"), "source is one of"),
        (lambda: ExactConfig("exact", n_samples=1), "n_samples is 1"),
        (lambda: PlaneConfig(projections=0), "projections is at least 1"),
    ],
)
def test_settings_out_of_range_are_named(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_evaluations_make_whole_steps_of_every_solver() -> None:
    assert all(nfe % 6 == 1 for nfe in NFES)
