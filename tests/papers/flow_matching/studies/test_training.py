"""Training on images: what is trained on what, what is left in the run's folder, and that a killed run goes on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from common.harness.runs.rows import check
from common.training.checkpoint import load_checkpoint
from common.training.loop import train
from common.training.stream import stream
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.studies import training as study
from papers.flow_matching.studies.images import DATASETS, TRAINING, batches
from papers.flow_matching.studies.networks import NETWORKS, NetworkConfig, network, noise, untrained
from papers.flow_matching.studies.training import (
    QUICK,
    average_file,
    digit_training,
    train_config,
    trained,
    trained_velocity,
    training,
)
from tests.papers.fake_run import FakeRun

TINY = NetworkConfig("fm-vp", "digits", 8, images=6 * 32, batch=32, width=16, looks=3, checkpoint_every=1)
"""A perceptron and six steps."""


def weights(folder: Path, look: int) -> dict[str, Tensor]:
    return load_checkpoint(average_file(folder, look))[0]


def alone(config: NetworkConfig, seed: int) -> dict[str, Tensor]:
    """The average of an unbroken training, by the common loop."""
    data = DATASETS["digits"].load("train", 8)
    how = train_config(config, config.kept_after[-1])
    loss = OBJECTIVES[config.objective].loss
    return train(untrained(config, seed), loss, batches(data, 17), how, stream(seed, TRAINING)).ema.state_dict()


@pytest.mark.parametrize("objective", ["fm-ot", "score"])
def test_one_network_is_trained_by_its_objective_on_training_images_from_the_streams_of_its_seed(
    objective: str, run: FakeRun
) -> None:
    config = replace(TINY, objective=objective)
    rows = training(config, 5, run)
    check(rows, training.columns)
    assert [row["seen"] for row in rows] == [64, 128, 192]
    # Looks on the way change nothing.
    for key, value in alone(config, 5).items():
        torch.testing.assert_close(weights(run.folder, 3)[key], value, rtol=0, atol=0)
    assert {path.name for path in run.folder.iterdir()} == {f"ema-{look}.safetensors" for look in (1, 2, 3)}


def test_seeds_trained_at_once_are_those_trained_alone(tmp_path: Path) -> None:
    config, seeds = replace(TINY, checkpoint_every=0), (3, 8)
    runs = tuple(FakeRun(tmp_path / str(seed)) for seed in seeds)
    tables = digit_training(config, seeds, runs)
    for seed, run, rows in zip(seeds, runs, tables, strict=True):
        check(rows, digit_training.columns)
        for key, value in alone(config, seed).items():
            torch.testing.assert_close(weights(run.folder, 3)[key], value, rtol=1e-4, atol=1e-6)
        one = training(config, seed, FakeRun(tmp_path / f"alone{seed}"))
        assert [row["loss"] for row in rows] == pytest.approx([row["loss"] for row in one], rel=1e-4)
    assert tables[0][-1]["loss"] != tables[1][-1]["loss"]


def test_a_killed_training_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FakeRun(tmp_path / "whole")
    expected = training(TINY, 0, whole)
    broken, calls = FakeRun(tmp_path / "broken"), list[Any]()
    real: Any = study.train

    def train_until_killed(*given: Any, **others: Any) -> Any:
        calls.append(given)
        if len(calls) == 2:
            real(*given[:3], replace(given[3], steps=3), *given[4:], **others)
            raise KeyboardInterrupt
        return real(*given, **others)

    monkeypatch.setattr(study, "train", train_until_killed)
    with pytest.raises(KeyboardInterrupt):
        training(TINY, 0, broken)
    assert training(TINY, 0, broken) == expected
    for look in (1, 2, 3):
        for key, value in weights(whole.folder, look).items():
            assert torch.equal(weights(broken.folder, look)[key], value)
    assert len(calls) == 4, "the first look is not trained again"


def test_the_loss_on_test_images_falls_and_is_that_of_an_untrained_network_at_first(run: FakeRun) -> None:
    config = replace(TINY, objective="ddpm", images=60 * 32, looks=2)
    # An untrained network returns 0: the loss is the mean square of the noise, 355 × 64 values.
    assert study.held_out(config, untrained(config, 0), "cpu") == pytest.approx(1, abs=4 * (2 / 355 / 64) ** 0.5)
    first, last = training(config, 0, run)
    assert 1 > float(first["loss"]) > float(last["loss"])


def test_the_loss_is_that_of_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    real = DATASETS["digits"]

    def read(split: Any, side: int) -> Tensor:
        asked.append(split)
        return real.read(split, side)

    monkeypatch.setattr(study, "DATASETS", {"digits": replace(real, read=read)})
    study.held_out(TINY, untrained(TINY, 0), "cpu")
    assert asked == ["test"]


def test_the_velocity_is_that_of_the_average_at_a_look_through_its_objective(run: FakeRun) -> None:
    config = replace(TINY, objective="score")
    training(config, 0, run)
    x, t = noise(config, 4, torch.Generator().manual_seed(1)), torch.tensor(0.4, dtype=torch.float64)
    found = {}
    for look in (None, 1, 3):
        net = untrained(config, 9)
        net.load_state_dict(weights(run.folder, look or 3))
        score = net(x.float(), t.float()).double()
        beta = 0.1 + 0.6 * 19.9
        found[look] = trained_velocity(config, run.folder, "cpu", look)(x, t)
        torch.testing.assert_close(found[look], beta / 2 * (x + score), rtol=1e-5, atol=1e-5)
    assert torch.equal(found[None], found[3])
    assert not torch.equal(found[1], found[3])


def test_all_methods_are_trained_alike_and_each_need_is_in_the_grid() -> None:
    for preset, made in (("quick", digit_training), ("small", training), ("gpu", training)):
        configs = made.presets[preset].configs
        assert len({replace(config, objective="fm-ot") for config in configs}) == 1
        names = [config.objective for config in configs]
        assert names == (list(QUICK) if preset == "quick" else list(OBJECTIVES))
    for name in NETWORKS:
        need = trained(name, "fm-vp", 4)
        assert (need.config, need.seed) == (network(name, "fm-vp"), 4)
        assert need.experiment is (digit_training if name == "perceptron" else training)
    assert training.presets["small"].seeds == 5
