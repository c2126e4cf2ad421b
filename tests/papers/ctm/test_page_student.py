"""The page's student: its weights are those of the recipe that is written down, and it has learned jumps and score."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from papers.ctm.exact import exact_jump
from papers.ctm.studies import page
from papers.ctm.trajectory import Trajectory


def errors(student: Trajectory) -> dict[str, float]:
    """Mean distance from the exact: of jumps whole, in halves and cut in two, and of the denoiser."""
    generator = torch.Generator().manual_seed(5)
    high, low, middle = page.GRID.sigma_max, page.GRID.sigma_min, 0.6
    x0, _ = page.sample(400, generator)
    x = x0.double() + high * torch.randn(400, 1, generator=generator, dtype=torch.float64)
    between = exact_jump(page.mixture(), x, high, middle, steps=300)
    end = exact_jump(page.mixture(), between, middle, low, steps=300)
    with torch.no_grad():
        return {
            "whole": float((student(x, high, low) - end).abs().mean()),
            "first half": float((student(x, high, middle) - between).abs().mean()),
            "second half": float((student(between, middle, low) - end).abs().mean()),
            "in two": float((student(student(x, high, middle), middle, low) - end).abs().mean()),
            "denoiser": float((student.denoised(between, middle) - page.mixture()(between, middle)).abs().mean()),
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


def test_the_recipe_learns(monkeypatch):
    """Few steps on few trajectories already help a long jump, and the same seed makes the same student."""
    monkeypatch.setattr(page, "TRAJECTORIES", 256)
    config = replace(page.CONFIG, steps=150, batch_size=128, ema=0.9)
    first, second = (page.train_student(3, config) for _ in range(2))
    for own, other in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(own, other)
    assert errors(first)["whole"] < 0.6 * errors(page.untrained())["whole"]
    assert json.dumps(page.weights(first)) != json.dumps(page.weights(page.train_student(4, replace(config, steps=1))))


def test_data_have_the_variance_that_the_network_is_told():
    x0, labels = page.sample(200_000, torch.Generator().manual_seed(0))
    assert labels == {}
    assert float(x0.std()) == pytest.approx(page.SIGMA_DATA, rel=0.01)


def test_what_the_page_says_of_it():
    text = (page.WEIGHTS.parents[1] / "weeks" / "08-ctm.md").read_text(encoding="utf-8")
    assert f"noise levels from {page.GRID.sigma_max:g} on the left to {page.GRID.sigma_min:g} on the right" in text
    assert "some six thousand weights" in text
    assert 6000 <= sum(p.numel() for p in page.read().parameters()) < 6500
