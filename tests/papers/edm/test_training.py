"""Training at tiny settings: it repeats itself, starts at a loss of 1, and runs every letter and data set."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.data.images import Images
from papers.edm.studies import images
from papers.edm.studies.networks import AblationConfig
from papers.edm.studies.training import training
from tests.papers.edm.made import TINY, made
from tests.papers.fake_run import FakeRun


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_training_starts_at_a_loss_of_one_and_learns_the_same_twice(tmp_path: Path) -> None:
    config = replace(TINY, images=30 * 64)
    runs = [FakeRun(tmp_path / name) for name in "ab"]
    first, second = (made(training, config, 3, run) for run in runs)
    assert first == second
    for array in runs[0].arrays:
        np.testing.assert_array_equal(runs[0].arrays[array], runs[1].arrays[array])
    # An untrained network returns 0, whose loss under E is 1 at every level (16384 values: 1.1 % each, 12 levels).
    np.testing.assert_allclose(runs[0].arrays["loss_initial"], 1, atol=0.06)
    assert runs[0].arrays["loss_final"][5:8].max() < 0.9
    assert runs[0].arrays["samples"].shape == (32, 1, 8, 8)
    assert first[0]["nfe"] == 35
    assert first[0]["n"] == 70
    assert 0 < float(first[0]["floor"]) < float(first[0]["fd"])


@pytest.mark.parametrize("letter", "ABF")
def test_every_letter_trains_a_unet(letter: str, run: FakeRun) -> None:
    config = replace(TINY, letter=letter, width=4, levels=2, images=128, checkpoint_every=1)
    (row,) = made(training, config, 0, run)
    assert np.isfinite(float(row["fd"]))
    assert (run.folder / "training.safetensors").exists()


def test_cifar10_is_judged_by_fid_and_keeps_its_range(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch, torch_fidelity: dict[str, Any]
) -> None:
    x0 = torch.rand(40, 3, 16, 16, generator=generator()) * 2 - 1
    monkeypatch.setattr(images, "cifar10", lambda split: Images(x0, torch.zeros(40, dtype=torch.long)))
    config = AblationConfig("F", "cifar10", 16, images=8, batch=4, width=4, levels=2, n_samples=4)
    (row,) = made(training, config, 0, run)
    assert row["n"] == 4
    assert torch_fidelity["input2"] == "cifar10-train"
    np.testing.assert_allclose(run.arrays["loss_initial"][-1], 4 * float(x0.square().mean()), rtol=0.1)
