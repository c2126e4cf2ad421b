"""A perceptron with Fourier features of the noise level."""

from __future__ import annotations

from itertools import pairwise
from typing import ClassVar

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

    Its weights may be stacks of S networks' (`common.training.members`): then x is (S, B, D), network s sees x[s] only,
    and a layer is one batched product in place of S small ones.
    """

    takes_stacked_weights: ClassVar[bool] = True

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
        """x: (B, D); c_noise: () or (B,); class_labels: (B,) whole numbers or (B, K) -> (B, D).

        Stacked, x: (S, B, D); c_noise: (), (B,) or (S, B); class_labels: (S, B) or (S, B, K) -> (S, B, D).
        """
        c_noise = per_sample(c_noise, x, x.ndim - 1)
        parts = [x, self.embed(c_noise) if self.embed is not None else c_noise[..., None]]
        if self.label_dim:
            labels = class_labels if class_labels is None or x.ndim == 2 else class_labels.flatten(0, 1)
            parts.append(one_hot(labels, self.label_dim, x.flatten(0, -2)).unflatten(0, x.shape[:-1]))
        h = torch.cat(parts, dim=-1)
        for layer in self.hidden:
            h = F.silu(affine(layer, h))
        return affine(self.out, h)


def affine(layer: nn.Module, x: Tensor) -> Tensor:
    """x Wᵀ + b: (B, n_in) -> (B, n_out), with W: (n_out, n_in); of S stacked layers (S, B, n_in) -> (S, B, n_out)."""
    weight, bias = layer.weight, layer.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    if weight.ndim == 2:
        return F.linear(x, weight, bias)
    return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))
