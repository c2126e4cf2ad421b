"""Are the orders of DEIS what its past evaluations and stages promise (2204.13902, Section 3), and its integrals right?

Orders are read from the errors of `deis`, with 96 to 384 evaluations. Without past evaluations the method is DDIM. The
official code takes its integrals by a left Riemann sum in single precision: what that does to samples is measured too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from math import log
from typing import TYPE_CHECKING

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import PRESETS, Grid, Row, Run, at_least, experiment
from common.harness.studies.measures import Measure, per_seed, pick, value_at
from common.harness.studies.study import Study
from papers.seeds.brownian import no_noise
from papers.seeds.deis import adams_bashforth, ddim, left_riemann
from papers.seeds.grids import power_time
from papers.seeds.studies.deis import MANY, solved
from papers.seeds.studies.looks import ODE_SOLVERS
from papers.seeds.studies.methods import follow
from papers.seeds.studies.ring import EXACT, PATH, T_MAX, T_MIN, ring, rms, start_and_end

if TYPE_CHECKING:
    import pandas as pd

ORDERS = {"ddim": 1, "tab1": 2, "tab2": 3, "tab3": 4, "rho-heun": 2, "rho-kutta": 3}
MARGINS = {1: 0.1, 2: 0.2, 3: 0.3, 4: 0.4}


@dataclass(frozen=True)
class IntegralConfig:
    """The official integrals beside exact ones, for tAB-3 on quadratic times."""

    budgets: tuple[int, ...] = (10, 50, 384)
    points: int = 10_000
    """Of the left Riemann sum."""
    n_samples: int = 256

    def __post_init__(self) -> None:
        at_least(1, self, "budgets", "points", "n_samples")


@experiment(
    IntegralConfig,
    {preset: Grid([IntegralConfig()], 3 if preset == "quick" else 10) for preset in PRESETS},
    {"nfe": int, "coefficients": float, "moved": float, "rmse": float, "tab0_from_ddim": float},
)
def integrals(config: IntegralConfig, seed: int, run: Run) -> Sequence[Row]:
    """What a left Riemann sum in float32 does to tAB-3's coefficients and to its samples."""
    x, exact = start_and_end(config.n_samples, seed)
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
        tolerance=0.02,  # a sum in single precision, which processors round differently
    )


CLAIMS = (
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
        "DEIS, Section 3",
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
        "official-integrals",
        "The official code takes its integrals by a left Riemann sum in single precision. That is of no account with "
        "ten evaluations, and more than all else with four hundred.",
        "beside DEIS; `th_deis` of the official code",
        (
            _moved(10, Criterion(upper=0.05, reason="a twentieth of the error is of no account")),
            _moved(384, Criterion(1.0, reason="more than the error of the method itself")),
        ),
        presets=PRESETS,
        kind="ours",
        excludes="Gauss–Legendre integrals, which move nothing",
        deviation=EXACT + "tAB-3 on quadratic times, 10,000 points.",
    ),
)

STUDY = Study(
    "DEIS: its orders, and its integrals",
    "Does each past evaluation and each stage raise the order by one, and do the integrals have to be exact?",
    (integrals,),
    CLAIMS,
)
