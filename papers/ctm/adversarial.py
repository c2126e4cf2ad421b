"""The adversarial loss (Section 4.1): a discriminator on features, with the hinge loss.

The paper's discriminator is StyleGAN-XL's: frozen DeiT and EfficientNet features of ImageNet, frozen random
projections, and small spectrally normalised heads. Here images have the features of a digit classifier, which is not
the one that judges the samples; points of the plane have Fourier features. A discriminator maps (B, *D) to a list of
logits, (B, K) for each head; with stacked weights of S networks, `Members(heads).stacked`, (S, B, *D) to (S, B, K).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from math import pi
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.nets.init import linear

SLOPE = 0.2
POWER_ITERATIONS = 15
"""At the start; each step of training then makes one more."""


class Backbone(Protocol):
    """A fixed network with feature maps at several depths."""

    def taps(self, x: Tensor) -> Sequence[Tensor]:
        """(n, C, H, W) -> feature maps (n, C_i, H_i, W_i)."""


def hinge_loss(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """What the discriminator minimises: max(0, 1 − D(real)) + max(0, 1 + D(fake)), the mean over heads of the mean over
    their logits; per sample, (B,) or (S, B)."""
    return _mean([F.relu(1 - logits) for logits in real]) + _mean([F.relu(1 + logits) for logits in fake])


def generator_loss(fake: Sequence[Tensor]) -> Tensor:
    """What the student minimises: −D(fake), likewise."""
    return -_mean(fake)


def _mean(logits: Sequence[Tensor]) -> Tensor:
    return torch.stack([own.mean(-1) for own in logits]).mean(0)


class SpectralLinear(nn.Module):
    """W x / σ(W) + b, with the largest singular value σ(W) by power iteration (Miyato et al. 2018): 1-Lipschitz."""

    def __init__(self, inputs: int, outputs: int, generator: torch.Generator | None) -> None:
        super().__init__()
        layer = linear(inputs, outputs, generator)
        self.weight, self.bias = layer.weight, layer.bias
        self.register_buffer("u", F.normalize(torch.randn(outputs, generator=generator), dim=0))
        self.u: Tensor
        for _ in range(POWER_ITERATIONS):
            self.iterate()

    @torch.no_grad()
    def iterate(self) -> None:
        self.u.copy_(F.normalize((self.weight @ self.right()[..., None])[..., 0], dim=-1))

    @torch.no_grad()
    def right(self) -> Tensor:
        """v = Wᵀu / ‖Wᵀu‖."""
        return F.normalize((self.weight.transpose(-1, -2) @ self.u[..., None])[..., 0], dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.iterate()
        # A copy: the next pass moves u in place, and the gradient of this one needs its own.
        u = self.u.clone()
        sigma = (u * (self.weight @ self.right()[..., None])[..., 0]).sum(-1)
        return x @ (self.weight / sigma[..., None, None]).transpose(-1, -2) + self.bias.unsqueeze(-2)


class SpectralPerceptron(nn.Module):
    """`widths[0]` inputs to `widths[-1]` logits through leaky units, every layer spectrally normalised."""

    def __init__(self, widths: Sequence[int], generator: torch.Generator | None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(SpectralLinear(n_in, n_out, generator) for n_in, n_out in pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        *hidden, last = self.layers
        for layer in hidden:
            x = F.leaky_relu(layer(x), SLOPE)
        return last(x)


class PlaneDiscriminator(nn.Module):
    """D(x) for points (B, dim): three hidden layers on x and its Fourier features of fixed frequencies N(0, scale²)."""

    def __init__(
        self,
        dim: int = 2,
        hidden: int = 128,
        features: int = 32,
        scale: float = 0.5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("frequencies", scale * torch.randn(dim, features // 2, generator=generator))
        self.frequencies: Tensor
        self.head = SpectralPerceptron([dim + features // 2 * 2, hidden, hidden, hidden, 1], generator)

    def forward(self, x: Tensor) -> list[Tensor]:
        phase = 2 * pi * x @ self.frequencies
        return [self.head(torch.cat([x, phase.sin(), phase.cos()], dim=-1))]


class ProjectedHeads(nn.Module):
    """One head for each tap: a fixed random mixture of its channels, then a perceptron at every position."""

    def __init__(
        self,
        channels: Sequence[int],
        projected: int = 32,
        hidden: int = 64,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        for i, C in enumerate(channels):
            self.register_buffer(f"projection_{i}", torch.randn(C, projected, generator=generator) / C**0.5)
        self.heads = nn.ModuleList(SpectralPerceptron([projected, hidden, 1], generator) for _ in channels)

    def forward(self, tokens: Sequence[Tensor]) -> list[Tensor]:
        """Taps as (B, P_i, C_i), or (S, B, P_i, C_i) with stacked weights -> logits (B, P_i) or (S, B, P_i)."""
        logits = []
        for i, (head, own) in enumerate(zip(self.heads, tokens, strict=True)):
            rows = own.flatten(-3, -2) @ self.get_buffer(f"projection_{i}")
            logits.append(head(rows).reshape(own.shape[:-1]))
        return logits


class ProjectedDiscriminator(nn.Module):
    """D(x) for images (B, C, H, W) or (S, B, C, H, W): trained heads on the taps of a frozen backbone."""

    def __init__(self, backbone: nn.Module, heads: ProjectedHeads) -> None:
        super().__init__()
        self.backbone = backbone.eval().requires_grad_(False)
        self.heads = heads

    def train(self, mode: bool = True) -> ProjectedDiscriminator:
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, x: Tensor) -> list[Tensor]:
        taps: Sequence[Tensor] = self.backbone.taps(x.flatten(0, -4))  # type: ignore[operator]
        tokens = [tap.flatten(2).transpose(1, 2) for tap in taps]
        return self.heads([own.reshape(*x.shape[:-3], *own.shape[1:]) for own in tokens])
