"""The state of a training, and its way into a checkpoint and back: a stopped training equals an unbroken one."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.members import Generators

if TYPE_CHECKING:
    from papers.ctm.training import CTMTraining, Learner

FREE = ("steps", "log_every", "checkpoint_every")
"""Fields in which the training that goes on may differ from the one that stopped."""


@dataclass(frozen=True)
class State:
    """All that the next step depends on: weights, their average, the discriminator, moments, random streams."""

    learner: Learner
    generators: Generators
    steps: torch.Generator
    config: CTMTraining

    def save(self, path: Path, step: int) -> None:
        """Write the state after `step` steps."""
        tensors: dict[str, Tensor] = {}
        for name, module in self._modules().items():
            tensors |= _named(name, module.state_dict())
        for name, (optimizer, _) in self._optimizers().items():
            for index, moments in optimizer.state_dict()["state"].items():
                tensors |= _named(f"{name}.{index}", moments)
        tensors |= {name: stream.get_state() for name, stream in self._streams().items()}
        save_checkpoint(path, tensors, {"step": step, "config": dataclasses.asdict(self.config)})

    def load(self, path: Path) -> int:
        """Put the state of `path` in place; returns the number of steps made. Raises ValueError where a training with
        another configuration left it."""
        tensors, meta = load_checkpoint(path)
        for name, value in dataclasses.asdict(self.config).items():
            if name not in FREE and meta["config"].get(name) != value:
                found = meta["config"].get(name)
                raise ValueError(f"{path} was left by a training with {name}={found}, not {value}; remove it first")
        for name, module in self._modules().items():
            module.load_state_dict(_under(name, tensors))
        for name, (optimizer, parameters) in self._optimizers().items():
            state = optimizer.state_dict()
            for index, parameter in enumerate(parameters):
                # The moments take the memory format of their weights, as they had it.
                state["state"][index] = {
                    key: torch.empty_like(parameter).copy_(value) if value.shape == parameter.shape else value
                    for key, value in _under(f"{name}.{index}", tensors).items()
                }
            optimizer.load_state_dict(state)
        for name, stream in self._streams().items():
            stream.set_state(tensors[name])
        return int(meta["step"])

    def _modules(self) -> Mapping[str, nn.Module]:
        own = {"student": self.learner.student, "average": self.learner.average}
        judge = self.learner.discriminator
        return own if judge is None else {**own, "discriminator": judge}

    def _optimizers(self) -> Mapping[str, tuple[torch.optim.Optimizer, list[Tensor]]]:
        found = {"radam": self.learner.optimizer, "d_radam": self.learner.d_optimizer}
        return {
            name: (each, [p for group in each.param_groups for p in group["params"]])
            for name, each in found.items()
            if each is not None
        }

    def _streams(self) -> Mapping[str, torch.Generator]:
        own = self.generators if isinstance(self.generators, tuple) else (self.generators,)
        return {"stream.steps": self.steps, **{f"stream.{i}": each for i, each in enumerate(own)}}


def _named(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}.{key}": value for key, value in tensors.items()}


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    start = f"{prefix}."
    return {key.removeprefix(start): value for key, value in tensors.items() if key.startswith(start)}
