"""Where the jumps of a training step start, turn and end: times t >= u >= s on EDM's grid (Section 3.2, Appendix B).

A state x_t is brought to u by the teacher; student and target jump on from t and from u to s. u = t less one step of
the grid is local consistency, u = s is global, anything between them soft. A law draws `Times`; the local and the
global of a law have its t and s, so that the three differ in u alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from common.diffusion.schedule import edm_sigmas
from common.training.members import Generators, uniform


@dataclass(frozen=True)
class TimeGrid:
    """t_i = (σ_max^{1/ρ} + i/(N−1) (σ_min^{1/ρ} − σ_max^{1/ρ}))^ρ, i = 0 … N−1; N = 18 for CIFAR-10, 40 for ImageNet.

    Raises ValueError unless N >= 2, 0 < sigma_min < sigma_max and rho > 0.
    """

    N: int = 18
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    rho: float = 7.0

    def __post_init__(self) -> None:
        if self.N < 2:
            raise ValueError(f"N is {self.N}; a grid has at least 2 times")
        edm_sigmas(self.N, self.sigma_min, self.sigma_max, self.rho)

    @property
    def times(self) -> Tensor:
        """(N,), float64, decreasing from sigma_max to sigma_min."""
        times = edm_sigmas(self.N, self.sigma_min, self.sigma_max, self.rho)[:-1]
        # To the last digit, which the seventh power misses: a jump from the last time to sigma_min is none.
        times[0], times[-1] = self.sigma_max, self.sigma_min
        return times

    def at(self, share: Tensor) -> Tensor:
        """The noise level at `share` of the way from sigma_max (0) to sigma_min (1), any shape."""
        high, low = self.sigma_max ** (1 / self.rho), self.sigma_min ** (1 / self.rho)
        return (high + share * (low - high)) ** self.rho


CIFAR10_GRID = TimeGrid()


@dataclass(frozen=True)
class Times:
    """Places on the grid, whole numbers of the batch's shape, (B,) or (S, B): t <= u <= s as places, t >= u >= s as
    noise levels."""

    t: Tensor
    u: Tensor
    s: Tensor


TimeLaw = Callable[[TimeGrid, Sequence[int], Generators, Generator], Times]
"""`law(grid, shape, generator, steps) -> Times`. `steps` draws what a batch has in common, for all members alike."""


@dataclass(frozen=True)
class SoftTimes:
    """The official law: k teacher steps, the same for the batch, p(k) ∝ k^power on 1 … N−1; then t is uniform on all
    places that have k steps before them, u is k steps on, and s is uniform from u to the last."""

    power: float = 1.0

    def __call__(self, grid: TimeGrid, shape: Sequence[int], generator: Generators, steps: Generator) -> Times:
        weights = torch.arange(1, grid.N, dtype=torch.float64) ** self.power
        k = 1 + int(torch.multinomial(weights, 1, generator=steps))
        t = _between(shape, 0, grid.N - 1 - k, generator)
        return Times(t, t + k, _between(shape, t + k, grid.N - 1, generator))


OFFICIAL_TIMES = SoftTimes()


@dataclass(frozen=True)
class UniformTimes:
    """The law of the paper's text: t and s < t uniform on the grid, u uniform on [s, t); each sample has its own k."""

    def __call__(self, grid: TimeGrid, shape: Sequence[int], generator: Generators, steps: Generator) -> Times:
        t = _between(shape, 0, grid.N - 2, generator)
        s = _between(shape, t + 1, grid.N - 1, generator)
        return Times(t, _between(shape, t + 1, s, generator), s)


@dataclass(frozen=True)
class LocalTimes:
    """t and s of a law, and u one step after t: local consistency, one teacher step."""

    law: TimeLaw = OFFICIAL_TIMES

    def __call__(self, grid: TimeGrid, shape: Sequence[int], generator: Generators, steps: Generator) -> Times:
        times = self.law(grid, shape, generator, steps)
        return Times(times.t, times.t + 1, times.s)


@dataclass(frozen=True)
class GlobalTimes:
    """t and s of a law, and u = s: global consistency, the teacher all the way."""

    law: TimeLaw = OFFICIAL_TIMES

    def __call__(self, grid: TimeGrid, shape: Sequence[int], generator: Generators, steps: Generator) -> Times:
        times = self.law(grid, shape, generator, steps)
        return Times(times.t, times.s, times.s)


@dataclass(frozen=True)
class DistillationTimes:
    """Consistency distillation (Song et al. 2023): one teacher step, and every jump ends at s = σ_min."""

    def __call__(self, grid: TimeGrid, shape: Sequence[int], generator: Generators, steps: Generator) -> Times:
        t = _between(shape, 0, grid.N - 2, generator)
        return Times(t, t + 1, torch.full_like(t, grid.N - 1))


def _between(shape: Sequence[int], low: Tensor | int, high: Tensor | int, generator: Generators) -> Tensor:
    """Whole numbers uniform on low … high, both ends included, of `shape`, on the generator's device."""
    share = uniform(shape, generator, torch.float64)
    return (low + share * (high + 1 - low)).floor().long()
