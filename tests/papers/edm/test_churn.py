"""Churn: what it hands on; a network that it needs, and an exact denoiser that stays at its floor, at tiny settings."""

from __future__ import annotations

from dataclasses import replace
from math import inf, sqrt
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from common.data.images import digits
from common.data.sets import Standard
from common.diffusion.churn import Churn
from common.diffusion.precond import EDMPrecond, VPPrecond
from common.diffusion.schedule import edm_sigmas
from common.training.checkpoint import save_checkpoint
from common.training.stream import stream
from papers.edm.studies import churn as study
from papers.edm.studies.churn import CHURNS, ChurnConfig, churn, spread
from papers.edm.studies.images import SAMPLING
from papers.edm.studies.laws import COMPONENT_STD
from papers.edm.studies.networks import denoiser_of
from papers.edm.studies.training import TRAINED, training
from tests.papers.edm.made import TINY, by, made
from tests.papers.fake_run import FakeRun


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_amounts_are_none_the_published_and_all_that_is_allowed() -> None:
    """Table 5: CIFAR-10, VP."""
    assert dict(CHURNS) == {"none": Churn(), "moderate": Churn(30, 0.01, 1, 1.007), "excessive": Churn(inf, 0, inf, 1)}
    assert ChurnConfig("exact", "digits", 9).steps > 30 / (sqrt(2) - 1), "else S_churn = 30 would be cut"


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


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What `generate` was handed, call by call. It answers with samples all alike, and others each time."""
    calls: list[dict[str, Any]] = []

    def generate(denoiser: Any, n: int, shape: Any, sigmas: Tensor, source: Any, setting: Churn) -> tuple[Tensor, int]:
        calls.append({"denoiser": denoiser, "n": n, "sigmas": sigmas, "seed": source.initial_seed(), "churn": setting})
        return torch.full((n, *shape), len(calls) / 8, dtype=torch.float64), 159

    monkeypatch.setattr(study, "generate", generate)
    monkeypatch.setattr(study, "distance_floor", lambda dataset, side, images, n, source: 1000.0 + n)
    return calls


@pytest.mark.parametrize("letter", "CE")
@pytest.mark.parametrize("seed", [0, 2])
def test_every_amount_starts_alike_with_the_average_of_its_own_seed(
    letter: str, seed: int, sampled: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TRAINED, "digits", TINY)
    config = ChurnConfig("network", "digits", n_samples=40, letter=letter)
    need = churn.needs(config, seed)["network"]
    assert (need.config, need.seed) == (replace(TINY, letter=letter), seed)
    average = denoiser_of(replace(TINY, letter=letter), (1, 8, 8), 77)
    (tmp_path / "trained").mkdir()
    save_checkpoint(tmp_path / "trained" / "ema.safetensors", average.state_dict(), {})
    judged: list[Tensor] = []

    def distance(samples: Tensor) -> float:
        judged.append(samples)
        return float(len(judged))

    watched = replace(study.DATASETS["digits"], distance=distance)
    monkeypatch.setattr(study, "DATASETS", {**study.DATASETS, "digits": watched})
    rows = made(churn, config, seed, FakeRun(tmp_path / "run", network=tmp_path / "trained"))
    assert [call["churn"] for call in sampled] == list(CHURNS.values())
    assert {call["seed"] for call in sampled} == {stream(seed, SAMPLING).initial_seed()}
    for call in sampled:
        network = call["denoiser"]
        assert not any(module.training for module in network.modules())
        assert type(network.precond) is {"C": VPPrecond, "E": EDMPrecond}[letter]
        assert all(
            torch.equal(ours, theirs) for ours, theirs in zip(network.parameters(), average.parameters(), strict=True)
        )
        assert call["n"] == 40
        assert torch.equal(call["sigmas"], edm_sigmas(80))
    decode = Standard.of(digits().x0).decode
    for k, (row, samples) in enumerate(zip(rows, judged, strict=True)):
        expected = {"amount": list(CHURNS)[k], "fd": k + 1.0, "n": 40, "floor": 1040.0, "nfe": 159}
        assert row == expected
        torch.testing.assert_close(samples, decode(torch.full((40, 1, 8, 8), (k + 1) / 8).double()))


def test_exact_denoiser_is_of_as_many_digits_as_told_drawn_by_seed(sampled: list[dict[str, Any]], run: FakeRun) -> None:
    x = torch.zeros(1, 1, 8, 8, dtype=torch.float64)
    means = {}
    for seed, n_points in ((0, 7), (1, 7), (0, 1797)):
        sampled.clear()
        made(churn, ChurnConfig("exact", "digits", n_samples=40, n_points=n_points), seed, run)
        assert [call["churn"] for call in sampled] == list(CHURNS.values())
        assert {call["seed"] for call in sampled} == {stream(seed, SAMPLING).initial_seed()}
        # At a great noise level it is the mean of its points.
        means[seed, n_points] = sampled[0]["denoiser"](x, torch.tensor(1e4, dtype=torch.float64))
    standard = Standard.of(digits().x0)
    torch.testing.assert_close(
        means[0, 1797], standard.encode(digits().x0).double().mean(0, keepdim=True), rtol=0, atol=1e-4
    )
    assert (means[0, 7] - means[1, 7]).abs().max() > 0.01
    assert (means[0, 7] - means[0, 1797]).abs().max() > 0.01


def test_exact_denoiser_samples_at_its_floor_churned_or_not(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """And S_noise = 1.1, which adds noise that the denoiser does not remove, does not keep the spread."""
    monkeypatch.setattr(study, "CHURNS", {**CHURNS, "excessive": Churn(30, 0.01, 1, 1.1)})
    config = ChurnConfig("exact", "digits", n_samples=300, n_points=20)
    assert not churn.needs(config, 0)
    rows = by(made(churn, config, 0, run), "amount")
    for amount in ("none", "moderate"):
        row = rows[amount]
        assert row["nfe"] == 159
        assert 0.3 < float(row["fd"]) / float(row["floor"]) < 3
        # Four standard errors of 300 × 64 values, and 0.03 that S_noise adds.
        assert float(row["spread"]) == pytest.approx(1.015, abs=0.015 + 4 / sqrt(2 * 300 * 64))
    assert float(rows["excessive"]["spread"]) > 1.05 + 4 / sqrt(2 * 300 * 64)


def test_spread_is_the_standard_deviation_about_the_nearest_point() -> None:
    points = 10 * torch.randn(5, 1, 8, 8, generator=generator())
    noise = torch.randn(2000, 1, 8, 8, generator=generator(1))
    centres = points.repeat(400, 1, 1, 1)
    for std in (COMPONENT_STD, 0.06):
        found = spread(centres + std * noise, points)
        assert found == pytest.approx(std / 0.05, rel=4 / sqrt(2 * noise.numel()))


def test_the_networks_that_churn_needs_are_trained_by_the_same_preset() -> None:
    for preset, grid in churn.presets.items():
        for config in grid.configs:
            if config.denoiser == "network":
                assert replace(TRAINED[config.dataset], letter=config.letter) in training.presets[preset].configs
                assert grid.seeds <= training.presets[preset].seeds
