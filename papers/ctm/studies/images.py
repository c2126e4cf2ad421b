"""Images: the data sets, who judges samples of them, and the classifiers whose features discriminators read.

Three networks know the classes of each data set. The judge is the committed classifier of `common.metrics.features`:
its features are those of the Frechet distance. The critic is another architecture, trained here from another seed; the
discriminator reads it, so that no student is trained on what judges it. The witness has the critic's architecture and
a seed of its own; nothing is trained on it, and it judges in the place of the judge where a student was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from common.data.images import Images, digits, mnist
from common.data.sets import DataSet, check_resolution
from common.diffusion.precond import EDMPrecond
from common.harness.studies.experiment import Grid, Need, Row, Run, at_least, experiment, one_of
from common.metrics.features import Classifier, as_mnist, load_classifier
from common.metrics.floor import floor, resampled
from common.metrics.frechet import Moments, digits_reference, fd_digits, fd_mnist, mnist_reference
from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.stream import stream
from papers.ctm.critic import CriticClassifier, train_critic

INITIAL, TRAINING, SECOND, STEPS, HEADS, PATHS, SAMPLING, RENOISING, FLOOR = range(9)
"""What the independent random streams of a run are for."""
TRAINED = 0.05
"""How far another processor may move a number that a trained network gives, relatively: rounding grows in training."""

DATASETS: Mapping[str, DataSet] = {
    "digits": DataSet(lambda resolution: digits(), "fd_digits", fd_digits, side=8),
    "mnist": DataSet(lambda resolution: mnist("train", resolution), "fd_mnist", fd_mnist),
}
READERS: Mapping[str, int] = {"critic": 1000, "witness": 2000}
"""Classifiers that are trained here, by the seed of their first weights and their batches."""


@cache
def look_at(dataset: str, resolution: int) -> None:
    """Download or check what a data set takes, once, before anything runs. Raises ValueError for a resolution that it
    has not."""
    check_resolution(dataset, DATASETS[dataset].side, resolution)
    DATASETS[dataset].load(resolution)


def images_of(dataset: str, resolution: int) -> Images:
    """The images that teachers, students and classifiers are trained on, in [-1, 1]."""
    return DATASETS[dataset].load(resolution)


def precond_of(dataset: str, resolution: int) -> EDMPrecond:
    """EDM's, with the standard deviation of the pixels."""
    return EDMPrecond(images_of(dataset, resolution).sigma_data)


def fd(dataset: str, samples: Tensor) -> float:
    """The Frechet distance of samples (n, 1, H, W) to the training images, on the judge's features."""
    return DATASETS[dataset].distance(samples.float().cpu())


def fd_floor(dataset: str, resolution: int, n: int, generator: torch.Generator) -> float:
    """What `fd` says of n training images, drawn with replacement."""
    draw = resampled(images_of(dataset, resolution).x0)
    return floor(
        DATASETS[dataset].distance, draw, n, generator, repeats=4, reference=reference(dataset, resolution)
    ).mean


def reference(dataset: str, resolution: int) -> Moments:
    """What `fd` is taken to."""
    return digits_reference() if dataset == "digits" else mnist_reference(resolution)


class JudgeTaps(nn.Module):
    """The judge as a backbone of a discriminator: its convolutions and its features, the very ones that judge."""

    def __init__(self, judge: Classifier) -> None:
        super().__init__()
        self.judge = judge
        self.channels = (
            *(layer.out_channels for layer in judge.body if isinstance(layer, nn.Conv2d)),
            judge.head.in_features,
        )

    def taps(self, x0: Tensor) -> Sequence[Tensor]:
        taps, h = list[Tensor](), x0 if x0.shape[-1] == 8 else as_mnist(x0)
        for layer in self.judge.body:
            h = layer(h)
            if isinstance(layer, nn.SiLU):
                taps.append(h if h.ndim == 4 else h[:, :, None, None])
        return taps


@dataclass(frozen=True)
class ReaderConfig:
    """A classifier and its training."""

    reader: str
    """One of `READERS`."""
    dataset: str
    resolution: int
    steps: int = 1000
    batch: int = 64

    def __post_init__(self) -> None:
        one_of(READERS, self, "reader")
        one_of(DATASETS, self, "dataset")
        at_least(1, self, "resolution", "steps", "batch")


WEIGHTS = "weights.safetensors"


def held_out(dataset: str, resolution: int) -> Images:
    return digits("test") if dataset == "digits" else mnist("test", resolution)


@experiment(
    ReaderConfig,
    {
        "small": Grid(
            [
                *(ReaderConfig(reader, "digits", 8) for reader in READERS),
                ReaderConfig("critic", "mnist", 16),
            ],
            1,
        ),
        "gpu": Grid([ReaderConfig("critic", "mnist", 32, steps=5000)], 1),
    },
    {"accuracy": float, "judge_accuracy": float},
    prepare=lambda config: look_at(config.dataset, config.resolution),
    tolerance=TRAINED,
)
def reader_training(config: ReaderConfig, seed: int, run: Run) -> list[Row]:
    """Train a classifier on the training images: its accuracy on held-out ones, and the judge's."""
    data = digits("train") if config.dataset == "digits" else mnist("train", config.resolution)
    own = READERS[config.reader] + seed
    net = CriticClassifier(generator=stream(own, INITIAL)).to(run.device)
    x0, labels = data.x0.to(run.device), data.labels.to(run.device)
    train_critic(net, x0, labels, stream(own, TRAINING, run.device), config.steps, config.batch)
    save_checkpoint(run.folder / WEIGHTS, net.state_dict(), {})
    test = held_out(config.dataset, config.resolution)
    return [
        {
            "accuracy": accuracy(net, test.x0.to(run.device), test.labels),
            "judge_accuracy": accuracy(load_classifier(config.dataset), as_judged(test.x0), test.labels),
        }
    ]


def as_judged(x0: Tensor) -> Tensor:
    """Images as the judge takes them."""
    return x0 if x0.shape[-1] == 8 else as_mnist(x0)


@torch.no_grad()
def accuracy(net: nn.Module, x0: Tensor, labels: Tensor) -> float:
    """The share of images (n, 1, H, W) whose most probable class is their own."""
    guesses = torch.cat([net(some).argmax(1).cpu() for some in x0.split(500)])
    return float((guesses == labels).double().mean())


def reader(name: str, dataset: str, resolution: int) -> Need:
    """The training of one of `READERS`, in the preset that has the resolution."""
    (config,) = {
        config
        for grid in reader_training.presets.values()
        for config in grid.configs
        if (config.reader, config.dataset, config.resolution) == (name, dataset, resolution)
    }
    return Need(reader_training, config, 0)


def trained_reader(folder: Path, device: str) -> CriticClassifier:
    """A trained classifier, frozen, from the folder of its run."""
    net = CriticClassifier()
    net.load_state_dict(load_checkpoint(folder / WEIGHTS)[0])
    return net.to(device).eval().requires_grad_(False)
