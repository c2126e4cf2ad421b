"""The experiments without training: samplers and schedules on exact denoisers (Sections 2 and 3).

Two laws of known denoiser stand in for images and a trained network:

    mixture   eight Gaussians on a circle in the plane, standard deviation of the whole 0.5
    digits    Σ_k N(y_k, 0.05² I) / K around scikit-learn digits y_k, standardised to mean 0 and standard deviation 0.5,
              the sigma_data of the paper: a smooth law whose samples are digits. Around the points themselves, without
              the 0.05, every solver ends on a data point and has no error left to measure.

Errors are medians over trajectories. A few that start near the border between two digits end at another digit than the
exact solution does: as good an image, at a distance that has nothing to do with the solver's order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.data.images import digits
from common.data.toy import eight_gaussians_mixture
from common.diffusion.oracle import EmpiricalDenoiser, GaussianMixture
from common.diffusion.solvers import CountedDenoiser, Denoiser, euler, heun
from common.harness.studies.experiment import Experiment, Grid, Row, Run, at_least, one_of
from common.metrics.frechet import fd_digits
from papers.edm.sampler import Step, ablation_sampler, euler_step, heun_step
from papers.edm.schedule import EDM, VE, VP, Schedule, edm_sigmas, iddpm_sigmas, ve_sigmas, vp_sigmas

SIGMA_DATA = 0.5
COMPONENT_STD = 0.05


@dataclass(frozen=True)
class Standard:
    """The map from images in [-1, 1] to mean 0 and standard deviation `SIGMA_DATA`, and back."""

    mean: float
    std: float

    @staticmethod
    def of(images: Tensor) -> Standard:
        return Standard(float(images.mean()), float(images.std(correction=0)))

    def encode(self, images: Tensor) -> Tensor:
        return (images - self.mean) * (SIGMA_DATA / self.std)

    def decode(self, x0: Tensor) -> Tensor:
        return x0 * (self.std / SIGMA_DATA) + self.mean


def around(points: Tensor, std: float = COMPONENT_STD) -> Denoiser:
    """The exact denoiser of Σ_k N(y_k, std² I) / K for points y_k (K, *D).

    At noise level σ the component is N(y_k, v I) with v = std² + σ², so D(x; σ) = (std² x + σ² m) / v, where m is the
    posterior mean of y_k: what the empirical denoiser returns at the noise level √v.
    """
    nearest = EmpiricalDenoiser(points)

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        v = std**2 + sigma**2
        return (std**2 * x + sigma**2 * nearest(x, v.sqrt())) / v

    return denoiser


FIELDS = ("mixture", "digits")


def exact_denoiser(field: str, n_points: int, generator: torch.Generator) -> tuple[Denoiser, tuple[int, ...]]:
    """The denoiser of the law `field`, and the shape of one sample. `n_points` digits are drawn without replacement."""
    if field == "mixture":
        means, std = eight_gaussians_mixture()
        return GaussianMixture(SIGMA_DATA * means, torch.full((len(means),), SIGMA_DATA * std)), (2,)
    if field == "digits":
        images = digits().x0
        points = Standard.of(images).encode(images)[torch.randperm(len(images), generator=generator)[:n_points]]
        return around(points), tuple(points.shape[1:])
    raise ValueError(f"no law {field!r}; there are 'mixture' and 'digits'")


def noise_at(sigma: Tensor, n: int, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """n draws of N(0, sigma² I), (n, *shape), float64: where sampling starts."""
    return sigma * torch.randn(n, *shape, generator=generator, dtype=torch.float64, device=generator.device)


def median_error(x: Tensor, exact: Tensor) -> float:
    """The median over samples of |x - exact|; (B, *D) each."""
    return float((x - exact).flatten(1).norm(dim=1).median())


@dataclass(frozen=True)
class ConvergenceConfig:
    field: str
    steps: tuple[int, ...] = (64, 96, 128, 192)
    reference_steps: int = 1536
    n_samples: int = 64
    n_points: int = 300

    def __post_init__(self) -> None:
        one_of(FIELDS, self, "field")
        at_least(1, self, "steps", "reference_steps", "n_samples", "n_points")


def convergence(config: ConvergenceConfig, seed: int, run: Run) -> list[Row]:
    """The error of Euler and Heun on the EDM time steps against the number of steps."""
    generator = torch.Generator().manual_seed(seed)
    denoiser, shape = exact_denoiser(config.field, config.n_points, generator)
    x = noise_at(edm_sigmas(1)[0], config.n_samples, shape, generator)
    # All grids end with the same step from sigma_min to 0, so that this step's own error is in the reference too.
    exact = heun(denoiser, x, edm_sigmas(config.reference_steps))
    rows: list[Row] = []
    for solver in (euler, heun):
        for steps in config.steps:
            counted = CountedDenoiser(denoiser)
            error = median_error(solver(counted, x, edm_sigmas(steps)), exact)
            rows.append({"solver": solver.__name__, "n_steps": steps, "nfe": counted.nfe, "error": error})
    return rows


SAMPLERS: dict[str, tuple[Schedule, Callable[[int], Tensor], Step]] = {
    "vp": (VP, vp_sigmas, euler_step),
    "ve": (VE, ve_sigmas, euler_step),
    "iddpm": (EDM, iddpm_sigmas, euler_step),
    "edm": (EDM, edm_sigmas, heun_step),
}
"""The deterministic samplers of Table 1: schedule, time steps as a function of their number, and solver."""


@dataclass(frozen=True)
class SamplingCostConfig:
    sampler: str
    """One of `SAMPLERS`."""
    steps: tuple[int, ...]
    reference_steps: int = 1024
    n_samples: int = 32
    n_points: int = 200

    def __post_init__(self) -> None:
        one_of(SAMPLERS, self, "sampler")
        at_least(1, self, "steps", "reference_steps", "n_samples", "n_points")


def sampling_cost(config: SamplingCostConfig, seed: int, run: Run) -> list[Row]:
    """The error of a sampler on digits against its NFE, relative to its own limit of ever finer steps.

    Each sampler is held to the exact solution between its own noise levels, followed by its own last step to 0: what is
    compared is how fast they get there, and not where (VE's last step, for one, removes half of what noise is left).
    """
    generator = torch.Generator().manual_seed(seed)
    denoiser, shape = exact_denoiser("digits", config.n_points, generator)
    schedule, sigmas_of, step = SAMPLERS[config.sampler]
    sigma_max, sigma_min, _ = sigmas_of(2)
    x = noise_at(sigma_max, config.n_samples, shape, generator)
    fine = edm_sigmas(config.reference_steps, float(sigma_min), float(sigma_max))
    exact = ablation_sampler(denoiser, x, fine, schedule, heun_step)
    rows: list[Row] = []
    for steps in config.steps:
        counted = CountedDenoiser(denoiser)
        sampled = ablation_sampler(counted, x, sigmas_of(steps), schedule, step)
        rows.append({"nfe": counted.nfe, "error": median_error(sampled, exact)})
    return rows


@dataclass(frozen=True)
class RhoSweepConfig:
    n_samples: int
    rhos: tuple[float, ...] = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 15.0, 20.0, 40.0)
    steps: int = 18
    reference_steps: int = 128
    n_points: int = 100

    def __post_init__(self) -> None:
        at_least(1, self, "n_samples", "steps", "reference_steps", "n_points")


def rho_sweep(config: RhoSweepConfig, seed: int, run: Run) -> list[Row]:
    """Heun's method on digits at few steps, for a range of rho: median error and Frechet distance to the exact
    solutions.

    Both sets of samples start from the same noise, so that equal sets have a distance of exactly 0: the floor is 0 at
    any n.
    """
    generator = torch.Generator().manual_seed(seed)
    denoiser, shape = exact_denoiser("digits", config.n_points, generator)
    standard = Standard.of(digits().x0)
    x = noise_at(edm_sigmas(1)[0], config.n_samples, shape, generator)
    exact = heun(denoiser, x, edm_sigmas(config.reference_steps))
    rows: list[Row] = []
    for rho in config.rhos:
        sampled = heun(denoiser, x, edm_sigmas(config.steps, rho=rho))
        fd = fd_digits(standard.decode(sampled), standard.decode(exact))
        rows.append({"rho": rho, "error": median_error(sampled, exact), "fd_digits": fd})
    return rows


def _vp_scale(sigma: Tensor) -> Tensor:
    return 1 / (1 + sigma**2).sqrt()


CURVES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "vp": (VP.sigma_inv, _vp_scale),
    "ve": (VE.sigma_inv, torch.ones_like),
    "cosine": (lambda sigma: sigma.atan() * (2 / math.pi), _vp_scale),
    "edm": (EDM.sigma_inv, torch.ones_like),
}
"""t and s as functions of σ: x(t) = s(t) (x0 + σ(t) ε). 'cosine' is the forward process of iDDPM, σ(t) = tan(πt/2)."""


@dataclass(frozen=True)
class CurvatureConfig:
    field: str
    sigma_min: float = 0.02
    sigma_max: float = 80.0
    steps: int = 512
    n_samples: int = 64
    n_points: int = 300

    def __post_init__(self) -> None:
        one_of(FIELDS, self, "field")
        at_least(1, self, "steps", "n_samples", "n_points")
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"0 < sigma_min < sigma_max is needed, not {self.sigma_min} and {self.sigma_max}")


def curvature_of(t: Tensor, x: Tensor) -> float:
    """E ∫ |x'(t) - v|² dt / E T |v|² with v = (x(T) - x(0)) / T: how far velocities stray from their means over time.

    It is 0 for straight lines at constant speed only, and the same in any unit of t and of x. For the polygon through
    the points it is E Σ_k |Δx_k|² / Δt_k · T / E |x(T) - x(0)|² - 1. t: (K,), x: (K, B, D).
    """
    energy = (x.diff(dim=0).square().sum((1, 2)) / t.diff()).sum()
    return float(energy * (t[-1] - t[0]) / (x[-1] - x[0]).square().sum() - 1)


def curvature(config: CurvatureConfig, seed: int, run: Run) -> list[Row]:
    """Exact trajectories as four schedules draw them over time, and how curved they are, over one range of noise
    levels."""
    generator = torch.Generator().manual_seed(seed)
    denoiser, shape = exact_denoiser(config.field, config.n_points, generator)
    sigmas = edm_sigmas(config.steps, config.sigma_min, config.sigma_max)
    states: list[Tensor] = []
    heun(denoiser, noise_at(sigmas[0], config.n_samples, shape, generator), sigmas, callback=states.append)
    x, sigmas = torch.stack(states[:-1]).flatten(2), sigmas[:-1]
    rows: list[Row] = []
    arrays = {"sigma": sigmas.numpy(), "unscaled": x[:, :, :2].numpy()}
    for schedule, (time, scale) in CURVES.items():
        t, scaled = time(sigmas), scale(sigmas)[:, None, None] * x
        rows.append({"schedule": schedule, "curvature": curvature_of(t, scaled)})
        arrays |= {f"t_{schedule}": t.numpy(), f"x_{schedule}": scaled[:, :, 0].numpy()}
    run.save_arrays(**arrays)
    return rows


_COSTS = (
    SamplingCostConfig("vp", (16, 32, 64, 128, 256, 512)),
    SamplingCostConfig("ve", (64, 512, 8192)),
    SamplingCostConfig("iddpm", (16, 32, 64, 125, 250, 500)),
    SamplingCostConfig("edm", (4, 6, 9, 12, 18, 24, 32, 48, 64, 96, 128, 192, 256)),
)

SAMPLING_EXPERIMENTS = (
    Experiment(
        convergence,
        ConvergenceConfig,
        {
            preset: Grid([ConvergenceConfig(field) for field in FIELDS], seeds)
            for preset, seeds in (("quick", 3), ("small", 10))
        },
    ),
    Experiment(sampling_cost, SamplingCostConfig, {"quick": Grid(_COSTS, 3), "small": Grid(_COSTS, 5)}),
    Experiment(
        rho_sweep, RhoSweepConfig, {"quick": Grid([RhoSweepConfig(1024)], 4), "small": Grid([RhoSweepConfig(4096)], 5)}
    ),
    Experiment(
        curvature,
        CurvatureConfig,
        {
            preset: Grid([CurvatureConfig(field, sigma_max=top) for field in FIELDS for top in (80.0, 5.0)], seeds)
            for preset, seeds in (("quick", 3), ("small", 10))
        },
    ),
)
