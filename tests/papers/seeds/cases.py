"""What the tests of SEEDS share: paths and forms, grids, exact laws, and solvers as functions of a grid."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from common.diffusion.oracle import GaussianMixture
from common.diffusion.path import EDM, VE, VP, Cosine, GaussianPath, RectifiedFlow
from papers.seeds.exponential import (
    DataPrediction,
    DataPredictionODE,
    EDMPrediction,
    Form,
    NoisePrediction,
    NoisePredictionODE,
)
from papers.seeds.moments import Solve
from papers.seeds.multistep import Multistep, run_multistep
from papers.seeds.runge_kutta import Tableau, run

PATHS: dict[str, tuple[GaussianPath, float, float]] = {
    "VP": (VP(), 1.0, 1e-3),
    "VE": (VE(), 400.0, 0.01),
    "EDM": (EDM(), 20.0, 0.05),
    "cosine": (Cosine(), 0.98, 0.02),
    "rectified": (RectifiedFlow(), 0.97, 0.02),
}
"""By name, each with the times between which it is followed."""

STOCHASTIC: dict[str, Callable[[GaussianPath], Form]] = {"data": DataPrediction, "noise": NoisePrediction}
DETERMINISTIC: dict[str, Callable[[GaussianPath], Form]] = {"data": DataPredictionODE, "noise": NoisePredictionODE}

FORMS: dict[str, tuple[Form, GaussianPath, float, float]] = {
    **{
        f"{kind}, {name}": (form(path), path, t_max, t_min)
        for name, (path, t_max, t_min) in PATHS.items()
        for kind, form in STOCHASTIC.items()
    },
    "EDM's F": (EDMPrediction(0.7), EDM(), 20.0, 0.05),
}
"""Every form of the SDE, the path that it lies on, and the times between which it is followed."""

MIXTURE = GaussianMixture(
    torch.tensor([[1.5, 0.0], [-0.5, 1.0]]),
    torch.tensor([[[0.4, 0.1], [0.1, 0.2]], [[0.2, -0.1], [-0.1, 0.3]]]),
    torch.tensor([1.0, 3.0]),
)


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


def at(*times: float) -> Tensor:
    return torch.tensor(times if len(times) > 1 else times[0], dtype=torch.float64)


def solve_by(table: Tableau | Multistep) -> Solve:
    """A table bound to the loop that runs it."""
    if isinstance(table, Tableau):
        return lambda denoiser, x, noise: run(table, denoiser, x, noise)
    return lambda denoiser, x, noise: run_multistep(table, denoiser, x, noise)


class Given:
    """Normals that were drawn beforehand: handed out in order, and counted."""

    def __init__(self, normals: Tensor) -> None:
        self.normals, self.asked = normals, 0
        self.intervals: list[tuple[float, float, float]] = []

    def __call__(self, x: Tensor, start: float, end: float, rate: float) -> Tensor:
        self.intervals.append((start, end, rate))
        self.asked += 1
        return self.normals[self.asked - 1].to(x)
