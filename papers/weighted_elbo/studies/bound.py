"""Is the bound of VDM a bound, and does it close on the entropy of the data (2107.00630, Sections 4 and 6)?

In one dimension, where expectations are sums, on 8-bit data of known entropy: the bound of the exact denoiser in T
steps and in continuous time, and that of networks along their training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import log, nextafter
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Row, Run, at_least, experiment, positive
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend, ticks
from common.harness.studies.measures import Measure, loglog_slope, per_seed, value_at
from common.harness.studies.panels import COLOURS, finish, panels
from common.harness.studies.study import Study
from common.training.loop import TrainConfig, train
from common.training.members import Generators, Members, normal
from common.training.stream import stream
from papers.weighted_elbo.identity import gauss_hermite
from papers.weighted_elbo.score_network import VariationalDiffusion
from papers.weighted_elbo.studies.eight_bits import SCHEDULE, draws, exact_net, expected_bits, numbers
from papers.weighted_elbo.studies.laws import entropy, mixture
from papers.weighted_elbo.vdm import (
    diffusion_loss,
    discrete_diffusion_loss,
    prior_loss,
    reconstruction_loss,
    uniform_times,
)

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

INITIAL, TRAINING = range(2)
"""What the independent random streams of a run are for."""


CONTINUOUS = 0
"""In a table: steps without end."""


@dataclass(frozen=True)
class ChainConfig:
    """The bound of the exact denoiser in continuous time and in T steps, by quadrature over the noise."""

    lengths: tuple[int, ...] = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
    nodes: int = 24
    levels: int = 100
    """Nodes over time of the bound in continuous time."""
    least: float = 1e-7
    """Whole numbers that are rarer are left out."""

    def __post_init__(self) -> None:
        at_least(1, self, "lengths")
        at_least(2, self, "nodes", "levels")


@experiment(
    ChainConfig,
    {"quick": Grid([ChainConfig((4, 8, 16, 32, 64, 128))]), "small": Grid([ChainConfig()])},
    {"steps": int, "bits": float, "excess": float, "above_continuous": float},
)
def exact_chain(config: ChainConfig, seed: int, run: Run) -> Sequence[Row]:
    """Bits by T; how far they are above the entropy, and above continuous time. Steps 0 are continuous time."""
    p = mixture()
    p = torch.where(p >= config.least, p, 0.0)
    p /= p.sum()
    eps, weights = gauss_hermite(config.nodes)
    there = p.nonzero()[:, 0]
    x, noise = there.repeat_interleave(config.nodes)[:, None], eps.repeat(len(there))[:, None]
    share = p[there].repeat_interleave(config.nodes) * weights.repeat(len(there))
    f, whole, net = numbers().encode(x), torch.ones(len(x), dtype=torch.float64), exact_net(p)
    ends = prior_loss(f, SCHEDULE(whole)) + reconstruction_loss(x, noise, numbers(), SCHEDULE(0 * whole))

    def in_steps(T: int) -> float:
        terms = [share @ discrete_diffusion_loss(net, f, noise, whole * i / T, SCHEDULE, T) for i in range(1, T + 1)]
        return float(torch.stack(terms).mean())

    at, of = np.polynomial.legendre.leggauss(config.levels)
    terms = [float(share @ diffusion_loss(net, f, noise, whole * (node + 1) / 2, SCHEDULE)) for node in at]
    continuous, H = float(np.dot(terms, of)) / 2, entropy(p)
    nats = {CONTINUOUS: continuous, **{T: in_steps(T) for T in config.lengths}}
    total = {T: value + float(share @ ends) for T, value in nats.items()}
    return [
        {
            "steps": T,
            "bits": value / log(2),
            "excess": (value - H) / log(2),
            "above_continuous": (value - total[CONTINUOUS]) / log(2),
        }
        for T, value in total.items()
    ]


@dataclass(frozen=True)
class TrainedConfig:
    """Networks on the 8-bit mixture, and where the bound is taken on their way."""

    looks: tuple[int, ...] = (250, 500, 1000, 2000, 4000)
    """Steps of training."""
    hidden: int = 128
    batch: int = 512
    lr: float = 3e-3
    log2_draws: int = 16
    """Of the quasi-Monte-Carlo estimate of the bound."""

    def __post_init__(self) -> None:
        at_least(1, self, "looks", "hidden", "batch", "log2_draws")
        positive(self, "lr")


@experiment(
    TrainedConfig,
    {"quick": Grid([TrainedConfig((50, 300, 1000))], 4), "small": Grid([TrainedConfig()], 8)},
    {"step": int, "bits": float, "excess": float},
    together=8,
    tolerance=0.05,  # rounding grows in training
)
def trained_bound(config: TrainedConfig, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> list[list[Row]]:
    """Train on the ELBO in continuous time; the bound of the average of the weights at each look."""
    device, p = runs[0].device, mixture()
    net = Members([VariationalDiffusion(1, config.hidden, stream(seed, INITIAL)) for seed in seeds]).to(device)
    generators, checkpoint = tuple(stream(seed, TRAINING) for seed in seeds), runs[0].folder / "training.safetensors"
    checkpoint.unlink(missing_ok=True)  # the rows of earlier looks went with a training that was cut off
    rows: list[list[Row]] = [[] for _ in seeds]
    for step in config.looks:
        how = TrainConfig(step, config.batch, config.lr, ema_halflife=100_000, ema_rampup=0.1, log_every=50)
        logs = tuple(run.log for run in runs)
        trained = train(net, elbo_loss, draws(p, device), how, generators, log=logs, checkpoint=checkpoint)
        for s, seed in enumerate(seeds):
            bits = expected_bits(trained.ema.member(s).cpu(), p, config.log2_draws, seed)
            rows[s].append({"step": step, "bits": bits, "excess": bits - entropy(p) / log(2)})
    checkpoint.unlink()
    return rows


def elbo_loss(net: Members[VariationalDiffusion], f: Tensor, generator: Generators) -> Tensor:
    """The diffusion loss in continuous time between fixed ends; f: (S, B, 1). Returns (S, B)."""
    eps, t = normal(f.shape, generator, f.dtype, f.device), uniform_times(tuple(f.shape[:2]), generator)
    return diffusion_loss(net, f, eps, t.to(f.device), SCHEDULE.to(f.device))


def falls() -> Measure:
    """The least that the bound falls by as T doubles, in bits; of the T of the table."""

    def least(rows: pd.DataFrame) -> float:
        bits = rows[rows["steps"] != CONTINUOUS].set_index("steps")["bits"].sort_index()
        return float(-bits.diff().dropna().max())

    return per_seed(least, ("steps", "bits"))


def order() -> Measure:
    """The slope of log (L_T − L_∞) in log T, of T from 64 on."""
    slope = loglog_slope("steps", "above_continuous")
    return Measure(lambda table: slope(table[table["steps"] >= 64]), slope.reads)


def extreme(which: str) -> Measure:
    """The least of the excesses of all looks, or the last over the first."""

    def least(rows: pd.DataFrame) -> float:
        return float(rows["excess"].min())

    def closing(rows: pd.DataFrame) -> float:
        excess = rows.sort_values("step")["excess"]
        return float(excess.iloc[-1] / excess.iloc[0])

    return per_seed({"least": least, "closing": closing}[which], ("step", "excess"))


ONE_DIMENSION = "In one dimension, with expectations by quadrature."
BITS = (
    " The data are a mixture of three Gaussians, rounded down to 8 bits, of 6.802 bits of entropy; λ runs from −5 to "
    "13.3, the ends of the authors' example."
)
_ABOVE = Criterion(nextafter(0.0, 1.0), reason="the sign")

CLAIMS = (
    Claim(
        "bound-exact",
        "With the exact denoiser the bound in continuous time is the entropy of the data.",
        "2107.00630, Section 4",
        (
            Quantity(
                "bound less entropy",
                exact_chain,
                value_at("excess", steps=CONTINUOUS),
                Criterion(-1e-4, 1e-3, "quadrature below, and what the ends of the schedule lose above"),
                expected=0.0,
                unit="bits",
                deterministic=True,
                zero=1e-4,
            ),
        ),
        kind="theorem",
        excludes="a bound without its prior term, or in nats",
        deviation=ONE_DIMENSION + BITS,
    ),
    Claim(
        "bound-steps",
        "The loss of T steps is above the continuous one, falls as T doubles, and tends to it as 1/T.",
        "2107.00630, Section 4.1 and Appendix F",
        (
            Quantity(
                "least fall as T doubles",
                exact_chain,
                falls(),
                _ABOVE,
                unit="bits",
                deterministic=True,
            ),
            Quantity(
                "order of L_T less L_∞ in T, from 64 steps on",
                exact_chain,
                order(),
                Criterion(-1.1, -0.9, "first order, as a sum at the ends of its steps"),
                expected=-1.0,
                deterministic=True,
            ),
        ),
        kind="theorem",
        excludes="the continuous loss at the times of the steps, which is below the entropy at small T",
        deviation=ONE_DIMENSION + BITS,
    ),
    Claim(
        "bound-closes",
        "The bound of a network is above the entropy, and closes on it as the network improves.",
        "2107.00630, Sections 4 and 6",
        (
            Quantity(
                "least excess of all looks",
                trained_bound,
                extreme("least"),
                _ABOVE,
                metric="bound less entropy",
                unit="bits",
            ),
            Quantity(
                "last excess over the first",
                trained_bound,
                extreme("closing"),
                Criterion(upper=0.5, reason="half of the excess of the first look is gone, or more"),
                scale="log",
                unit="×",
            ),
        ),
        kind="scaled",
        excludes="a network that does not improve, and a bound in nats",
        deviation=ONE_DIMENSION.replace("quadrature", "quasi-Monte-Carlo") + BITS,
    ),
)


def draw_bits(results: Results) -> MatplotlibFigure:
    exact, trained = results.table(exact_chain), results.table(trained_bound)
    figure, axes = panels("weighted_elbo", columns=2, width=8, height=4.2)
    left, right = axes[0]
    steps = exact[exact["steps"] != CONTINUOUS].sort_values("steps")
    left.plot(steps["steps"], steps["excess"], color=COLOURS[0], marker="o", label="exact denoiser, T steps")
    ticks(left, steps["steps"][::2], yscale="log", xlabel="steps T", ylabel="bound less entropy (bits)")
    by_step = trained.groupby("step")["excess"]
    mean = by_step.mean()
    right.plot(mean.index, mean, color=COLOURS[3], marker="s", label="network, continuous time")
    right.fill_between(mean.index, by_step.min(), by_step.max(), color=COLOURS[3], alpha=0.2, lw=0)
    ticks(right, mean.index, xlabel="training steps", ylim=(0, None))
    legend(figure, columns=2)
    return finish(figure)


FIGURES = (
    Figure(
        "bound",
        "How far the bound is above the entropy: against the steps T with the exact denoiser, and along training.",
        "Left: the bound of T steps comes down to the entropy as 1/T. Right: that of networks in continuous time, mean "
        "over seeds and their range; it comes down as they learn.",
        (exact_chain, trained_bound),
        draw_bits,
    ),
)

STUDY = Study(
    "The bound",
    "Is the bound of VDM above the entropy of the data, and does it close on it?",
    (exact_chain, trained_bound),
    CLAIMS,
    FIGURES,
)
