"""Training the networks whose samples are judged: one for each law of noise levels and seed, for all studies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

from common.diffusion.solvers import Denoiser
from common.harness.studies.experiment import Grid, Need, Resources, Row, Run, experiment
from common.nets import small_unet
from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.loop import train
from common.training.members import Members
from common.training.stream import stream
from papers.seeds.studies.images import TRAINING, look_at
from papers.seeds.studies.networks import (
    NOISE,
    UNET,
    NetworkConfig,
    denoiser,
    objective,
    training_data,
    untrained,
)

NETWORKS: Mapping[str, NetworkConfig] = {
    "perceptron": NetworkConfig("usual", "digits", 8, images=1500 * 128, batch=128, width=128),
    "long perceptron": NetworkConfig("usual", "digits", 8, images=4000 * 256, batch=256, width=128),
    "unet": NetworkConfig("usual", "mnist", small_unet.RESOLUTION, small_unet.IMAGES, small_unet.BATCH, **UNET),
    "large unet": NetworkConfig(
        "usual", "mnist", 32, images=5_000_000, batch=512, width=64, levels=3, blocks=2, lr=5e-4, checkpoint_every=1000
    ),
}


def network(name: str, noise: str) -> NetworkConfig:
    """A network trained at one law of noise levels."""
    return replace(NETWORKS[name], noise=noise)


@experiment(
    NetworkConfig,
    {
        "quick": Grid([network("perceptron", "starved")], 8),
        "small": Grid([network("long perceptron", noise) for noise in NOISE], 12),
    },
    {"loss": float},
    prepare=lambda config: look_at(config.dataset, config.resolution),
    together=8,
    tolerance=0.05,  # rounding grows in training
)
def digit_training(config: NetworkConfig, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> list[list[Row]]:
    """Perceptrons on digits, all seeds trained as one: the loss of each average, and its weights."""
    device = runs[0].device
    x0 = training_data(config, device)
    trained = train(
        Members([untrained(config, seed) for seed in seeds]).to(device),
        objective(config.noise).loss,
        x0,
        config.training,
        tuple(stream(seed, TRAINING, device) for seed in seeds),
        log=tuple(run.log for run in runs),
    )
    return [[left(config, trained.ema.member(s), run)] for s, run in enumerate(runs)]


@experiment(
    NetworkConfig,
    {"small": Grid([network("unet", "usual")], 8), "gpu": Grid([network("large unet", "usual")], 3)},
    {"loss": float},
    resources={"gpu": Resources(cpus=4, gpus=1.0)},
    prepare=lambda config: look_at(config.dataset, config.resolution),
    tolerance=0.05,  # rounding grows in training
)
def image_training(config: NetworkConfig, seed: int, run: Run) -> list[Row]:
    """A U-Net on MNIST: the loss of its average, and its weights."""
    checkpoint = run.folder / "training.safetensors" if config.checkpoint_every else None
    x0 = training_data(config, run.device)
    trained = train(
        untrained(config, seed).to(run.device),
        objective(config.noise).loss,
        x0,
        config.training,
        stream(seed, TRAINING, run.device),
        log=run.log,
        checkpoint=checkpoint,
    )
    rows = [left(config, trained.ema, run)]
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return rows


WEIGHTS = "ema.safetensors"


@torch.no_grad()
def left(config: NetworkConfig, net: nn.Module, run: Run) -> Row:
    """Save a network, and return its loss at noise that is the same for all."""
    save_checkpoint(run.folder / WEIGHTS, net.state_dict(), {})
    x0 = training_data(config, run.device)
    loss = objective(config.noise).loss(net, x0[:1000], stream(0, TRAINING, run.device))
    return {"loss": float(loss.mean())}


def trained(name: str, noise: str, seed: int) -> Need:
    """The run that trained a network."""
    config = network(name, noise)
    return Need(image_training if config.levels else digit_training, config, seed)


def trained_denoiser(config: NetworkConfig, folder: Path, device: str) -> Denoiser:
    """The denoiser of a trained network, from the folder of its run."""
    net = untrained(config, 0)
    net.load_state_dict(load_checkpoint(folder / WEIGHTS)[0])
    return denoiser(net.to(device).eval().requires_grad_(False))
