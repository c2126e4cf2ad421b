"""What do more draws of the likelihood estimate bring (Appendix, Table 4)?

Bits per dimension are −log₂ of the mean of K densities, each at another place in the bins of the grey levels. The mean
of the logarithms would not change with K; the logarithm of the mean grows. One network, with K = 1, 20 and 50: the
first draws of the 50 serve for the smaller K.

Hutchinson's estimate is random too, and its exponential is larger in the mean than that of the exact divergence. So a
part of what K brings is no better bound. On small images the exact divergence tells the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import nextafter
from typing import TYPE_CHECKING

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Resources, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import paired_difference
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.flow_matching.likelihood import Divergence, bits_of, dequantised_log_likelihoods, exact, hutchinson
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.published import NLL_BY_K
from papers.flow_matching.studies.images import DATASETS, LIKELIHOOD, look_at
from papers.flow_matching.studies.looks import METHODS, legend, ticks
from papers.flow_matching.studies.networks import NETWORKS, network
from papers.flow_matching.studies.table import SCALED_DOWN
from papers.flow_matching.studies.training import trained, trained_velocity

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

DIVERGENCES: Mapping[str, Divergence] = {"hutchinson": hutchinson, "exact": exact}


@dataclass(frozen=True)
class DrawsConfig:
    """One trained network, FM on the OT path, and how its divergence is taken."""

    network: str
    """One of `NETWORKS`."""
    divergence: str = "hutchinson"
    """'hutchinson' or 'exact'."""
    n_images: int = 8
    """Test images."""
    Ks: tuple[int, ...] = tuple(NLL_BY_K)
    tolerance: float = 1e-3
    """Of the solver. It moves all draws alike, and K moves their bits by a hundred times more."""

    def __post_init__(self) -> None:
        one_of(NETWORKS, self, "network")
        one_of(DIVERGENCES, self, "divergence")
        at_least(1, self, "n_images", "Ks")


@experiment(
    DrawsConfig,
    {
        "quick": Grid([DrawsConfig("perceptron", n_images=32)], 4),
        "small": Grid(
            [
                DrawsConfig("unet"),
                DrawsConfig("perceptron", n_images=32),
                DrawsConfig("perceptron", "exact"),
            ],
            5,
        ),
        "gpu": Grid([DrawsConfig("large unet", n_images=64, tolerance=1e-5)], 3),
    },
    {"K": int, "bpd": float, "spread": float},
    resources={"gpu": Resources(cpus=4, gpus=1.0)},
    needs=lambda config, seed: {"network": trained(config.network, "fm-ot", seed)},
    prepare=lambda config: look_at(NETWORKS[config.network].dataset, NETWORKS[config.network].resolution),
    tolerance=0.05,  # trained, and solved adaptively
)
def likelihood_draws(config: DrawsConfig, seed: int, run: Run) -> list[Row]:
    """Bits per dimension by K, and the spread of the log-likelihood (nats) over the draws of one image."""
    made, last = network(config.network, "fm-ot"), OBJECTIVES["fm-ot"].path.last
    data = DATASETS[made.dataset]
    images = data.load("test", made.resolution)[: config.n_images].to(run.device)
    draws = dequantised_log_likelihoods(
        trained_velocity(made, run.needs["network"], run.device),
        images,
        max(config.Ks),
        stream(seed, LIKELIHOOD, run.device),
        data.levels,
        DIVERGENCES[config.divergence],
        t_1=last,
        tolerance=config.tolerance,
    )
    spread = float(draws.std(0).square().mean().sqrt()) if len(draws) > 1 else 0.0
    D = images[0].numel()
    return [{"K": K, "bpd": float(bits_of(draws[:K], D, data.levels).mean()), "spread": spread} for K in config.Ks]


def _falls(
    network: str, fewer: int, more: int, divergence: str = "hutchinson", criterion: Criterion | None = None
) -> Quantity:
    return Quantity(
        f"K = {fewer} less K = {more}",
        likelihood_draws,
        paired_difference("bpd", first={"K": fewer}, second={"K": more}, network=network, divergence=divergence),
        criterion or Criterion(nextafter(0.0, 1.0), reason="the claim is that bits fall, on the same draws"),
        expected=round(NLL_BY_K[fewer] - NLL_BY_K[more], 2),
        metric=f"bits per dimension; Table 4 has {NLL_BY_K[fewer]} less {NLL_BY_K[more]} on CIFAR-10",
    )
