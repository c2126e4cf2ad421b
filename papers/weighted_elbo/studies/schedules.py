"""Given w, does the loss depend on the noise schedule (Section 3.2)?

A schedule is a law p of the noise levels that an estimate draws from, with weights w/p. Between fixed endpoints the
mean of the estimate is the same under every one, and its variance is not. Here the network is fixed: it is the best
linear denoiser, of points in the plane and of digits, under the sigmoid weighting. Four fixed schedules are compared;
the adaptive one, which learns p ∝ w E‖ε̂ − ε‖² from its own draws; and the law of least variance,
p ∝ w (E‖ε̂ − ε‖⁴)^½.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import nextafter
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Generator, Tensor

from common.data.images import digits
from common.data.toy import eight_gaussians
from common.diffusion.objective import Net, NoiseLevels, Objective, UniformLogSnr, between, weighted
from common.diffusion.oracle import GaussianMixture
from common.diffusion.path import VP, Cosine, RectifiedFlow
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend
from common.harness.studies.measures import Measure, paired_ratio, per_seed, pick
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.weighted_elbo.adaptive import AdaptiveLevels, bin_centres, flattening, least_variance, proportional_to
from papers.weighted_elbo.identity import network
from papers.weighted_elbo.studies.looks import SCHEDULES as LOOKS
from papers.weighted_elbo.weighting import Sigmoid

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

RANGE = (-8.0, 8.0)
"""λ between the endpoints."""
MOVED = 3.5
"""Where the control ends."""
WEIGHTING = Sigmoid()

FIXED: Mapping[str, NoiseLevels] = MappingProxyType(
    {
        "linear": UniformLogSnr(*RANGE),
        "cosine": between(Cosine(), *RANGE),
        "straight": between(RectifiedFlow(), *RANGE),
        "vp": between(VP(), *RANGE),
    }
)
"""Schedules: t uniform, on four paths."""
CONTROL = "moved"
"""As `linear`, with another endpoint."""


def _points(n: int, generator: Generator) -> Tensor:
    return eight_gaussians(n, generator, torch.float64)


def _digits(n: int, generator: Generator) -> Tensor:
    x0 = digits().x0.double().flatten(1)
    return x0[torch.randint(len(x0), (n,), generator=generator)]


LAWS: Mapping[str, Callable[[int, Generator], Tensor]] = MappingProxyType({"plane": _points, "digits": _digits})
DATA, NOISE, LEARNING, BINS = range(4)
"""What the streams of a seed are for."""


@dataclass(frozen=True)
class ScheduleConfig:
    law: str = "plane"
    draws: int = 300_000
    """Of an estimate."""
    batches: int = 300
    """That the adaptive schedule learns from."""
    batch: int = 256
    of_bin: int = 400
    """Draws in each bin of λ, for the law of least variance."""

    def __post_init__(self) -> None:
        one_of(LAWS, self, "law")
        at_least(2, self, "draws", "batches", "batch", "of_bin")


@experiment(
    ScheduleConfig,
    {
        "quick": Grid([ScheduleConfig("plane")], 6),
        "small": Grid([ScheduleConfig("plane", 1_000_000), ScheduleConfig("digits", 200_000)], 8),
    },
    {"schedule": (*LOOKS, CONTROL), "loss": float, "variance": float},
)
def estimates(config: ScheduleConfig, seed: int, run: Run) -> list[Row]:
    """The mean of L_w over draws of data, noise and level under each schedule, and its variance relative to the square.

    Data, noise and the uniform numbers that levels are made of are the same for all.
    """
    objective = Objective("error", Cosine(), "eps", UniformLogSnr(*RANGE), WEIGHTING)
    net = network(objective, linear_denoiser(config.law))
    adaptive = learnt(objective, net, config, seed)
    centres = bin_centres(*RANGE)
    errors = binned_errors(net, centres, config, seed)
    weight = WEIGHTING(centres)
    schedules: dict[str, NoiseLevels] = {
        **FIXED,
        "adaptive": adaptive,
        "optimal": proportional_to(least_variance(weight, errors), *RANGE),
        CONTROL: UniformLogSnr(RANGE[0], MOVED),
    }
    rows: list[Row] = []
    for name, levels in schedules.items():
        loss = drawn(weighted(name, Cosine(), "eps", levels, WEIGHTING), net, config, seed)
        mean, variance = float(loss.mean()), float(loss.var())
        rows.append({"schedule": name, "loss": mean / 2, "variance": variance / mean**2})
    run.save_arrays(
        log_snr=centres.numpy(),
        integrand=flattening(weight, errors).numpy(),
        **{name: levels.density(centres).numpy() for name, levels in schedules.items()},
    )
    return rows


def linear_denoiser(law: str) -> GaussianMixture:
    """That of the Gaussian with the mean and the covariance of the data."""
    if law == "digits":
        x0 = digits().x0.double().flatten(1)
        return GaussianMixture(x0.mean(0, keepdim=True), x0.T.cov(correction=0)[None])
    return GaussianMixture(torch.zeros(1, 2), torch.eye(2)[None])


def learnt(objective: Objective, net: Net, config: ScheduleConfig, seed: int) -> NoiseLevels:
    """The adaptive schedule after `batches` batches of its own draws."""
    generator, levels = stream(seed, LEARNING), AdaptiveLevels(*RANGE)
    for _ in range(config.batches):
        x0 = LAWS[config.law](config.batch, generator)
        log_snr = levels.sample((config.batch,), generator)
        eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
        levels.update(log_snr, objective.loss_at(net, x0, eps, objective.path.t_from_log_snr(log_snr)))
    return levels.levels


def binned_errors(net: Net, log_snr: Tensor, config: ScheduleConfig, seed: int) -> Tensor:
    """‖ε̂ − ε‖² of draws at each of `log_snr` (K,). Returns (K, n)."""
    generator, plain = stream(seed, BINS), Objective("plain", Cosine(), "eps", UniformLogSnr(*RANGE))
    x0 = LAWS[config.law](len(log_snr) * config.of_bin, generator)
    eps = torch.randn(x0.shape, generator=generator, dtype=x0.dtype)
    t = plain.path.t_from_log_snr(log_snr).repeat_interleave(config.of_bin)
    return plain.loss_at(net, x0, eps, t).unflatten(0, (len(log_snr), -1))


AT_ONCE = 20_000
"""Draws that are made together."""


def drawn(objective: Objective, net: Net, config: ScheduleConfig, seed: int) -> Tensor:
    """Single draws of the loss: (draws,)."""
    data, noise = stream(seed, DATA), stream(seed, NOISE)
    parts = [min(AT_ONCE, config.draws - done) for done in range(0, config.draws, AT_ONCE)]
    return torch.cat([objective.loss(net, LAWS[config.law](n, data), noise) for n in parts])


def _invariance(law: str) -> tuple[Quantity, ...]:
    return tuple(
        Quantity(
            f"{LOOKS[name].name}, {law}",
            estimates,
            paired_ratio("loss", {"schedule": name}, {"schedule": "adaptive"}, law=law),
            Criterion(0.99, 1.01, "equal, at a precision of 1 %: the whole interval lies inside"),
            expected=1.0,
            metric="the loss under the schedule over that under the adaptive one",
            unit="×",
            scale="log",
        )
        for name in FIXED
    )


def _over_best(rows: pd.DataFrame) -> float:
    fixed = rows[rows["schedule"].isin(list(FIXED))]["variance"]
    if len(fixed) != len(FIXED):
        raise ValueError(f"{len(fixed)} of the {len(FIXED)} fixed schedules have rows")
    (adaptive,) = pick(rows, {"schedule": "adaptive"})["variance"]
    return float(adaptive / fixed.min(skipna=False))


def _variance(law: str) -> tuple[Quantity, ...]:
    over_best: Measure = per_seed(
        _over_best, ("schedule", "variance"), tuple({"schedule": name} for name in ("adaptive", *FIXED)), law=law
    )
    return (
        Quantity(
            f"adaptive over the best fixed, {law}",
            estimates,
            over_best,
            Criterion(upper=0.95, reason="less variance than every fixed schedule, and no tie"),
            metric="variance of a single draw of the loss",
            unit="×",
            scale="log",
        ),
        Quantity(
            f"optimum over adaptive, {law}",
            estimates,
            paired_ratio("variance", {"schedule": "optimal"}, {"schedule": "adaptive"}, law=law),
            Criterion(upper=nextafter(1.0, 0.0), reason="no law has less variance than the optimum"),
            metric="variance of a single draw of the loss",
            unit="×",
            scale="log",
        ),
    )


INVARIANT = "Given the weighting, the loss does not depend on the noise schedule between its endpoints."
FASTER = "The adaptive noise schedule lowers the variance of the loss."
LINEAR = "The network is the best linear denoiser, and the weighting the sigmoid with k = 2; λ from −8 to 8."

CLAIMS = (
    Claim(
        "schedule-invariance",
        INVARIANT,
        "Section 3.2",
        _invariance("plane"),
        kind="theorem",
        excludes="λ linear in t with the endpoint at 3.5 in place of 8",
        deviation=f"Eight Gaussians in the plane. {LINEAR}",
    ),
    Claim(
        "schedule-invariance-digits",
        INVARIANT,
        "Section 3.2",
        _invariance("digits"),
        presets=("small",),
        kind="theorem",
        excludes="λ linear in t with the endpoint at 3.5 in place of 8",
        deviation=f"Digits. {LINEAR}",
    ),
    Claim(
        "adaptive-variance",
        FASTER,
        "Section 3.2",
        _variance("plane"),
        excludes="the best fixed schedule in its place, or in that of the optimum",
        deviation=f"Eight Gaussians in the plane. {LINEAR} The optimum is ours: p ∝ w (E‖ε̂ − ε‖⁴)^½.",
    ),
    Claim(
        "adaptive-variance-digits",
        FASTER,
        "Section 3.2",
        _variance("digits"),
        presets=("small",),
        excludes="the best fixed schedule in its place, or in that of the optimum",
        deviation=f"Digits. {LINEAR} The optimum is ours: p ∝ w (E‖ε̂ − ε‖⁴)^½.",
    ),
)


def draw_schedules(results: Results) -> MatplotlibFigure:
    table = results.table(estimates)
    shown = [law for law in LAWS if law in set(table["law"])]
    figure, axes = panels("weighted_elbo", len(shown), 2, width=9, height=1.2 + 3.4 * len(shown))
    for (levels, variances), law in zip(axes, shown, strict=True):
        (_, arrays), *_ = results.arrays(estimates, law=law)
        at, integrand = arrays["log_snr"], arrays["integrand"]
        levels.fill_between(at, integrand / np.trapezoid(integrand, at), color="0.85", lw=0)
        for name, look in LOOKS.items():
            levels.plot(at, arrays[name], **{**look.line(), "marker": None}, lw=2)
        levels.set(title=f"levels, {law}", ylim=(0, None), ylabel="p(λ)")
        levels.set_xlabel("log-SNR λ (noise on the left)")
        own = where(table, law=law)
        for place, (name, look) in enumerate(LOOKS.items()):
            values = where(own, schedule=name)["variance"]
            variances.scatter(values, np.full(len(values), -place), s=40, color=look.colour, marker=look.marker)
        variances.set(title=f"variance, {law}", xlabel="of one draw, over the squared loss", xlim=(0, None))
        variances.set_yticks(-np.arange(len(LOOKS)), [look.name for look in LOOKS.values()])
    legend(figure, 3)
    return finish(figure)


FIGURES = (
    Figure(
        "schedules",
        "Left: the density over the log-SNR of six schedules, over the integrand of the loss in grey. Right: the "
        "variance of one draw of the loss under each; a mark for each seed.",
        "The grey area is w E‖ε̂ − ε‖², as a density. The adaptive schedule comes to it, and the law of least variance "
        "is nearly the same. Both have less variance than the four fixed schedules, which draw where there is no loss.",
        (estimates,),
        draw_schedules,
    ),
)

STUDY = Study(
    "Schedules",
    "Given the weighting, does the loss depend on the noise schedule, and which schedule has least variance?",
    (estimates,),
    CLAIMS,
    FIGURES,
)
