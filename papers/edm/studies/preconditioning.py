"""Does the EDM preconditioning keep the network's input, target and loss at unit size (Section 5, Appendix B.6)?

Digits are noised at levels from 0.002 to 80; the variances of what the network would see and be trained on are measured
under each preconditioning of Table 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from common.data.images import digits
from common.data.sets import SIGMA_DATA, Standard
from common.diffusion.denoising_loss import EDMWeight, Weight, inverse_variance_weight
from common.diffusion.precond import EDMPrecond, IDDPMPrecond, Precond, VEPrecond, VPPrecond
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Row, Run, at_least, experiment
from common.harness.studies.measures import Measure, per_seed
from common.harness.studies.study import Study

PRECONDS: dict[str, tuple[Precond, Weight]] = {
    "vp": (VPPrecond(), inverse_variance_weight),
    "ve": (VEPrecond(), inverse_variance_weight),
    "iddpm": (IDDPMPrecond(), inverse_variance_weight),
    "edm": (EDMPrecond(SIGMA_DATA), EDMWeight(SIGMA_DATA)),
}


@dataclass(frozen=True)
class PreconditioningConfig:
    sigmas: tuple[float, ...] = (0.002, 0.01, 0.05, 0.2, 0.5, 1.0, 3.0, 10.0, 80.0)
    repeats: int = 4

    def __post_init__(self) -> None:
        at_least(1, self, "repeats")


@experiment(
    PreconditioningConfig,
    {"quick": Grid([PreconditioningConfig()], 3), "small": Grid([PreconditioningConfig()], 10)},
    {
        "precond": PRECONDS,
        "sigma": float,
        "var_input": float,
        "var_target": float,
        "effective_weight": float,
        "n": int,
    },
)
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


def worst_deviation(column: str, precond: str = "edm") -> Measure:
    """The largest |column - 1| over noise levels under a preconditioning."""
    return per_seed(lambda rows: float((rows[column] - 1).abs().max()), (column,), precond=precond)


def _identities() -> tuple[Quantity, ...]:
    unit = Criterion(upper=0.01, reason="an identity: 1 % is more than four Monte Carlo standard errors at the n used")
    return tuple(
        Quantity(
            f"largest |{name} - 1|",
            preconditioning,
            worst_deviation(column),
            unit,
            expected=0.0,
            metric="over noise levels from 0.002 to 80",
            zero=zero,
        )
        for column, name, zero in (
            ("var_input", "variance of the input", 0.0),
            ("var_target", "variance of the target", 0.0),
            ("effective_weight", "effective weight", 1e-14),  # a few units in the last place of 1
        )
    )


CLAIMS = (
    Claim(
        "preconditioning",
        "The EDM preconditioning gives the network inputs and training targets of unit variance, and a uniform "
        "effective weight, at every noise level.",
        "Section 5, Appendix B.6",
        _identities(),
        kind="theorem",
        excludes="the preconditionings of VP, VE and iDDPM, which are rows of the same study",
        deviation="Measured on scikit-learn digits, standardised to mean 0 and standard deviation 0.5.",
    ),
)

STUDY = Study(
    "Preconditioning",
    "Do the network's inputs and training targets have unit variance at every noise level, and its loss one weight?",
    (preconditioning,),
    CLAIMS,
)
