"""The training loop: Adam, a warm-up, gradient clipping, an average of the weights, and a stop that can be resumed.

A resumed run equals an unbroken one bit for bit (on one thread): the checkpoint holds the weights, their average, the
moments of Adam and the states of all random streams. Several seeds train as one network (`members`), each as it does
alone, to rounding.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from common.nets.ema import averaged, ema_beta, update_ema
from common.training.allocator import keep_freed_memory
from common.training.members import Generators, Members, clip_members_
from common.training.resume import State

Net = TypeVar("Net", bound=nn.Module)
Batch = tuple[Tensor, Mapping[str, Tensor]]
Sampler = Callable[[int, torch.Generator], Batch]
"""(batch size, generator) -> x0: (B, *D), and the conditioning that goes with it, each (B, ...)."""

Log = Callable[..., None]
"""log(step=..., loss=..., lr=..., grad_norm=... if clipped)."""


class Loss(Protocol):
    """loss(net, x0, generator, **cond) -> per-sample values (B,).

    For S networks trained at once x0 is (S, B, *D), cond likewise, `generator` a tuple of S, and the values (S, B).
    """

    def __call__(self, net: Any, x0: Tensor, generator: Any, /, **cond: Tensor) -> Tensor: ...


class NonFiniteLoss(ArithmeticError):
    """The loss is NaN or infinite: training stops at `step` rather than going on with ruined weights.

    `member` is the one whose loss it is where several networks are trained at once.
    """

    def __init__(self, step: int, value: float, member: int | None = None) -> None:
        whose = "" if member is None else f" of member {member}"
        super().__init__(f"the loss{whose} is {value} at step {step}; lower the learning rate or clip the gradient")
        self.step, self.value, self.member = step, value, member


@dataclass(frozen=True)
class TrainConfig:
    """How to train.

    steps               optimiser steps in all
    batch_size          images per step
    lr, betas           Adam's; lr is reached after `lr_rampup` images, linearly from 0 (EDM, Appendix F.3)
    ema_halflife        half-life of the average of the weights, in images; at most `ema_rampup` of those seen so far;
                        None for no average
    clip                greatest norm of the gradient, None for no clipping
    log_every, checkpoint_every     in steps; 0 means never (a finished run still writes its checkpoint)
    """

    steps: int
    batch_size: int
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    lr_rampup: int = 0
    ema_halflife: float | None = 500_000.0
    ema_rampup: float | None = 0.05
    clip: float | None = None
    log_every: int = 100
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        for name in ("lr_rampup", "ema_halflife", "log_every", "checkpoint_every"):
            if (getattr(self, name) or 0) < 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must not be negative")
        if self.clip is not None and not self.clip > 0:
            raise ValueError(f"clip is {self.clip}; it must be positive, or None for no clipping")

    def learning_rate(self, images_seen: int) -> float:
        """lr · min(images_seen / lr_rampup, 1)."""
        return self.lr * min(images_seen / self.lr_rampup, 1.0) if self.lr_rampup else self.lr


@dataclass(frozen=True)
class Trained(Generic[Net]):
    """What training leaves: the network, the average of its weights (in eval mode), and the steps made.

    Without an average `ema` is the network itself.
    """

    network: Net
    ema: Net
    steps: int


def draw_from(x0: Tensor, **cond: Tensor) -> Sampler:
    """Batches drawn with replacement from x0: (n, *D) and its conditioning, each (n, ...): one gather per batch."""
    for name, value in cond.items():
        if len(value) != len(x0):
            raise ValueError(f"{name} has {len(value)} entries; the data has {len(x0)}")

    def sample(batch_size: int, generator: torch.Generator) -> Batch:
        index = torch.randint(len(x0), (batch_size,), generator=generator, device=generator.device).to(x0.device)
        return x0[index], {name: value[index] for name, value in cond.items()}

    return sample


def _silent(**metrics: float) -> None:
    """Log nothing."""


def train(
    network: Net,
    loss: Loss,
    data: Tensor | Sampler,
    config: TrainConfig,
    generator: Generators,
    *,
    log: Log | tuple[Log, ...] = _silent,
    checkpoint: Path | None = None,
) -> Trained[Net]:
    """Minimise E[loss] over the network's weights, in place.

    network     trained where it is: on its own device, in its own dtype
    data        x0: (n, *D) on the network's device, or a `Sampler`
    generator   the source of batches, noise levels, noise and dropout; its device is the network's, or the CPU
    log         called every `log_every` steps, with the mean loss since the last call
    checkpoint  where to leave the state; a state found there is taken up

    With `Members` of S networks, `generator` is a tuple of S, and so is `log` where it is given. Each member draws its
    batches, noise and dropout from its own generator, has its gradient clipped by its own norm, and its own log.

    Layers that draw for themselves (dropout) follow torch's default stream, which is seeded from `generator` and put
    back at the end. Raises NonFiniteLoss; ValueError where the checkpoint was left by a different configuration, or
    where there are not as many generators or logs as networks.
    """
    members = network.members if isinstance(network, Members) else None
    generators = _one_each("generator", generator, members)
    meter = _Meter(_one_each("log", (_silent,) * members if members and log is _silent else log, members))
    sample = draw_from(data) if isinstance(data, Tensor) else data
    device = next(network.parameters()).device
    if device.type == "cpu":
        keep_freed_memory()
    ema = averaged(network) if config.ema_halflife is not None else network
    network.train().requires_grad_(True)
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(parameters, lr=config.lr, betas=config.betas, fused=True)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        seeds = [int(torch.randint(2**62, (), generator=own, device=own.device)) for own in generators]
        if isinstance(network, Members):
            network.seed(seeds)
        else:
            torch.manual_seed(seeds[0])
        state = State(network, ema, optimizer, generators, dataclasses.asdict(config))
        first = state.load(checkpoint) if checkpoint is not None and checkpoint.exists() else 0
        for step in range(first, config.steps):
            images_seen = step * config.batch_size
            optimizer.param_groups[0]["lr"] = config.learning_rate(images_seen)
            batches = [sample(config.batch_size, own) for own in generators]
            x0, cond = batches[0] if members is None else _side_by_side(batches)
            losses = _per_network(loss(network, x0, generator, **cond), members)
            meter.add(losses, step)
            optimizer.zero_grad(set_to_none=True)
            # Summed over networks trained at once: each has the gradient that it has alone.
            losses.sum().backward()
            norm = None
            if config.clip is not None:
                clip_ = nn.utils.clip_grad_norm_ if members is None else clip_members_
                norm = clip_(parameters, config.clip)
            optimizer.step()
            if config.ema_halflife is not None:
                beta = ema_beta(config.batch_size, config.ema_halflife, images_seen, config.ema_rampup)
                update_ema(ema, network, beta)
            if config.log_every and (step + 1) % config.log_every == 0:
                meter.log(step + 1, optimizer.param_groups[0]["lr"], norm)
            due = config.checkpoint_every and (step + 1) % config.checkpoint_every == 0
            if checkpoint is not None and (due or step + 1 == config.steps):
                state.save(checkpoint, step + 1)
    return Trained(network.eval(), ema, config.steps)


def _one_each(what: str, given: Any, members: int | None) -> tuple[Any, ...]:
    """One of what is `given` for each network: a tuple of S for S members, itself for one network."""
    if members is None and not isinstance(given, tuple):
        return (given,)
    if members is not None and isinstance(given, tuple) and len(given) == members:
        return given
    found = f"a tuple of {len(given)}" if isinstance(given, tuple) else "one alone"
    wanted = "one network takes one alone" if members is None else f"{members} members take a tuple of {members}"
    raise ValueError(f"{what} is {found}; {wanted}")


def _side_by_side(batches: Sequence[Batch]) -> Batch:
    """The batches of S members as one: x0 (S, B, *D), cond each (S, B, ...)."""
    names = batches[0][1]
    return torch.stack([x for x, _ in batches]), {name: torch.stack([c[name] for _, c in batches]) for name in names}


def _per_network(per_sample: Tensor, members: int | None) -> Tensor:
    """The mean over the batch: () for one network, (S,) for S members. Raises ValueError for values of other shapes."""
    if (members is None and per_sample.ndim != 1) or (members is not None and per_sample.shape[:-1] != (members,)):
        allowed = "(B,) for one network" if members is None else f"({members}, B) for {members} members"
        raise ValueError(f"the loss returned values of shape {tuple(per_sample.shape)}; it must be {allowed}")
    return per_sample.mean(dim=-1)


class _Meter:
    """The mean loss of each network since its last entry in its log."""

    def __init__(self, logs: tuple[Log, ...]) -> None:
        self._logs, self._values = logs, list[list[float]]()

    def add(self, losses: Tensor, step: int) -> None:
        """Raises NonFiniteLoss where one is not finite, and names it."""
        values = losses.detach().reshape(-1).tolist()
        for member, value in enumerate(values):
            if not math.isfinite(value):
                raise NonFiniteLoss(step, value, member if losses.ndim else None)
        self._values.append(values)

    def log(self, step: int, lr: float, norm: Tensor | None) -> None:
        for index, log in enumerate(self._logs):
            loss = sum(values[index] for values in self._values) / len(self._values)
            log(step=step, loss=loss, lr=lr, **({} if norm is None else {"grad_norm": float(norm.reshape(-1)[index])}))
        self._values.clear()
