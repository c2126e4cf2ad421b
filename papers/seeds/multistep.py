"""Methods of one evaluation a step that may use earlier readings, as a table that is computed once for a grid:

    x_{n+1} = P_n x_n + Σ_{j<=n} C_nj F_{n−j} + S_n z_n.

Here are the stochastic ones that SEEDS is compared with: Euler–Maruyama, DDPM's ancestral sampling and the second order
of SDE-DPM-Solver++. The deterministic ones are in `deis.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.diffusion.path import EDM, GaussianPath
from common.diffusion.solvers import Denoiser
from papers.seeds.brownian import Noise
from papers.seeds.exponential import DataPrediction, Form, NoisePrediction, Reader, checked, split


@dataclass(frozen=True)
class Multistep:
    """The coefficients of N steps that look back on at most J readings; all float64."""

    form: Form
    """What is read."""
    times: Tensor
    """(N + 1,), above 0."""
    propagators: Tensor
    """P, (N,)."""
    weights: Tensor
    """C, (N, J): of the newest reading first; 0 where there is none yet."""
    deviations: Tensor
    """S, (N,)."""
    rate: float
    """That of the Itô integral which z stands for (`brownian.py`)."""
    denoise: bool
    """Whether a denoising from the last time to t = 0 follows."""


@torch.no_grad()
def run_multistep(
    table: Multistep, denoiser: Denoiser, x: Tensor, noise: Noise, callback: Callable[[Tensor], None] | None = None
) -> Tensor:
    """Follow a table from x at its first time to its last, as `runge_kutta.run` does: N evaluations, and one more for a
    denoising. Arguments and result as there."""
    x = x.to(torch.float64)
    N, J = table.weights.shape
    read = Reader(table.form, table.times, x.device)
    half_log_snr = table.form.half_log_snr(table.times).tolist()
    P, C, S = table.propagators.tolist(), table.weights.tolist(), table.deviations.tolist()
    F: list[Tensor] = []
    if callback:
        callback(x)
    for n in range(N):
        F = [read(denoiser, x, n), *F[: J - 1]]
        z = noise(x, half_log_snr[n], half_log_snr[n + 1], table.rate) if S[n] > 0 else None
        x = P[n] * x
        for coefficient, reading in zip(C[n], F, strict=False):
            x = torch.add(x, reading, alpha=coefficient)
        if z is not None:
            x = torch.add(x, z, alpha=S[n])
        if callback:
            callback(x)
    if table.denoise:
        x = read.denoised(denoiser, x, N)
        if callback:
            callback(x)
    return x


def euler_maruyama(path: GaussianPath, times: Tensor | Sequence[float]) -> Multistep:
    """Euler–Maruyama on dx = [f x − g² ∇log p] dt + g dw in the time of `path`: in σ² on `VE()`, in t on `VP()`.

    x_{n+1} = x_n + Δt [f x_n + (g²/σ²)(x_n − α D)] + g √−Δt z, all at t_n, with Δt = t_{n+1} − t_n < 0.
    """
    form = DataPrediction(path)
    t, denoise = split(checked(form, times))
    s, step = t[:-1], t.diff()
    rate = path.squared_diffusion(s) / path.sigma(s).square()
    return Multistep(
        form,
        t,
        propagators=1 + step * (path.drift(s) + rate),
        weights=(-step * rate * path.alpha(s))[:, None],
        deviations=(-step * path.squared_diffusion(s)).sqrt(),
        rate=1.0,
        denoise=denoise,
    )


def euler_maruyama_sigma(times: Tensor | Sequence[float]) -> Multistep:
    """Euler–Maruyama on x = x0 + σ ε in the time σ, with the exact increments of its Brownian motion, of clock σ².

    x_{n+1} = x_n + 2 (σ_{n+1} − σ_n)(x_n − D)/σ_n + √(σ_n² − σ_{n+1}²) z.
    """
    form = DataPrediction(EDM())
    sigma, denoise = split(checked(form, times))
    drift = 2 * sigma.diff() / sigma[:-1]
    deviations = (-sigma.diff() * (sigma[:-1] + sigma[1:])).sqrt()
    return Multistep(form, sigma, 1 + drift, -drift[:, None], deviations, 1.0, denoise)


def ddpm(path: GaussianPath, times: Tensor | Sequence[float]) -> Multistep:
    """DDPM's ancestral sampling with the posterior's variance β̃ (Ho et al. 2020, eq. 7 and 11), on any grid.

    With ᾱ = α², a = ᾱ_s/ᾱ_t and β = 1 − a for a step from s to t,

        x_t = [x_s − β/√(1 − ᾱ_s) ε]/√a + √(β (1 − ᾱ_t)/(1 − ᾱ_s)) z.

    Raises: ValueError for a grid that is none, or a path that does not keep the variance, α² + σ² = 1.
    """
    form = NoisePrediction(path)
    t, denoise = split(checked(form, times))
    abar, variance = path.alpha(t).square(), path.sigma(t).square()
    if not bool(((abar + variance - 1).abs() < 1e-9).all()):
        raise ValueError(f"DDPM's step is for paths with α² + σ² = 1, such as VP; {type(path).__name__} is none")
    a = abar[:-1] / abar[1:]
    beta = (variance[:-1] - variance[1:]) / abar[1:]  # 1 − a, without its cancellation where ᾱ is close to 1
    return Multistep(
        form,
        t,
        propagators=1 / a.sqrt(),
        weights=(-beta / (variance[:-1] * a).sqrt())[:, None],
        deviations=(beta * variance[1:] / variance[:-1]).sqrt(),
        rate=-1.0,
        denoise=denoise,
    )


def dpm_solver_2m(form: DataPrediction, times: Tensor | Sequence[float]) -> Multistep:
    """The two-step method of second order in data prediction, a half of the weight of a constant on the slope of D.

    x_t = P x_s + α_t w_0(h) [D_s + (h/2h') (D_s − D_s')] + noise, h' the step before; the first step has D_s alone.
    With `DataPrediction` it is SDE-DPM-Solver++ (2M) (Lu et al. 2022, 2211.01095), with `DataPredictionODE`
    DPM-Solver++ (2M).

    Raises: ValueError for a grid that is none, or a form that predicts no data.
    """
    if not isinstance(form, DataPrediction):
        raise ValueError(f"DPM-Solver++ predicts the data: give it DataPrediction, not {type(form).__name__}")
    t, denoise = split(checked(form, times))
    h = form.half_log_snr(t).diff()
    slope = torch.zeros_like(h)
    slope[1:] = h[1:] / (2 * h[:-1])
    weight = form.gain(t[1:]) * form.constant_weight(h)
    return Multistep(
        form,
        t,
        propagators=form.propagator(t[:-1], t[1:]),
        weights=torch.stack([weight * (1 + slope), -weight * slope], dim=-1),
        deviations=form.scale(t[1:]) * form.deviation(h),
        rate=form.linear,
        denoise=denoise,
    )
