"""The exponential moving average of a network's weights, with EDM's half-life."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from torch import nn

Net = TypeVar("Net", bound=nn.Module)


def ema_beta(batch_size: int, halflife: float, images_seen: int, rampup: float | None = 0.05) -> float:
    """β = ½^{batch_size / h},  h = min(halflife, rampup · images_seen)  (EDM, Appendix F.3).

    After h further images an old weight counts half. The ramp keeps the average from remembering the untrained network:
    it covers at most the `rampup` share of the training so far. `halflife` is in images; None means no ramp.
    """
    if rampup is not None:
        halflife = min(halflife, rampup * images_seen)
    return 0.5 ** (batch_size / halflife) if halflife > 0 else 0.0


def averaged(network: Net) -> Net:
    """A copy of `network` to hold the average: in eval mode, and without gradients."""
    return copy.deepcopy(network).eval().requires_grad_(False)


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, beta: float) -> None:
    """θ_ema <- β θ_ema + (1 - β) θ, in place. Buffers are copied: they are constants or counters, not weights."""
    torch._foreach_lerp_(list(ema.parameters()), list(network.parameters()), 1.0 - beta)
    for averaged_buffer, buffer in zip(ema.buffers(), network.buffers(), strict=True):
        averaged_buffer.copy_(buffer)
