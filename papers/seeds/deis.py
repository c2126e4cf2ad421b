"""DEIS, the further reading: exponential integrators of the probability-flow ODE (Zhang & Chen 2023, 2204.13902).

With v = x/α and ρ = σ/α the ODE is dv/dρ = ε(αv, t(ρ)). A step from t_i to t_{i+1} is exact but for ε in

    x_{i+1} = (α_{i+1}/α_i) x_i + α_{i+1} ∫_{ρ_i}^{ρ_{i+1}} ε dρ.

    tAB-r     ε is the polynomial in t through the readings at t_i, …, t_{i−r}; r = 0 is DDIM
    ρAB-r     the same with a polynomial in ρ;  log-ρAB-r  in λ = −log ρ
    ρRK       an explicit Runge–Kutta method on dv/dρ
    Euler, and the exponential integrator that holds the score constant: where their ablation begins

The integrals are quadratures, made once for a grid. All tables are run by `run_multistep` or `run` without noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from common.diffusion.path import GaussianPath
from papers.seeds.exponential import DataPredictionODE, NoisePredictionODE, checked, split
from papers.seeds.multistep import Multistep
from papers.seeds.runge_kutta import Tableau

Quadrature = Callable[[GaussianPath, Tensor, Tensor], tuple[Tensor, Tensor]]
"""`quadrature(path, t, t_next) -> (times, weights)`, (N, Q) each: Σ weights f(times) ≈ α(t_next) ∫ f dρ for each of the
N steps from t to t_next."""
Coordinate = Callable[[GaussianPath, Tensor], Tensor]
"""In what the polynomial is one: `in_t`, `in_rho` or `in_lambda`."""


def in_t(path: GaussianPath, t: Tensor) -> Tensor:
    """t itself: tAB."""
    return t


def in_rho(path: GaussianPath, t: Tensor) -> Tensor:
    """ρ = σ/α: ρAB."""
    return path.sigma(t) / path.alpha(t)


def in_lambda(path: GaussianPath, t: Tensor) -> Tensor:
    """λ = log(α/σ): log-ρAB."""
    return path.log_snr(t) / 2


def gauss_legendre(path: GaussianPath, t: Tensor, t_next: Tensor, nodes: int = 64) -> tuple[Tensor, Tensor]:
    """Gauss–Legendre in ρ: exact for polynomials in ρ, and to rounding for those in t on any usual step."""
    places, weights = (torch.from_numpy(each) for each in np.polynomial.legendre.leggauss(nodes))
    rho, rho_next = in_rho(path, t)[:, None], in_rho(path, t_next)[:, None]
    at = (rho + rho_next) / 2 + (rho_next - rho) / 2 * places
    return path.t_from_log_snr(-2 * at.log()), path.alpha(t_next)[:, None] * (rho_next - rho) / 2 * weights


def left_riemann(path: GaussianPath, t: Tensor, t_next: Tensor, points: int = 10_000) -> tuple[Tensor, Tensor]:
    """How the official code integrates: a left Riemann sum over equal steps in t, in float32. It errs by about 1e-4."""
    fractions = torch.arange(points, dtype=torch.float32) / points
    start, length = t[:, None].float(), (t_next - t)[:, None].float()
    at = start + fractions * length
    # α(t_next) dρ = (α(t_next)/α) g²/(2σ) dt.
    rate = path.squared_diffusion(at) / (2 * path.sigma(at) * path.alpha(at))
    return at.double(), (path.alpha(t_next.float())[:, None] * rate * length / points).double()


def adams_bashforth(
    path: GaussianPath,
    times: Tensor | Sequence[float],
    r: int,
    coordinate: Coordinate = in_t,
    quadrature: Quadrature = gauss_legendre,
) -> Multistep:
    """tAB-r, or with another coordinate ρAB-r or log-ρAB-r: r readings before the newest. The first steps have fewer.

    C_ij = α_{i+1} ∫ L_j dρ with L_j the Lagrange basis through the readings that there are (Section 3).

    Args:
        times: (N + 1,), decreasing. Where they end in 0 the last step is a denoising.

    Raises: ValueError for a grid that is none, or r < 0.
    """
    if r < 0:
        raise ValueError(f"r is {r}; the number of earlier readings is 0 or more")
    form = NoisePredictionODE(path)
    t, denoise = split(checked(form, times))
    at, measure = quadrature(path, t[:-1], t[1:])
    places, known = coordinate(path, at), coordinate(path, t)
    N = len(t) - 1
    C = torch.zeros(N, r + 1, dtype=torch.float64)
    for earlier in range(min(r, N - 1) + 1):
        # The steps that have just so many earlier readings: one each at the start, and all others.
        steps = torch.arange(earlier, N if earlier == r else earlier + 1)
        readings = known[steps[:, None] - torch.arange(earlier + 1)]
        for j in range(earlier + 1):
            C[steps, j] = (measure[steps] * _lagrange(readings, j, places[steps])).sum(1)
    return _deterministic(form, t, path.alpha(t[1:]) / path.alpha(t[:-1]), C, denoise)


def _lagrange(nodes: Tensor, j: int, at: Tensor) -> Tensor:
    """For each row the polynomial that is 1 at nodes[:, j] and 0 at the others; nodes: (N, K), at: (N, Q)."""
    value = torch.ones_like(at)
    for k in range(nodes.shape[1]):
        if k != j:
            value = value * (at - nodes[:, k, None]) / (nodes[:, j] - nodes[:, k])[:, None]
    return value


def ddim(path: GaussianPath, times: Tensor | Sequence[float]) -> Multistep:
    """DDIM with η = 0 (Song et al. 2021, eq. 12): x_t = α_t D + σ_t ε, both read at s."""
    form = DataPredictionODE(path)
    t, denoise = split(checked(form, times))
    ratio = path.sigma(t[1:]) / path.sigma(t[:-1])
    return _deterministic(form, t, ratio, (path.alpha(t[1:]) - ratio * path.alpha(t[:-1]))[:, None], denoise)


def euler(path: GaussianPath, times: Tensor | Sequence[float]) -> Multistep:
    """Euler's method on the probability-flow ODE in the time of the path: dx/dt = f x + g²/(2σ²) (x − α D)."""
    form = DataPredictionODE(path)
    t, denoise = split(checked(form, times))
    s, step = t[:-1], t.diff()
    rate = path.squared_diffusion(s) / (2 * path.sigma(s).square())
    P = 1 + step * (path.drift(s) + rate)
    return _deterministic(form, t, P, (-step * rate * path.alpha(s))[:, None], denoise)


def frozen_score(
    path: GaussianPath, times: Tensor | Sequence[float], quadrature: Quadrature = gauss_legendre
) -> Multistep:
    """The exponential integrator alone: the linear part exact, and the score −ε/σ held constant over a step.

    x_{i+1} = (α_{i+1}/α_i) x_i + (ε_i/σ_i) α_{i+1} ∫ σ dρ.
    """
    form = NoisePredictionODE(path)
    t, denoise = split(checked(form, times))
    at, measure = quadrature(path, t[:-1], t[1:])
    C = (measure * path.sigma(at)).sum(1, keepdim=True) / path.sigma(t[:-1])[:, None]
    return _deterministic(form, t, path.alpha(t[1:]) / path.alpha(t[:-1]), C, denoise)


def _deterministic(
    form: NoisePredictionODE | DataPredictionODE, t: Tensor, propagators: Tensor, weights: Tensor, denoise: bool
) -> Multistep:
    return Multistep(form, t, propagators, weights, torch.zeros_like(propagators), 0.0, denoise)


class Butcher(NamedTuple):
    """An explicit Runge–Kutta method: its nodes c, the rows of a below the first, and the weights b."""

    c: tuple[float, ...]
    a: tuple[tuple[float, ...], ...]
    b: tuple[float, ...]


HEUN = Butcher((0, 1), ((1,),), (1 / 2, 1 / 2))
KUTTA = Butcher((0, 1 / 2, 1), ((1 / 2,), (-1, 2)), (1 / 6, 2 / 3, 1 / 6))


def rho_runge_kutta(path: GaussianPath, times: Tensor | Sequence[float], method: Butcher) -> Tableau:
    """ρRK: an explicit Runge–Kutta method on dv/dρ = ε. `HEUN` is of order 2, `KUTTA` of order 3.

    Raises: ValueError for a grid that is none.
    """
    form = NoisePredictionODE(path)
    t, denoise = split(checked(form, times))
    rho = in_rho(path, t)
    S, step = len(method.b), rho.diff()[:, None]
    at = rho[:-1, None] + torch.tensor(method.c, dtype=torch.float64) * step
    read_at = path.t_from_log_snr(-2 * at.log())
    read_at[:, 0] = t[:-1]
    made_at = torch.cat([read_at[:, 1:], t[1:, None]], dim=1)
    alpha = path.alpha(made_at)
    rows = torch.zeros(S, S, dtype=torch.float64)
    for i, row in enumerate((*method.a, method.b)):
        rows[i, : len(row)] = torch.tensor(row, dtype=torch.float64)
    return Tableau(
        form,
        read_at=read_at,
        propagators=alpha / path.alpha(t[:-1])[:, None],
        weights=(alpha * step)[:, :, None] * rows,
        noises=torch.zeros(len(step), S, 0, dtype=torch.float64),
        intervals=torch.zeros(len(step), 0, 2, dtype=torch.float64),
        last=t[-1],
        denoise=denoise,
    )
