"""A perceptron with Fourier features of the noise level, alone and as S independent networks in one batch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.nets.embedding import FourierEmbedding, one_hot, per_sample
from common.nets.init import linear


class MLP(nn.Module):
    """F(x, c_noise) -> like x, for points x: (B, D).

    `hidden_layers` layers of `hidden` SiLU units on [x, Fourier features of c_noise, class label]. The last layer
    starts at `gain` of its usual size: by default the network begins near zero, a preconditioned denoiser near
    c_skip x. Frequencies are N(0, `scale`²): c_noise = ¼ ln σ spans about 3 units, so scale 1 resolves it without
    aliasing. With no features c_noise itself is the input, as for a time in [0, 1].
    """

    def __init__(
        self,
        dim: int,
        *,
        hidden: int = 128,
        hidden_layers: int = 3,
        features: int = 32,
        scale: float = 1.0,
        label_dim: int = 0,
        gain: float = 1e-5,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if hidden_layers < 1:
            raise ValueError(f"hidden_layers is {hidden_layers}; at least 1 is needed")
        self.dim, self.label_dim = dim, label_dim
        self.embed = FourierEmbedding(features, scale, generator) if features else None
        widths = [dim + (features or 1) + label_dim] + [hidden] * hidden_layers
        self.hidden = nn.ModuleList(linear(n_in, n_out, generator) for n_in, n_out in pairwise(widths))
        self.out = linear(hidden, dim, generator, gain=gain)

    def forward(self, x: Tensor, c_noise: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """x: (B, D); c_noise: () or (B,); class_labels: (B,) whole numbers or (B, K) -> (B, D)."""
        c_noise = per_sample(c_noise, x)
        parts = [x, self.embed(c_noise) if self.embed is not None else c_noise[:, None]]
        if self.label_dim:
            parts.append(one_hot(class_labels, self.label_dim, x))
        h = torch.cat(parts, dim=1)
        for layer in self.hidden:
            h = F.silu(layer(h))
        return self.out(h)


class BatchedMLP(nn.Module):
    """S independent `MLP`s as one: F(x, c_noise) with x: (S, B, D), network s seeing x[s] only.

    One bmm per layer in place of S small matmuls: several seeds of a toy train in about the time of one. `members` must
    share their sizes; the stacked networks start as these members are.
    """

    def __init__(self, members: Sequence[MLP]) -> None:
        super().__init__()
        if not members or any(m.label_dim or m.embed is None for m in members):
            raise ValueError("BatchedMLP takes one or more MLPs with Fourier features and without class labels")
        layers = [[*m.hidden, m.out] for m in members]
        self.freqs: Tensor
        self.register_buffer("freqs", torch.stack([m.embed.freqs for m in members if m.embed is not None]))
        self.weights = nn.ParameterList(
            torch.stack([layer.weight.detach().t() for layer in same]) for same in zip(*layers, strict=True)
        )
        self.biases = nn.ParameterList(
            torch.stack([layer.bias.detach()[None] for layer in same]) for same in zip(*layers, strict=True)
        )

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        """x: (S, B, D); c_noise: (), (B,) or (S, B) -> (S, B, D)."""
        phase = 2 * torch.pi * c_noise.to(x.dtype).expand(x.shape[:2])[..., None] * self.freqs[:, None]
        h = torch.cat([x, phase.sin(), phase.cos()], dim=-1)
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            h = F.silu(torch.baddbmm(bias, h, weight))
        return torch.baddbmm(self.biases[-1], h, self.weights[-1])
