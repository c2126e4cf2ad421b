"""Solvers by name, as they draw samples: from noise to data with a given number of evaluations, the last a denoising.

Those of σ stop at the levels of EDM's grid from 80 to 0.002. On VP, from t = 1 to 0.001, DDPM and Euler–Maruyama stop
at uniform times, those of DEIS at quadratic times, and DPM-Solver at uniform λ, as their papers have it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from common.diffusion.churn import NO_CHURN, Churn, edm_sampler
from common.diffusion.path import EDM, VE, VP
from common.diffusion.solvers import CountedDenoiser, Denoiser
from papers.seeds.brownian import fresh
from papers.seeds.deis import adams_bashforth, ddim
from papers.seeds.exponential import DataPrediction, DataPredictionODE, NoisePredictionODE
from papers.seeds.grids import power_noise, power_time, uniform_log_snr, with_zero
from papers.seeds.multistep import Multistep, ddpm, dpm_solver_2m, euler_maruyama, euler_maruyama_sigma
from papers.seeds.runge_kutta import Tableau
from papers.seeds.seeds import seeds_1, seeds_2, seeds_3, type_2b
from papers.seeds.studies.methods import follow

EDM_PATH, VP_PATH = EDM(), VP()
_DATA, _DATA_ODE, _NOISE_ODE = DataPrediction(EDM_PATH), DataPredictionODE(EDM_PATH), NoisePredictionODE(VP_PATH)
SIGMA_MAX, SIGMA_MIN = 80.0, 0.002
T_MAX, T_MIN = 1.0, 1e-3
CHURN = Churn(S_churn=40, S_tmin=0.05, S_tmax=50, S_noise=1.003)
"""EDM's setting for its own network of ImageNet-64. With up to 97 evaluations each step has the most noise that it can
have, √2 − 1, whatever more is asked for."""

Sample = Callable[[Denoiser, Tensor, int, torch.Generator], Tensor]
"""`sample(denoiser, noise, nfe, generator) -> x0`; noise: (B, *D) ~ N(0, I), from which all start."""


def levels(steps: int) -> Tensor:
    """EDM's grid of σ, and 0: (steps + 2,)."""
    return with_zero(power_noise(EDM_PATH, steps, SIGMA_MAX, SIGMA_MIN))


def uniform(steps: int) -> Tensor:
    """Times of VP, equal steps of λ, and 0: (steps + 2,)."""
    return with_zero(uniform_log_snr(_NOISE_ODE, steps, T_MAX, T_MIN))


def times(steps: int, kappa: float) -> Tensor:
    """Times of VP, equal steps of t^{1/κ}, and 0: (steps + 2,)."""
    return with_zero(power_time(steps, T_MAX, T_MIN, kappa))


@dataclass(frozen=True)
class ByTable:
    """A solver that is a table for each grid. Raises ValueError for evaluations that make no whole steps."""

    table: Callable[[int], Tableau | Multistep]
    """By the number of steps above 0."""
    start: float
    """Standard deviation of the noise where it starts."""
    stages: int = 1
    """Evaluations a step."""

    def __call__(self, denoiser: Denoiser, noise: Tensor, nfe: int, generator: torch.Generator) -> Tensor:
        steps, rest = divmod(nfe - 1, self.stages)
        if rest or steps < 1:
            raise ValueError(f"{nfe} evaluations are no whole steps of {self.stages} and a denoising")
        return follow(self.table(steps), denoiser, self.start * noise, fresh(generator))


@dataclass(frozen=True)
class ByHeun:
    """EDM's sampler, whose N steps take 2N − 1 evaluations. Raises ValueError for an even number."""

    churn: Churn = NO_CHURN

    def __call__(self, denoiser: Denoiser, noise: Tensor, nfe: int, generator: torch.Generator) -> Tensor:
        steps, even = divmod(nfe - 1, 2)
        if even or steps < 1:
            raise ValueError(f"Heun's method takes an odd number of evaluations, 3 or more, not {nfe}")
        return edm_sampler(denoiser, SIGMA_MAX * noise, levels(steps), self.churn, generator)


SDE: Mapping[str, Sample] = {
    "seeds-1-data": ByTable(lambda n: seeds_1(_DATA, levels(n)), SIGMA_MAX),
    "seeds-2b-data": ByTable(lambda n: seeds_2(_DATA, levels(n), slope_weight=type_2b), SIGMA_MAX, stages=2),
    "seeds-3-data": ByTable(lambda n: seeds_3(_DATA, levels(n)), SIGMA_MAX, stages=3),
    "em-sigma": ByTable(lambda n: euler_maruyama_sigma(levels(n)), SIGMA_MAX),
    "em-sigma-squared": ByTable(lambda n: euler_maruyama(VE(), levels(n) ** 2), SIGMA_MAX),
    "em-vp": ByTable(lambda n: euler_maruyama(VP_PATH, times(n, 1.0)), 1.0),
    "ddpm": ByTable(lambda n: ddpm(VP_PATH, times(n, 1.0)), 1.0),
    "churn": ByHeun(CHURN),
}
"""Stochastic ones, by the names of `looks.SAMPLERS`."""
ODE: Mapping[str, Sample] = {
    "ddim": ByTable(lambda n: ddim(VP_PATH, times(n, 2.0)), 1.0),
    "tab3": ByTable(lambda n: adams_bashforth(VP_PATH, times(n, 2.0), 3), 1.0),
    "dpm-3": ByTable(lambda n: seeds_3(_NOISE_ODE, uniform(n)), 1.0, stages=3),
    "2m": ByTable(lambda n: dpm_solver_2m(_DATA_ODE, levels(n)), SIGMA_MAX),
    "heun": ByHeun(),
}
"""Deterministic ones, by the names of `looks.SAMPLERS`."""
SAMPLERS: Mapping[str, Sample] = {**SDE, **ODE}


def drawn(name: str, denoiser: Denoiser, noise: Tensor, nfe: int, generator: torch.Generator) -> tuple[Tensor, int]:
    """Samples by a solver, and its evaluations as they were counted."""
    counted = CountedDenoiser(denoiser)
    return SAMPLERS[name](counted, noise, nfe, generator), counted.nfe
