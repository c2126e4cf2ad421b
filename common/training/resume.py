"""The state of a training, and its way into a checkpoint and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.members import Members


@dataclass(frozen=True)
class State:
    """All that the next step depends on, and its way into a checkpoint and back."""

    network: nn.Module
    ema: nn.Module
    optimizer: torch.optim.Optimizer
    generators: tuple[torch.Generator, ...]
    config: Mapping[str, Any]

    def save(self, path: Path, step: int) -> None:
        tensors = {f"network.{key}": value for key, value in self.network.state_dict().items()}
        tensors |= {f"ema.{key}": value for key, value in self.ema.state_dict().items()}
        for index, moments in self.optimizer.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{key}": value for key, value in moments.items()}
        tensors |= {f"rng.{key}": value for key, value in self._streams().items()}
        meta = {"step": step, "config": dict(self.config), "members": self._members}
        save_checkpoint(path, tensors, meta)

    def load(self, path: Path) -> int:
        """Put the state of `path` in place; returns the number of steps made."""
        tensors, meta = load_checkpoint(path)
        self._check(path, meta["config"])
        if (found := meta.get("members")) != self._members:
            found, own = (f"{count} members" if count else "one network" for count in (found, self._members))
            raise ValueError(f"{path} was left by a run of {found}, not of {own}; remove it to start anew")
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
        for name, generator in self._generators().items():
            generator.set_state(tensors[f"rng.{name}"])
        if isinstance(self.network, Members):
            self.network.streams = [tensors[f"rng.member.{s}"] for s in range(self.network.members)]
        torch.set_rng_state(tensors["rng.default"])
        if "rng.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["rng.cuda"], self._device)
        return int(meta["step"])

    @property
    def _device(self) -> torch.device:
        return next(self.network.parameters()).device

    @property
    def _members(self) -> int | None:
        return self.network.members if isinstance(self.network, Members) else None

    def _generators(self) -> dict[str, torch.Generator]:
        if self._members is None:
            return {"generator": self.generators[0]}
        return {f"generator.{s}": generator for s, generator in enumerate(self.generators)}

    def _streams(self) -> dict[str, Tensor]:
        streams = {name: generator.get_state() for name, generator in self._generators().items()}
        streams["default"] = torch.get_rng_state()
        if isinstance(self.network, Members):
            streams |= {f"member.{s}": state for s, state in enumerate(self.network.streams)}
        if self._device.type == "cuda":
            streams["cuda"] = torch.cuda.get_rng_state(self._device)
        return streams

    def _check(self, path: Path, saved: Mapping[str, Any]) -> None:
        """A longer run and another rhythm of logs and checkpoints may take up the state; all else must be equal."""
        free = {"steps", "log_every", "checkpoint_every"}
        for name, value in self.config.items():
            value = list(value) if isinstance(value, tuple) else value
            if name not in free and saved.get(name) != value:
                raise ValueError(
                    f"{path} was left by a run with {name}={saved.get(name)}, not {value}; remove it to start anew"
                )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
