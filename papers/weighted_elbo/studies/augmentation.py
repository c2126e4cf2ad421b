"""Is a weighting that never rises the ELBO of data with Gaussian noise added (Section 4)?

Then p_w = −w'(λ)/w(λ_min), with what is left at λ_max, is a law over noise levels, and L_w is, up to what no model
changes, the expected negative ELBO of z_t with t ~ p_w. The first is a matter of functions: for a w with a peak p_w is
negative on one side of it. The second is measured on a line, for two denoisers: the difference of their L_w, by
quadrature, beside the difference of the mean negative ELBOs of drawn z_t, from the densities along drawn paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Row, Run, at_least, experiment
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend
from common.harness.studies.measures import Measure, per_seed, value_at
from common.harness.studies.panels import finish, panels
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.weighted_elbo.published import MONOTONE
from papers.weighted_elbo.studies.line import DATA, LAW, NOISE, drawn_elbos, mean_error
from papers.weighted_elbo.studies.looks import WEIGHTINGS as LOOKS
from papers.weighted_elbo.weighting import WEIGHTINGS, clean_share, monotone, p_w

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

RANGE = (-7.0, 9.0)
"""λ of the laws p_w: e^{−λ/2} and InDI's have none on all of the line."""
JUDGED = tuple(name for name in WEIGHTINGS if name not in ("fm-vp", "score", "scoreflow"))
"""All but those that only objectives of flow matching's table have."""
NEVER_RISING = tuple(name for name in LOOKS if monotone(WEIGHTINGS[name], *RANGE))
WITH_A_PEAK = tuple(name for name in LOOKS if name not in NEVER_RISING)


@dataclass(frozen=True)
class LawConfig:
    points: int = 20_001
    """λ of the integrals."""

    def __post_init__(self) -> None:
        at_least(3, self, "points")


@experiment(
    LawConfig,
    {preset: Grid([LawConfig()]) for preset in ("quick", "small")},
    {"weighting": tuple(LOOKS), "monotone": bool, "as_published": float, "off_one": float, "negative": float},
)
def laws(config: LawConfig, seed: int, run: Run) -> list[Row]:
    """p_w of each weighting: how far its sum, with the clean share, is off 1, and its negative part, over ∫ |p_w|.

    `as_published` is 1 where the flag is that of the paper's table, 0 where it is another, and absent where the paper
    has none.
    """
    log_snr = torch.linspace(*RANGE, config.points, dtype=torch.float64)
    rows: list[Row] = []
    for name in JUDGED:
        w = WEIGHTINGS[name]
        density, clean = p_w(w, log_snr, RANGE[0]), clean_share(w, *RANGE)
        size = float(torch.trapezoid(density.abs(), log_snr)) + clean
        flag = monotone(w, *RANGE)
        row: dict[str, float | int | str | bool] = {"weighting": name, "monotone": flag}
        if name in MONOTONE:
            row["as_published"] = float(flag == MONOTONE[name])
        whole, negative = (float(torch.trapezoid(each, log_snr)) for each in (density, -density.clamp(max=0)))
        rows.append({**row, "off_one": abs(whole + clean - 1) / size, "negative": negative / size})
    return rows


MODELS = ("exact", "linear")
"""The two denoisers whose difference is taken."""


@dataclass(frozen=True)
class NoisyConfig:
    points: int = 16
    """Data x."""
    pairs: int = 200
    """Paths z_0 … z_1 that are drawn from each, and as many mirrored at its mean path. Both models see the same."""
    steps: int = 600
    """Of the chain."""
    levels: int = 400
    """λ of the integral L_w."""

    def __post_init__(self) -> None:
        at_least(1, self, "points", "pairs")
        at_least(2, self, "steps", "levels")


@experiment(
    NoisyConfig,
    {"quick": Grid([NoisyConfig()], 8), "small": Grid([NoisyConfig(32, 600, 800)], 8)},
    {"weighting": tuple(LOOKS), "ratio": float, "ratio_positive": float},
)
def noisy(config: NoisyConfig, seed: int, run: Run) -> list[Row]:
    """By how much the linear denoiser is worse than the exact one: in the mean −ELBO of z_t, t ~ p_w, over in L_w.

    `ratio_positive` has in place of p_w its positive part, scaled to sum to 1: the nearest thing to it that is a law.
    """
    x = LAW.sample(config.points, stream(seed, DATA))[:, 0]
    log_snr = torch.linspace(RANGE[1], RANGE[0], config.steps + 1, dtype=torch.float64)
    elbos = drawn_elbos(MODELS, x, config.pairs, log_snr, stream(seed, NOISE))
    worse = elbos["linear"] - elbos["exact"]
    levels = torch.linspace(*RANGE, config.levels, dtype=torch.float64)
    more = mean_error("linear", x, levels) - mean_error("exact", x, levels)
    rows: list[Row] = []
    for name in JUDGED:
        w = WEIGHTINGS[name]
        difference = float(torch.trapezoid(w(levels) * more, levels) / w(levels[0]) / 2)
        density, clean = p_w(w, log_snr, RANGE[0]), clean_share(w, *RANGE)
        positive = density.clamp(min=0)
        whole = over_noise(positive, clean, torch.ones_like(worse), log_snr)
        rows.append(
            {
                "weighting": name,
                "ratio": over_noise(density, clean, worse, log_snr) / difference,
                "ratio_positive": over_noise(positive, clean, worse, log_snr) / whole / difference,
            }
        )
    run.save_arrays(log_snr=log_snr.numpy(), worse=worse.numpy())
    return rows


def over_noise(density: Tensor, clean: float, values: Tensor, log_snr: Tensor) -> float:
    """Σ p_w · values over noise levels: the density over λ, which decreases, and the clean share at its first."""
    return float(-torch.trapezoid(density * values, log_snr) + clean * values[0])


def _over(column: str, best: str, names: tuple[str, ...]) -> Measure:
    def extreme(rows: pd.DataFrame) -> float:
        own = rows[rows["weighting"].isin(names)][column]
        if len(own) != len(names):
            raise ValueError(f"of the weightings {', '.join(names)} only {len(own)} have rows")
        return float(getattr(own, best)(skipna=False))

    return per_seed(extreme, (column, "weighting"))


RATIOS = ("elbo", "v-cosine", "snr-trunc", "sigmoid", "edm-monotonic")
"""Weightings whose ratio is judged. That of flow matching is that of v."""


def _ratio(name: str) -> Quantity:
    return Quantity(
        f"ratio of the differences, {LOOKS[name].name}",
        noisy,
        value_at("ratio", weighting=name),
        Criterion(0.95, 1.05, "an identity; what is left is the step of the chain, about 1 %, and the draws"),
        expected=1.0,
        metric="difference of two models in the mean −ELBO of noisy data, over that in the weighted loss",
        unit="×",
        scale="log",
    )


DEVIATION = (
    "Data on a line, from three Gaussians; their exact denoiser and the best linear one; λ from −7 to 9 in 600 steps "
    "(`small`: 800). Both models see the same drawn paths, and the same data as the loss."
)

CLAIMS = (
    Claim(
        "monotone-flags",
        "The weighting of the v-prediction, of flow matching with the OT path and of InDI never rises with λ; that of "
        "iDDPM, EDM, P2 and Min-SNR does.",
        "Section 4, Table 1",
        (
            Quantity(
                "share of the seven flags that are the paper's",
                laws,
                per_seed(lambda rows: float(rows["as_published"].mean()), ("as_published",)),
                Criterion(1.0, 1.0, "all of them: flags are exact"),
                expected=1.0,
                deterministic=True,
            ),
            Quantity(
                "p_w and the clean share, sum off 1, worst of twelve",
                laws,
                _over("off_one", "max", tuple(LOOKS)),
                Criterion(upper=1e-3, reason="an identity, up to the step of the integral"),
                expected=0.0,
                metric="distance from 1 of the sum, over ∫ |p_w|",
                zero=1e-5,
                deterministic=True,
            ),
            Quantity(
                "negative part of p_w, never rising, worst",
                laws,
                _over("negative", "max", NEVER_RISING),
                Criterion(upper=1e-9, reason="a probability law has none"),
                expected=0.0,
                zero=1e-12,
                deterministic=True,
            ),
            Quantity(
                "negative part of p_w, with a peak, least",
                laws,
                _over("negative", "min", WITH_A_PEAK),
                Criterion(0.05, reason="no rounding: a part of p_w that counts"),
                metric="∫ of the negative part of p_w over ∫ |p_w|",
                deterministic=True,
            ),
        ),
        kind="theorem",
        headline=True,
        excludes="a weighting with a peak among those that never rise",
        deviation="λ from −7 to 9; e^{−λ/2} and the weighting of InDI are not bounded towards more noise, so that "
        "their p_w is that of a range.",
    ),
    Claim(
        "augmented-data",
        "With a weighting that never rises, the objective is the ELBO, with Gaussian noise added to the data.",
        "Abstract, Section 4",
        tuple(_ratio(name) for name in RATIOS),
        kind="theorem",
        headline=True,
        excludes="the ELBO of clean data in the place of that of noisy data",
        deviation=DEVIATION,
    ),
    Claim(
        "augmented-data-steep",
        "The same of InDI, whose noise is nearly all at the most noise.",
        "Section 4",
        (_ratio("indi"),),
        presets=("small",),
        kind="theorem",
        excludes="the ELBO of clean data in the place of that of noisy data",
        deviation=DEVIATION,
    ),
)


def draw_laws(results: Results) -> MatplotlibFigure:
    figure, axes = panels("weighted_elbo", 1, 2, width=9, height=5)
    log_snr = torch.linspace(*RANGE, 841, dtype=torch.float64)
    shown = set(results.table(laws)["weighting"])
    for name, look in LOOKS.items():
        if name not in shown or name == "elbo":
            continue
        density = p_w(WEIGHTINGS[name], log_snr, RANGE[0])
        panel = axes[0, 0 if name in NEVER_RISING else 1]
        panel.plot(log_snr, density / density.abs().max(), **{**look.line(), "marker": None}, lw=2)
    for panel, title in zip(axes[0], ("never rising", "with a peak"), strict=True):
        panel.axhline(0, color="0.6", lw=1, zorder=0)
        panel.set(title=title, xlabel="log-SNR λ (noise on the left)", ylim=(-1.05, 1.05))
    axes[0, 0].set(ylabel="p_w(λ), relative")
    axes[0, 1].tick_params(labelleft=False)
    legend(figure, 4)
    return finish(figure)


def draw_noisy(results: Results) -> MatplotlibFigure:
    rows = results.table(noisy)
    figure, axes = panels("weighted_elbo", 1, 2, width=9, height=5)
    elbo, ratios = axes[0]
    runs = [arrays for _, arrays in results.arrays(noisy)]
    elbo.plot(runs[0]["log_snr"], np.mean([each["worse"] for each in runs], axis=0), color="black")
    elbo.set(title="linear less exact denoiser", xlabel="log-SNR λ of the noisy data", ylabel="−ELBO of z_t, in nats")
    places = {name: -place for place, name in enumerate(LOOKS)}
    for column, label, colour, marker in (
        ("ratio_positive", "positive part of p_w", "#d55e00", "X"),
        ("ratio", "p_w", "#0173b2", "o"),
    ):
        own = np.exp(np.log(rows[column].clip(lower=1e-3)).groupby(rows["weighting"]).mean())
        ratios.scatter(own, [places[name] for name in own.index], s=45, color=colour, marker=marker, label=label)
    ratios.axvline(1, color="0.6", lw=1, zorder=0)
    ratios.set(title="mean over p_w, relative to L_w", xlabel="ratio of the differences", xscale="log")
    ratios.set_yticks(list(places.values()), [LOOKS[name].name for name in places])
    legend(figure, 2)
    return finish(figure)


FIGURES = (
    Figure(
        "noise-laws",
        "The law p_w over noise levels against the log-SNR, each relative to its largest size: on the left for "
        "weightings that never rise, on the right for those with a peak.",
        "On the left no p_w is below zero: each is the law of the noise that is added to data. On the right each is "
        "negative to the left of its weighting's peak. Those of v, flow matching, InDI and the truncated SNR lie "
        "nearly on one another, all at the most noise. The ELBO is not shown: its p_w is all at clean data.",
        (laws,),
        draw_laws,
    ),
    Figure(
        "noisy-elbos",
        "Left: by how much the linear denoiser is worse than the exact one, in the negative ELBO of data with noise, "
        "against the log-SNR of the noise. Right: the ratio of this difference, on average over the noise, to the "
        "difference of the weighted losses, for twelve weightings.",
        "Left: the cleaner the data, the more they tell the two models apart. Right: averaged over p_w (circles) this "
        "is the difference of the weighted losses, a ratio of 1. For a weighting with a peak this takes the "
        "negative part of p_w. Crosses: the positive part alone, scaled to a law. Here they are off by that scale "
        "alone: where such a weighting rises, these two models hardly differ.",
        (noisy,),
        draw_noisy,
    ),
)

STUDY = Study(
    "Noise as augmentation",
    "Is a weighting that never rises with λ the ELBO of data with Gaussian noise added?",
    (laws, noisy),
    CLAIMS,
    FIGURES,
)
