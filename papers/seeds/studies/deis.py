"""What does each ingredient of DEIS do, and what are its orders (2204.13902, Sections 3 and 4, Figures 2 to 5)?

The probability-flow ODE of a law whose noise prediction is exact is solved with a few evaluations, and compared with a
fine solution from the same start. Ingredients are added one by one: the linear part exact, the noise in the place of
the score, a polynomial through past evaluations, and a grid of quadratic times.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import log
from typing import TYPE_CHECKING

import torch

from common.data.toy import eight_gaussians_mixture
from common.diffusion.oracle import GaussianMixture
from common.diffusion.path import VP, GaussianPath
from common.diffusion.solvers import CountedDenoiser
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import PRESETS, Grid, Row, Run, at_least, experiment, one_of, positive
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import Measure, paired_ratio, per_seed, pick, value_at
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.seeds.brownian import no_noise
from papers.seeds.deis import (
    HEUN,
    KUTTA,
    adams_bashforth,
    ddim,
    euler,
    frozen_score,
    in_rho,
    left_riemann,
    rho_runge_kutta,
)
from papers.seeds.exponential import NoisePredictionODE
from papers.seeds.grids import power_time, uniform_log_snr
from papers.seeds.multistep import Multistep
from papers.seeds.runge_kutta import Tableau
from papers.seeds.seeds import seeds_3
from papers.seeds.studies.looks import ODE_SOLVERS, legend, ticks
from papers.seeds.studies.methods import follow

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure
    from torch import Tensor

PATH = VP()
T_MAX, T_MIN = 1.0, 1e-3
GRIDS: Mapping[str, float] = {"uniform": 1.0, "quadratic": 2.0}
"""κ of the times (equal steps of t^{1/κ})."""
SOLVERS: Mapping[str, tuple[Callable[[GaussianPath, Tensor], Tableau | Multistep], int]] = {
    "euler": (euler, 1),
    "frozen-score": (frozen_score, 1),
    "ddim": (ddim, 1),
    **{f"tab{r}": (partial(adams_bashforth, r=r), 1) for r in (1, 2, 3)},
    "rho-ab3": (partial(adams_bashforth, r=3, coordinate=in_rho), 1),
    "rho-heun": (partial(rho_runge_kutta, method=HEUN), 2),
    "rho-kutta": (partial(rho_runge_kutta, method=KUTTA), 3),
}
"""By the names of `looks.ODE_SOLVERS`, each with its evaluations a step."""
ORDERS = {"ddim": 1, "tab1": 2, "tab2": 3, "tab3": 4, "rho-heun": 2, "rho-kutta": 3}
MARGINS = {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}
FEW, MANY = (6, 10, 20, 50), (96, 192, 384)
"""Evaluations at which quality is compared, and between which orders are read; ρRK takes what makes whole steps."""


@dataclass(frozen=True)
class DeisConfig:
    grid: str
    budgets: tuple[int, ...] = FEW + MANY
    reference_steps: int = 400
    """Of DPM-Solver-3 in equal steps of the log-SNR."""
    n_samples: int = 256

    def __post_init__(self) -> None:
        one_of(GRIDS, self, "grid")
        at_least(1, self, "budgets", "reference_steps", "n_samples")


@dataclass(frozen=True)
class IntegralConfig:
    """The official integrals beside exact ones, for tAB-3 on quadratic times."""

    budgets: tuple[int, ...] = (10, 50, 192)
    points: int = 10_000
    """Of the left Riemann sum."""
    reference_steps: int = 400
    n_samples: int = 256

    def __post_init__(self) -> None:
        positive(self, "budgets", "points", "reference_steps", "n_samples")


def ring() -> GaussianMixture:
    """Eight Gaussians on a ring."""
    means, std = eight_gaussians_mixture()
    return GaussianMixture(means, torch.full((len(means),), std))


def start_and_end(n: int, reference_steps: int, seed: int) -> tuple[Tensor, Tensor]:
    """n draws of p_T, and where the exact flow takes them."""
    generator, law = stream(seed, 0), ring()
    x0 = law.sample(n, generator)
    eps = torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    x = PATH.perturb(x0, eps, torch.tensor(T_MAX, dtype=torch.float64))
    form = NoisePredictionODE(PATH)
    fine = seeds_3(form, uniform_log_snr(form, reference_steps, T_MAX, T_MIN))
    return x, follow(fine, law, x, no_noise)


def rms(x: Tensor, y: Tensor) -> float:
    """√ of the mean over samples of ‖x − y‖²."""
    return float((x - y).square().sum(-1).mean().sqrt())


_CONFIGS = [DeisConfig(grid) for grid in GRIDS]


@experiment(
    DeisConfig,
    {preset: Grid(_CONFIGS, 3 if preset == "quick" else 10) for preset in PRESETS},
    {"solver": SOLVERS, "nfe": int, "rmse": float},
)
def solved(config: DeisConfig, seed: int, run: Run) -> Sequence[Row]:
    """The distance of each solver's end from the exact one, by evaluations."""
    x, exact = start_and_end(config.n_samples, config.reference_steps, seed)
    rows: list[Row] = []
    for solver, (method, evaluations) in SOLVERS.items():
        for nfe in config.budgets:
            if nfe % evaluations == 0:
                counted = CountedDenoiser(ring())
                times = power_time(nfe // evaluations, T_MAX, T_MIN, GRIDS[config.grid])
                end = follow(method(PATH, times), counted, x, no_noise)
                rows.append({"solver": solver, "nfe": counted.nfe, "rmse": rms(end, exact)})
    return rows


@experiment(
    IntegralConfig,
    {preset: Grid([IntegralConfig()], 3 if preset == "quick" else 10) for preset in PRESETS},
    {"nfe": int, "coefficients": float, "moved": float, "rmse": float, "tab0_from_ddim": float},
)
def integrals(config: IntegralConfig, seed: int, run: Run) -> Sequence[Row]:
    """What a left Riemann sum in float32 does to tAB-3's coefficients and to its samples."""
    x, exact = start_and_end(config.n_samples, config.reference_steps, seed)
    law, rows = ring(), []
    for nfe in config.budgets:
        times = power_time(nfe, T_MAX, T_MIN)
        right = adams_bashforth(PATH, times, 3)
        rough = adams_bashforth(PATH, times, 3, quadrature=partial(left_riemann, points=config.points))
        ends = [follow(table, law, x, no_noise) for table in (right, rough)]
        plain = [follow(table, law, x, no_noise) for table in (adams_bashforth(PATH, times, 0), ddim(PATH, times))]
        error = (rough.weights - right.weights).norm() / right.weights.norm()
        rows.append(
            {
                "nfe": nfe,
                "coefficients": float(error),
                "moved": rms(ends[1], ends[0]),
                "rmse": rms(ends[0], exact),
                "tab0_from_ddim": float((plain[0] - plain[1]).abs().max()),
            }
        )
    return rows


EXACT = (
    "Eight Gaussians on a ring with their exact denoiser, VP with β from 0.1 to 20, t from 1 to 0.001; errors are root "
    "mean square distances to a fine solution from the same start. "
)


def _slope(solver: str) -> Measure:
    """With which power of the evaluations the error falls, from the fewest to the most of `MANY`."""
    picks = tuple({"solver": solver, "grid": "quadratic", "nfe": nfe} for nfe in (MANY[0], MANY[-1]))

    def slope(rows: pd.DataFrame) -> float:
        first, second = (float(pick(rows, which)["rmse"].iloc[0]) for which in picks)
        return log(first / second) / log(MANY[-1] / MANY[0])

    return per_seed(slope, ("rmse",), picks)


def _order(solver: str, order: int) -> Quantity:
    return Quantity(
        ODE_SOLVERS[solver].name,
        solved,
        _slope(solver),
        Criterion(order - MARGINS[order], order + MARGINS[order], "the order; the margin is for the error's next term"),
        expected=order,
        metric=f"order in the evaluations, from {MANY[0]} to {MANY[-1]}, quadratic times",
    )


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


def _moved(nfe: int, criterion: Criterion) -> Quantity:
    def share(rows: pd.DataFrame) -> float:
        return float((rows["moved"] / rows["rmse"]).iloc[0])

    return Quantity(
        f"{nfe} evaluations",
        integrals,
        per_seed(share, ("moved", "rmse"), nfe=nfe),
        criterion,
        metric="how far the official integrals move the samples, over the error of tAB-3",
        unit="×",
        scale="log",
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
        "deis-orders",
        "Each past evaluation and each stage raises the order by one.",
        "DEIS, Section 3",
        tuple(_order(solver, order) for solver, order in ORDERS.items()),
        presets=PRESETS,
        kind="theorem",
        excludes="a method of another order in the place of each",
        deviation=EXACT + "The first steps of tAB-r have fewer past evaluations, an error of second order that is "
        "small here: near the noise the prediction hardly changes.",
    ),
    Claim(
        "ddim",
        "Without past evaluations the method is DDIM.",
        "DEIS, Proposition 2",
        (
            Quantity(
                "tAB-0 and DDIM",
                integrals,
                value_at("tab0_from_ddim", nfe=10),
                Criterion(upper=1e-12, reason="an identity, to rounding"),
                expected=0.0,
                metric="largest distance of samples, 10 evaluations",
                zero=1e-12,
            ),
        ),
        presets=PRESETS,
        kind="theorem",
        excludes="tAB-1, whose samples are elsewhere",
        deviation=EXACT + "DDIM by its own formula, tAB-0 by quadrature.",
    ),
    Claim(
        "uniform-times",
        "On uniform times and with at most 20 evaluations the polynomial harms: tAB-3 is worse than DDIM.",
        "beside DEIS, Section 3",
        tuple(
            _ratio(
                f"tAB-3 over DDIM, {nfe}",
                ("tab3", "uniform"),
                ("ddim", "uniform"),
                nfe,
                Criterion(1.1, reason="the sign, and no tie"),
            )
            for nfe in (10, 20)
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
    Claim(
        "official-integrals",
        "The official code takes its integrals by a left Riemann sum in single precision. That is of no account with ten "
        "evaluations, and as large as all else with two hundred.",
        "beside DEIS; `th_deis` of the official code",
        (
            _moved(10, Criterion(upper=0.05, reason="a twentieth of the error is of no account")),
            _moved(192, Criterion(0.5, reason="half of the error, or more")),
        ),
        presets=PRESETS,
        kind="ours",
        excludes="Gauss–Legendre integrals, which move nothing",
        deviation=EXACT + "tAB-3 on quadratic times, 10,000 points.",
    ),
)


def draw_errors(results: Results) -> MatplotlibFigure:
    figure, axes = panels("seeds", 1, 2, width=8, height=5.8)
    rows = results.table(solved)
    for panel, grid in zip(axes[0], GRIDS, strict=True):
        for solver, look in ODE_SOLVERS.items():
            mean = where(rows, grid=grid, solver=solver).groupby("nfe")["rmse"].mean()
            panel.plot(mean.index, mean, **look.line())
        ticks(panel, (6, 10, 20, 50, 96, 192, 384), yscale="log", xlabel="evaluations (NFE)", title=f"{grid} times")
        panel.set_ylim(1e-6, 10)
    axes[0, 0].set_ylabel("rms distance to the fine solution")
    legend(figure, columns=3)
    return finish(figure)


FIGURES = (
    Figure(
        "deis",
        "Two log-log plots of the error of nine deterministic solvers against evaluations, on uniform and on quadratic "
        "times.",
        "On quadratic times (right) each past evaluation lowers the error, and steepens the curve. On uniform times (left) "
        "the polynomials need some fifty evaluations before they help. Holding the score constant is worse than Euler's "
        "method on both.",
        (solved,),
        draw_errors,
    ),
)

STUDY = Study(
    "DEIS: its ingredients, and its orders",
    "Which of the ingredients of DEIS lowers the error of the probability-flow ODE, and with which orders?",
    (solved, integrals),
    CLAIMS,
    FIGURES,
)
