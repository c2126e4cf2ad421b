"""Do trained passes follow the exact iterates of IMF and IPF, and which marginals does each keep (Section 3)?

Between Gaussians every iterate is known: the covariance of its ends, their variances and their means. The networks of
the study `gaussian` are compared with them pass by pass. `exact_euler` says what 20 steps of simulation alone change.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import PRESETS, Grid, Row, Run, at_least, experiment, positive
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import Measure, per_seed, value_at
from common.harness.studies.panels import finish, where
from common.harness.studies.study import Study
from papers.dsbm.gaussian import imf, independent_bridge, ipf, simulated, unit_gaussians
from papers.dsbm.studies.drawing import by_pass, key, present, sheet
from papers.dsbm.studies.gaussian import BUDGET, gaussian
from papers.dsbm.studies.methods import LOOKS
from papers.dsbm.studies.pairs import A

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure


@dataclass(frozen=True)
class EulerConfig:
    """The passes of the Gaussian experiment with exact drifts, in its number of steps."""

    passes: int = 10
    steps: int = 20
    sigma: float = 1.0

    def __post_init__(self) -> None:
        at_least(1, self, "passes", "steps")
        positive(self, "sigma")


@experiment(
    EulerConfig,
    {preset: Grid([EulerConfig()]) for preset in PRESETS},
    {
        "method": ("ipf", "imf"),
        "pass_number": int,
        "direction": ("b", "f"),
        "correlation": float,
        "var_free": float,
        "mean_free": float,
    },
)
def exact_euler(config: EulerConfig, seed: int, run: Run) -> list[Row]:
    """What a pass of IPF and of IMF makes if its drift is exact and its simulation is not: each pass projects the exact
    iterate before it, and runs from true data at one end to the other."""
    ends = unit_gaussians(1, A)
    mean_0, mean_1, cov_0, cov_1 = ends
    methods = {"ipf": ipf(*ends, config.sigma), "imf": imf(independent_bridge(*ends, config.sigma))}
    rows: list[Row] = []
    for method, iterates in methods.items():
        for number, before in enumerate(islice(iterates, config.passes), 1):
            backward = number % 2 == 1
            start = (mean_1, cov_1) if backward else (mean_0, cov_0)
            made = simulated(before.reverse() if backward else before, *start, config.steps)
            rows.append(
                {
                    "method": method,
                    "pass_number": number,
                    "direction": "b" if backward else "f",
                    "correlation": float(made.cross),
                    "var_free": float(made.cov_1),
                    "mean_free": float(made.mean_1),
                }
            )
    return rows


def generated_variance(pass_number: int, /, **where: object) -> Measure:
    """The variance at the end of pass `pass_number`, on the side that its simulation arrives at."""

    def variance(rows: pd.DataFrame) -> float:
        row = rows.iloc[0]
        return float(row["var_0"] if row["direction"] == "b" else row["var_1"])

    return per_seed(variance, ("direction", "var_0", "var_1"), **where, pass_number=pass_number)


def shift_of_mean(pass_number: int, /, **where: object) -> Measure:
    """Mean of x_1 less mean of x_0, per coordinate: 2a where both marginals are right."""

    def shift(rows: pd.DataFrame) -> float:
        row = rows.iloc[0]
        return float(row["mean_1"] - row["mean_0"])

    return per_seed(shift, ("mean_0", "mean_1"), **where, pass_number=pass_number)


FREE_VARIANCE = "variance of a coordinate at the end that a pass simulates"
IMF_CROSS = (0.5463, 0.6111, 0.6174, 0.6180)
IPF_CROSS = (1 / 2, 2 / 3, 3 / 5, 5 / 8)
"""Cov(x_0, x_1) after passes 1 to 4 in exact arithmetic, σ = 1."""


def _covariances() -> tuple[Quantity, ...]:
    return tuple(
        Quantity(
            f"{method}, pass {number}",
            gaussian,
            value_at("correlation", method=method, dim=5, pass_number=number),
            Criterion(
                exact - 0.03, exact + 0.03, "the exact value ± 0.03; the other iteration's second value is 0.056 away"
            ),
            expected=round(exact, 4),
            metric="Cov(x_0, x_1) of a coordinate",
        )
        for method, values in (("DSBM-IMF", IMF_CROSS), ("DSBM-IPF", IPF_CROSS))
        for number, exact in enumerate(values, 1)
    )


def _variances() -> tuple[Quantity, ...]:
    kept = Criterion(0.9, 1.1, "1 within a tenth, well within the quarter that IPF departs by in its first pass")
    imf = tuple(
        Quantity(
            f"DSBM-IMF, variance after pass {number}",
            gaussian,
            generated_variance(number, method="DSBM-IMF", dim=5),
            kept,
            expected=1.0,
            metric=FREE_VARIANCE,
        )
        for number in (1, 2, 3, 4)
    )
    ipf = tuple(
        Quantity(
            f"DSBM-IPF, variance after pass {number}",
            gaussian,
            generated_variance(number, method="DSBM-IPF", dim=5),
            Criterion(exact - 0.05, exact + 0.05, f"the exact {fraction} ± 0.05"),
            expected=round(exact, 4),
            metric=FREE_VARIANCE,
        )
        for number, exact, fraction in ((1, 3 / 4, "3/4"), (2, 10 / 9, "10/9"))
    )
    means = tuple(
        Quantity(
            f"{method}, shift of the mean in pass 1",
            gaussian,
            shift_of_mean(1, method=method, dim=5),
            Criterion(shift - 0.03, shift + 0.03, "the exact value ± 0.03, a third of the distance of the two"),
            expected=shift,
            metric="mean of a coordinate at t = 1 less that at t = 0",
        )
        for method, shift in (("DSBM-IMF", 2 * A), ("DSBM-IPF", A))
    )
    return (*imf, *ipf, *means)


CLAIMS = (
    Claim(
        "iterates",
        "The covariance between the two ends follows the exact iterates of IMF and of IPF, pass by pass.",
        "Section 3; exact values by this repository",
        _covariances(),
        presets=PRESETS,
        deviation=BUDGET + " d = 5. Until a review of the first report IPF had ± 0.05, which IMF's values meet as "
        "well.",
        excludes="the iterates of the other method, of IPF for IMF and of IMF for IPF",
    ),
    Claim(
        "marginals",
        "IMF keeps both marginals at every iterate; IPF keeps one, and the other comes right only in the limit.",
        "Section 3",
        _variances(),
        presets=PRESETS,
        deviation=BUDGET + " d = 5. Variances are of the end where a pass's simulation arrives. IPF's second one was "
        "added after a review of the first report; what is now the shift of the mean was the mean of x_0.",
        excludes="IPF for IMF: after its first pass it has the variance 3/4, and half of the shift of the mean",
    ),
)


def _learned_and_exact(
    table: pd.DataFrame, euler: pd.DataFrame, learned: str, exact: str, ylabel: str
) -> MatplotlibFigure:
    """What networks learned after each pass beside what they should have: IPF on the left, IMF on the right.

    euler: what exact drifts make of `learned` in 20 steps.
    """
    dim = int(table["dim"].max())
    figure, ((*axes,),) = sheet(1, 2, height=3.8)
    for panel, name, methods in zip(axes, ("IPF", "IMF"), (("DSB", "DSBM-IPF"), ("DSBM-IMF",)), strict=True):
        for method in (method for method in present(table) if method in methods):
            rows = where(table, dim=dim, method=method)
            by_pass(panel, rows, learned, method)
            line = rows.groupby("pass_number")[exact].mean()
        panel.plot(line.index, line, color="0.3", lw=1.2, zorder=1, label="exact")
        steps = where(euler, method=name.lower()).set_index("pass_number")[learned].loc[line.index]
        panel.plot(steps.index, steps, color="0.3", lw=1.2, ls=":", zorder=1, label="exact drift in 20 steps")
        panel.set(title=f"{name}, d = {dim}", xlabel="pass (odd: backward)")
        panel.xaxis.get_major_locator().set_params(integer=True)
    axes[0].set_ylabel(ylabel)
    low, high = min(panel.get_ylim()[0] for panel in axes), max(panel.get_ylim()[1] for panel in axes)
    for panel in axes:
        panel.set_ylim(low, high)
    key(figure)
    return finish(figure)


def covariances(results: Results) -> MatplotlibFigure:
    tables = results.table(gaussian), results.table(exact_euler)
    return _learned_and_exact(*tables, "correlation", "exact_correlation", "covariance of the ends")


def variances(results: Results) -> MatplotlibFigure:
    """The end of each pass's simulation: x_0 after a backward pass, x_1 after a forward one."""
    table = results.table(gaussian)
    backward = table["direction"] == "b"
    table = table.assign(
        var_free=table["var_0"].where(backward, table["var_1"]),
        exact_var_free=table["exact_var_0"].where(backward, table["exact_var_1"]),
    )
    euler = results.table(exact_euler)
    return _learned_and_exact(table, euler, "var_free", "exact_var_free", "variance at the free end")


def marginals(results: Results) -> MatplotlibFigure:
    table = results.table(gaussian)
    dim = int(table["dim"].max())
    figure, ((*axes,),) = sheet(1, 2, height=3.8)
    for method in present(table):
        runs = [arrays for _, arrays in results.arrays(gaussian, method=method, dim=dim)]
        colour, marker = LOOKS[method]
        for panel, quantity in zip(axes, ("mean", "var"), strict=True):
            mean = np.mean([run[f"fitted_{quantity}"] for run in runs], axis=0)
            panel.plot(runs[0]["t"], mean, color=colour, marker=marker, markevery=2, label=method)
    for panel, quantity, word in zip(axes, ("mean", "var"), ("mean", "variance"), strict=True):
        panel.plot(runs[0]["t"], runs[0][f"exact_{quantity}"], color="black", lw=1.5, ls="--", label="exact bridge")
        panel.set(title=f"{word}, d = {dim}", xlabel="t", ylabel=f"{word} of a coordinate")
    key(figure)
    return finish(figure)


SHOWN_DIM = (
    " The figure has the largest dimension of its preset: 5 in `quick`, 50 in the others. Claims are judged at 5."
)

STUDY = Study(
    title="Pass by pass",
    question="Do trained passes follow the exact iterates of IMF and of IPF, and which marginals does each keep?",
    experiments=(exact_euler,),
    claims=CLAIMS,
    figures=(
        Figure(
            "covariances",
            "Covariance of the two ends after each pass: networks beside the exact iterates of IPF and of IMF.",
            "Full lines are exact arithmetic: IPF swings around the bridge's value from pass to pass, and IMF climbs "
            "to it from independent ends in two or three. Dotted lines are exact drifts in the 20 steps that networks "
            "have too. Marks are trained networks with 95 % intervals, often smaller than the mark." + SHOWN_DIM,
            (gaussian, exact_euler),
            covariances,
        ),
        Figure(
            "variances",
            "Variance at the end of each pass's simulation, which should be 1, for DSB, DSBM-IPF and DSBM-IMF.",
            "Each pass starts in true data at one end; shown is the variance at the other. In exact arithmetic (full "
            "lines) IMF keeps it at 1 in all passes, while IPF comes to 1 only in the limit. Marks depart from the "
            "lines by the error of 20 steps (dotted: exact drifts) and by that of what was learned." + SHOWN_DIM,
            (gaussian, exact_euler),
            variances,
        ),
        Figure(
            "marginals",
            "Mean and variance of a coordinate over time for each method, beside the exact Schrödinger bridge's.",
            "The bridge widens to the middle, where the reference's noise is largest, and returns to 1. Where a "
            "method's curve ends off 1 it has lost a marginal; where it is off in the middle its coupling is not the "
            "bridge's.",
            (gaussian,),
            marginals,
        ),
    ),
)
