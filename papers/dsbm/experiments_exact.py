"""IMF, IPF and the bridge's limits without any training: Gaussians, where everything is known (Section 4)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from common.harness.studies.experiment import Experiment, Grid, Row, Run, at_least, positive
from papers.dsbm.divergence import entropic_cost, kl_couplings, kl_markov, kl_projection
from papers.dsbm.gaussian import (
    GaussianBridge,
    imf,
    independent_bridge,
    ipf,
    markovian_projection,
    schrodinger_bridge,
    simulated,
    unit_gaussians,
)

Ends = tuple[Tensor, Tensor, Tensor, Tensor]
"""(m_0, m_1, S_0, S_1)."""


def general_gaussians(dim: int = 3) -> Ends:
    """A pair whose covariances do not commute, with eigenvalues between ¼ and 4; the same one always."""
    generator = torch.Generator().manual_seed(6)

    def covariance() -> Tensor:
        turn, _ = torch.linalg.qr(torch.randn(dim, dim, generator=generator, dtype=torch.float64))
        return (turn * torch.logspace(-2, 2, dim, 2, dtype=torch.float64)) @ turn.T

    means = torch.randn(2, dim, generator=generator, dtype=torch.float64)
    return means[0], means[1], covariance(), covariance()


PAIRS: dict[str, Ends] = {"unit": unit_gaussians(1, 0.1), "general": general_gaussians()}
"""The paper's pair (a coordinate of it), and one in full covariances."""


@dataclass(frozen=True)
class IteratesConfig:
    sigmas: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0, 4.0)
    iterates: int = 12
    identities: int = 3
    """Iterates, from the first, of which both sides of the identity are computed: quadrature takes its time."""

    def __post_init__(self) -> None:
        at_least(1, self, "iterates", "identities")
        positive(self, "sigmas")


def iterate_rows(
    method: str, iterates: Iterator[GaussianBridge], target: GaussianBridge, identities: int
) -> Iterator[Row]:
    """One row for each iterate: its ends, and how far it is from the Schrödinger bridge."""
    for number, bridge in enumerate(iterates):
        row: dict[str, float | int | str] = {
            "method": method,
            "iterate": number,
            "kl": kl_couplings(bridge, target),
            "correlation": float(bridge.cross[0, 0]),
            "var_0": float(bridge.cov_0.diagonal().mean()),
            "var_1": float(bridge.cov_1.diagonal().mean()),
            "mean_0": float(bridge.mean_0.mean()),
        }
        if method == "imf":
            row |= {"transport_cost": bridge.transport_cost(), "entropic_cost": entropic_cost(bridge)}
        if method == "imf" and number < identities:
            row |= {"kl_projection": kl_projection(bridge), "kl_markov": kl_markov(bridge, target)}
        yield row


def exact_iterates(config: IteratesConfig, seed: int, run: Run) -> list[Row]:
    """KL(Πⁿ | P) of the iterates of IMF and IPF, n = 0, 1, …, and the two sides of the Pythagorean identity."""
    rows: list[Row] = []
    for name, ends in PAIRS.items():
        for sigma in config.sigmas:
            target = schrodinger_bridge(*ends, sigma)
            both = {"imf": imf(independent_bridge(*ends, sigma)), "ipf": ipf(*ends, sigma)}
            for method, iterates in both.items():
                found = iterate_rows(method, islice(iterates, config.iterates + 1), target, config.identities)
                rows += [{"pair": name, "sigma": sigma, **row} for row in found]
    return rows


@dataclass(frozen=True)
class LimitsConfig:
    sigmas: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)

    def __post_init__(self) -> None:
        positive(self, "sigmas")


def exact_limits(config: LimitsConfig, seed: int, run: Run) -> list[Row]:
    """How far, by σ, one pass of IMF is from rectified flow, and the Schrödinger bridge from optimal transport and from
    independence. Relative to the size of the optimal transport's C, in the Frobenius norm."""
    rows: list[Row] = []
    for name, ends in PAIRS.items():
        transport = schrodinger_bridge(*ends, 0.0).cross
        rectified = markovian_projection(independent_bridge(*ends, 0.0)).cross
        for sigma in config.sigmas:
            bridge = schrodinger_bridge(*ends, sigma).cross
            first = markovian_projection(independent_bridge(*ends, sigma)).cross
            distances = {
                "first_to_rectified": first - rectified,
                "first_to_independent": first,
                "bridge_to_transport": bridge - transport,
                "bridge_to_independent": bridge,
            }
            relative = {key: float(gap.norm() / transport.norm()) for key, gap in distances.items()}
            rows.append({"pair": name, "sigma": sigma, **relative})
    return rows


@dataclass(frozen=True)
class EulerConfig:
    """The passes of the Gaussian experiment with exact drifts, in its number of steps."""

    passes: int = 10
    steps: int = 20
    sigma: float = 1.0

    def __post_init__(self) -> None:
        at_least(1, self, "passes", "steps")
        positive(self, "sigma")


def exact_euler(config: EulerConfig, seed: int, run: Run) -> list[Row]:
    """What a pass of IPF and of IMF makes if its drift is exact and its simulation is not: each pass projects the exact
    iterate before it, and runs from true data at one end to the other."""
    ends = PAIRS["unit"]
    mean_0, mean_1, cov_0, cov_1 = ends
    methods = {"ipf": ipf(*ends, config.sigma), "imf": imf(independent_bridge(*ends, config.sigma))}
    rows: list[Row] = []
    for method, iterates in methods.items():
        for number, before in enumerate(islice(iterates, config.passes), 1):
            backward = number % 2 == 1
            start = (mean_1, cov_1) if backward else (mean_0, cov_0)
            made = simulated(before.reverse() if backward else before, *start, config.steps)
            rows.append(
                {
                    "method": method,
                    "pass_number": number,
                    "direction": "b" if backward else "f",
                    "correlation": float(made.cross),
                    "var_free": float(made.cov_1),
                    "mean_free": float(made.mean_1),
                }
            )
    return rows


EXACT_EXPERIMENTS = (
    Experiment(
        exact_iterates, IteratesConfig, {preset: Grid([IteratesConfig()]) for preset in ("quick", "small", "gpu")}
    ),
    Experiment(exact_euler, EulerConfig, {preset: Grid([EulerConfig()]) for preset in ("quick", "small", "gpu")}),
    Experiment(exact_limits, LimitsConfig, {preset: Grid([LimitsConfig()]) for preset in ("quick", "small", "gpu")}),
)
