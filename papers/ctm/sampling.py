"""γ-sampling (Section 3.3, Algorithm 2), jumps guided by a loss, and one step.

A step from t to t' jumps deterministically to s <= t' and adds the noise that is then missing: γ = 0 adds none, γ = 1
jumps to the end and starts anew from there, as consistency models are sampled. All functions take an x at noise level
`times[0]`, and `times` that decrease; the last jump ends at `times[-1]` with no noise added.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import sqrt

import torch
from torch import Tensor

from common.training.members import Generators, normal
from papers.ctm.times import CIFAR10_GRID, TimeGrid
from papers.ctm.trajectory import Trajectory

Jump = Callable[[Tensor, Tensor, Tensor], Tensor]
"""`jump(x, t, s) -> G(x, t, s)`, shaped like x; t and s are scalars."""
Loss = Callable[[Tensor], Tensor]
"""`loss(x0) -> (B,)`, or (S, B), of clean data as the student sees it; differentiable."""


def sampling_times(nfe: int, grid: TimeGrid = CIFAR10_GRID) -> Tensor:
    """(nfe + 1,) times on the ρ-grid from σ_max to σ_min: nfe jumps. Raises ValueError unless nfe >= 1."""
    if nfe < 1:
        raise ValueError(f"nfe is {nfe}; a sample takes at least 1 evaluation")
    return grid.at(torch.linspace(0, 1, nfe + 1, dtype=torch.float64))


def jump_end(t_next: Tensor, end: Tensor, gamma: float) -> tuple[Tensor, Tensor]:
    """(s, standard deviation of the noise that brings s up to t_next).

    s = √(1 − γ²)(t_next − end) + end and √(t_next² − s²): the official code's form of √(1 − γ²) t_next and γ t_next,
    which it is for end = 0, and which never asks for a jump beyond the `end`.
    """
    s = sqrt(1 - gamma**2) * (t_next - end) + end
    return s, (t_next**2 - s**2).clamp(min=0).sqrt()


@torch.no_grad()
def gamma_sampling(
    jump: Jump,
    x: Tensor,
    times: Tensor | Sequence[float],
    gamma: float,
    generator: Generators,
    callback: Callable[[Tensor], None] | None = None,
) -> Tensor:
    """x ← G(x, t_n, s) + √(t_{n+1}² − s²) ε for each n; x: (B, *D), or (S, B, *D) with S generators.

    γ = 0 is deterministic and draws nothing, γ = 1 is multistep consistency sampling. Every state, with the first and
    the last, is shown to `callback`. Returns x at times[-1]. Raises ValueError for γ outside [0, 1] or other times.
    """
    times = _validated(times, gamma).to(x.device)
    if callback:
        callback(x)
    for t, t_next in pairwise(times):
        s, spread = jump_end(t_next, times[-1], gamma)
        x = jump(x, t, s)
        if gamma > 0 and t_next > times[-1]:
            x = x + spread.to(x) * normal(x.shape, generator, x.dtype, x.device)
        if callback:
            callback(x)
    return x


def one_step(jump: Jump, x: Tensor, grid: TimeGrid = CIFAR10_GRID) -> Tensor:
    """G(x, σ_max, σ_min): a sample by one evaluation."""
    high, low = grid.times[[0, -1]].to(x.device)
    with torch.no_grad():
        return jump(x, high, low)


def guided_jump(student: Trajectory, loss: Loss, scale: float) -> Jump:
    """G with the score moved downhill: ∇ log p_t − scale ∇_x L(g(x, t, t)), as if the data were p(x0) e^{−scale L(x0)}.

    In g that is −t² scale ∇_x L, so the jump gains −(1 − s/t) t² scale ∇_x L(g(x, t, t)), the gradient being held
    for its length. Exact where L is linear and the data Gaussian, as steps become many; a step has two evaluations.
    """

    def jump(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        ends = student(x, t, s)
        if scale == 0:
            return ends
        with torch.enable_grad():
            leaf = x.detach().requires_grad_()
            (slope,) = torch.autograd.grad(loss(student.denoised(leaf, t)).sum(), leaf)
        return ends - (1 - s / t) * t**2 * scale * slope

    return jump


def guided_sampling(
    student: Trajectory,
    loss: Loss,
    x: Tensor,
    times: Tensor | Sequence[float],
    gamma: float,
    scale: float,
    generator: Generators,
) -> Tensor:
    """γ-sampling by `guided_jump`s: towards data of low `loss`, with a student that knows of no condition."""
    return gamma_sampling(guided_jump(student, loss, scale), x, times, gamma, generator)


def _validated(times: Tensor | Sequence[float], gamma: float) -> Tensor:
    times = torch.as_tensor(times, dtype=torch.float64)
    if not 0 <= gamma <= 1:
        raise ValueError(f"gamma is {gamma}; it must lie in [0, 1]")
    if times.ndim != 1 or len(times) < 2 or not bool((times.diff() < 0).all()) or not times[-1] >= 0:
        raise ValueError(f"times must be at least two, decrease, and not be negative; they are {times.tolist()}")
    return times
