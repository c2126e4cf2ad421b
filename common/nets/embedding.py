"""Features of the noise level: what a network is told of c_noise, and of class labels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class PositionalEmbedding(nn.Module):
    """emb(c) = [sin(ω_i c), cos(ω_i c)], ω_i = 10000^{-i / (K/2 - 1)}, i = 0 .. K/2 - 1 (DDPM, as DDPM++ uses it).

    c_noise: (B,) -> (B, K), K = `features`; stacked for S members (`common.training.members`), (S, B) -> (S, B, K).
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        half = features // 2
        self.register_buffer("omega", 10_000.0 ** (-torch.arange(half) / max(half - 1, 1)), persistent=False)
        self.omega: Tensor

    def forward(self, c_noise: Tensor) -> Tensor:
        phase = _phase(c_noise, self.omega.to(c_noise.dtype))
        return torch.cat([phase.sin(), phase.cos()], dim=-1)


class FourierEmbedding(nn.Module):
    """emb(c) = [sin(2π f_i c), cos(2π f_i c)] with fixed f_i ~ N(0, scale²) (Song et al. 2021, NCSN++; scale 16).

    c_noise: (B,) -> (B, K), K = `features`; stacked for S members, (S, B) -> (S, B, K). The frequencies are a buffer:
    a checkpoint holds them.
    """

    def __init__(self, features: int, scale: float = 16.0, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.randn(features // 2, generator=generator) * scale)
        self.freqs: Tensor

    def forward(self, c_noise: Tensor) -> Tensor:
        phase = _phase(c_noise, 2 * math.pi * self.freqs.to(c_noise.dtype))
        return torch.cat([phase.sin(), phase.cos()], dim=-1)


def _phase(c_noise: Tensor, omega: Tensor) -> Tensor:
    """ω_i c: (B,), (K/2,) -> (B, K/2); of S members (S, B), (S, K/2) -> (S, B, K/2)."""
    return c_noise[..., None] * (omega if omega.ndim == 1 else omega[:, None])


def per_sample(c_noise: Tensor, x: Tensor, dims: int = 1) -> Tensor:
    """c_noise as (B,) in x's dtype, from a scalar, (1,) or (B,); x: (B, ...). Raises ValueError on any other shape.

    With `dims` 2, of S members: as (S, B), from these or from (S, B); x: (S, B, ...).
    """
    c_noise = c_noise.to(device=x.device, dtype=x.dtype)
    batch = x.shape[:dims]
    if c_noise.numel() == 1:
        return c_noise.reshape(()).expand(batch)
    if c_noise.shape not in (batch, batch[-1:]):
        allowed = " or ".join(dict.fromkeys(["()", str(tuple(batch[-1:])), str(tuple(batch))]))
        size = " × ".join(map(str, batch))
        raise ValueError(f"c_noise has shape {tuple(c_noise.shape)}; a batch of {size} takes {allowed}")
    return c_noise.expand(batch)


def one_hot(class_labels: Tensor | None, label_dim: int, x: Tensor) -> Tensor:
    """Class labels as (B, K) in x's dtype, K = `label_dim`: from indices (B,), from weights (B, K), or zeros for None.

    All zeros is the label of "no class" (EDM, `generate.py`). Raises ValueError where neither shape fits.
    """
    if class_labels is None:
        return x.new_zeros(x.shape[0], label_dim)
    if class_labels.shape == x.shape[:1] and not class_labels.is_floating_point():
        return F.one_hot(class_labels.long(), label_dim).to(x.dtype)
    if class_labels.shape == (x.shape[0], label_dim):
        return class_labels.to(x.dtype)
    raise ValueError(
        f"class_labels has shape {tuple(class_labels.shape)} and dtype {class_labels.dtype}; "
        f"allowed are whole numbers ({x.shape[0]},) or weights ({x.shape[0]}, {label_dim})"
    )
