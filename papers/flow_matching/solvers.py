"""Solvers of dx/dt = v(x, t), from noise at t = 0 to data, or back (Section 6.2).

State and times are float64. A velocity takes them as they are and casts for itself; what it returns is brought back to
float64. The number of evaluations is counted by `CountedVelocity`, never worked out.

    method      evaluations a step   order of the global error
    euler       1                    1
    midpoint    2                    2
    rk4         4                    4
    dopri5      as many as the tolerances ask for
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import isfinite

import torch
from torch import Tensor
from torchdiffeq import odeint

from papers.flow_matching.path import ConditionalPath

Velocity = Callable[[Tensor, Tensor], Tensor]
"""velocity(x, t) -> shaped like x; x: (B, *D), t: (), float64."""
Step = Callable[[Velocity, Tensor, Tensor, Tensor], Tensor]
"""step(velocity, x, t, h) -> x at t + h. Differentiable, where a flow is to be trained through its solver."""


class CountedVelocity:
    """A velocity that counts its evaluations: `nfe` is the number of calls so far, each on a whole batch."""

    def __init__(self, velocity: Velocity) -> None:
        self.velocity = velocity
        self.nfe = 0

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        self.nfe += 1
        return self.velocity(x, t)


def grid(path: ConditionalPath, steps: int) -> Tensor:
    """Equal steps from 0 to the last time of `path`, (steps + 1,) float64. Raises ValueError for steps < 1."""
    if steps < 1:
        raise ValueError(f"steps is {steps}; it must be at least 1")
    return torch.linspace(0, path.last, steps + 1, dtype=torch.float64)


def euler_step(velocity: Velocity, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
    """x + h v(x, t)."""
    return x + h * velocity(x, t).to(x)


def midpoint_step(velocity: Velocity, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
    """x + h v(x + ½ h v(x, t), t + ½ h)."""
    half = x + h / 2 * velocity(x, t).to(x)
    return x + h * velocity(half, t + h / 2).to(x)


def rk4_step(velocity: Velocity, x: Tensor, t: Tensor, h: Tensor) -> Tensor:
    """The classical Runge–Kutta step, x + h (k_1 + 2 k_2 + 2 k_3 + k_4)/6."""
    k_1 = velocity(x, t).to(x)
    k_2 = velocity(x + h / 2 * k_1, t + h / 2).to(x)
    k_3 = velocity(x + h / 2 * k_2, t + h / 2).to(x)
    k_4 = velocity(x + h * k_3, t + h).to(x)
    return x + h / 6 * (k_1 + 2 * k_2 + 2 * k_3 + k_4)


Callback = Callable[[Tensor], None]
"""Called with each of the N + 1 states, the first and the last included."""


def euler(velocity: Velocity, x: Tensor, times: Tensor | Sequence[float], callback: Callback | None = None) -> Tensor:
    """Euler's method along a grid of times.

    Args:
        x: the state at times[0], (B, *D) or (S, B, *D).
        times: (N + 1,), increasing, or decreasing to follow the flow back to the noise.

    Returns: the state at times[-1], float64.
    Raises: ValueError where `times` is no such grid.
    """
    return _follow(euler_step, velocity, x, times, callback)


def midpoint(
    velocity: Velocity, x: Tensor, times: Tensor | Sequence[float], callback: Callback | None = None
) -> Tensor:
    """The midpoint method along a grid of times; arguments and errors as for `euler`."""
    return _follow(midpoint_step, velocity, x, times, callback)


def rk4(velocity: Velocity, x: Tensor, times: Tensor | Sequence[float], callback: Callback | None = None) -> Tensor:
    """The classical Runge–Kutta method along a grid of times; arguments and errors as for `euler`."""
    return _follow(rk4_step, velocity, x, times, callback)


@torch.no_grad()
def dopri5(
    velocity: Velocity, x: Tensor, t_0: float = 0.0, t_1: float = 1.0, atol: float = 1e-5, rtol: float = 1e-5
) -> Tensor:
    """Dormand–Prince 5(4) with adaptive steps from t_0 to t_1, by torchdiffeq: the sampler of Table 1.

    The whole batch has one step size, from the root mean square of its error.

    Returns: the state at t_1, float64, shaped like x.
    Raises: ValueError where t_0 = t_1 or a tolerance is not positive; RuntimeError where the velocity is not finite.
    """
    if not (isfinite(t_0) and isfinite(t_1) and t_0 != t_1):
        raise ValueError(f"t_0 and t_1 are {t_0} and {t_1}; they must be two finite times")
    if not (atol > 0 and rtol > 0):
        raise ValueError(f"atol and rtol are {atol} and {rtol}; they must be positive")

    def field(t: Tensor, x: Tensor) -> Tensor:
        # torchdiffeq's trial for the first step may lie beyond t_1, where there may be no velocity.
        v = velocity(x, t.clamp(min(t_0, t_1), max(t_0, t_1))).to(x)
        if not bool(v.isfinite().all()):  # the adaptive solver would shrink its step for ever
            raise RuntimeError(f"the velocity is not finite at t = {float(t):g}")
        return v

    times = torch.tensor([t_0, t_1], dtype=torch.float64, device=x.device)
    # `step_t` ends the last step at t_1. Left alone it goes beyond and interpolates; there a field may not exist.
    options = {"step_t": times[1:]}
    return odeint(field, x.to(torch.float64), times, atol=atol, rtol=rtol, method="dopri5", options=options)[-1]


@torch.no_grad()
def _follow(
    step: Step, velocity: Velocity, x: Tensor, times: Tensor | Sequence[float], callback: Callback | None
) -> Tensor:
    times = checked(times).to(x.device)
    x = x.to(torch.float64)
    if callback:
        callback(x)
    for t, t_next in pairwise(times):
        x = step(velocity, x, t, t_next - t)
        if callback:
            callback(x)
    return x


def checked(times: Tensor | Sequence[float]) -> Tensor:
    """`times` in float64, if it is a grid that a solver can follow. Raises ValueError, naming what is wrong."""
    times = torch.as_tensor(times, dtype=torch.float64)
    if times.ndim != 1 or len(times) < 2:
        raise ValueError(f"times must be a grid of at least two times, not of shape {tuple(times.shape)}")
    if not bool(times.isfinite().all()):
        raise ValueError(f"times must be finite: {times.tolist()}")
    steps = times.diff()
    if not bool((steps > 0).all() or (steps < 0).all()):
        raise ValueError("times must increase, or decrease, from each to the next")
    return times
