"""Where the pairs (x_t, x_u) of one trajectory come from: k Heun steps of a teacher, or of the student itself.

A `Solver` brings states from places `start` of the grid to later places `stop`. Pairs are solved anew in each training
step, as published, or drawn from trajectories that were solved once and stored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from common.diffusion.solvers import Denoiser
from common.training.members import Generators, each, normal
from papers.ctm.times import TimeGrid, Times
from papers.ctm.trajectory import Trajectory, leading

Solver = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`solver(x, start, stop) -> x at stop`; x: (B, *D) or (S, B, *D), places (B,) or (S, B)."""
Pairs = Callable[[Tensor, Times, Generators], tuple[Tensor, Tensor]]
"""`pairs(x0, times, generator) -> (x_t, x_u)`, both shaped like x0."""


def noisy(x0: Tensor, t: Tensor, generator: Generators) -> Tensor:
    """x_t = x0 + t ε; x0: (B, *D) or (S, B, *D), t of the batch's shape."""
    return x0 + leading(t, x0, t.ndim) * normal(x0.shape, generator, x0.dtype, x0.device)


def heun_step(denoiser: Denoiser, x: Tensor, t: Tensor, t_next: Tensor) -> Tensor:
    """One step of Heun's method on dx/dt = (x − D(x; t)) / t, to t_next > 0; x: (B, *D) or (S, B, *D), times () or of
    the batch's shape."""
    here, there = leading(t, x, t.ndim or 1), leading(t_next, x, t.ndim or 1)
    d = (x - denoiser(x, t).to(x)) / here
    x_next = x + (there - here) * d
    d_next = (x_next - denoiser(x_next, t_next).to(x)) / there
    return x + (there - here) * (d + d_next) / 2


@torch.no_grad()
def heun_between(denoiser: Denoiser, x: Tensor, times: Tensor, start: Tensor, stop: Tensor) -> Tensor:
    """Every state from its place `start` of the grid `times` to its place `stop`, by Heun's steps; float64.

    Where all go equally far the denoiser is given the batch as it is. Else states that have arrived wait, and it is
    given the others in a row, (n, *D): no evaluation is wasted.
    """
    place, x = start.clone(), x.to(torch.float64)
    times = times.to(x.device)
    while bool((going := place < stop).any()):
        if bool(going.all()):
            x = heun_step(denoiser, x, times[place], times[place + 1])
        else:
            x = x.clone()
            x[going] = heun_step(denoiser, x[going], times[place[going]], times[place[going] + 1])
        place = place + going
    return x


@dataclass(frozen=True)
class HeunTeacher:
    """The published solver: Heun's steps on a teacher's denoiser (an exact one, or one network), for x: (…, *D)."""

    denoiser: Denoiser
    grid: TimeGrid

    def __call__(self, x: Tensor, start: Tensor, stop: Tensor) -> Tensor:
        flat = x.flatten(0, start.ndim - 1)
        flat = heun_between(self.denoiser, flat, self.grid.times, start.flatten(), stop.flatten())
        return flat.reshape(x.shape).to(x)


@dataclass(frozen=True)
class OwnDiagonal:
    """No teacher: Heun's steps on the denoiser g(x, t, t) that the averaged student has learned from data.

    Several students at once need a law with one k for the batch.
    """

    average: Trajectory
    grid: TimeGrid

    def __call__(self, x: Tensor, start: Tensor, stop: Tensor) -> Tensor:
        return heun_between(self.average.denoised, x, self.grid.times, start, stop).to(x)


@dataclass(frozen=True)
class OwnJump:
    """No teacher, as the official code has it: x_u = G(x_t, t, u) by the averaged student, in one jump."""

    average: Trajectory
    grid: TimeGrid

    @torch.no_grad()
    def __call__(self, x: Tensor, start: Tensor, stop: Tensor) -> Tensor:
        times = self.grid.times.to(x)
        return self.average(x, times[start], times[stop])


@dataclass(frozen=True)
class Solved:
    """Pairs as published: x_t = x0 + t ε with fresh noise, and x_u from the solver."""

    solver: Solver
    grid: TimeGrid

    def __call__(self, x0: Tensor, times: Times, generator: Generators) -> tuple[Tensor, Tensor]:
        x_t = noisy(x0, self.grid.times.to(x0)[times.t], generator)
        return x_t, self.solver(x_t, times.t, times.u)


@dataclass(frozen=True)
class Stored:
    """Pairs from trajectories of the teacher that were solved once: a deviation, for teachers that cost much.

    states[i] holds trajectories that start as x0 + t_i ε: (M, N − i, *D), all their states on the grid from place i on.
    A pair with t at place i is drawn from these alone, so x_t has the law that it has when pairs are solved anew; but
    only M different ones.
    """

    states: tuple[Tensor, ...]

    @staticmethod
    @torch.no_grad()
    def make(denoiser: Denoiser, x0: Tensor, grid: TimeGrid, generator: torch.Generator) -> Stored:
        """x0: (N − 1, M, *D), the data that the trajectories of each start are drawn from."""
        times = grid.times.to(x0.device)
        if len(x0) != grid.N - 1:
            raise ValueError(f"x0 has data for {len(x0)} starts; a grid of {grid.N} times has {grid.N - 1}")
        states = []
        for i, data in enumerate(x0):
            eps = torch.randn(data.shape, generator=generator, dtype=data.dtype, device=data.device)
            path = [data + times[i].to(data) * eps]
            x = path[0].to(torch.float64)
            for place in range(i, grid.N - 1):
                x = heun_step(denoiser, x, times[place], times[place + 1])
                path.append(x.to(data))
            states.append(torch.stack(path, dim=1))
        return Stored(tuple(states))

    def __call__(self, x0: Tensor, times: Times, generator: Generators) -> tuple[Tensor, Tensor]:
        counts = torch.tensor([len(paths) for paths in self.states], device=times.t.device)[times.t]
        shape = times.t.shape[-1:]
        share = each(lambda g: torch.rand(shape, generator=g, dtype=torch.float64, device=g.device), generator)
        row = (share.to(counts.device) * counts).long()
        x_t, x_u = torch.empty_like(x0), torch.empty_like(x0)
        for i, paths in enumerate(self.states):
            here = times.t == i
            x_t[here] = paths[row[here], 0].to(x0)
            x_u[here] = paths[row[here], times.u[here] - i].to(x0)
        return x_t, x_u
