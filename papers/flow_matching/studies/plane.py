"""The plane of several studies: its two laws of data, and small networks on them, all seeds trained as one.

    checkerboard   that of Figure 4. The paper does not say how large it is; squares of side 1/0.45 are those of the
                   authors' own notebook (facebookresearch/flow_matching), and spread by 2.57 in each coordinate.
    mixture        eight Gaussians on a circle, of mean 0 and mean variance 1: everything about it is known.

The paper's network has five layers of 512. The ones here are smaller, and learn with a rate that is ten times the usual
one: in a pilot on seeds from 100 it brought as many points onto the board in a quarter of the steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log
from pathlib import Path
from types import MappingProxyType

import torch
from torch import Generator, Tensor

from common.data import toy
from common.diffusion.oracle import GaussianMixture
from common.harness.studies.experiment import Run, at_least, positive
from common.nets.mlp import MLP
from common.training.loop import Batch, TrainConfig, train
from common.training.members import Members
from common.training.stream import stream
from papers.flow_matching.marginal import MarginalField, Oracle
from papers.flow_matching.path import OT, VE, VP, ConditionalPath
from papers.flow_matching.solvers import Velocity

SIDE = 1 / 0.45
"""Of a square of the checkerboard, which has four by four of them."""
SPREAD = SIDE * toy.scale(8 / 3, 0)
"""Standard deviation of each coordinate of the checkerboard."""
ENTROPY = log(8 * SIDE**2)
"""Of the checkerboard, in nats: the logarithm of its area."""

INITIAL, TRAINING, SAMPLING = range(3)
"""What the streams of a seed are for."""

TRAINED = 0.1
"""How far another processor may move a number that a trained network gives, relatively. With the high learning rate
rounding grows; the trainings end in equal quality, and not in equal networks."""

EXACT_PATHS: MappingProxyType[str, ConditionalPath] = MappingProxyType({"ot": OT(), "vp": VP(end=1 - 1e-3), "ve": VE()})
"""The paths on which exact fields are followed. VP stops before its end, where the velocity of a data set is singular
and a solver's order is lost."""


def checkerboard(n: int, generator: Generator) -> Tensor:
    """n points of the checkerboard, (n, 2), float32."""
    return SPREAD * toy.checkerboard(n, generator)


def in_support(x: Tensor) -> Tensor:
    """The share of points that lie on the squares of the checkerboard; x: (..., n, 2) -> (...), float64."""
    squares = (x / SIDE).floor()
    on_board = ((squares >= -2) & (squares < 2)).all(-1)
    return (on_board & (squares.sum(-1) % 2 == 0)).double().mean(-1)


def mixture(std: float | None = None) -> GaussianMixture:
    """The eight Gaussians, with all that is known of them; `std` of each, by default the toy's, 0.14."""
    means, narrow = toy.eight_gaussians_mixture()
    return GaussianMixture(means, torch.full((len(means),), std or narrow, dtype=torch.float64))


def exact_velocity(path: ConditionalPath, law: Oracle) -> Velocity:
    """The exact marginal velocity for points of several seeds at once: x (..., D), t ()."""
    field = MarginalField(path, law)
    return lambda x, t: field.velocity(x.reshape(-1, x.shape[-1]), t).reshape(x.shape)


def rmse(x: Tensor, exact: Tensor) -> Tensor:
    """√ of the mean of |x − exact|² over points, per coordinate; both (..., n, D) -> (...)."""
    return (x - exact).square().mean((-2, -1)).sqrt()


@dataclass(frozen=True)
class NetConfig:
    """A network of the plane and its training. `steps` of `batch` points each."""

    steps: int = 1500
    hidden: int = 64
    layers: int = 3
    batch: int = 256
    lr: float = 1e-2

    def __post_init__(self) -> None:
        at_least(1, self, "steps", "hidden", "layers", "batch")
        positive(self, "lr")


def networks(config: NetConfig, seeds: tuple[int, ...], device: str = "cpu") -> Members[MLP]:
    """One untrained network for each seed."""
    return Members(
        [
            MLP(2, hidden=config.hidden, hidden_layers=config.layers, gain=1.0, generator=stream(seed, INITIAL))
            for seed in seeds
        ]
    ).to(device)


def learn(
    loss: Callable[..., Tensor],
    sample: Callable[[int, Generator], Batch],
    config: NetConfig,
    seeds: tuple[int, ...],
    runs: tuple[Run, ...],
    checkpoint: Path | None = None,
) -> Members[MLP]:
    """The networks of `seeds`, trained on `loss` with batches of `sample`: their averaged weights, in eval mode.

    Each seed draws its first weights, its batches and its noise from streams of its own, all on the CPU. `checkpoint`
    is where a training is left, and taken up for more steps.
    """
    device = runs[0].device
    settings = TrainConfig(
        config.steps,
        config.batch,
        config.lr,
        ema_halflife=100_000,
        ema_rampup=0.1,
        clip=1.0,  # at such rates one seed in two of the larger networks is lost without
        log_every=max(1, config.steps // 8),
    )

    def data(n: int, generator: Generator) -> Batch:
        x_1, cond = sample(n, generator)
        return x_1.to(device), {name: value.to(device) for name, value in cond.items()}

    generators = tuple(stream(seed, TRAINING) for seed in seeds)
    members = networks(config, seeds, device)
    return train(
        members, loss, data, settings, generators, log=tuple(run.log for run in runs), checkpoint=checkpoint
    ).ema


def drawn(sample: Callable[[int, Generator], Tensor]) -> Callable[[int, Generator], Batch]:
    """Training data without end: fresh points for each batch."""
    return lambda n, generator: (sample(n, generator), {})


def noise(n: int, seeds: tuple[int, ...], device: str = "cpu", dim: int = 2) -> Tensor:
    """(S, n, dim) float64: for each seed n draws of N(0, I), the same for every method."""
    draws = [torch.randn(n, dim, generator=stream(seed, SAMPLING), dtype=torch.float64) for seed in seeds]
    return torch.stack(draws).to(device)
