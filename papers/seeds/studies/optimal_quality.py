"""Why solve an SDE at all, if an ODE solver is faster (abstract: "optimal quality"; Section 5)?

With an exact denoiser both end at the same law, so a gain can come from the network's errors alone. Where these lie
decides. Networks are trained at low noise alone, so that they err at high noise, and at the usual levels; an exact
denoiser is spoiled at high noise, or at low. Quality is followed from few evaluations to many, on paired noise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import PRESETS
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import Measure, paired_ratio, per_seed
from common.harness.studies.study import Study
from papers.seeds.studies.curves import COMPONENT_STD, LONGER, LOW, exact_curves
from papers.seeds.studies.drawing import Shown, two
from papers.seeds.studies.evaluations import EXACT, STARVED, USUAL
from papers.seeds.studies.looks import SAMPLERS
from papers.seeds.studies.network_curves import digit_curves, image_curves
from papers.seeds.studies.reading import crossings, distances, over_best
from papers.seeds.studies.training import digit_training, image_training

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

MANY, FEWEST = 97, 7
"""Evaluations at which plateaus are compared, and with which an ODE is better."""
SDE, ODE = {"sampler": "seeds-3-data"}, {"sampler": "heun"}
SAMPLER = SAMPLERS["seeds-3-data"].name


def _over_best(nfe: int, noise: str, criterion: Criterion) -> Quantity:
    return Quantity(
        f"{SAMPLER} over the best ODE solver, {nfe} evaluations",
        digit_curves,
        over_best("seeds-3-data", nfe, noise=noise),
        criterion,
        metric="fd_digits over fd_digits",
        unit="×",
        scale="log",
    )


def _crosses_before(other: str) -> Quantity:
    return Quantity(
        f"{SAMPLER} over {SAMPLERS[other].name}",
        digit_curves,
        crossings("seeds-3-data", other, noise="starved"),
        Criterion(upper=0.8, reason="a fifth fewer at the least, where a pilot found a quarter to a third"),
        metric="evaluations at which each is first as good as the best ODE solver at as many",
        unit="×",
        scale="log",
    )


def gained(source: str) -> Measure:
    """How much lower the SDE's distance is than the ODE's, in floors."""

    def gain(rows: pd.DataFrame) -> float:
        sde, ode = (float(distances(rows, each["sampler"])[49]) for each in (SDE, ODE))
        return (ode - sde) / float(rows["floor"].iloc[0])

    picks = tuple({**each, "nfe": 49} for each in (SDE, ODE))
    return per_seed(gain, ("distance", "floor"), picks, source=source)


def _gain(source: str, criterion: Criterion) -> Quantity:
    return Quantity(
        source,
        exact_curves,
        gained(source),
        criterion,
        metric="fd_digits of Heun less that of SEEDS-3, over the floor, 49 evaluations each",
        tolerance=0.01,  # a difference of numbers that may be close
    )


def _spoiled() -> Quantity:
    return Quantity(
        f"{SAMPLER} over Heun, 49 evaluations",
        exact_curves,
        paired_ratio("distance", first=SDE, second=ODE, nfe=49, source="spoiled at high noise"),
        Criterion(upper=0.9, reason="a tenth at the least"),
        metric="fd_digits over fd_digits, both to the law",
        unit="×",
        scale="log",
    )


def left_by_flows() -> tuple[float, float]:
    """By how much the variance of N(0, s²) ends short of s², as a part of it, where its score is k times too long below
    σ_1: by the SDE and by the ODE.

    With u = s² + σ² the variance V of the ODE has dV/du = k V/u, so that V/u ends as (s²/u_1)^{k−1}. That of the SDE
    has dV/du = 2k V/u − 1, so that V/u − 1/(2k−1) falls as u^{2k−1} from 1 − 1/(2k−1).
    """
    shrunk, k = COMPONENT_STD**2 / (COMPONENT_STD**2 + LOW**2), LONGER
    level = 1 / (2 * k - 1)
    return 1 - level - (1 - level) * shrunk ** (2 * k - 1), 1 - shrunk ** (k - 1)


def _left_at_low_noise() -> Quantity:
    sde, ode = left_by_flows()
    return Quantity(
        f"{SAMPLER} over Heun, 49 evaluations",
        exact_curves,
        paired_ratio("spread", first=SDE, second=ODE, nfe=49, source="spoiled at low noise"),
        Criterion(0.4, 0.8, "a fifth less at the least, and not forgotten"),
        expected=sde / ode,
        metric="error of the variance about the digits, over that of Heun",
        unit="×",
        scale="log",
    )


SPOILED = EXACT + (
    "fd_digits is taken to 5,000 samples of the law. Spoiled: the score is 1.2 times as long as it should be, above "
    "σ = 1 or below σ = 0.3."
)
NOTHING = Criterion(-1.0, 1.0, "less than two samples of one law differ by")

CLAIMS = (
    Claim(
        "optimal-quality-exact",
        "Where a denoiser errs at high noise, an SDE solver reaches a better quality than an ODE solver with as many "
        "evaluations.",
        "Abstract, Section 5",
        (_spoiled(),),
        presets=PRESETS,
        headline=True,
        excludes="the denoiser without that error, with which the two are equal",
        deviation=SPOILED + " Here above σ = 1.",
    ),
    Claim(
        "optimal-quality",
        "An SDE solver reaches a better quality than any ODE solver with as many evaluations, if the network errs at "
        "high noise.",
        "Abstract, Section 5",
        (_over_best(MANY, "starved", Criterion(upper=0.9, reason="a tenth at the least, where a pilot found two")),),
        presets=("small",),
        headline=True,
        excludes="a network of the usual noise levels, and an exact denoiser, where the two are equal",
        deviation=STARVED
        + "That an SDE beats any ODE solver at any number of evaluations is not claimed: with few, an "
        "ODE solver can be good by accident.",
    ),
    Claim(
        "ode-first",
        "With seven evaluations an ODE solver is better all the same.",
        "Section 5",
        (_over_best(FEWEST, "starved", Criterion(1.1, reason="the sign, and no tie")),),
        presets=("small",),
        excludes="the ODE solver itself, or ninety-seven evaluations",
        deviation=STARVED,
    ),
    Claim(
        "crossing",
        "SEEDS-3 overtakes the best ODE solver with fewer evaluations than SEEDS-1 and DDPM do.",
        "Abstract, Section 5",
        (_crosses_before("seeds-1-data"), _crosses_before("ddpm")),
        presets=("small",),
        headline=True,
        excludes="SEEDS-1 in the place of SEEDS-3",
        deviation=STARVED
        + "A solver that is never as good with up to 193 evaluations counts as if it were so with 193, which makes the "
        "ratio greater than it is.",
    ),
    Claim(
        "usual-networks",
        "With perceptrons of the usual noise levels on digits the two are equal: there is nothing that noise could "
        "mend.",
        "beside Section 5",
        (_over_best(MANY, "usual", Criterion(0.9, 1.1, "equivalence within a tenth")),),
        presets=("small",),
        kind="ours",
        excludes="networks that err at high noise, whose ratio is below 0.9",
        deviation=USUAL + "U-Nets on MNIST do gain a little: the figure shows it.",
    ),
    Claim(
        "where-the-error-lies",
        "Of an error at low noise features see no gain, and without any error there is none.",
        "beside Section 5",
        (_gain("spoiled at low noise", NOTHING), _gain("exact", NOTHING)),
        presets=PRESETS,
        kind="ours",
        excludes="the denoiser spoiled at high noise in the place of either",
        deviation=SPOILED,
    ),
    Claim(
        "low-noise",
        "An SDE forgets a part of an error at low noise as well: it leaves about half of the error in the variance "
        "about a digit.",
        "beside Section 5",
        (_left_at_low_noise(),),
        presets=PRESETS,
        kind="ours",
        excludes="Heun in the place of SEEDS-3",
        deviation=SPOILED
        + " Here below σ = 0.3. What is expected is for one Gaussian, without a solver's error; Heun's "
        "method and SEEDS-3 with 49 evaluations have some.",
    ),
)


def draw_networks(results: Results) -> MatplotlibFigure:
    table = results.table(digit_curves)
    titles = {"starved": "trained at low noise alone", "usual": "trained at the usual levels"}
    there = [noise for noise in titles if noise in set(table["noise"])]
    return two(*(Shown(table, titles[noise], "fd_digits", {"noise": noise}) for noise in there))


def draw_images(results: Results) -> MatplotlibFigure:
    return two(Shown(results.table(image_curves), "MNIST, usual noise levels", "fd_mnist"))


FIGURES = (
    Figure(
        "quality-digits",
        "Log-log plots of the Frechet distance of samples of digits against evaluations, for stochastic solvers (full "
        "lines) and deterministic ones (dashed), by the noise levels at which the networks were trained.",
        "Networks that err at high noise: with few evaluations a deterministic solver is ahead, with many the "
        "stochastic ones end lower, and SEEDS-3 is the first of them to pass. EDM's sampler (in `small`) ends lowest. "
        "Networks of the usual noise levels (in `small`, on the right): with many evaluations all are alike. Heun and "
        "DPM-Solver++ 2M get worse on the way: with few evaluations they are good by accident.",
        (digit_curves,),
        draw_networks,
    ),
    Figure(
        "quality-images",
        "Log-log plot of the Frechet distance of samples of MNIST against evaluations, for stochastic solvers and "
        "deterministic ones.",
        "Means over seeds; all solvers start from the same noise. From 13 evaluations on SEEDS-3 is below the "
        "deterministic solvers, which level off above it; DDPM is level with it from 25 on, and EDM's sampler ends "
        "lowest.",
        (image_curves,),
        draw_images,
    ),
)

STUDY = Study(
    "Optimal quality: SDE against ODE",
    "When does a stochastic solver reach a better quality than a deterministic one, and with how many evaluations?",
    (digit_training, image_training, digit_curves, image_curves),
    CLAIMS,
    FIGURES,
)
