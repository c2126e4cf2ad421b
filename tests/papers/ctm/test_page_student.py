"""The page's student: its weights are those of the recipe that is written down, and it has learned jumps and score."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from papers.ctm.exact import exact_jump
from papers.ctm.studies import page
from papers.ctm.trajectory import Trajectory

HIGH, LOW, MIDDLE = page.GRID.sigma_max, page.GRID.sigma_min, 0.6


@cache
def exact() -> tuple[Tensor, Tensor, Tensor]:
    """States of trajectories at three levels."""
    generator = torch.Generator().manual_seed(5)
    x0, _ = page.sample(400, generator)
    x = x0.double() + HIGH * torch.randn(400, 1, generator=generator, dtype=torch.float64)
    between = exact_jump(page.mixture(), x, HIGH, MIDDLE, steps=300)
    return x, between, exact_jump(page.mixture(), between, MIDDLE, LOW, steps=300)


def errors(student: Trajectory) -> dict[str, float]:
    """Mean distance from the exact: of jumps whole, in halves and cut in two, and of the denoiser."""
    x, between, end = exact()
    with torch.no_grad():
        return {
            "whole": float((student(x, HIGH, LOW) - end).abs().mean()),
            "first half": float((student(x, HIGH, MIDDLE) - between).abs().mean()),
            "second half": float((student(between, MIDDLE, LOW) - end).abs().mean()),
            "in two": float((student(student(x, HIGH, MIDDLE), MIDDLE, LOW) - end).abs().mean()),
            "denoiser": float((student.denoised(between, MIDDLE) - page.mixture()(between, MIDDLE)).abs().mean()),
        }


def test_it_has_learned_what_an_untrained_student_does_not_know():
    trained, untrained = errors(page.read()), errors(page.untrained())
    for name, error in trained.items():
        assert error < 0.06, name
        assert error < 0.3 * untrained[name], name


def test_the_file_is_what_the_recipe_writes():
    stored = json.loads(page.WEIGHTS.read_text(encoding="utf-8"))
    assert json.loads(json.dumps(page.weights(page.read()))) == stored
    fresh = page.weights(page.untrained())
    assert {name: torch.tensor(value).shape for name, value in fresh["tensors"].items()} == {
        name: torch.tensor(value).shape for name, value in stored["tensors"].items()
    }
    # The times' features are fixed: they are those that the recipe's seed draws.
    assert stored["tensors"]["embed.freqs"] == page.weights(page.untrained())["tensors"]["embed.freqs"]


@pytest.mark.slow
def test_the_recipe_learns(monkeypatch):
    """Few steps on few trajectories already help a long jump."""
    monkeypatch.setattr(page, "TRAJECTORIES", 128)
    student = page.train_student(3, replace(page.CONFIG, steps=150, batch_size=128, ema=0.9))
    assert errors(student)["whole"] < 0.6 * errors(page.untrained())["whole"]


def test_the_same_seed_makes_the_same_student_and_what_is_kept_is_the_average(monkeypatch):
    monkeypatch.setattr(page, "TRAJECTORIES", 4)
    config = replace(page.CONFIG, steps=2, batch_size=8)

    def made(seed, ema=0.9):
        return json.dumps(page.weights(page.train_student(seed, replace(config, ema=ema))))

    assert made(3) == made(3)
    assert made(4) != made(3)
    assert made(3, ema=0.5) != made(3)


def test_data_have_the_variance_that_the_network_is_told():
    x0, labels = page.sample(200_000, torch.Generator().manual_seed(0))
    assert labels == {}
    assert float(x0.std()) == pytest.approx(page.SIGMA_DATA, rel=0.01)


def test_what_the_page_says_of_it():
    text = (page.WEIGHTS.parents[1] / "weeks" / "08-ctm.md").read_text(encoding="utf-8")
    assert f"noise levels from {page.GRID.sigma_max:g} on the left to {page.GRID.sigma_min:g} on the right" in text
    assert "some six thousand weights" in text
    assert 6000 <= sum(p.numel() for p in page.read().parameters()) < 6500
