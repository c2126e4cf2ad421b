"""The law on which DEIS is measured, eight Gaussians on a ring with the exact denoiser on VP, and its solvers by
name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from math import exp

import numpy as np
import torch
from scipy.integrate import solve_ivp
from torch import Tensor

from common.data.toy import eight_gaussians_mixture
from common.diffusion.oracle import GaussianMixture
from common.diffusion.path import VP, GaussianPath
from common.training.stream import stream
from papers.seeds.deis import HEUN, KUTTA, adams_bashforth, ddim, euler, frozen_score, in_rho, rho_runge_kutta
from papers.seeds.multistep import Multistep
from papers.seeds.runge_kutta import Tableau

PATH = VP()
T_MAX, T_MIN = 1.0, 1e-3
SOLVERS: Mapping[str, tuple[Callable[[GaussianPath, Tensor], Tableau | Multistep], int]] = {
    "euler": (euler, 1),
    "frozen-score": (frozen_score, 1),
    "ddim": (ddim, 1),
    **{f"tab{r}": (partial(adams_bashforth, r=r), 1) for r in (1, 2, 3)},
    "rho-ab3": (partial(adams_bashforth, r=3, coordinate=in_rho), 1),
    "rho-heun": (partial(rho_runge_kutta, method=HEUN), 2),
    "rho-kutta": (partial(rho_runge_kutta, method=KUTTA), 3),
}
"""By the names of `looks.ODE_SOLVERS`, each with its evaluations a step."""
EXACT = (
    "Eight Gaussians on a ring with their exact denoiser, VP with β from 0.1 to 20, t from 1 to 0.001; errors are root "
    "mean square distances to the exact flow's end from the same start. "
)


def ring() -> GaussianMixture:
    """Eight Gaussians on a ring."""
    means, std = eight_gaussians_mixture()
    return GaussianMixture(means, torch.full((len(means),), std))


def start_and_end(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """n draws of p_T, and where the exact flow takes them: by SciPy's method of order 8 on v = x/α in the time log ρ,

    dv/d log ρ = v − D(v; ρ).
    """
    generator, law = stream(seed, 0), ring()
    x0 = law.sample(n, generator)
    ends = torch.tensor([T_MAX, T_MIN], dtype=torch.float64)
    x = PATH.perturb(x0, torch.randn(x0.shape, generator=generator, dtype=torch.float64), ends[0])

    def field(log_rho: float, state: np.ndarray) -> np.ndarray:
        v = torch.from_numpy(state).reshape(x.shape)
        return (v - law(v, exp(log_rho))).flatten().numpy()

    span = (-PATH.log_snr(ends) / 2).tolist()
    start = (x / PATH.alpha(ends[0])).flatten().numpy()
    solution = solve_ivp(field, span, start, method="DOP853", rtol=1e-11, atol=1e-11)
    return x, PATH.alpha(ends[1]) * torch.from_numpy(solution.y[:, -1].copy()).reshape(x.shape)


def rms(x: Tensor, y: Tensor) -> float:
    """√ of the mean over samples of ‖x − y‖²."""
    return float((x - y).square().sum(-1).mean().sqrt())
