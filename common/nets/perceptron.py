"""A perceptron for small images, where a U-Net would be too much: digits of 8×8 pixels."""

from __future__ import annotations

from math import prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from common.nets.embedding import PositionalEmbedding, per_sample
from common.nets.init import linear
from common.nets.mlp import MLP, affine


class Perceptron(nn.Module):
    """F(x, c_noise) = MLP(x, c_noise) + g(c_noise) x on flattened images, with a gain g per pixel: what is left of a
    U-Net's skip connections, along which the noise in x reaches the output.

    shape       of one image, (C, H, W) or any other
    hidden      units of each of the three layers

    It is told of c_noise as DDPM++ is, by features whose wavelengths are 2π and more: VP's c_noise runs to 999, far
    beyond what Fourier features of unit scale can resolve. A time in [0, 1] is best given as 1000 t.

    Its weights may be stacks of S networks' (`common.training.members`), as those of `MLP`.
    """

    FEATURES = 32
    takes_stacked_weights: ClassVar[bool] = True

    def __init__(self, shape: tuple[int, ...], hidden: int, generator: torch.Generator | None) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.embed = PositionalEmbedding(self.FEATURES)
        self.mlp = MLP(prod(shape), hidden=hidden, features=self.FEATURES, generator=generator)
        self.mlp.embed = self.embed  # type: ignore[assignment]  # declared as Fourier features; called alike
        self.gain = linear(self.FEATURES, prod(shape), generator, gain=1e-5)

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        """x: (B, *shape); c_noise: () or (B,) -> (B, *shape). Stacked, (S, B, *shape) and (), (B,) or (S, B).

        Raises ValueError where x has images of another shape.
        """
        batch = x.ndim - len(self.shape)
        if batch < 1 or x.shape[batch:] != self.shape:
            raise ValueError(f"x has shape {tuple(x.shape)}; this network takes (B, {', '.join(map(str, self.shape))})")
        flat = x.flatten(batch)
        c_noise = per_sample(c_noise, flat, batch)
        return (self.mlp(flat, c_noise) + affine(self.gain, self.embed(c_noise)) * flat).reshape(x.shape)
