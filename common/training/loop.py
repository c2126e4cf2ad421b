"""The training loop: Adam, a warm-up, gradient clipping, an average of the weights, and a stop that can be resumed.

A resumed run equals an unbroken one bit for bit (on one thread): the checkpoint holds the weights, their average, the
moments of Adam and the states of both random streams.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from torch import Tensor, nn

from common.nets.ema import averaged, ema_beta, update_ema
from common.training.allocator import keep_freed_memory
from common.training.checkpoint import load_checkpoint, save_checkpoint

Net = TypeVar("Net", bound=nn.Module)
Batch = tuple[Tensor, Mapping[str, Tensor]]
Sampler = Callable[[int, torch.Generator], Batch]
"""(batch size, generator) -> x0: (B, *D), and the conditioning that goes with it, each (B, ...)."""


class Loss(Protocol):
    """loss(net, x0, generator, **cond) -> per-sample values: (B,), or (S, B) for S networks trained at once."""

    def __call__(self, net: Any, x0: Tensor, generator: torch.Generator, **cond: Tensor) -> Tensor: ...


class NonFiniteLoss(ArithmeticError):
    """The loss is NaN or infinite: training stops at `step` rather than going on with ruined weights."""

    def __init__(self, step: int, value: float) -> None:
        super().__init__(f"the loss is {value} at step {step}; lower the learning rate or clip the gradient")
        self.step, self.value = step, value


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
    generator: torch.Generator,
    *,
    log: Callable[..., None] = _silent,
    checkpoint: Path | None = None,
) -> Trained[Net]:
    """Minimise E[loss] over the network's weights, in place.

    network     trained where it is: on its own device, in its own dtype
    data        x0: (n, *D) on the network's device, or a `Sampler`
    generator   the source of batches, noise levels, noise and dropout; its device is the network's, or the CPU
    log         log(step=..., loss=..., lr=..., grad_norm=... if clipped) every `log_every` steps, with the mean loss
    checkpoint  where to leave the state; a state found there is taken up

    Layers that draw for themselves (dropout) follow torch's default stream, which is seeded from `generator` and put
    back at the end. Raises NonFiniteLoss, and ValueError where the checkpoint was left by a different configuration.
    """
    sample = draw_from(data) if isinstance(data, Tensor) else data
    device = next(network.parameters()).device
    if device.type == "cpu":
        keep_freed_memory()
    ema = averaged(network) if config.ema_halflife is not None else network
    network.train().requires_grad_(True)
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(parameters, lr=config.lr, betas=config.betas, fused=True)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator, device=generator.device)))
        state = _State(network, ema, optimizer, generator, config)
        first = state.load(checkpoint) if checkpoint is not None and checkpoint.exists() else 0
        total, count = 0.0, 0
        for step in range(first, config.steps):
            images_seen = step * config.batch_size
            optimizer.param_groups[0]["lr"] = config.learning_rate(images_seen)
            x0, cond = sample(config.batch_size, generator)
            per_sample = loss(network, x0, generator, **cond)
            if not math.isfinite(shown := float(per_sample.detach().mean())):
                raise NonFiniteLoss(step, shown)
            optimizer.zero_grad(set_to_none=True)
            # Mean over the batch, and sum over networks trained at once: each has the gradient that it has alone.
            per_sample.mean(dim=-1).sum().backward()
            norm = None if config.clip is None else nn.utils.clip_grad_norm_(parameters, config.clip)
            optimizer.step()
            if config.ema_halflife is not None:
                beta = ema_beta(config.batch_size, config.ema_halflife, images_seen, config.ema_rampup)
                update_ema(ema, network, beta)
            total, count = total + shown, count + 1
            if config.log_every and (step + 1) % config.log_every == 0:
                clipped = {} if norm is None else {"grad_norm": float(norm)}
                log(step=step + 1, loss=total / count, lr=optimizer.param_groups[0]["lr"], **clipped)
                total, count = 0.0, 0
            due = config.checkpoint_every and (step + 1) % config.checkpoint_every == 0
            if checkpoint is not None and (due or step + 1 == config.steps):
                state.save(checkpoint, step + 1)
    return Trained(network.eval(), ema, config.steps)


@dataclass(frozen=True)
class _State:
    """All that the next step depends on, and its way into a checkpoint and back."""

    network: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    generator: torch.Generator
    config: TrainConfig

    def save(self, path: Path, step: int) -> None:
        tensors = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        tensors |= {f"ema.{key}": value for key, value in self.ema.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{key}": value for key, value in moments.items()}
        tensors |= {f"rng.{key}": value for key, value in self._streams().items()}
        save_checkpoint(path, tensors, {"step": step, "config": dataclasses.asdict(self.config)})

    def load(self, path: Path) -> int:
        """Put the state of `path` in place; returns the number of steps made."""
        tensors, meta = load_checkpoint(path)
        self._check(path, meta["config"])
        self.network.load_state_dict(_under("network.", tensors))
        self.ema.load_state_dict(_under("ema.", tensors))
        adam = self.optimizer.state_dict()
        for index, parameter in enumerate(self.network.parameters()):
            moments = _under(f"adam.{index}.", tensors)
            if moments:
                # The moments take the memory format of their weights: the fused step walks all of them in one order.
                adam["state"][index] = {
                    key: torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
                    for key, value in moments.items()
                }
        self.optimizer.load_state_dict(adam)
        self.generator.set_state(tensors["rng.generator"])
        torch.set_rng_state(tensors["rng.default"])
        if "rng.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng.cuda"], self._device)
        return int(meta["step"])

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    def _streams(self) -> dict[str, Tensor]:
        streams = {"generator": self.generator.get_state(), "default": torch.get_rng_state()}
        if self._device.type == "cuda":
            streams["cuda"] = torch.cuda.get_rng_state(self._device)
        return streams

    def _check(self, path: Path, saved: Mapping[str, Any]) -> None:
        """A longer run and another rhythm of logs and checkpoints may take up the state; all else must be equal."""
        free = {"steps", "log_every", "checkpoint_every"}
        for name, value in dataclasses.asdict(self.config).items():
            value = list(value) if isinstance(value, tuple) else value
            if name not in free and saved.get(name) != value:
                raise ValueError(
                    f"{path} was left by a run with {name}={saved.get(name)}, not {value}; remove it to start anew"
                )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
