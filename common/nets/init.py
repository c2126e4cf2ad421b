"""Weights at the start, drawn from a generator that the caller owns.

PyTorch's own layers draw from the global seed when they are built, so layers here are built empty, and filled by
`xavier_`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


@torch.no_grad()
def xavier_(layer: nn.Module, gain: float, generator: torch.Generator | None) -> None:
    """Fill `layer.weight` with U(-a, a), a = gain √(6 / (fan_in + fan_out)), and `layer.bias` with 0.

    Glorot & Bengio 2010. `weight` is (out, in, *kernel); both fans count the kernel's taps.
    `generator` None means torch's default generator.
    """
    weight = layer.weight
    assert isinstance(weight, Tensor)
    taps = math.prod(weight.shape[2:])
    bound = gain * math.sqrt(6 / (taps * (weight.shape[0] + weight.shape[1])))
    # Drawn in the plain layout, so that the same seed gives the same weights in every memory format.
    weight.copy_(torch.rand(weight.shape, generator=generator).mul_(2).sub_(1).mul_(bound))
    if isinstance(layer.bias, Tensor):
        layer.bias.zero_()


def linear(
    inputs: int, outputs: int, generator: torch.Generator | None, *, bias: bool = True, gain: float = 1.0
) -> nn.Linear:
    """A fully connected layer whose weights come from `generator`."""
    layer = nn.utils.skip_init(nn.Linear, inputs, outputs, bias=bias)
    xavier_(layer, gain, generator)
    return layer
