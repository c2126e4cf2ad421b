"""The network's input, target and loss under each preconditioning, measured on digits (Section 5, Appendix B.6)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from common.data.images import digits
from common.harness.studies.experiment import Experiment, Grid, Row, Run, at_least
from papers.edm.experiments_sampling import SIGMA_DATA, Standard
from papers.edm.loss import EDMWeight, Weight, inverse_variance_weight
from papers.edm.precond import EDMPrecond, IDDPMPrecond, Precond, VEPrecond, VPPrecond


@dataclass(frozen=True)
class PreconditioningConfig:
    sigmas: tuple[float, ...] = (0.002, 0.01, 0.05, 0.2, 0.5, 1.0, 3.0, 10.0, 80.0)
    repeats: int = 4

    def __post_init__(self) -> None:
        at_least(1, self, "repeats")


PRECONDS: dict[str, tuple[Precond, Weight]] = {
    "vp": (VPPrecond(), inverse_variance_weight),
    "ve": (VEPrecond(), inverse_variance_weight),
    "iddpm": (IDDPMPrecond(), inverse_variance_weight),
    "edm": (EDMPrecond(SIGMA_DATA), EDMWeight(SIGMA_DATA)),
}


def preconditioning(config: PreconditioningConfig, seed: int, run: Run) -> list[Row]:
    """Variance of the network's input and training target, and effective weight λ c_out², by noise level, on digits."""
    generator = torch.Generator().manual_seed(seed)
    images = digits().x0.double()
    x0 = Standard.of(images).encode(images).repeat(config.repeats, 1, 1, 1)
    rows: list[Row] = []
    for value in config.sigmas:
        sigma = torch.tensor(value, dtype=torch.float64)
        x = x0 + sigma * torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
        for name, (precond, weight) in PRECONDS.items():
            rows.append(
                {
                    "precond": name,
                    "sigma": value,
                    "var_input": float((precond.c_in(sigma) * x).var()),
                    "var_target": float(precond.network_target(x0, x, sigma).var()),
                    "effective_weight": float(weight(sigma) * precond.c_out(sigma) ** 2),
                    "n": x0.numel(),
                }
            )
    return rows


PRECOND_EXPERIMENTS = (
    Experiment(
        preconditioning,
        PreconditioningConfig,
        {"quick": Grid([PreconditioningConfig()], 3), "small": Grid([PreconditioningConfig()], 10)},
    ),
)
