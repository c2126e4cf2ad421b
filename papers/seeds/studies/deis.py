"""What does each ingredient of DEIS do (2204.13902, Sections 3 and 4)?

The probability-flow ODE of a law whose noise prediction is exact is solved with a few evaluations, and compared with
the end of its exact flow from the same start. Ingredients are added one by one: the linear part exact, the noise in the
place of the score, a polynomial through past evaluations, and a grid of quadratic times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.diffusion.solvers import CountedDenoiser
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import PRESETS, Grid, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend, ticks
from common.harness.studies.measures import paired_ratio
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from papers.seeds.brownian import no_noise
from papers.seeds.grids import power_time
from papers.seeds.studies.looks import ODE_SOLVERS
from papers.seeds.studies.methods import follow
from papers.seeds.studies.ring import EXACT, PATH, SOLVERS, T_MAX, T_MIN, ring, rms, start_and_end

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

GRIDS: Mapping[str, float] = {"uniform": 1.0, "quadratic": 2.0}
"""κ of the times (equal steps of t^{1/κ})."""
FEW, MANY = (6, 10, 20, 50), (96, 192, 384)
"""Evaluations at which quality is compared, and between which orders are read; ρRK takes what makes whole steps."""


@dataclass(frozen=True)
class DeisConfig:
    grid: str
    budgets: tuple[int, ...] = FEW + MANY
    n_samples: int = 512

    def __post_init__(self) -> None:
        one_of(GRIDS, self, "grid")
        at_least(1, self, "budgets", "n_samples")


_CONFIGS = [DeisConfig(grid) for grid in GRIDS]
_QUICK = [DeisConfig("uniform", budgets=FEW), DeisConfig("quadratic")]


@experiment(
    DeisConfig,
    {"quick": Grid(_QUICK, 3), "small": Grid(_CONFIGS, 10), "gpu": Grid(_CONFIGS, 10)},
    {"solver": SOLVERS, "nfe": int, "rmse": float},
)
def solved(config: DeisConfig, seed: int, run: Run) -> Sequence[Row]:
    """The distance of each solver's end from the exact one, by evaluations."""
    x, exact = start_and_end(config.n_samples, seed)
    rows: list[Row] = []
    for solver, (method, evaluations) in SOLVERS.items():
        for nfe in config.budgets:
            if nfe % evaluations == 0:
                counted = CountedDenoiser(ring())
                times = power_time(nfe // evaluations, T_MAX, T_MIN, GRIDS[config.grid])
                end = follow(method(PATH, times), counted, x, no_noise)
                rows.append({"solver": solver, "nfe": counted.nfe, "rmse": rms(end, exact)})
    return rows


def _ratio(name: str, first: tuple[str, str], second: tuple[str, str], nfe: int, criterion: Criterion) -> Quantity:
    """The error of one solver over that of another, each with the grid that it is on."""
    (solver, grid), (other, other_grid) = first, second
    return Quantity(
        name,
        solved,
        paired_ratio(
            "rmse", first={"solver": solver, "grid": grid}, second={"solver": other, "grid": other_grid}, nfe=nfe
        ),
        criterion,
        metric=f"error over error, {nfe} evaluations",
        unit="×",
        scale="log",
    )


def _better(solver: str, other: str) -> Quantity:
    return _ratio(
        f"{ODE_SOLVERS[solver].name} over {ODE_SOLVERS[other].name}",
        (solver, "quadratic"),
        (other, "quadratic"),
        10,
        Criterion(upper=0.95, reason="the sign, and no tie"),
    )


CLAIMS = (
    Claim(
        "ten-evaluations",
        "Ten evaluations are enough: with them tAB-3 has a third of the error of DDIM, or less.",
        "DEIS, abstract and Section 4",
        (
            _ratio(
                "tAB-3 over DDIM",
                ("tab3", "quadratic"),
                ("ddim", "quadratic"),
                10,
                Criterion(upper=1 / 3, reason="a third, where a pilot found a fifth"),
            ),
        ),
        presets=PRESETS,
        headline=True,
        excludes="uniform times, on which tAB-3 is worse than DDIM",
        deviation=EXACT + "Quadratic times. What it is worth with trained networks is a study of its own.",
    ),
    Claim(
        "ingredients",
        "The exponential integrator alone is worse than Euler's method. The noise in the place of the score, a "
        "polynomial through past evaluations, and quadratic times each lower the error.",
        "DEIS, Section 3 (Ingredients 1 to 4)",
        (
            _ratio(
                "exponential integrator over Euler",
                ("frozen-score", "uniform"),
                ("euler", "uniform"),
                50,
                Criterion(2.0, reason="worse by a factor of two, where a pilot found 2.8"),
            ),
            _ratio(
                "noise over score",
                ("ddim", "uniform"),
                ("frozen-score", "uniform"),
                50,
                Criterion(upper=0.75, reason="a quarter less, where a pilot found 0.59"),
            ),
            _ratio(
                "polynomial over constant",
                ("tab3", "uniform"),
                ("ddim", "uniform"),
                50,
                Criterion(upper=0.6, reason="two fifths less, where a pilot found 0.38"),
            ),
            _ratio(
                "quadratic over uniform times",
                ("tab3", "quadratic"),
                ("tab3", "uniform"),
                50,
                Criterion(upper=0.2, reason="a fifth, where a pilot found 0.06"),
            ),
        ),
        presets=PRESETS,
        excludes="each ingredient left out",
        deviation=EXACT + "50 evaluations. The paper's table of this ablation was found in no public text.",
    ),
    Claim(
        "past-evaluations",
        "With ten evaluations each past evaluation lowers the error, and a polynomial in t is better than one in ρ.",
        "DEIS, Section 4",
        (_better("tab1", "ddim"), _better("tab2", "tab1"), _better("tab3", "tab2"), _better("tab3", "rho-ab3")),
        presets=PRESETS,
        excludes="the order of the four turned about",
        deviation=EXACT + "Quadratic times.",
    ),
    Claim(
        "uniform-times",
        "On uniform times and with twenty evaluations the polynomial harms: tAB-3 is worse than DDIM.",
        "beside DEIS, Section 3",
        (
            _ratio(
                "tAB-3 over DDIM, uniform times",
                ("tab3", "uniform"),
                ("ddim", "uniform"),
                20,
                Criterion(1.1, reason="the sign, and no tie"),
            ),
        ),
        presets=PRESETS,
        kind="ours",
        excludes="quadratic times, on which tAB-3 is better",
        deviation=EXACT,
    ),
    Claim(
        "runge-kutta",
        "ρHeun is worse than DDIM with ten evaluations, and better with fifty.",
        "DEIS, Section 4 (ρRK)",
        (
            _ratio("10", ("rho-heun", "quadratic"), ("ddim", "quadratic"), 10, Criterion(1.1, reason="the sign")),
            _ratio("50", ("rho-heun", "quadratic"), ("ddim", "quadratic"), 50, Criterion(upper=0.9, reason="the sign")),
        ),
        presets=PRESETS,
        excludes="DDIM itself, at either number",
        deviation=EXACT + "Quadratic times.",
    ),
)


def draw_errors(results: Results) -> MatplotlibFigure:
    figure, axes = panels("seeds", 1, 2, width=8, height=5.8)
    rows = results.table(solved)
    for panel, grid in zip(axes[0], GRIDS, strict=True):
        for solver, look in ODE_SOLVERS.items():
            mean = where(rows, grid=grid, solver=solver).groupby("nfe")["rmse"].mean()
            panel.plot(mean.index, mean, **look.line())
        ticks(
            panel,
            where(rows, grid=grid, solver="ddim")["nfe"].unique(),
            yscale="log",
            xlabel="evaluations (NFE)",
            title=f"{grid} times",
        )
        panel.set_ylim(5e-8, 10)
    axes[0, 0].set_ylabel("rms distance to the exact end")
    legend(figure, columns=3)
    return finish(figure)


FIGURES = (
    Figure(
        "deis",
        "Two log-log plots of the error of nine deterministic solvers against evaluations, on uniform and on quadratic "
        "times.",
        "On quadratic times (right) each past evaluation lowers the error, and steepens the curve. On uniform times "
        "(left) the polynomials need twenty to fifty evaluations before they help. Holding the score constant is worse "
        "than Euler's method on both.",
        (solved,),
        draw_errors,
    ),
)

STUDY = Study(
    "DEIS: its ingredients",
    "Which of the ingredients of DEIS lowers the error of the probability-flow ODE?",
    (solved,),
    CLAIMS,
    FIGURES,
)
