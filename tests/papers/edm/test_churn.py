"""Churn at tiny settings: with the network that it needs, and with an exact denoiser that stays at its floor."""

from dataclasses import replace
from math import sqrt
from pathlib import Path

import pytest
import torch

from papers.edm.studies.churn import ChurnConfig, churn, spread
from papers.edm.studies.training import TRAINED, training
from tests.papers.edm.made import TINY, by, made
from tests.papers.fake_run import FakeRun


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_churn_reads_the_network_that_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRAINED, "digits", TINY)
    trained = FakeRun(tmp_path / "trained")
    made(training, TINY, 0, trained)
    config = ChurnConfig("network", "digits", n_samples=70, letter="E", steps=18)
    needs = churn.needs(config, 0)
    assert needs["network"].experiment is training
    assert (needs["network"].config, needs["network"].seed) == (TINY, 0)
    rows = by(made(churn, config, 0, FakeRun(tmp_path / "run", network=trained.folder)), "amount")
    # Without churn, from the same noise at 35 NFE, these are the samples that training itself judged.
    assert float(rows["none"]["fd"]) == pytest.approx(float(made(training, TINY, 0, trained)[0]["fd"]), rel=1e-5)
    assert rows["none"]["fd"] != rows["moderate"]["fd"] != rows["excessive"]["fd"]


def test_exact_denoiser_samples_at_its_floor_churned_or_not(run: FakeRun) -> None:
    config = ChurnConfig("exact", "digits", n_samples=400, n_points=20)
    assert not churn.needs(config, 0)
    for row in made(churn, config, 0, run):
        assert row["nfe"] == 159
        assert 0.3 < float(row["fd"]) / float(row["floor"]) < 3
        # Four standard errors of 400 × 64 values, and 0.03 that S_noise adds.
        assert float(row["spread"]) == pytest.approx(1.015, abs=0.015 + 4 / sqrt(2 * 400 * 64))


def test_spread_is_the_standard_deviation_about_the_nearest_point() -> None:
    points = 10 * torch.randn(5, 1, 8, 8, generator=generator())
    noise = torch.randn(2000, 1, 8, 8, generator=generator(1))
    centres = points.repeat(400, 1, 1, 1)
    for std in (0.05, 0.06):
        found = spread(centres + std * noise, points)
        assert found == pytest.approx(std / 0.05, rel=4 / sqrt(2 * noise.numel()))


def test_the_networks_that_churn_needs_are_trained_by_the_same_preset() -> None:
    for preset, grid in churn.presets.items():
        for config in grid.configs:
            if config.denoiser == "network":
                assert replace(TRAINED[config.dataset], letter=config.letter) in training.presets[preset].configs
                assert grid.seeds <= training.presets[preset].seeds
