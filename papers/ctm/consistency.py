"""Soft consistency matching (Section 3.2, Equation 7), and the distances in which it is measured.

Two ways from x_t to the end of its trajectory must meet, the student's own and one that the teacher begins:

    estimate = G_avg(G_θ(x_t, t, s), s, σ_min)
    target   = G_avg(G_sg(θ)(x_u, u, s), s, σ_min),     x_u = the teacher's solution from x_t.

G_avg has the averaged weights, G_sg(θ) the student's own of this step; no gradient enters the target, and the estimate
has its gradient through the averaged network's input, not through its weights. Which weights stand where is the
official code's; the paper writes sg(θ) for both places of the target.

Consistency distillation is the case s = σ_min with one teacher step: the outer jumps are then the identity. As it was
published it has the averaged weights in its target (`averaged_target`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from papers.ctm.times import TimeGrid, Times
from papers.ctm.trajectory import Trajectory

Distance = Callable[[Tensor, Tensor], Tensor]
"""`distance(estimate, target) -> (n,)`; both (n, *D)."""
Target = Callable[..., Tensor]
"""`target(student, average, x_u, u, s, end, **cond)`, shaped like x_u, without a gradient."""
Taps = Callable[[Tensor], Sequence[Tensor]]
"""Feature maps (n, C, H, W) of images (n, *D), at several depths of a fixed network."""


def estimate(
    student: Trajectory, average: Trajectory, x_t: Tensor, t: Tensor, s: Tensor, end: float, **cond: Tensor
) -> Tensor:
    """G_avg(G_θ(x_t, t, s), s, end): the student's jump to s, seen at the end of the trajectory. Shaped like x_t."""
    return average(student(x_t, t, s, **cond), s, end, **cond)


@torch.no_grad()
def target(
    student: Trajectory, average: Trajectory, x_u: Tensor, u: Tensor, s: Tensor, end: float, **cond: Tensor
) -> Tensor:
    """G_avg(G_sg(θ)(x_u, u, s), s, end): the same from where the teacher has come to. Shaped like x_u, no gradient."""
    return average(student(x_u, u, s, **cond), s, end, **cond)


def averaged_target(
    student: Trajectory, average: Trajectory, x_u: Tensor, u: Tensor, s: Tensor, end: float, **cond: Tensor
) -> Tensor:
    """G_avg(G_avg(x_u, u, s), s, end). With s = end this is f_avg(x_u, u), the target of consistency distillation (Song
    et al. 2023, Algorithm 2), which `target` has by the weights that are being trained."""
    return target(average, average, x_u, u, s, end, **cond)


def levels(times: Times, grid: TimeGrid, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(t, u, s) as noise levels, in the dtype and on the device of `like`."""
    values = grid.times.to(like)
    return values[times.t], values[times.u], values[times.s]


def consistency_loss(
    student: Trajectory,
    average: Trajectory,
    x_t: Tensor,
    x_u: Tensor,
    times: Times,
    grid: TimeGrid,
    distance: Distance,
    **cond: Tensor,
) -> Tensor:
    """d(estimate, target) of each sample, (B,) or (S, B), for the pairs x_t, x_u: (B, *D) or (S, B, *D)."""
    t, u, s = levels(times, grid, x_t)
    end = grid.sigma_min
    goal = target(student, average, x_u, u, s, end, **cond)
    return per_sample(distance, estimate(student, average, x_t, t, s, end, **cond), goal, t.ndim)


def per_sample(distance: Distance, x: Tensor, y: Tensor, batch: int) -> Tensor:
    """The distances between samples of x and y, whose first `batch` dimensions count them."""
    return distance(x.flatten(0, batch - 1), y.flatten(0, batch - 1)).reshape(x.shape[:batch])


def squared(x: Tensor, y: Tensor) -> Tensor:
    """mean_D (x − y)²."""
    return (x - y).square().flatten(1).mean(1)


@dataclass(frozen=True)
class PseudoHuber:
    """√(‖x − y‖² + c² D) − c √D: a square near 0, a distance beyond c √D (Song & Dhariwal 2023, c = .00054)."""

    c: float = 0.00054

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        flat = (x - y).flatten(1)
        offset = self.c * flat.shape[1] ** 0.5
        return (flat.square().sum(1) + offset**2).sqrt() - offset


@dataclass(frozen=True)
class FeatureDistance:
    """Σ over taps of mean_HW ‖φ(x)/‖φ(x)‖ − φ(y)/‖φ(y)‖‖²: what LPIPS is without its learned weights.

    The paper has LPIPS on a network of ImageNet; here the taps are those of a digit classifier.
    """

    taps: Taps

    def __call__(self, x: Tensor, y: Tensor) -> Tensor:
        total = x.new_zeros(len(x))
        for own, other in zip(self.taps(x), self.taps(y), strict=True):
            difference = _unit(own) - _unit(other)
            total = total + difference.square().sum(1).flatten(1).mean(1)
        return total


def _unit(features: Tensor) -> Tensor:
    """Each position's features at length 1. (ε inside the root: its gradient at 0 is finite.)"""
    return features * (features.square().sum(1, keepdim=True) + 1e-10).rsqrt()
