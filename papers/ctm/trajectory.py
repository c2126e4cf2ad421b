"""The trajectory function G_θ(x, t, s): one network for every jump along the probability-flow ODE (Section 3.1).

The solution of the ODE from x at noise level t is, at s <= t,

    G(x, t, s) = x + ∫_t^s (x_τ − E[x0 | x_τ]) / τ dτ = (s/t) x + (1 − s/t) g(x, t, s)      (Equations 3 and 4)

and the paper learns g, in EDM's form with the coefficients at t:

    g_θ(x, t, s) = c_skip(t) x + c_out(t) F_θ(c_in(t) x, c_noise(t), c_noise(s)).

So G(x, t, t) = x whatever the network is. As s tends to t, g tends to the denoiser, so that g(x, t, t) gives the score;
as s tends to 0, g tends to the end of the trajectory, which is what a consistency model learns.

Here, as in all this package, x is (B, *D) and t and s are () or (B,); for S networks at once
(`common.training.members`) x is (S, B, *D) and t and s may be (S, B) too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from common.diffusion.precond import EDMPrecond, Precond
from common.training.members import Members


def leading(t: Tensor | float, x: Tensor, batch: int) -> Tensor:
    """t as (B, 1, …, 1), or (S, B, 1, …, 1) with `batch` 2, in the dtype and on the device of x.

    Raises ValueError where its shape is none of (), (B,) and, with `batch` 2, (S, B).
    """
    t = torch.as_tensor(t, dtype=x.dtype, device=x.device)
    shape = x.shape[:batch]
    if t.ndim > batch or t.shape != shape[batch - t.ndim :]:
        raise ValueError(f"a time has shape {tuple(t.shape)}; a batch of {tuple(shape)} takes () or {tuple(shape)}")
    return t.expand(shape).reshape(*shape, *[1] * (x.ndim - batch))


def jump(g: Tensor, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """G = (s/t) x + (1 − s/t) g (Equation 4), with t and s of a shape that multiplies x."""
    ratio = s / t
    return ratio * x + (1 - ratio) * g


def score(denoised: Tensor, x: Tensor, t: Tensor) -> Tensor:
    """∇ log p_t(x) = (g(x, t, t) − x) / t²: Tweedie's formula. (The paper's page 3 has lost the square.)"""
    return (denoised - x) / t**2


class Trajectory(nn.Module):
    """G_θ. `net(x, c_t, c_s, **cond)` returns F of the shape of x; it may be `Members` of S networks.

    The network computes in `dtype`; the result has the dtype of x, so that a solver's float64 state keeps its digits.
    """

    def __init__(self, net: nn.Module, precond: Precond | None = None, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.net, self.dtype = net, dtype
        self.precond = EDMPrecond() if precond is None else precond

    @property
    def members(self) -> int | None:
        """S where the network is S networks at once, else None."""
        return self.net.members if isinstance(self.net, Members) else None

    @property
    def batch_dims(self) -> int:
        """How many dimensions of x come before those of a sample."""
        return 1 if self.members is None else 2

    def member(self, i: int) -> Trajectory:
        """Member i as a trajectory of its own: a copy."""
        if not isinstance(self.net, Members):
            raise ValueError("this trajectory is one network alone; only `Members` can be told apart")
        return Trajectory(self.net.member(i), self.precond, self.dtype).train(self.training)

    @property
    def last_weight(self) -> Tensor:
        """The weight of the last layer, on which losses are balanced; (S, …) of S networks."""
        net: Any = self.net.stacked if isinstance(self.net, Members) else self.net
        weight: Tensor = net.last.weight
        return weight

    def g(self, x: Tensor, t: Tensor | float, s: Tensor | float, **cond: Tensor) -> Tensor:
        """g(x, t, s), shaped like x. Raises ValueError for times of another shape than the batch's."""
        t, s = leading(t, x, self.batch_dims), leading(s, x, self.batch_dims)
        c_t, c_s = (self.precond.c_noise(time).flatten(self.batch_dims - 1).to(self.dtype) for time in (t, s))
        F_x = self.net((self.precond.c_in(t) * x).to(self.dtype), c_t, c_s=c_s, **cond)
        return self.precond.c_skip(t) * x + self.precond.c_out(t) * F_x.to(x.dtype)

    def forward(self, x: Tensor, t: Tensor | float, s: Tensor | float, **cond: Tensor) -> Tensor:
        """G(x, t, s), shaped like x: from noise level t to s. Raises ValueError as `g` does."""
        batch = self.batch_dims
        return jump(self.g(x, t, s, **cond), x, leading(t, x, batch), leading(s, x, batch))

    def denoised(self, x: Tensor, sigma: Tensor | float, **cond: Tensor) -> Tensor:
        """g(x, σ, σ), the estimate of E[x0 | x]: a denoiser, on which every solver runs."""
        return self.g(x, sigma, sigma, **cond)

    def score(self, x: Tensor, t: Tensor | float, **cond: Tensor) -> Tensor:
        """∇ log p_t(x) as the student has it, shaped like x."""
        return score(self.denoised(x, t, **cond), x, leading(t, x, self.batch_dims))
