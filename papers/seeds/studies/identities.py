"""What does SEEDS contain, and what is it contained in (Section 3 and its appendices)?

Each identity is checked as numbers: how far two methods of other origin end from each other, on an exact denoiser
with the same normals, or how far noise coefficients are from the variance that they must add up to. Beside each the
same with one thing changed, which must not agree.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import expm1

import torch
from torch import Tensor

from common.diffusion.oracle import GaussianMixture
from common.diffusion.path import EDM, VP
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import PRESETS, Grid, Row, Run, at_least, experiment
from common.harness.studies.measures import value_at
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.seeds.brownian import Noise
from papers.seeds.exponential import DataPrediction, Form, NoisePrediction
from papers.seeds.grids import power_noise
from papers.seeds.multistep import Multistep, ddpm, euler_maruyama_sigma
from papers.seeds.runge_kutta import Tableau
from papers.seeds.seeds import seeds_1, seeds_2, seeds_3
from papers.seeds.studies.methods import follow

VP_PATH, EDM_PATH = VP(), EDM()
MIXTURE = GaussianMixture(
    torch.tensor([[1.0, 0.0], [-0.5, 0.8], [0.0, -1.0]]), torch.tensor([0.3, 0.2, 0.4]), torch.tensor([1.0, 2.0, 1.5])
)
FRACTIONS = (0.2, 0.5, 0.8)
"""r of SEEDS-2."""


IDENTITIES: Mapping[str, tuple[str, str]] = {
    "variance-data": ("variance 1 − e^{−2h}, data", "variance e^{2h} − 1 for the data's"),
    "variance-noise": ("variance e^{2h} − 1, noise", "variance 1 − e^{−2h} for the noise's"),
    "ddpm": ("SEEDS-1, data = DDPM", "SEEDS-1, noise, for DDPM"),
    "euler-maruyama": ("SEEDS-1, noise, VE = Euler–Maruyama in σ", "SEEDS-1, data, for Euler–Maruyama"),
    "dpm-solver-1": ("SEEDS-1, noise → DPM-Solver-1", "factor 2 kept, DPM-Solver-1"),
    "dpm-solver-2": ("SEEDS-2a, noise → DPM-Solver-2", "factor 2 kept, DPM-Solver-2"),
    "dpm-solver-3": ("SEEDS-3, noise → DPM-Solver-3", "factor 2 kept, DPM-Solver-3"),
}
"""By name: what is equal, and the change that makes it differ."""


@dataclass(frozen=True)
class IdentityConfig:
    steps: int = 8
    n_samples: int = 64

    def __post_init__(self) -> None:
        at_least(1, self, "steps", "n_samples")


def _given(normals: Tensor) -> Noise:
    """The same normals for both methods: those of the k-th step."""
    drawn = iter(normals)
    return lambda x, *_: next(drawn)


def _of_variance(form: Form, sign: int, times: Tensor) -> float:
    """The largest relative distance of Σ B² of the end of a step from σ_t² |e^{2 sign h} − 1|."""
    worst = 0.0
    steps = form.half_log_snr(times).diff().tolist()
    for tableau in (seeds_1(form, times), *(seeds_2(form, times, r) for r in FRACTIONS), seeds_3(form, times)):
        found = (tableau.noises[:, -1].square().sum(-1) / VP_PATH.sigma(times[1:]).square()).tolist()
        worst = max(worst, *(abs(v / abs(expm1(2 * sign * h)) - 1) for v, h in zip(found, steps, strict=True)))
    return worst


def halved(tableau: Tableau) -> Tableau:
    """Without noise, and with half of the weights: what the SDE in noise prediction has, and the ODE has not."""
    return replace(tableau, weights=tableau.weights / 2, noises=torch.zeros_like(tableau.noises))


def dpm_solver(order: int, x: Tensor, times: Tensor) -> Tensor:
    """DPM-Solver-1, 2 and 3 as their paper lists them (Lu et al. 2022, Algorithms 1 and 2; r_1 = ½, or ⅓ and ⅔)."""
    path = VP_PATH

    def lam(t: Tensor) -> Tensor:
        return path.log_snr(t) / 2

    def eps(x: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = path.alpha(t), path.sigma(t)
        return (x - alpha * MIXTURE(x / alpha, sigma / alpha)) / sigma

    for s, t in pairwise(times):
        h = lam(t) - lam(s)
        alpha, sigma = path.alpha(t), path.sigma(t)
        eps_s = eps(x, s)
        end = alpha / path.alpha(s) * x - sigma * (h.exp() - 1) * eps_s
        if order == 1:
            x = end
            continue
        r_1 = 1 / 2 if order == 2 else 1 / 3
        s_1 = path.t_from_log_snr(2 * (lam(s) + r_1 * h))
        u_1 = path.alpha(s_1) / path.alpha(s) * x - path.sigma(s_1) * ((r_1 * h).exp() - 1) * eps_s
        D_1 = eps(u_1, s_1) - eps_s
        if order == 2:
            x = end - sigma / (2 * r_1) * (h.exp() - 1) * D_1
            continue
        r_2 = 2 / 3
        s_2 = path.t_from_log_snr(2 * (lam(s) + r_2 * h))
        growth = (r_2 * h).exp() - 1
        u_2 = path.alpha(s_2) / path.alpha(s) * x - path.sigma(s_2) * growth * eps_s
        u_2 = u_2 - path.sigma(s_2) * r_2 / r_1 * (growth / (r_2 * h) - 1) * D_1
        x = end - sigma / r_2 * ((h.exp() - 1) / h - 1) * (eps(u_2, s_2) - eps_s)
    return x


def distances(steps: int, x: Tensor, normals: Tensor) -> dict[str, tuple[float, float]]:
    """By identity: how far both sides are apart, and how far they are with one thing changed.

    Args:
        x: (B, 2), where all start. normals: (3 steps, B, 2), of which each takes as many as it needs.
    """
    times = power_noise(VP_PATH, steps, 0.9, 0.01)
    sigmas = power_noise(EDM_PATH, steps, 20.0, 0.05)
    data, noise = DataPrediction(VP_PATH), NoisePrediction(VP_PATH)

    def end(table: Tableau | Multistep, start: Tensor = x) -> Tensor:
        return follow(table, MIXTURE, start, _given(normals))

    def apart(a: Tensor, b: Tensor) -> float:
        return float((a - b).abs().max())

    wide = 20.0 * x
    ancestral, maruyama = end(ddpm(VP_PATH, times)), end(euler_maruyama_sigma(sigmas), wide)
    found = {
        "variance-data": (_of_variance(data, -1, times), _of_variance(data, 1, times)),
        "variance-noise": (_of_variance(noise, 1, times), _of_variance(noise, -1, times)),
        "ddpm": (apart(end(seeds_1(data, times)), ancestral), apart(end(seeds_1(noise, times)), ancestral)),
        "euler-maruyama": (
            apart(end(seeds_1(NoisePrediction(EDM_PATH), sigmas), wide), maruyama),
            apart(end(seeds_1(DataPrediction(EDM_PATH), sigmas), wide), maruyama),
        ),
    }
    for order, method in ((1, seeds_1), (2, seeds_2), (3, seeds_3)):
        tableau, theirs = method(noise, times), dpm_solver(order, x, times)
        doubled = replace(tableau, noises=torch.zeros_like(tableau.noises))
        found[f"dpm-solver-{order}"] = (apart(end(halved(tableau)), theirs), apart(end(doubled), theirs))
    return found


@experiment(
    IdentityConfig,
    {preset: Grid([IdentityConfig()], 3) for preset in PRESETS},
    {"identity": IDENTITIES, "distance": float, "changed": float},
)
def identity(config: IdentityConfig, seed: int, run: Run) -> Sequence[Row]:
    """How far both sides of each identity are apart, and how far with one thing changed."""
    generator = stream(seed, 0)
    x = torch.randn(config.n_samples, 2, generator=generator, dtype=torch.float64)
    normals = torch.randn(3 * config.steps, config.n_samples, 2, generator=generator, dtype=torch.float64)
    found = distances(config.steps, x, normals)
    return [{"identity": name, "distance": near, "changed": far} for name, (near, far) in found.items()]


def _identity(name: str) -> Quantity:
    what, _ = IDENTITIES[name]
    return Quantity(
        what,
        identity,
        value_at("distance", identity=name),
        Criterion(upper=1e-9, reason="an identity, to rounding"),
        expected=0.0,
        metric="largest distance of both sides",
        zero=1e-9,
    )


def _changed(name: str) -> Quantity:
    _, change = IDENTITIES[name]
    return Quantity(
        change,
        identity,
        value_at("changed", identity=name),
        Criterion(1e-3, reason="a million times what rounding leaves"),
        metric="largest distance with this change",
    )


SETTING = (
    "A mixture in the plane with its exact denoiser, eight steps, the same start and normals for both sides. SEEDS-2 "
    "is of type 2a."
)
CLAIMS = (
    Claim(
        "identities",
        "The noise has the variance of the exact solution. SEEDS-1 is DDPM's step in data prediction, and "
        "Euler–Maruyama on VE in noise prediction. Without noise and its factor 2, SEEDS in noise prediction is "
        "DPM-Solver.",
        "Section 3",
        tuple(_identity(name) for name in IDENTITIES),
        presets=PRESETS,
        kind="theorem",
        excludes="the other prediction, or the factor 2 of the SDE kept in the ODE",
        deviation=SETTING,
    ),
    Claim(
        "identities-changed",
        "With one thing changed none of these identities is left.",
        "beside Section 3",
        tuple(_changed(name) for name in IDENTITIES),
        presets=PRESETS,
        kind="ours",
        excludes="the identities themselves",
        deviation=SETTING,
    ),
)

STUDY = Study(
    "Identities: what SEEDS contains",
    "Which methods are SEEDS in another form?",
    (identity,),
    CLAIMS,
)
