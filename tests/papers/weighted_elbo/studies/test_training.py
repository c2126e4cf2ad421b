"""Training with a weighting: what is trained on what, what is measured of it, and that a killed run goes on."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate
from torch import Tensor, nn

from common.harness.runs.rows import check
from common.training.loop import train
from common.training.stream import stream
from papers.weighted_elbo.adaptive import AdaptiveLevels
from papers.weighted_elbo.studies import training as study
from papers.weighted_elbo.studies.images import DATASETS, LOG_SNR_MIN, TRAINING
from papers.weighted_elbo.studies.networks import NetworkConfig, WithLevels, adaptive_loss, untrained
from papers.weighted_elbo.studies.training import (
    BINS,
    QUICK,
    TRAINED,
    digit_weightings,
    image_weightings,
    judged,
    training_images,
)
from papers.weighted_elbo.vdm import Bound
from tests.papers.fake_run import FakeRun
from tests.papers.made import made

TINY = NetworkConfig("edm", "digits", 8, images=6 * 64, batch=64, width=8, n_samples=20, n_images=40)


class Nothing(nn.Module):
    """A network that predicts v = 0."""

    def forward(self, x_t: Tensor, log_snr: Tensor) -> Tensor:
        return torch.zeros_like(x_t)


def nothing() -> WithLevels:
    return WithLevels(Nothing(), AdaptiveLevels(LOG_SNR_MIN, 9.0))


def test_training_images_are_the_training_set_on_its_scale() -> None:
    x0 = training_images(TINY, "cpu")
    assert x0.dtype == torch.float32
    data = DATASETS["digits"]
    restored = x0.double() * data.numbers(8).scale + data.numbers(8).offset
    torch.testing.assert_close(restored, data.load("train", 8).double(), rtol=0, atol=1e-5)


def test_error_and_bits_of_a_network_that_knows_nothing_are_known(run: FakeRun) -> None:
    """For v = 0, (ε̂ − ε)² = α² v² is α² (α² + σ² f²) in the mean; half of its integral over λ is the diffusion loss."""
    config = replace(TINY, n_images=355)
    row = judged(config, nothing(), 0, run)
    check([row], digit_weightings.columns)
    data = DATASETS["digits"]
    f = data.numbers(8).encode(data.load("test", 8))
    spread = float(f.square().mean())

    def error(log_snr: float) -> float:
        alpha2 = 1 / (1 + np.exp(-log_snr))
        return alpha2 * (alpha2 + (1 - alpha2) * spread)

    diffusion = integrate.quad(error, LOG_SNR_MIN, 9.0)[0] / 2 / log(2)
    found = float(row["bpd"]) - float(row["prior"]) - float(row["reconstruction"])
    assert found == pytest.approx(diffusion, rel=0.01)  # 355 × 64 draws of χ²
    edges = np.linspace(LOG_SNR_MIN, 9.0, BINS + 1)
    expected = [integrate.quad(error, a, b)[0] / (b - a) for a, b in pairwise(edges)]
    np.testing.assert_allclose(run.arrays["error"], expected, rtol=0.3, atol=0.02)
    assert np.mean(run.arrays["error"] / expected) == pytest.approx(1, abs=0.03)
    # What is left of the signal at λ = −8, and of the noise at λ = 9.
    signal = 1 / (1 + np.exp(8))
    prior = (signal * spread - signal - np.log(1 - signal)) / 2 / log(2)
    assert row["prior"] == pytest.approx(prior, rel=1e-6)
    assert 0 < float(row["reconstruction"]) < 1e-3
    np.testing.assert_allclose(run.arrays["density"], 0.01)


def test_bits_are_the_sum_of_the_three_terms_in_each_dimension(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    bit = torch.full((TINY.n_images,), 64 * log(2))
    monkeypatch.setattr(study, "bound", lambda *given, **others: Bound(bit, 2 * bit, 4 * bit))
    row = judged(TINY, untrained(TINY, 0), 0, run)
    assert [row[name] for name in ("prior", "reconstruction", "bpd")] == pytest.approx([1, 2, 7])


def test_images_times_and_noise_are_the_same_for_all_seeds_and_samples_are_the_seed_s(tmp_path: Path) -> None:
    net = untrained(TINY, 0)
    one, other = (FakeRun(tmp_path / name) for name in ("one", "other"))
    first, second = judged(TINY, net, 1, one), judged(TINY, net, 2, other)
    assert first["bpd"] == second["bpd"]
    np.testing.assert_array_equal(one.arrays["error"], other.arrays["error"])
    assert first["fd"] != second["fd"]
    assert not np.array_equal(one.arrays["samples"], other.arrays["samples"])


def test_the_distance_is_that_of_the_samples_and_the_bits_are_of_test_images(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    train_images = DATASETS["digits"].load("train", 8)[:50]
    monkeypatch.setattr(study, "generate", lambda config, net, generator: train_images)
    asked: list[Tensor] = []
    real: Any = study.bound

    def bound(net: Any, whole: Tensor, *given: Any, **others: Any) -> Any:
        asked.append(whole)
        return real(net, whole, *given, **others)

    monkeypatch.setattr(study, "bound", bound)
    row = judged(TINY, nothing(), 3, run)
    assert row["fd"] == DATASETS["digits"].fd(train_images)
    assert row["floor"] == DATASETS["digits"].floor(8, 20, stream(3, study.FLOOR))
    assert torch.equal(asked[0], DATASETS["digits"].load("test", 8)[:40])
    np.testing.assert_allclose(run.arrays["samples"], DATASETS["digits"].as_images(train_images[:32]))


def alone(config: NetworkConfig, seed: int) -> WithLevels:
    """The average of an unbroken training, by the common loop."""
    data, loss = training_images(config, "cpu"), adaptive_loss(config.weighting)
    return train(untrained(config, seed), loss, data, config.training, stream(seed, TRAINING)).ema


def test_seeds_trained_at_once_are_those_trained_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    judged_nets: list[WithLevels] = []

    def keep(config: NetworkConfig, net: WithLevels, seed: int, run: FakeRun) -> dict[str, float]:
        judged_nets.append(net)
        return {"fd": float(seed)}

    monkeypatch.setattr(study, "judged", keep)
    seeds = (3, 8)
    runs = [FakeRun(tmp_path / str(seed)) for seed in seeds]
    assert made(digit_weightings, TINY, seeds, runs) == [[{"fd": 3.0}], [{"fd": 8.0}]]
    made(image_weightings, TINY, seeds, runs)
    for s, seed in enumerate(seeds):
        expected = alone(TINY, seed).state_dict()
        for key, value in judged_nets[2 + s].state_dict().items():
            torch.testing.assert_close(value, expected[key], rtol=0, atol=0)
        for key, value in judged_nets[s].state_dict().items():
            torch.testing.assert_close(value, expected[key], rtol=1e-4, atol=1e-6)
    assert judged_nets[0].levels.draws.sum() == 6 * 64


def test_weightings_differ_in_nothing_but_the_weighting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nets: dict[str, WithLevels] = {}

    def keep(config: NetworkConfig, net: WithLevels, seed: int, run: FakeRun) -> dict[str, float]:
        nets[config.weighting] = net
        return {}

    monkeypatch.setattr(study, "judged", keep)
    for name in TRAINED:
        image_weightings(replace(TINY, weighting=name, images=2 * 64), 1, FakeRun(tmp_path / name))
    first = {name: net.net.state_dict()["mlp.out.weight"] for name, net in nets.items()}
    for name in TRAINED[1:]:
        assert not torch.equal(first[name], first[TRAINED[0]]), name
        # The first step has a rate of 0, and the second, by Adam, the same size in each weight for all weightings.
        torch.testing.assert_close(first[name], first[TRAINED[0]], rtol=0, atol=2.1 * TINY.lr)


def test_a_killed_training_goes_on_where_it_was_with_its_levels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, nets = replace(TINY, checkpoint_every=1), list[WithLevels]()

    def keep(config: NetworkConfig, net: WithLevels, seed: int, run: FakeRun) -> dict[str, float]:
        nets.append(net)
        return {}

    monkeypatch.setattr(study, "judged", keep)
    image_weightings(config, 0, FakeRun(tmp_path / "whole"))
    real: Any = study.train
    broken = FakeRun(tmp_path / "broken")

    def until_killed(*given: Any, **others: Any) -> Any:
        real(*given[:3], replace(given[3], steps=4), *given[4:], **others)
        raise KeyboardInterrupt

    monkeypatch.setattr(study, "train", until_killed)
    with pytest.raises(KeyboardInterrupt):
        image_weightings(config, 0, broken)
    monkeypatch.setattr(study, "train", real)
    image_weightings(config, 0, broken)
    for key, value in nets[0].state_dict().items():
        assert torch.equal(nets[1].state_dict()[key], value), key
    assert not list(broken.folder.iterdir())


def test_all_weightings_are_trained_alike() -> None:
    for experiment in (digit_weightings, image_weightings):
        for preset, grid in experiment.presets.items():
            assert len({replace(config, weighting="elbo") for config in grid.configs}) == 1
            names = [config.weighting for config in grid.configs]
            assert names == list(QUICK if preset == "quick" else TRAINED)
    (one, *_) = image_weightings.presets["small"].configs
    assert (one.resolution, one.images) == (16, 40_000)
    assert image_weightings.presets["small"].seeds == 5
    assert digit_weightings.presets["small"].seeds == 10
