"""Training: what it hands on, and what comes of it at tiny settings.

Wiring is seen by stand-ins for training and sampling, which take down what they are given and train nothing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.data.images import Images, digits
from common.data.sets import Standard
from common.diffusion.precond import Preconditioned
from common.diffusion.schedule import edm_sigmas
from common.nets.unet_block import UNetBlock
from common.training.checkpoint import load_checkpoint
from common.training.loop import TrainConfig, Trained
from common.training.stream import stream
from papers.edm.augment import LABELS
from papers.edm.configs import VP_CONFIGS
from papers.edm.studies import images
from papers.edm.studies import training as study
from papers.edm.studies.networks import AblationConfig, at_scale
from papers.edm.studies.training import training
from tests.papers.edm.made import TINY, made
from tests.papers.fake_run import FakeRun


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def few_digits(monkeypatch: pytest.MonkeyPatch) -> Images:
    """A data set of 64 digits, so that U-Nets have little to look at."""
    some = digits()
    some = Images(some.x0[:64], some.labels[:64])
    monkeypatch.setattr(images, "digits", lambda: some)
    return some


@dataclass
class Handed:
    """What training and its measures were handed, in one run."""

    network: Any = None
    loss: Any = None
    batch: Any = None
    config: TrainConfig | None = None
    checkpoint: Path | None = None
    streams: dict[str, int] = field(default_factory=dict)
    """The seed of each stream by its purpose."""
    sampled: tuple[Any, ...] = ()
    judged: Tensor | None = None
    levels: list[tuple[nn.Module, bool, Tensor]] = field(default_factory=list)
    """Network, whether it was in training mode, and data of each look at the loss by noise level."""


MARK = 0.25
"""What every weight of the average is set to, by which it is known."""


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Handed:
    seen = Handed()
    real = study.denoiser_of

    def denoiser_of(config: AblationConfig, shape: tuple[int, ...], seed: int) -> Preconditioned:
        seen.streams["initial"] = seed
        return real(config, shape, seed)

    def train(network: Any, loss: Any, data: Any, config: TrainConfig, source: Any, **others: Any) -> Any:
        seen.network, seen.loss, seen.config, seen.checkpoint = network, loss, config, others["checkpoint"]
        seen.streams["training"] = source.initial_seed()
        seen.batch = data(6, generator(5))
        ema = copy.deepcopy(network).eval()
        for parameter in ema.parameters():
            nn.init.constant_(parameter, MARK)
        return Trained(network, ema, config.steps)

    def generate(denoiser: Any, n: int, shape: Any, sigmas: Tensor, source: Any, *churn: Any) -> tuple[Tensor, int]:
        seen.sampled = (denoiser, n, tuple(shape), sigmas, churn)
        seen.streams["sampling"] = source.initial_seed()
        return torch.full((n, *shape), 0.125, dtype=torch.float64), 35

    def floor(dataset: str, resolution: int, data: Images, n: int, source: torch.Generator) -> float:
        seen.streams["floor"] = source.initial_seed()
        assert n == seen.sampled[1]
        return 0.5

    def levels(network: Any, x0: Tensor, sigmas: Tensor, source: Any) -> Tensor:
        seen.levels.append((network, any(module.training for module in network.modules()), x0))
        seen.streams["levels"] = source.initial_seed()
        return torch.full((len(sigmas), len(x0)), float(len(seen.levels)))

    def distance(samples: Tensor) -> float:
        seen.judged = samples
        return 7.0

    for name, stand_in in {
        "denoiser_of": denoiser_of, "train": train, "generate": generate, "distance_floor": floor,
        "loss_per_noise_level": levels,
    }.items():  # fmt: skip
        monkeypatch.setattr(study, name, stand_in)
    watched = {name: replace(data, distance=distance) for name, data in images.DATASETS.items()}
    monkeypatch.setattr(study, "DATASETS", watched)
    return seen


UNET = replace(TINY, width=4, levels=2, checkpoint_every=1)


@pytest.mark.parametrize("letter", VP_CONFIGS)
@pytest.mark.parametrize("base", [TINY, UNET], ids=["perceptron", "unet"])
def test_what_is_trained_is_the_configuration(base: AblationConfig, letter: str, handed: Handed, run: FakeRun) -> None:
    config, spec = replace(base, letter=letter), VP_CONFIGS[letter]
    made(training, config, 0, run)
    assert handed.network.precond == spec.precond
    assert handed.loss.keywords == {"noise": spec.noise, "weight": spec.weight}
    assert handed.config == at_scale(config)
    assert handed.checkpoint == (run.folder / "training.safetensors" if config.checkpoint_every else None)
    x0, cond = handed.batch
    assert x0.shape == (6, 1, 8, 8)
    assert set(cond) == ({"augment_labels"} if letter == "F" else set())
    if base is UNET:
        blocks = [module for module in handed.network.modules() if isinstance(module, UNetBlock)]
        assert {block.dropout for block in blocks} == {spec.dropout}
        assert handed.network.net.augment_dim == (LABELS if letter == "F" else 0)
        assert blocks[0].conv0.weight.shape[0] == config.width * spec.channel_mult[0]
        resolutions = {name.split("_")[0] for name in handed.network.net.enc}
        assert len(resolutions) == len(spec.channel_mult) - 1, "one is left out for the smaller images"
    else:
        assert handed.network.net.mlp.hidden[0].out_features == config.width


def test_a_network_in_training_drops_out_and_its_average_does_not() -> None:
    """The real loop: every step is taken in training mode, and the average is handed on in eval mode."""
    modes: list[bool] = []
    network = study.denoiser_of(UNET, (1, 8, 8), 0)

    def loss(net: Any, x0: Tensor, generator: torch.Generator, **cond: Tensor) -> Tensor:
        modes.extend({module.training for module in net.modules()})
        return net(x0, torch.ones(len(x0))).square().flatten(1).mean(1)

    trained = study.train(network.eval(), loss, torch.ones(4, 1, 8, 8), replace(at_scale(UNET), steps=2), generator())
    assert modes == [True, True]
    assert not any(module.training for module in trained.ema.modules())


def test_the_average_is_what_samples_and_what_is_kept_and_judged(handed: Handed, run: FakeRun) -> None:
    config = replace(UNET, n_samples=40)
    (row,) = made(training, config, 0, run)
    ema, n, shape, sigmas, churn = handed.sampled
    assert (n, shape, churn) == (40, (1, 8, 8), ())
    assert torch.equal(sigmas, edm_sigmas(18))
    assert all((parameter == MARK).all() for parameter in ema.parameters())
    kept, _ = load_checkpoint(run.folder / "ema.safetensors")
    assert all((kept[name] == MARK).all() for name, _ in ema.named_parameters())
    (first, first_mode, data), (last, last_mode, same) = handed.levels
    assert first is handed.network
    assert last is ema
    assert not first_mode, "dropout would raise the loss of a network that is not trained yet"
    assert not last_mode
    assert torch.equal(data, same)
    # Samples are judged as images, in [-1, 1].
    standard = Standard.of(digits().x0)
    assert handed.judged is not None
    torch.testing.assert_close(handed.judged, standard.decode(torch.full((40, 1, 8, 8), 0.125).double()))
    np.testing.assert_array_equal(run.arrays["loss_initial"], np.full(12, 1.0))
    np.testing.assert_array_equal(run.arrays["loss_final"], np.full(12, 2.0))
    np.testing.assert_allclose(run.arrays["samples"], handed.judged[:32].numpy(), rtol=1e-6)
    assert row == {"fd": 7.0, "n": 40, "floor": 0.5, "nfe": 35}


def test_streams_differ_by_purpose_and_by_seed_and_are_shared_by_configurations(handed: Handed, tmp_path: Path) -> None:
    found = {}
    for letter, seed in (("C", 0), ("E", 0), ("E", 1)):
        made(training, replace(TINY, letter=letter), seed, FakeRun(tmp_path / f"{letter}{seed}"))
        found[letter, seed] = dict(handed.streams)
    assert found["C", 0] == found["E", 0], "orderings of configurations are paired"
    assert [found["E", seed]["initial"] for seed in (0, 1)] == [0, 1]
    drawn = [found["E", seed][purpose] for seed in (0, 1) for purpose in ("training", "sampling", "floor")]
    assert len(set(drawn)) == 6
    # The loss by noise level is taken with the same noise everywhere, before and after.
    assert found["E", 0]["levels"] == found["E", 1]["levels"]


def test_initial_weights_are_those_of_their_seed_and_purposes_have_streams_of_their_own() -> None:
    first, again, other = (next(study.denoiser_of(TINY, (1, 8, 8), seed).parameters()) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    purposes = (images.INITIAL, images.TRAINING, images.SAMPLING, images.FLOOR)
    assert len({stream(0, purpose).initial_seed() for purpose in purposes}) == 4


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


@pytest.mark.parametrize("letter", "AF")
def test_a_unet_trains_with_and_without_augmentation(letter: str, run: FakeRun, few_digits: Images) -> None:
    config = replace(UNET, letter=letter, images=32, batch=32, n_samples=4)
    (row,) = made(training, config, 0, run)
    assert np.isfinite(float(row["fd"]))
    assert (run.folder / "training.safetensors").exists()
    # In eval mode no dropout adds to it: 64 digits of 64 pixels at 12 levels, under D to F.
    if letter == "F":
        np.testing.assert_allclose(run.arrays["loss_initial"].mean(), 1, atol=0.03)


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
