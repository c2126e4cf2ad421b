"""A paper small enough to see through: the error of a mean of n draws falls as n^(-1/2). For the tests of reports."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure as MatplotlibFigure

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Row, Run, experiment
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import loglog_slope, value_at
from common.harness.studies.study import Study
from toy.paper import PAPER as TOY


@dataclass(frozen=True)
class Draws:
    n: int


@dataclass(frozen=True)
class Nothing:
    pass


@experiment(Draws, {"quick": Grid([Draws(n) for n in (4, 16, 64)], seeds=3)}, {"error": float, "solver": ("mean",)})
def means(config: Draws, seed: int, run: Run) -> Sequence[Row]:
    noise = np.random.default_rng(seed).normal(0, 0.01)
    return [{"error": config.n**-0.5 * (1 + noise), "solver": "mean"}]


@experiment(Nothing, {"small": Grid([Nothing()])}, {"x": float})
def never(config: Nothing, seed: int, run: Run) -> Sequence[Row]:
    return [{"x": 1.0}]


def draw(results: Results) -> MatplotlibFigure:
    figure, axes = plt.subplots()
    axes.plot(results.table(means)["n"], results.table(means)["error"])
    return figure


FIGURES = (
    Figure("error", "A falling line.", "The error | falls.", (means,), draw),
    Figure("other", "Nothing.", "Nothing.", (never,), draw),
)
RATE = Quantity("slope", means, loglog_slope("n", "error"), Criterion(-0.55, -0.45, "a guess"), -0.5, tolerance=0.02)
LEVEL = Quantity("level at 16", means, value_at("error", n=16), Criterion(0.2, 0.3), scale="log", tolerance=0.05)
CLAIMS = (
    Claim("rate", "The error falls as n^-1/2.", "Theorem 1", (RATE,), ("quick",)),
    Claim("table", "The table | is so.", "Table 1", (RATE, LEVEL), ("quick",), deviation="Fewer draws."),
    Claim("later", "It scales.", "Table 2", (Quantity("x", never, value_at("x"), Criterion(0)),), ("small",)),
)
STUDY = Study("Means", "How fast does a mean converge?", (means, never), CLAIMS, FIGURES)
PAPER = replace(TOY, slug="means", title="On | means", week=3, studies=("means",), presets=("quick", "small"))
