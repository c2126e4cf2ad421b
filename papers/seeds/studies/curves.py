"""Quality against evaluations: what all solvers make of one denoiser, from the same noise.

    digits        Gaussians around digits: the Frechet distance to that law, and the error of their spread about the
                  digits. The same with the score of the denoiser too long at high noise, or at low: an error whose
                  place is known
    the plane     eight Gaussians on a ring: the sliced Wasserstein distance

Here the denoiser is exact; `network_curves` has trained ones. Solvers share the noise that they start from, and the
seed of all other noise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from common.data.images import digits
from common.data.sets import SIGMA_DATA, Standard
from common.data.toy import eight_gaussians_mixture
from common.diffusion.oracle import EmpiricalDenoiser, GaussianMixture
from common.diffusion.solvers import Denoiser
from common.harness.studies.experiment import PRESETS, Grid, Row, Run, Values, at_least, experiment, one_of
from common.metrics.distances import sliced_w2
from common.metrics.features import digit_features
from common.metrics.floor import Sampler, floor
from common.metrics.frechet import Moments, fd_digits, moments
from common.training.stream import stream
from papers.seeds.studies.images import FLOOR, LAW, SAMPLING
from papers.seeds.studies.samplers import SAMPLERS, drawn

NFES = (7, 13, 25, 49, 97, 193)
"""Whole steps of one, two and three evaluations, and of Heun's method, with a denoising at the end."""
MANY = (385,)
"""At which DDPM is judged besides, with an exact denoiser."""
CHUNK = 1000
"""Samples that a solver carries at once."""
COLUMNS: Mapping[str, Values] = {"sampler": SAMPLERS, "nfe": int, "distance": float, "floor": float}

EXACT = ("seeds-1-data", "seeds-2b-data", "seeds-3-data", "em-sigma", "em-sigma-squared", "ddpm", "churn", "heun")


def checked(samplers: tuple[str, ...], nfes: tuple[int, ...], n_samples: int) -> None:
    """Raises ValueError for a solver that there is not, or fewer than two evaluations or samples."""
    for name in samplers:
        if name not in SAMPLERS:
            raise ValueError(f"samplers has {name!r}; there are {', '.join(SAMPLERS)}")
    if min(nfes, default=0) < 2 or n_samples < 2:
        raise ValueError(f"nfes are {nfes} and n_samples is {n_samples}; each must be at least 2")


@dataclass(frozen=True)
class ExactConfig:
    """Gaussians of one standard deviation around digits."""

    source: str
    """One of `SPOILED`."""
    samplers: tuple[str, ...] = EXACT
    nfes: tuple[int, ...] = NFES
    many: tuple[int, ...] = MANY
    """Of DDPM alone."""
    n_samples: int = 1000
    n_points: int = 100

    def __post_init__(self) -> None:
        one_of(SPOILED, self, "source")
        checked(self.samplers, self.nfes, self.n_samples)
        at_least(1, self, "n_points")

    @property
    def budgets(self) -> Mapping[str, tuple[int, ...]]:
        """The evaluations of each solver."""
        return {name: self.nfes + (self.many if name == "ddpm" else ()) for name in self.samplers}


@dataclass(frozen=True)
class PlaneConfig:
    """Eight Gaussians on a ring."""

    samplers: tuple[str, ...] = ("seeds-3-data", "em-sigma", "em-sigma-squared", "ddpm")
    nfes: tuple[int, ...] = NFES
    n_samples: int = 4000
    projections: int = 64

    def __post_init__(self) -> None:
        checked(self.samplers, self.nfes, self.n_samples)
        at_least(1, self, "projections")

    @property
    def budgets(self) -> Mapping[str, tuple[int, ...]]:
        """The evaluations of each solver."""
        return dict.fromkeys(self.samplers, self.nfes)


def curve(
    denoiser: Denoiser,
    shape: tuple[int, ...],
    budgets: Mapping[str, tuple[int, ...]],
    n_samples: int,
    seed: int,
    device: str,
    judge: Callable[[Tensor], Mapping[str, float]],
) -> list[Row]:
    """`judge` of the samples (n, *shape) of each solver, for each of its `budgets` of evaluations.

    All start from the same noise.
    """
    rows: list[Row] = []
    for name, nfes in budgets.items():
        for nfe in sorted(nfes):
            generator = stream(seed, SAMPLING, device)
            noise = torch.randn(n_samples, *shape, generator=generator, dtype=torch.float64, device=device)
            parts = [drawn(name, denoiser, part, nfe, generator) for part in noise.split(CHUNK)]
            samples = torch.cat([part for part, _ in parts])
            rows.append({"sampler": name, "nfe": parts[0][1], **judge(samples)})
    return rows


COMPONENT_STD = 0.05
"""Of each Gaussian around a digit. Around the digits themselves every solver ends on one, and has no error left."""
LONGER = 1.2
"""By what the score of a spoiled denoiser is too long."""
HIGH, LOW = 1.0, 0.3
"""It is so above σ = 1, twice the standard deviation of the data, or below σ = 0.3."""


def spoiled(denoiser: Denoiser, where: Callable[[Tensor], Tensor]) -> Denoiser:
    """The denoiser with its score, (D − x)/σ², 1.2 times as long at the noise levels `where` says."""

    def call(x: Tensor, sigma: Tensor) -> Tensor:
        D = denoiser(x, sigma)
        return x + LONGER * (D - x) if bool(where(sigma)) else D

    return call


SPOILED: Mapping[str, Callable[[Denoiser], Denoiser]] = {
    "exact": lambda denoiser: denoiser,
    "spoiled at high noise": partial(spoiled, where=lambda sigma: sigma > HIGH),
    "spoiled at low noise": partial(spoiled, where=lambda sigma: sigma < LOW),
}


def around(points: Tensor, std: float) -> Denoiser:
    """The exact denoiser of Σ_k N(y_k, std² I)/K: at σ the component is N(y_k, v I), v = std² + σ², so that
    D = (std² x + σ² m)/v, with m the mean of y_k given x at the noise level √v."""
    empirical = EmpiricalDenoiser(points)

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        noise = torch.as_tensor(sigma, dtype=torch.float64, device=x.device).square()
        v = std**2 + noise
        return (std**2 * x + noise * empirical(x, v.sqrt())) / v

    return denoiser


def digit_law(n_points: int, seed: int) -> tuple[Tensor, Standard, Sampler]:
    """Points (n, 64) in the scale of the solver, the scale, and a sampler of images of the law around them."""
    images, generator = digits().x0, stream(seed, LAW)
    scale = Standard.of(images)
    points = scale.encode(images).flatten(1)[torch.randperm(len(images), generator=generator)[:n_points]]

    def draw(n: int, source: torch.Generator) -> Tensor:
        centres = points[torch.randint(len(points), (n,), generator=source)]
        return scale.decode(centres + COMPONENT_STD * torch.randn(centres.shape, generator=source)).reshape(-1, 1, 8, 8)

    return points, scale, draw


def spread_error(samples: Tensor, points: Tensor) -> float:
    """|v/std² − 1|, where v is the mean square distance per dimension of samples (n, D) to their nearest point (N, D).

    v is std² for the law itself, whatever share of it each point has: the points lie far apart.
    """
    nearest = torch.cdist(samples, points.to(samples)).amin(dim=1)
    return abs(float(nearest.square().mean()) / samples.shape[1] / COMPONENT_STD**2 - 1)


_QUICK = [
    ExactConfig("exact", tuple(name for name in EXACT if name not in ("churn", "seeds-1-data")), n_samples=400),
    *(
        ExactConfig(source, ("seeds-3-data", "heun"), (49,), n_samples=400)
        for source in ("spoiled at high noise", "spoiled at low noise")
    ),
]
_SOURCES = [ExactConfig(source) for source in SPOILED]


@experiment(
    ExactConfig,
    {
        "quick": Grid(_QUICK, 3),
        "small": Grid(_SOURCES, 8),
        "gpu": Grid(_SOURCES, 8),
    },
    {**COLUMNS, "spread": float},
)
def exact_curves(config: ExactConfig, seed: int, run: Run) -> list[Row]:
    """An exact denoiser of digits, or one spoiled in a known place: the Frechet distance to the law, and the error of
    the spread about the digits."""
    points, scale, draw = digit_law(config.n_points, seed)
    source = stream(seed, FLOOR)
    reference: Moments = moments(digit_features(draw(5000, source)))
    denoiser = SPOILED[config.source](around(points, COMPONENT_STD))

    def judge(samples: Tensor) -> dict[str, float]:
        images = scale.decode(samples).reshape(-1, 1, 8, 8)
        return {"distance": fd_digits(images, reference), "spread": spread_error(samples, points)}

    lowest = floor(fd_digits, draw, config.n_samples, source, repeats=4, reference=reference).mean
    rows = curve(denoiser, tuple(points.shape[1:]), config.budgets, config.n_samples, seed, "cpu", judge)
    return [{**row, "floor": lowest} for row in rows]


@experiment(
    PlaneConfig,
    {
        "quick": Grid([PlaneConfig(nfes=NFES[:4], n_samples=2000, projections=32)], 3),
        **{preset: Grid([PlaneConfig(n_samples=10_000)], 8) for preset in PRESETS[1:]},
    },
    COLUMNS,
)
def plane_curves(config: PlaneConfig, seed: int, run: Run) -> list[Row]:
    """Eight Gaussians on a ring with their exact denoiser: the sliced Wasserstein distance to samples of the law."""
    means, std = eight_gaussians_mixture()
    law = GaussianMixture(SIGMA_DATA * means, torch.full((len(means),), SIGMA_DATA * std))
    source = stream(seed, FLOOR)
    target = law.sample(4 * config.n_samples, source)

    def judge(samples: Tensor) -> dict[str, float]:
        return {"distance": sliced_w2(samples, target, stream(seed, LAW), config.projections)}

    lowest = judge(law.sample(config.n_samples, source))["distance"]
    rows = curve(law, (2,), config.budgets, config.n_samples, seed, "cpu", judge)
    return [{**row, "floor": lowest} for row in rows]
