"""One-step methods with stages, as a table of coefficients that is computed once for a grid, and the loop that runs it.

A step from s to t reads F at s and at stages between, each stage made from x_s and what was read before:

    x_i = P_i x_s + Σ_{j<i} A_ij F_j + Σ_{k<i} B_ik z_k,      i = 1 … S, x_S = x_t,

where z_k are the normals of the Itô integrals between one stage and the next. A normal that has a part in a stage has
its part in all later ones: the stages share their noise, as the points of one Brownian path do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.diffusion.solvers import Denoiser
from papers.seeds.brownian import Noise
from papers.seeds.exponential import Form, Reader, checked, split


@dataclass(frozen=True)
class Tableau:
    """The coefficients of N steps with S evaluations each and K normals each; all float64."""

    form: Form
    read_at: Tensor
    """(N, S): the times at which F is read; the first of each step is where the step begins."""
    propagators: Tensor
    """P, (N, S)."""
    weights: Tensor
    """A, (N, S, S), lower triangular."""
    noises: Tensor
    """B, (N, S, K)."""
    intervals: Tensor
    """(N, K, 2): λ at both ends of each integral."""
    last: Tensor
    """(): the time where the steps end."""
    denoise: bool
    """Whether a denoising from there to t = 0 follows."""


def stages(form: Form, times: Tensor | Sequence[float], fractions: Sequence[float]) -> tuple[Tensor, Tensor, bool]:
    """The nodes of each step at fractions 0 = c_0 < c_1 < … < c_S = 1 of its length in λ.

    Returns: their times (N, S + 1), their λ (N, S + 1), and whether the grid ends in 0.
    Raises: ValueError for a grid that is none, or fractions that do not increase from 0 to 1.
    """
    c = torch.tensor(fractions, dtype=torch.float64)
    if c[0] != 0 or c[-1] != 1 or not bool((c.diff() > 0).all()):
        raise ValueError(
            f"the stages lie at fractions {tuple(fractions[1:-1])} of a step; they must rise between 0 and 1"
        )
    t, denoise = split(checked(form, times))
    half_log_snr = form.half_log_snr(t)
    nodes = half_log_snr[:-1, None] + c * half_log_snr.diff()[:, None]
    nodes[:, -1] = half_log_snr[1:]
    read_at = form.time(nodes)
    read_at[:, 0], read_at[:, -1] = t[:-1], t[1:]  # as they were given, without the rounding of there and back
    return read_at, nodes, denoise


def shared_noise(form: Form, read_at: Tensor, nodes: Tensor) -> Tensor:
    """B of stages that lie on one Brownian path, (N, S, S): B_ik = ς_i e^{b(λ_i − λ_{k+1})} std(λ_{k+1} − λ_k), k < i.

    The squares of a row add up to the variance of the Itô integral from s to its stage.
    """
    ends = nodes[:, 1:]
    carried = torch.exp(form.linear * (ends[:, :, None] - ends[:, None, :]))
    return form.scale(read_at[:, 1:])[:, :, None] * (carried * form.deviation(nodes.diff(dim=1))[:, None, :]).tril()


def exponential_tableau(
    form: Form,
    times: Tensor | Sequence[float],
    fractions: Sequence[float],
    weights: Callable[[Tensor], list[list[Tensor]]],
) -> Tableau:
    """The tableau of an exponential integrator with stages at `fractions` of a step in λ.

    Args:
        weights: from the steps h (N,) in λ to the rows of A over the gain, A_ij / g_i, each (N,): i numbers of row i.
    """
    read_at, nodes, denoise = stages(form, times, fractions)
    S = len(fractions) - 1
    A = torch.zeros(len(read_at), S, S, dtype=torch.float64)
    for i, row in enumerate(weights(nodes[:, -1] - nodes[:, 0])):
        for j, weight in enumerate(row):
            A[:, i, j] = form.gain(read_at[:, i + 1]) * weight
    return Tableau(
        form,
        read_at=read_at[:, :-1],
        propagators=form.propagator(read_at[:, :1], read_at[:, 1:]),
        weights=A,
        noises=shared_noise(form, read_at, nodes),
        intervals=torch.stack([nodes[:, :-1], nodes[:, 1:]], dim=-1),
        last=read_at[-1, -1],
        denoise=denoise,
    )


@torch.no_grad()
def run(
    tableau: Tableau, denoiser: Denoiser, x: Tensor, noise: Noise, callback: Callable[[Tensor], None] | None = None
) -> Tensor:
    """Follow a tableau from x at its first time to its last, and, where the grid ends in 0, denoise there.

    S evaluations a step, and one for the denoising. What costs is vector arithmetic on x alone.

    Args:
        denoiser: in sigma coordinates, as everywhere (`common.diffusion.solvers`).
        x: (B, *D), in the coordinates x_t = α x0 + σ ε of the tableau's form.
        noise: asked once for each normal, in the order of time.
        callback: called with each state, the first and the last included.

    Returns: (B, *D), float64.
    """
    x = x.to(torch.float64)
    N, S = tableau.read_at.shape
    read = Reader(tableau.form, torch.cat([tableau.read_at.flatten(), tableau.last[None]]), x.device)
    P, A, B = tableau.propagators.tolist(), tableau.weights.tolist(), tableau.noises.tolist()
    intervals, rate = tableau.intervals.tolist(), tableau.form.linear
    if callback:
        callback(x)
    for n in range(N):
        start, F = x, []
        z = [noise(x, begin, end, rate) for begin, end in intervals[n]] if tableau.form.stochastic else []
        for i in range(S):
            F.append(read(denoiser, x, n * S + i))
            x = _combination(P[n][i], start, A[n][i], F, B[n][i], z)
        if callback:
            callback(x)
    if tableau.denoise:
        x = read.denoised(denoiser, x, N * S)
        if callback:
            callback(x)
    return x


def _combination(
    p: float, start: Tensor, weights: list[float], F: list[Tensor], deviations: list[float], z: list[Tensor]
) -> Tensor:
    x = p * start
    for coefficients, terms in ((weights, F), (deviations, z)):
        for coefficient, term in zip(coefficients, terms, strict=False):
            if coefficient != 0:
                x = torch.add(x, term, alpha=coefficient)
    return x
