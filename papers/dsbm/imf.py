"""Algorithm 1, and its relatives: one alternation of passes, told apart by what a pass regresses on.

A pass trains the network of one direction on a `Cache` that is refreshed as it goes, by the method:

    DSBM-IMF        alternate(…, matching(independent, c), c)               Brownian bridges on simulated pairs
    DSBM-IPF        alternate(…, matching(reference(c.sigma), c), c)        (the iterates of IPF)
    DSBM-IMF+       alternate(…, matching(minibatch_ot(), c), c)
    IMF-b           the same with directions ["b"]
    DSB             alternate(…, mean_matching(c), c)                       simulated trajectories (`dsb.py`)
    rectified flow  alternate(…, matching(independent, c), c, ["b"]), c.sigma = 0
    bridge matching, SB-CFM, OT-CFM, CFM: a single pass, by `flow_matching`
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import torch
from torch import Generator, Tensor, nn

from common.nets.mlp import MLP
from common.training.loop import Batch, Loss, TrainConfig, train
from common.transport.coupling import Coupling, Pairs
from papers.dsbm.bridge import (
    T_EPS,
    TARGETS,
    Direction,
    Regression,
    bridge_regression,
    check_sigma,
    flow_target,
)
from papers.dsbm.process import Drift, simulate

Epoch = Callable[[Generator], Regression]
"""A new draw of (x_t, t, target), one row for each row of a cache."""


@dataclass(frozen=True)
class IMFConfig:
    """The paper's Gaussian experiment by default.

    sigma           scale of the reference process
    steps           N of a simulation
    passes          projections in all, backward ones and forward ones
    inner_steps     optimiser steps per pass, `batch` rows each, by a new Adam with `lr`
    first_steps     the same for each of the first passes, None for as many (IMF's are bridge matching from nothing)
    first_passes    passes that regress on the first coupling's pairs
    cache           rows simulated at once, from as many points of the data (all where it has fewer)
    refresh_every   optimiser steps that a cache serves; every epoch over it draws new times and noise
    t_eps           times are drawn from [t_eps, 1 − t_eps]
    clip            greatest norm of the gradient, None for no clipping
    ema_halflife    half-life in rows of an average of the weights within a pass, then used for the drift; None for none
    ema_rampup      the half-life is at most this share of the rows that the pass has seen; None for no such limit
    weighted        the loss times σ² (1 − t) forward and σ² t backward, with the mean over D in place of the sum
    noisy_end       whether the last step of a simulation has noise
    warm_start      whether a pass goes on from the weights of the last pass of its direction
    """

    sigma: float = 1.0
    steps: int = 20
    passes: int = 40
    inner_steps: int = 10_000
    first_steps: int | None = None
    first_passes: int = 1
    batch: int = 128
    lr: float = 1e-4
    cache: int = 10_000
    refresh_every: int = 78
    t_eps: float = T_EPS
    clip: float | None = None
    ema_halflife: float | None = None
    ema_rampup: float | None = 0.05
    weighted: bool = False
    noisy_end: bool = True
    warm_start: bool = True

    def __post_init__(self) -> None:
        check_sigma(self.sigma)
        counts = ("steps", "passes", "inner_steps", "first_steps", "first_passes", "batch", "cache", "refresh_every")
        for name in counts:
            if (value := getattr(self, name)) is not None and value < 1:
                raise ValueError(f"{name} is {value}; it must be at least 1")
        if self.cache < self.batch:
            raise ValueError(f"cache is {self.cache}; it must hold a batch of {self.batch} at least")

    def training(self, number: int) -> TrainConfig:
        """How pass `number` trains; `train` makes a new Adam each time that it is called."""
        first = self.first_steps if number <= self.first_passes else None
        return TrainConfig(
            self.inner_steps if first is None else first,
            self.batch,
            self.lr,
            ema_halflife=self.ema_halflife,
            ema_rampup=self.ema_rampup,
            clip=self.clip,
            log_every=0,
        )


@dataclass(frozen=True)
class Pass:
    """What is known after a pass: its number from 1, its direction, and the drifts so far, frozen copies.

    `forward` or `backward` is None until a pass of that direction was made.
    """

    number: int
    direction: Direction
    forward: nn.Module | None
    backward: nn.Module | None

    @property
    def drift(self) -> nn.Module:
        """The drift that this pass trained."""
        drift = self.forward if self.direction == "f" else self.backward
        assert drift is not None
        return drift

    def couple(self, x: Tensor, config: IMFConfig, generator: Generator) -> Pairs:
        """(x_0, x_1) of this pass's process, from points x: (n, *D) of π_0 ('f') or of π_1 ('b') to simulated ones."""
        noisy = config.noisy_end
        end = simulate(self.drift, x, config.sigma, config.steps, generator, self.direction, noisy_end=noisy)
        return (x, end) if self.direction == "f" else (end, x)


Method = Callable[[Tensor, Tensor, Direction, Pass | None, Generator], Epoch]
"""method(x_0, x_1, direction, previous pass, generator) -> what a network of `direction` regresses on.

x_0, x_1: (n, *D), unpaired and in random order.
"""


def matching(first: Coupling, config: IMFConfig) -> Method:
    """Lines 3 to 8 of Algorithm 1: bridges between the pairs of the previous pass, or of `first` in the first ones."""

    def refresh(x_0: Tensor, x_1: Tensor, direction: Direction, previous: Pass | None, generator: Generator) -> Epoch:
        if previous is None or previous.number < config.first_passes:
            pairs = first(x_0, x_1, generator)
        else:
            pairs = previous.couple(x_0 if previous.direction == "f" else x_1, config, generator)
        return lambda g: bridge_regression(*pairs, config.sigma, TARGETS[direction], g, config.t_eps)

    return refresh


class Cache:
    """Batches for `common.training.loop.train`: rows of an `Epoch`, which is renewed every `refresh_every` batches."""

    def __init__(self, refresh: Callable[[Generator], Epoch], refresh_every: int) -> None:
        self.refresh, self.refresh_every = refresh, refresh_every
        self.served = 0
        self.epoch: Epoch
        self.batches: Iterator[Regression] = iter(())

    def __call__(self, batch_size: int, generator: Generator) -> Batch:
        if self.served % self.refresh_every == 0:
            self.epoch, self.batches = self.refresh(generator), iter(())
        self.served += 1
        batch = next(self.batches, None)
        if batch is None:
            # Times and noise for the whole cache at once: a tenth of the cost of drawing them batch by batch.
            columns = (column[: len(column) // batch_size * batch_size] for column in self.epoch(generator))
            self.batches = zip(*(column.split(batch_size) for column in columns), strict=True)
            batch = next(self.batches)
        x_t, t, target = batch
        return x_t, {"t": t, "target": target}


def squared_error(net: Drift, x0: Tensor, generator: Generator, **cond: Tensor) -> Tensor:
    """‖v(x_t, t) − target‖², summed over D as in the official code. Returns (B,).

    x_t comes as `x0`, the name that `common.training` has for what a batch holds; t and target are conditions.
    """
    return (net(x0, cond["t"]) - cond["target"]).square().flatten(1).sum(1)


def weighted_error(sigma: float, direction: Direction) -> Loss:
    """σ² (1 − t) ‖v − target‖²/D forward, σ² t ‖v − target‖²/D backward, as in the official code of the images.

    The weight takes off the growth of the target's variance at the end that a drift aims at.
    """

    def loss(net: Drift, x0: Tensor, generator: Generator, **cond: Tensor) -> Tensor:
        left = 1 - cond["t"] if direction == "f" else cond["t"]
        return sigma**2 * left * squared_error(net, x0, generator, **cond) / x0[0].numel()

    return loss


def alternate(
    x_0: Tensor,
    x_1: Tensor,
    nets: Mapping[Direction, nn.Module],
    method: Method,
    config: IMFConfig,
    generator: Generator,
    directions: Sequence[Direction] = ("b", "f"),
) -> Iterator[Pass]:
    """Algorithm 1: passes in the order of `directions`, over and over, each yielded when trained.

    x_0, x_1: (n, *D), samples of π_0 and π_1, as many of one as of the other. nets: one per direction, trained in
    place. Raises ValueError for unknown directions or samples of different shapes.
    """
    if x_0.shape != x_1.shape or len(x_0) < config.batch:
        raise ValueError(
            f"the samples have shapes {tuple(x_0.shape)} and {tuple(x_1.shape)}; "
            f"both must be the same (n, *D) with n of at least a batch, {config.batch}"
        )
    if not directions or not set(directions) <= set(nets):
        raise ValueError(f"directions is {directions}; allowed are one or more of {sorted(nets)}, which have a network")
    initial = {direction: copy.deepcopy(net.state_dict()) for direction, net in nets.items()}
    drifts: dict[Direction, nn.Module] = {}
    previous: Pass | None = None
    for number, direction in enumerate(islice(cycle(directions), config.passes), 1):
        if not config.warm_start:
            nets[direction].load_state_dict(initial[direction])

        def refresh(g: Generator, direction: Direction = direction, previous: Pass | None = previous) -> Epoch:
            return method(_some(x_0, config.cache, g), _some(x_1, config.cache, g), direction, previous, g)

        cache = Cache(refresh, config.refresh_every)
        loss = weighted_error(config.sigma, direction) if config.weighted else squared_error
        trained = train(nets[direction], loss, cache, config.training(number), generator)
        drifts[direction] = copy.deepcopy(trained.ema).requires_grad_(False)
        previous = Pass(number, direction, drifts.get("f"), drifts.get("b"))
        yield previous


def flow_matching(
    x_0: Tensor, x_1: Tensor, net: nn.Module, coupling: Coupling, config: IMFConfig, generator: Generator
) -> nn.Module:
    """One pass for the velocity of the probability flow of the bridges between `coupling`'s pairs, with one network.

    SB-CFM: minibatch_sinkhorn(σ) and the same σ. OT-CFM, CFM: minibatch_ot(), independent, and a small σ.
    """

    def method(x_0: Tensor, x_1: Tensor, direction: Direction, previous: Pass | None, generator: Generator) -> Epoch:
        pairs = coupling(x_0, x_1, generator)
        return lambda g: bridge_regression(*pairs, config.sigma, flow_target, g, config.t_eps)

    return next(alternate(x_0, x_1, {"f": net}, method, config, generator, ("f",))).drift


def _some(x: Tensor, n: int, generator: Generator) -> Tensor:
    """n rows of x in random order, without repeats."""
    return x[torch.randperm(len(x), generator=generator, device=generator.device)[:n].to(x.device)]


def network(dim: int, generator: Generator, hidden: int = 256) -> MLP:
    """The paper's network for points: SiLU layers of width 256, 256 on [x, t]."""
    return MLP(dim, hidden=hidden, hidden_layers=2, features=0, gain=1.0, generator=generator)
