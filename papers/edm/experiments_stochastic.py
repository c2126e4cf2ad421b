"""Stochastic sampling by the amount of churn, with a trained network and with an exact denoiser (Section 4)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import inf

import torch
from torch import Tensor

from common.data.images import digits
from common.diffusion.solvers import Denoiser
from common.harness.studies.experiment import Experiment, Grid, Need, Row, Run, at_least, one_of
from common.metrics.features import digit_features
from common.metrics.floor import floor
from common.metrics.frechet import fd_digits, moments
from common.training.checkpoint import load_checkpoint
from papers.edm.configs import VP_CONFIGS
from papers.edm.experiments_sampling import COMPONENT_STD, around
from papers.edm.experiments_training import (
    FLOOR,
    METRICS,
    SAMPLING,
    TRAINED,
    denoiser_of,
    distance_floor,
    generate,
    images_of,
    look_at,
    scaling_of,
    stream,
)
from papers.edm.sampler import CIFAR10_VP_CHURN, NO_CHURN, Churn

CHURNS: Mapping[str, Churn] = {"none": NO_CHURN, "moderate": CIFAR10_VP_CHURN, "excessive": Churn(S_churn=inf)}
"""Moderate is the published setting for CIFAR-10 (VP); excessive all that Algorithm 2 allows, at every noise level."""


@dataclass(frozen=True)
class ChurnConfig:
    denoiser: str
    """'network' or 'exact'."""
    dataset: str
    n_samples: int
    letter: str = ""
    """Training configuration of the network."""
    steps: int = 80
    """More than 72, below which Algorithm 2 would cut the published S_churn of 30."""
    n_points: int = 100
    """Digits that the exact denoiser knows."""

    def __post_init__(self) -> None:
        one_of(("network", "exact"), self, "denoiser")
        one_of(TRAINED if self.denoiser == "network" else ("digits",), self, "dataset")
        if self.denoiser == "network":
            one_of(VP_CONFIGS, self, "letter")
        at_least(1, self, "n_samples", "steps", "n_points")


def spread(samples: Tensor, points: Tensor) -> float:
    """Root mean square distance of samples (n, *D) to their nearest point (N, *D), per dimension and over
    `COMPONENT_STD`: 1 for the mixture around the points, whatever share each of them has."""
    nearest = torch.cdist(samples.flatten(1), points.to(samples).flatten(1)).amin(dim=1)
    return float((nearest.square().mean() / samples[0].numel()).sqrt() / COMPONENT_STD)


def churn(config: ChurnConfig, seed: int, run: Run) -> list[Row]:
    """The Frechet distance of Algorithm 2 by the amount of churn, at one number of steps and from the same noise."""
    if config.denoiser == "network":
        trained = replace(TRAINED[config.dataset], letter=config.letter)
        images = images_of(config.dataset, trained.resolution)
        standard, shape = scaling_of(images, config.dataset), tuple(images.x0.shape[1:])
        network = denoiser_of(trained, shape, seed)
        network.load_state_dict(load_checkpoint(run.needs["network"] / "ema.safetensors")[0])
        denoiser: Denoiser = network.to(run.device).eval()
        distance: Callable[..., float] = METRICS[config.dataset]
        lowest = distance_floor(trained, images, config.n_samples, stream(seed, FLOOR))
    else:
        images = digits()
        standard, shape = scaling_of(images, "digits"), tuple(images.x0.shape[1:])
        cpu = stream(seed, FLOOR)
        points = standard.encode(images.x0)[torch.randperm(len(images), generator=cpu)[: config.n_points]]

        def draw(n: int, source: torch.Generator) -> Tensor:
            centres = points[torch.randint(len(points), (n,), generator=source)]
            return standard.decode(centres + COMPONENT_STD * torch.randn(n, *shape, generator=source))

        reference = moments(digit_features(draw(10_000, cpu)))
        denoiser, distance = around(points.to(run.device)), partial(fd_digits, reference=reference)
        lowest = floor(fd_digits, draw, config.n_samples, cpu, repeats=4, reference=reference).mean
    rows: list[Row] = []
    for amount, setting in CHURNS.items():
        generator = stream(seed, SAMPLING, run.device)
        samples, nfe = generate(denoiser, config.n_samples, shape, config.steps, generator, setting)
        fd = distance(standard.decode(samples).cpu())
        row: dict[str, float | str] = {"amount": amount, "fd": fd, "n": config.n_samples, "floor": lowest, "nfe": nfe}
        rows.append(row if config.denoiser == "network" else {**row, "spread": spread(samples, points)})
    return rows


def _needs(config: ChurnConfig, seed: int) -> Mapping[str, Need]:
    if config.denoiser == "exact":
        return {}
    return {"network": Need("training", replace(TRAINED[config.dataset], letter=config.letter), seed)}


def _configs(dataset: str) -> list[ChurnConfig]:
    networks = [ChurnConfig("network", dataset, 500, letter) for letter in "CE"]
    return [*networks, ChurnConfig("exact", "digits", 1000)]


STOCHASTIC_EXPERIMENTS = (
    Experiment(
        churn,
        ChurnConfig,
        {
            "quick": Grid(_configs("digits"), 4),
            "small": Grid(_configs("mnist"), 3),
        },
        needs=_needs,
        prepare=lambda config: look_at(config.dataset, TRAINED[config.dataset].resolution),
    ),
)
