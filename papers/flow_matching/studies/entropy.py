"""Are the bits of Table 1 bits (Appendix C)?

No model of discrete data needs fewer bits than the entropy of its law. Here the law is known: images of 2×2 pixels with
17 grey levels, bright or dark as a whole. Its entropy is a finite sum. The bits of trained networks, by the same
function as in Table 1, are held to what the law itself gives to the same images: what a network needs more is, in the
mean, a Kullback-Leibler divergence and what the estimate with K draws loses, neither of which is negative.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.distributions import Binomial

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Row, Run, at_least, experiment, one_of
from common.harness.studies.measures import value_at
from common.harness.studies.study import Study
from common.nets.perceptron import Perceptron
from common.training.loop import Batch, TrainConfig, train
from common.training.members import Members
from common.training.stream import stream
from papers.flow_matching.likelihood import bits_per_dim, dequantise, exact
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.studies.images import INITIAL, LIKELIHOOD, TRAINING
from papers.flow_matching.studies.looks import METHODS
from papers.flow_matching.studies.networks import InTime

SHAPE, LEVELS = (1, 2, 2), 17
TIME_SCALE = 30.0
BRIGHTNESS = (0.2, 0.8)
"""Of dark and of bright images: the chance of each of a pixel's 16 steps up."""


def log_prob(images: Tensor) -> Tensor:
    """log P(image) in nats, (B,) float64; images (B, 1, 2, 2) on the grey levels.

    P(n) = ½ Σ_b Π_i Binomial(n_i; 16, b): pixels are independent, once it is known whether the image is bright.
    """
    counts = ((images.double() + 1) / 2 * (LEVELS - 1)).round().flatten(1)
    of_each = [Binomial(LEVELS - 1, torch.tensor(b, dtype=torch.float64)).log_prob(counts).sum(1) for b in BRIGHTNESS]
    return torch.stack(of_each).logsumexp(0) - torch.tensor(len(BRIGHTNESS)).double().log()


def draw(n: int, generator: torch.Generator) -> Tensor:
    """n images of the law, (n, 1, 2, 2) float32 in [-1, 1]."""
    bright = torch.tensor(BRIGHTNESS)[torch.randint(len(BRIGHTNESS), (n,), generator=generator)]
    steps = torch.rand(n, *SHAPE, LEVELS - 1, generator=generator) < bright.reshape(n, 1, 1, 1, 1)
    return steps.sum(-1).float() / ((LEVELS - 1) / 2) - 1


def entropy() -> float:
    """The law's entropy in bits per dimension, summed over all 17⁴ images."""
    levels = torch.linspace(-1, 1, LEVELS, dtype=torch.float64)
    all_images = torch.cartesian_prod(*[levels] * 4).reshape(-1, *SHAPE)
    log_p = log_prob(all_images)
    return float(-(log_p.exp() * log_p).sum() / (4 * torch.tensor(2.0).log()))


@dataclass(frozen=True)
class KnownLawConfig:
    """A perceptron on images of the known law."""

    objective: str
    steps: int = 300
    batch: int = 256
    hidden: int = 64
    n_images: int = 300
    """Images whose bits are taken; none of them was trained on but by chance."""
    K: int = 2

    def __post_init__(self) -> None:
        one_of(OBJECTIVES, self, "objective")
        at_least(1, self, "steps", "batch", "hidden", "n_images", "K")


@experiment(
    KnownLawConfig,
    {"quick": Grid([KnownLawConfig("fm-ot")], 4), "small": Grid([KnownLawConfig("fm-ot")], 5)},
    {"bpd": float, "law": float, "excess": float},
    together=8,
    tolerance=0.05,  # trained
)
def known_law(config: KnownLawConfig, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> list[list[Row]]:
    """Bits per dimension of trained networks, those of the law on the same images, and the difference."""

    def batches(n: int, generator: torch.Generator) -> Batch:
        return dequantise(draw(n, generator), generator, LEVELS), {}

    objective = OBJECTIVES[config.objective]
    net = Members([InTime(Perceptron(SHAPE, config.hidden, stream(seed, INITIAL)), TIME_SCALE) for seed in seeds])
    how = TrainConfig(config.steps, config.batch, lr=3e-3, lr_rampup=config.batch * config.steps // 20, clip=1.0)
    generators = tuple(stream(seed, TRAINING) for seed in seeds)
    average = train(net, objective.loss, batches, how, generators, log=tuple(run.log for run in runs)).ema
    rows: list[list[Row]] = []
    for s, seed in enumerate(seeds):
        generator = stream(seed, LIKELIHOOD)
        images = draw(config.n_images, generator)
        velocity = objective.velocity(average.member(s))
        bits = bits_per_dim(
            velocity, images, config.K, generator, LEVELS, exact, t_1=objective.path.last, tolerance=1e-4
        )
        of_law = -log_prob(images) / (4 * torch.tensor(2.0).log())
        bpd, law = float(bits.mean()), float(of_law.mean())
        rows.append([{"bpd": bpd, "law": law, "excess": bpd - law}])
    return rows


def _excess(objective: str) -> Quantity:
    return Quantity(
        METHODS[objective].name,
        known_law,
        value_at("excess", objective=objective),
        Criterion(0.0, 0.15, "not below the entropy; and near enough above it for a wrong constant to show"),
        metric=f"bits per dimension less those of the law, whose entropy is {entropy():.3f}",
    )


CLAIMS = (
    Claim(
        "bits-above-entropy",
        "Bits per dimension are never below the entropy of the data, and a network that has learned the law comes near "
        "to it.",
        "Appendix C",
        (_excess("fm-ot"),),
        kind="theorem",
        excludes="bits without the volume of the bins (3 bits less), or with a divergence of the wrong sign",
        deviation="Images of 2×2 pixels from a law that is known, a perceptron, exact divergence, K = 2.",
    ),
)

STUDY = Study(
    "Bits and entropy",
    "Are bits per dimension what a code would need: never fewer than the entropy, where it is known?",
    (known_law,),
    CLAIMS,
)
