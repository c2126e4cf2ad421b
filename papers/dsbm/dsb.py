"""DSB, the method that DSBM replaces, in the same alternation: what its passes regress on (De Bortoli et al. 2021).

It fits each step back on simulated trajectories, which must be stored, at the steps of the simulation; no bridge is
drawn. Its iterates are those of iterative proportional fitting.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from papers.dsbm.bridge import Direction, Regression
from papers.dsbm.imf import Epoch, IMFConfig, Method, Pass
from papers.dsbm.process import Drift, simulate, time_grid


def mean_matching(config: IMFConfig) -> Method:
    """DSB (De Bortoli et al. 2021, Proposition 3): the step back that undoes the mean of a step of the previous pass.

    With x' = x + v(x, s) Δ + σ √Δ ε from s to s', the new drift at (x', s') is fitted on
    [(x + v(x, s) Δ) − (x' + v(x', s) Δ)]/Δ = −v(x', s) − σ ε/√Δ, at one step of each trajectory. IPF's first pass
    reverses the reference process, v = 0.
    """

    def refresh(x_0: Tensor, x_1: Tensor, direction: Direction, previous: Pass | None, generator: Generator) -> Epoch:
        ran: Direction = "f" if direction == "b" else "b"
        if previous is not None and previous.direction != ran:
            raise ValueError("mean matching reverses the previous pass; directions must alternate")
        drift: Drift = zero_drift if previous is None else previous.drift
        start = x_0 if ran == "f" else x_1
        path = simulate(drift, start, config.sigma, config.steps, generator, ran, keep_path=True)
        return lambda g: reversal_regression(drift, path, ran, g)

    return refresh


@torch.no_grad()
def reversal_regression(drift: Drift, path: Tensor, direction: Direction, generator: Generator) -> Regression:
    """(x', s', target) of `mean_matching` at a random step of each path.

    path: (steps + 1, B, *D), simulated with `drift` in `direction`. Returns (B, *D), (B,) and (B, *D).
    """
    steps, rows = len(path) - 1, torch.arange(path.shape[1], device=path.device)
    k = torch.randint(steps, rows.shape, generator=generator, device=generator.device).to(path.device)
    s = time_grid(steps, direction).to(path)[k]
    after = s + 1 / steps if direction == "f" else s - 1 / steps
    x, x_next = path[k, rows], path[k + 1, rows]
    target = (x - x_next) * steps + drift(x, s) - drift(x_next, s)
    return x_next, after, target


def zero_drift(x: Tensor, t: Tensor) -> Tensor:
    """The drift of the reference process."""
    return torch.zeros_like(x)


class StepNetwork(nn.Module):
    """A drift whose network gives the shift of one step, v = N · net, as DSB's do.

    To Adam, blind to the scale of a gradient, this is another learning rate; it is what DSB was published with.
    """

    def __init__(self, net: nn.Module, steps: int) -> None:
        super().__init__()
        self.net, self.steps = net, steps

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """x: (B, D), t: () or (B,) -> (B, D)."""
        return self.steps * self.net(x, t)
