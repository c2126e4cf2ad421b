"""What do more draws of the likelihood estimate bring (Appendix, Table 4)?

Bits per dimension are −log₂ of the mean of K densities, each at another place in the bins of the grey levels. The mean
of the logarithms would not change with K; the logarithm of the mean grows, as Jensen's inequality has it, and how far
is the question. One network, with K = 1, 20 and 50, from the same 50 draws.

Hutchinson's estimate is random too, and the exponential of a random number is larger in the mean than that of its mean.
So a part of what K brings is no better bound. On small images the exact divergence tells the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Need, Resources, Row, Run, at_least, experiment, one_of, positive
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import ticks
from common.harness.studies.measures import Measure, paired_difference, per_seed, pick
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.flow_matching.likelihood import Divergence, bits_of, dequantised_log_likelihoods, exact, hutchinson
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.published import NLL_BY_K
from papers.flow_matching.studies.images import DATASETS, LIKELIHOOD, look_at
from papers.flow_matching.studies.looks import METHODS
from papers.flow_matching.studies.networks import NETWORKS, network
from papers.flow_matching.studies.table import SCALED_DOWN
from papers.flow_matching.studies.training import trained, trained_velocity

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

DIVERGENCES: Mapping[str, Divergence] = {"hutchinson": hutchinson, "exact": exact}
KS = tuple(NLL_BY_K)


@dataclass(frozen=True)
class DrawsConfig:
    """The network that FM on the OT path has trained, and what is drawn with it."""

    network: str
    """One of `NETWORKS`."""
    n_images: int
    """Test images."""
    tolerance: float = 1e-3
    """Of the solver. It moves all draws alike, and touches little what K makes of them."""

    def __post_init__(self) -> None:
        one_of(NETWORKS, self, "network")
        at_least(1, self, "n_images")
        positive(self, "tolerance")


def _needs(config: DrawsConfig, seed: int) -> Mapping[str, Need]:
    return {"network": trained(config.network, "fm-ot", seed)}


def _prepare(config: DrawsConfig) -> None:
    look_at(NETWORKS[config.network].dataset, NETWORKS[config.network].resolution)


@experiment(
    DrawsConfig,
    {
        "quick": Grid([DrawsConfig("perceptron", 24)], 4),
        "small": Grid([DrawsConfig("unet", 6)], 5),
        "gpu": Grid([DrawsConfig("large unet", 16, tolerance=1e-5)], 3),
    },
    {"K": KS, "bpd": float, "spread": float},
    resources={"gpu": Resources(cpus=4, gpus=1.0)},
    needs=_needs,
    prepare=_prepare,
    tolerance=0.05,  # trained, and solved adaptively
)
def likelihood_draws(config: DrawsConfig, seed: int, run: Run) -> list[Row]:
    """Bits per dimension by K, with Hutchinson's estimate, and the spread of the log-likelihood over draws, in nats."""
    return _bits_by_K(config, hutchinson, seed, run)


@experiment(
    DrawsConfig,
    {"small": Grid([DrawsConfig("perceptron", 8)], 5)},
    {"divergence": DIVERGENCES, "K": KS, "bpd": float, "spread": float},
    needs=_needs,
    prepare=_prepare,
    tolerance=0.05,  # trained, and solved adaptively
)
def divergence_draws(config: DrawsConfig, seed: int, run: Run) -> list[Row]:
    """The same on small images, with Hutchinson's estimate and with the exact divergence."""
    return [
        {"divergence": name, **row}
        for name, divergence in DIVERGENCES.items()
        for row in _bits_by_K(config, divergence, seed, run)
    ]


def _bits_by_K(config: DrawsConfig, divergence: Divergence, seed: int, run: Run) -> list[Row]:
    made = network(config.network, "fm-ot")
    data = DATASETS[made.dataset]
    images = data.load("test", made.resolution)[: config.n_images].to(run.device)
    draws = dequantised_log_likelihoods(
        trained_velocity(made, run.needs["network"], run.device),
        images.repeat(max(KS), 1, 1, 1),  # all draws in one solve
        1,
        stream(seed, LIKELIHOOD, run.device),
        data.levels,
        divergence,
        t_1=OBJECTIVES["fm-ot"].path.last,
        tolerance=config.tolerance,
    ).reshape(max(KS), len(images))
    spread = float(draws.std(0).square().mean().sqrt())
    D = images[0].numel()
    return [{"K": K, "bpd": mean_bits(draws, K, D, data.levels), "spread": spread} for K in KS]


def mean_bits(draws: Tensor, K: int, D: int, levels: int) -> float:
    """Bits per dimension with K draws, from more of them, (M, B): the mean over the M runs of K that follow one another
    in a circle."""
    return float(torch.stack([bits_of(draws.roll(-start, 0)[:K], D, levels) for start in range(len(draws))]).mean())


def share_that_is_bound() -> Measure:
    """What bits fall by from K = 1 to the largest with the exact divergence, over what they fall by with
    Hutchinson's estimate."""

    def share(rows: pd.DataFrame) -> float:
        falls = []
        for name in ("exact", "hutchinson"):
            bits = pick(rows, {"divergence": name}).set_index("K")["bpd"]
            falls.append(bits[min(KS)] - bits[max(KS)])
        return float(falls[0] / falls[1])

    picks = tuple({"divergence": name, "K": K} for name in DIVERGENCES for K in (min(KS), max(KS)))
    return per_seed(share, ("divergence", "K", "bpd"), picks)


def _fall(fewer: int, more: int) -> Quantity:
    return Quantity(
        f"K = {fewer} less K = {more}",
        likelihood_draws,
        paired_difference("bpd", first={"K": fewer}, second={"K": more}),
        Criterion(1e-4, reason="the claim is that bits fall; all K share their draws, and rounding is far below"),
        expected=round(NLL_BY_K[fewer] - NLL_BY_K[more], 2),
        metric=f"bits per dimension; Table 4 has {NLL_BY_K[fewer]} less {NLL_BY_K[more]} on CIFAR-10",
    )


CLAIMS = (
    Claim(
        "likelihood-draws",
        "The likelihood estimate has fewer bits per dimension with K = 20 draws than with one, and fewer still with "
        "K = 50.",
        "Appendix E.2, Table 4",
        tuple(_fall(fewer, more) for fewer, more in pairwise(KS)),
        presets=("quick", "small", "gpu"),
        excludes="the mean of the logarithms, which does not change with K",
        deviation=SCALED_DOWN + " One network for each seed.",
    ),
    Claim(
        "likelihood-draws-exact",
        "A part of what K brings is the noise of Hutchinson's estimate: with the exact divergence bits fall less.",
        "Appendix C",
        (
            Quantity(
                "fall with the exact divergence over fall with Hutchinson's",
                divergence_draws,
                share_that_is_bound(),
                Criterion(upper=0.95, reason="the claim is the sign; a twentieth is nothing to speak of"),
                metric="bits per dimension at K = 1 less those at K = 50",
                unit="×",
                scale="log",
            ),
        ),
        presets=("small",),
        kind="ours",
        excludes="an estimate without noise (a ratio of 1)",
        deviation="Digits of 64 dimensions, by the perceptron of `quick`.",
    ),
)


def draw_bits(results: Results) -> MatplotlibFigure:
    table, look = results.table(likelihood_draws), METHODS["fm-ot"]
    figure, axes = panels("flow_matching", 1, 2, width=7.5, height=3.6)
    ours, published = axes[0]
    for _, rows in table.groupby("seed"):
        rows = rows.sort_values("K")
        ours.plot(rows["K"], rows["bpd"], color="0.75", lw=1.2)
    means = table.groupby("K")["bpd"].mean()
    ours.plot(means.index, means, marker=look.marker, color=look.colour)
    published.plot(list(KS), list(NLL_BY_K.values()), marker=look.marker, color="0.3")
    for panel, label in ((ours, "bits per dimension"), (published, "published, CIFAR-10")):
        ticks(panel, KS, xlabel="draws K", ylabel=label)
    return finish(figure)


def draw_divergences(results: Results) -> MatplotlibFigure:
    table = results.table(divergence_draws)
    figure, axes = panels("flow_matching", 1, 1, width=6.0, height=3.8)
    panel = axes[0, 0]
    for name, marker, dash in (("hutchinson", "s", "--"), ("exact", "o", "-")):
        means = where(table, divergence=name).groupby("K")["bpd"].mean()
        panel.plot(means.index, means, marker=marker, ls=dash, label=f"{name} divergence")
    ticks(panel, KS, xlabel="draws K", ylabel="bits per dimension, digits")
    panel.legend(frameon=False)
    return finish(figure)


FIGURES = (
    Figure(
        "likelihood-draws",
        "Bits per dimension against the number of draws K: ours, one line for each seed, beside the published ones.",
        "All K of a seed share their draws. Bits fall fast at first, and little from K = 20 on.",
        (likelihood_draws,),
        draw_bits,
    ),
    Figure(
        "likelihood-draws-exact",
        "Bits per dimension against the number of draws K, with Hutchinson's estimate and with the exact divergence.",
        "Means over seeds, on digits. What both lines share is a better bound; what Hutchinson's line falls further is "
        "the noise of its estimate.",
        (divergence_draws,),
        draw_divergences,
    ),
)

STUDY = Study(
    "Draws of the likelihood",
    "How many draws does the likelihood estimate take, and what do they bring?",
    (likelihood_draws, divergence_draws),
    CLAIMS,
    FIGURES,
)
