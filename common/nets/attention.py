"""Scaled dot-product attention over heads, and rotary embedding of positions (Su et al. 2021, arXiv 2104.09864)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def head_width(width: int, heads: int) -> int:
    """W / H. Raises ValueError where the heads cannot share the width evenly."""
    if heads < 1 or width % heads:
        raise ValueError(f"width {width} cannot be shared by {heads} heads: it must be a multiple")
    return width // heads


def rotary_phases(length: int, head_width: int, device: torch.device | None = None) -> Tensor:
    """e^{i n ω_j}, ω_j = 10000^{-2j/D}, for positions n = 0 .. L - 1 and j = 0 .. D/2 - 1 -> complex128 (L, D/2).

    Raises ValueError where D = `head_width` is odd: features turn in pairs.
    """
    if head_width % 2:
        raise ValueError(f"a head is {head_width} wide; rotary embedding needs an even width")
    omega = 10_000.0 ** (-torch.arange(0, head_width, 2, dtype=torch.float64, device=device) / head_width)
    angle = torch.outer(torch.arange(length, dtype=torch.float64, device=device), omega)
    return torch.polar(torch.ones_like(angle), angle)


def rotate(x: Tensor, phases: Tensor) -> Tensor:
    """Turn the pair (x_{2j}, x_{2j+1}), read as a complex number, by e^{i n ω_j} at position n.

    x: (B, L, ..., D); phases: (L, D/2) -> like x. The dot product of a query at n and a key at m then depends on their
    positions by n - m alone. Done in x's precision, in float32 where that is lower.
    """
    precise = x if x.dtype in (torch.float32, torch.float64) else x.float()
    pairs = torch.view_as_complex(precise.unflatten(-1, (-1, 2)))
    turning = phases.to(pairs.dtype).view(len(phases), *[1] * (x.ndim - 3), -1)
    # Written out for all heads of a position: the product then runs over rows of all heads, not of one, at once.
    turned = pairs * turning.expand(pairs.shape[1:]).contiguous()
    return torch.view_as_real(turned).flatten(-2).to(x.dtype)


def attend(qkv: Tensor, *, phases: Tensor | None = None, causal: bool = False) -> Tensor:
    """softmax(Q K^T / √D) V for each head, side by side.

    qkv: (B, L, 3, H, D), the queries, keys and values; phases: (L, D/2) to turn queries and keys by, or None.
    causal: position n attends to 0 .. n only -> (B, L, H·D).
    """
    qk, v = qkv.split([2, 1], dim=2)
    if phases is not None:
        qk = rotate(qk, phases)
    q, k = qk.transpose(1, 3).unbind(2)
    heads = F.scaled_dot_product_attention(q, k, v.squeeze(2).transpose(1, 2), is_causal=causal)
    return heads.transpose(1, 2).flatten(2)
