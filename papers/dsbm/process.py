"""Simulation: Euler–Maruyama of a drift with σ dW, either way in time, and the probability flow.

The state keeps the dtype of `x`: with noise of size σ/√N in each of N steps, float32's rounding is 10⁵ times smaller
than what is drawn, and float64 would cost a network two copies of every state. Give float64 points for exact drifts.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import torch
from torch import Generator, Tensor

from papers.dsbm.bridge import Direction, check_sigma

Drift = Callable[[Tensor, Tensor], Tensor]
"""drift(x, t) -> (B, *D) with x: (B, *D), t: () or (B,). A backward drift moves x as time runs down."""


@torch.no_grad()
def simulate(
    drift: Drift,
    x: Tensor,
    sigma: float,
    steps: int,
    generator: Generator | None = None,
    direction: Direction = "f",
    keep_path: bool = False,
    rows: int = 1024,
    noisy_end: bool = True,
) -> Tensor:
    """x <- x + v(x, t) Δ + σ √Δ ε, N times, Δ = 1/N.

    The last step has its noise too, as in the official code of the Gaussian experiment. With `noisy_end` off it has
    none, as in the official code of the images, which are then without grain.

    Forward from t = 0 with t = 0, Δ, …, 1 − Δ; backward from t = 1 with t = 1, 1 − Δ, …, Δ, adding the backward drift.
    At σ = 0 this is Euler's method for the ODE.

    x: (B, *D), the points at the start, of which `rows` at a time are simulated (a network's activations then stay in
    the processor's cache: 15 % less time than 10 000 at once). Returns the points at the end; with `keep_path` all,
    (steps + 1, B, *D), in the order of the simulation: path[0] is x. Raises ValueError for sigma < 0, steps < 1, an
    unknown direction, or σ > 0 without a generator.
    """
    check_sigma(sigma)
    if sigma > 0 and generator is None:
        raise ValueError("a process with sigma > 0 needs a generator for its noise")
    times, parts = time_grid(steps, direction).to(x), []
    for part in x.split(rows):
        x_t, noise, path = part, torch.empty_like(part), [part]
        for k, t in enumerate(times, 1):
            x_t = torch.add(x_t, drift(x_t, t), alpha=1 / steps)
            if sigma > 0 and (noisy_end or k < steps):
                x_t.add_(noise.normal_(generator=generator), alpha=sigma / sqrt(steps))
            if keep_path:
                path.append(x_t)
        parts.append(torch.stack(path) if keep_path else x_t)
    return torch.cat(parts, dim=1 if keep_path else 0)


def time_grid(steps: int, direction: Direction) -> Tensor:
    """The times at which the drift is taken, (steps,) float64: 0, …, 1 − Δ forward, 1, …, Δ backward.

    Raises ValueError for steps < 1 or an unknown direction.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; it must be at least 1")
    if direction not in ("f", "b"):
        raise ValueError(f"direction is {direction!r}; allowed are 'f' (from t = 0) and 'b' (from t = 1)")
    t = torch.arange(steps, dtype=torch.float64) / steps
    return t if direction == "f" else 1 - t


def probability_flow(forward: Drift, backward: Drift) -> Drift:
    """v = ½ (v_f − v_b): dx/dt = v(x, t) has the marginals of both processes, where these are each other's reversal."""

    def drift(x: Tensor, t: Tensor) -> Tensor:
        return (forward(x, t) - backward(x, t)) / 2

    return drift


def reversed_flow(velocity: Drift) -> Drift:
    """−v: the drift that follows the ODE of `velocity` with time running down."""

    def drift(x: Tensor, t: Tensor) -> Tensor:
        return -velocity(x, t)

    return drift


@torch.no_grad()
def path_energy(drift: Drift, path: Tensor, direction: Direction = "f") -> Tensor:
    """∫_0^1 ‖v(x_t, t)‖² dt of each path, by the left-hand rule of its own steps.

    In the mean it is at least W2² between the points at the start and those at the end.

    path: (steps + 1, B, *D) as `simulate` keeps it, of the same drift. Returns (B,).
    """
    times = time_grid(len(path) - 1, direction).to(path)
    return torch.stack([drift(x, t).square().flatten(1).sum(1) for x, t in zip(path[:-1], times, strict=True)]).mean(0)
