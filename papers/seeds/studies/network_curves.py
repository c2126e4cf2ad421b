"""Quality against evaluations of trained networks: what all solvers make of one, from the same noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from common.harness.studies.experiment import Grid, Need, Resources, Row, Run, experiment, one_of
from common.metrics.floor import floor, resampled
from common.metrics.frechet import digits_reference, mnist_reference
from common.training.stream import stream
from papers.seeds.studies.curves import COLUMNS, NFES, checked, curve
from papers.seeds.studies.images import DATASETS, FLOOR, look_at
from papers.seeds.studies.networks import NOISE
from papers.seeds.studies.samplers import SAMPLERS
from papers.seeds.studies.training import NETWORKS, network, trained, trained_denoiser

FEW = (10, 20)
"""At which DDIM and tAB-3 are judged besides."""
ALL = tuple(SAMPLERS)
QUICK = ("seeds-3-data", "em-sigma", "em-vp", "ddpm", "ddim", "tab3")
IMAGES = ("seeds-3-data", "em-sigma", "em-vp", "ddpm", "churn", "ddim", "tab3", "heun")
"""Those that U-Nets are sampled with, for it takes long."""


@dataclass(frozen=True)
class CurveConfig:
    """A trained network."""

    network: str
    """One of `NETWORKS`."""
    noise: str
    """At which it was trained."""
    samplers: tuple[str, ...] = ALL
    nfes: tuple[int, ...] = NFES
    few: tuple[int, ...] = FEW
    """Of DDIM and tAB-3 alone."""
    n_samples: int = 1000

    def __post_init__(self) -> None:
        one_of(NETWORKS, self, "network")
        one_of(NOISE, self, "noise")
        checked(self.samplers, self.nfes, self.n_samples)

    @property
    def budgets(self) -> Mapping[str, tuple[int, ...]]:
        """The evaluations of each solver."""
        return {name: self.nfes + (self.few if name in ("ddim", "tab3") else ()) for name in self.samplers}


def _needs(config: CurveConfig, seed: int) -> Mapping[str, Need]:
    return {"network": trained(config.network, config.noise, seed)}


@experiment(
    CurveConfig,
    {
        "quick": Grid([CurveConfig("perceptron", "starved", QUICK, NFES[:-1], n_samples=400)], 8),
        "small": Grid([CurveConfig("long perceptron", noise) for noise in NOISE], 12),
    },
    COLUMNS,
    needs=_needs,
    prepare=lambda config: look_at(NETWORKS[config.network].dataset, NETWORKS[config.network].resolution),
    tolerance=0.05,  # trained
)
def digit_curves(config: CurveConfig, seed: int, run: Run) -> list[Row]:
    """Perceptrons on digits: the Frechet distance of samples by solver and evaluations."""
    return of_network(config, seed, run)


@experiment(
    CurveConfig,
    {
        "small": Grid([CurveConfig("unet", "usual", IMAGES, NFES[:-1], n_samples=300)], 8),
        "gpu": Grid([CurveConfig("large unet", "usual", n_samples=5000)], 3),
    },
    COLUMNS,
    resources={"gpu": Resources(cpus=4, gpus=1.0)},
    needs=_needs,
    prepare=lambda config: look_at(NETWORKS[config.network].dataset, NETWORKS[config.network].resolution),
    tolerance=0.05,  # trained
)
def image_curves(config: CurveConfig, seed: int, run: Run) -> list[Row]:
    """A U-Net on MNIST: the Frechet distance of samples by solver and evaluations."""
    return of_network(config, seed, run)


def of_network(config: CurveConfig, seed: int, run: Run) -> list[Row]:
    """The curves of a trained network."""
    made = network(config.network, config.noise)
    denoiser = trained_denoiser(made, run.needs["network"], run.device)
    data, side = DATASETS[made.dataset], made.resolution
    images = data.load(side).x0

    def judge(samples: Tensor) -> dict[str, float]:
        return {"distance": data.distance(samples.cpu().reshape(-1, 1, side, side))}

    reference = digits_reference() if made.dataset == "digits" else mnist_reference(side)
    draw, source = resampled(images), stream(seed, FLOOR)
    lowest = floor(data.distance, draw, config.n_samples, source, repeats=4, reference=reference).mean
    rows = curve(denoiser, made.shape, config.budgets, config.n_samples, seed, run.device, judge)
    return [{**row, "floor": lowest} for row in rows]
