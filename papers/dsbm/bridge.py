"""The Brownian bridge between two ends, and the regressions that make a mixture of bridges Markov (Section 3).

The reciprocal projection of a process keeps its two ends and puts Brownian bridges between them (Section 3,
Proposition 4): drawing from it is `brownian_bridge` on pairs (x_0, x_1). Its Markovian projection (Proposition 2) has
the drifts

    v_f(x_t, t) = E[(x_1 − x_t)/(1 − t) | x_t]        v_b(x_t, t) = E[(x_0 − x_t)/t | x_t],

forward for dx = v_f dt + σ dW, and backward, with time running down, for dx = v_b dt + σ dW. So each is the least
squares fit of `forward_target` or `backward_target` on (x_t, t).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Generator, Tensor

Direction = Literal["f", "b"]
"""'f' carries x_0 to x_1, 'b' carries x_1 to x_0."""
Regression = tuple[Tensor, Tensor, Tensor]
"""(x_t, t, target): (B, *D), (B,) and (B, *D). A drift is the least squares fit of `target` on (x_t, t)."""
Target = Callable[[Tensor, Tensor, Tensor, float, Tensor], Tensor]
"""target(x_0, x_1, t, sigma, eps)."""

T_EPS = 1e-3
"""t ~ U(ε, 1 − ε): the targets' variance grows as 1/t at one end, and as 1/(1 − t) at the other."""


def brownian_bridge(x_0: Tensor, x_1: Tensor, t: Tensor, sigma: float, eps: Tensor) -> Tensor:
    """x_t = (1 − t) x_0 + t x_1 + σ √(t (1 − t)) ε: σ times Brownian motion, given both ends.

    x_0, x_1, eps: (B, *D); t: () or (B,). Returns (B, *D).
    """
    t = _column(t, x_0)
    return torch.lerp(x_0, x_1, t).addcmul_(eps, sigma * (t * (1 - t)).sqrt())


def forward_target(x_0: Tensor, x_1: Tensor, t: Tensor, sigma: float, eps: Tensor) -> Tensor:
    """(x_1 − x_t)/(1 − t) = x_1 − x_0 − σ √(t/(1 − t)) ε, the drift of the bridge to x_1. Shapes as above."""
    t = _column(t, x_0)
    return (x_1 - x_0).addcmul_(eps, -sigma * (t / (1 - t)).sqrt())


def backward_target(x_0: Tensor, x_1: Tensor, t: Tensor, sigma: float, eps: Tensor) -> Tensor:
    """(x_0 − x_t)/t = x_0 − x_1 − σ √((1 − t)/t) ε, the drift of the reversed bridge to x_0."""
    return forward_target(x_1, x_0, 1 - t, sigma, eps)


def flow_target(x_0: Tensor, x_1: Tensor, t: Tensor, sigma: float, eps: Tensor) -> Tensor:
    """½ (`forward_target` − `backward_target`) = x_1 − x_0 + σ (1 − 2t)/(2 √(t (1 − t))) ε.

    Its fit is the velocity of the probability flow of the Markovian projection, from one network (SB-CFM; at σ = 0
    conditional flow matching and rectified flow).
    """
    t = _column(t, x_0)
    return (x_1 - x_0).addcmul_(eps, sigma * (1 - 2 * t) / (2 * (t * (1 - t)).sqrt()))


TARGETS: dict[Direction, Target] = {"f": forward_target, "b": backward_target}


def bridge_regression(
    x_0: Tensor, x_1: Tensor, sigma: float, target: Target, generator: Generator, t_eps: float = T_EPS
) -> Regression:
    """One time t ~ U(t_eps, 1 − t_eps) and one point of the bridge for each pair, with the target there (Algorithm 1).

    x_0, x_1: (B, *D). Raises ValueError for ends of different shapes, a negative sigma, or t_eps outside [0, 1/2).
    """
    if x_0.shape != x_1.shape or x_0.ndim < 2:
        raise ValueError(
            f"the ends have shapes {tuple(x_0.shape)} and {tuple(x_1.shape)}; both must be the same (B, *D)"
        )
    check_sigma(sigma)
    if not 0 <= t_eps < 0.5:
        raise ValueError(f"t_eps is {t_eps}; it must be in [0, 1/2)")
    t = torch.rand(len(x_0), generator=generator, dtype=x_0.dtype, device=x_0.device).mul_(1 - 2 * t_eps).add_(t_eps)
    eps = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype, device=x_0.device)
    return brownian_bridge(x_0, x_1, t, sigma, eps), t, target(x_0, x_1, t, sigma, eps)


def check_sigma(sigma: float) -> None:
    """Raise ValueError for a negative sigma."""
    if not sigma >= 0:
        raise ValueError(f"sigma is {sigma}; it must be 0 or more")


def _column(t: Tensor, x: Tensor) -> Tensor:
    """t: () or (B,) as it multiplies x: (B, *D)."""
    return t.to(x.dtype).reshape(-1, *[1] * (x.ndim - 1))
