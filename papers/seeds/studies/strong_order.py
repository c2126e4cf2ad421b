"""Do the paths converge, and with which power of the step (the abstract's proof of convergence, measured)?

One Brownian path is drawn for each sample on a fine grid of the log-SNR. A solver with coarse steps gets the same path:
the normals of its steps and stages are exact sums over the fine ones. Its distance from a solution with fine steps, on
the same path and from the same start, is the strong error. Beside it the same with another Brownian path, which cannot
converge, and a law of two separated modes, where a path that lands in the other mode errs by their distance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from common.diffusion.oracle import GaussianMixture
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import PRESETS, Grid, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import loglog_slope
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.seeds.brownian import BrownianPath
from papers.seeds.grids import uniform_log_snr
from papers.seeds.studies.looks import SOLVERS, legend, ticks
from papers.seeds.studies.methods import FORMS, METHODS, follow

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure


class Modes(NamedTuple):
    """Two Gaussians of one standard deviation at ±mean."""

    mean: float
    std: float

    def mixture(self) -> GaussianMixture:
        return GaussianMixture(torch.tensor([[-self.mean], [self.mean]]), torch.tensor([self.std, self.std]))


LAWS: Mapping[str, Modes] = {"one mode": Modes(0.3, 0.3), "two modes": Modes(1.0, 0.1)}
COUPLED = ("same path", "another path")
COMPARED = tuple(f"seeds-{kind}" for kind in ("1-data", "1-noise", "2a-data", "2a-noise", "3-data", "3-noise"))
SIGMA_MAX, SIGMA_MIN = 20.0, 0.02
PATHS, OTHER_PATHS = 0, 1
"""The random streams."""


@dataclass(frozen=True)
class StrongConfig:
    law: str
    steps: tuple[int, ...] = (16, 32, 64, 128)
    reference_steps: int = 768
    """Of SEEDS-3, at three evaluations each: the fine grid has three cells to a step."""
    n_samples: int = 1000

    def __post_init__(self) -> None:
        one_of(LAWS, self, "law")
        at_least(1, self, "steps", "reference_steps", "n_samples")
        cells = 3 * self.reference_steps
        if any(cells % (6 * steps) for steps in self.steps):
            raise ValueError(
                f"steps are {self.steps}; six times each must divide three times reference_steps, {cells}, so that the "
                "stages of all methods lie on the fine grid"
            )


@experiment(
    StrongConfig,
    {preset: Grid([StrongConfig(law) for law in LAWS], 4 if preset == "quick" else 10) for preset in PRESETS},
    {"solver": COMPARED, "path": COUPLED, "n_steps": int, "rms": float, "mean_abs": float, "flipped": float},
)
def strong(config: StrongConfig, seed: int, run: Run) -> Sequence[Row]:
    """How far solvers with coarse steps end from a fine solution on the same Brownian path."""
    generator, form = stream(seed, PATHS), FORMS["data"]
    shape = (config.n_samples, 1)
    denoiser = LAWS[config.law].mixture()
    start = denoiser.sample(config.n_samples, generator)
    x = start + SIGMA_MAX * torch.randn(shape, generator=generator, dtype=torch.float64)
    fine = uniform_log_snr(form, 3 * config.reference_steps, SIGMA_MAX, SIGMA_MIN)
    nodes = form.half_log_snr(fine)
    noises = {
        "same path": BrownianPath.draw(nodes, shape, generator).noise(),
        "another path": BrownianPath.draw(nodes, shape, stream(seed, OTHER_PATHS)).noise(),
    }
    exact = follow(METHODS["seeds-3-data"](fine[::3]), denoiser, x, noises["same path"])
    rows: list[Row] = []
    for solver in COMPARED:
        for steps in config.steps:
            table = METHODS[solver](fine[:: 3 * config.reference_steps // steps])
            for path, noise in noises.items():
                error = (follow(table, denoiser, x, noise) - exact).abs()
                rows.append(
                    {
                        "solver": solver,
                        "path": path,
                        "n_steps": steps,
                        "rms": float(error.square().mean().sqrt()),
                        "mean_abs": float(error.mean()),
                        "flipped": float((error > LAWS[config.law].mean).double().mean()),
                    }
                )
    return rows


FIRST = Criterion(0.9, 1.1, "first order; the margin is for the error's next term")
AT_LEAST = Criterion(0.8, reason="the first order, which the noise within a step bounds; coarse steps show less of it")
SETTING = (
    "Exact denoisers in one dimension, noise levels from 20 to 0.02 in equal steps of the log-SNR. The fine solution "
    "is SEEDS-3 with 768 steps on the same Brownian path. "
)


def _order(solver: str, column: str = "rms", law: str = "one mode", path: str = "same path") -> Quantity:
    first = solver.startswith("seeds-1")
    return Quantity(
        SOLVERS[solver].name,
        strong,
        loglog_slope("n_steps", column, solver=solver, law=law, path=path).then(lambda slope: -slope),
        FIRST if first else AT_LEAST,
        expected=1.0,
        metric="order in the step of the root mean square distance to the fine solution",
    )


def _control(solver: str) -> Quantity:
    return Quantity(
        f"{SOLVERS[solver].name}, another path",
        strong,
        loglog_slope("n_steps", "rms", solver=solver, law="one mode", path="another path").then(lambda slope: -slope),
        Criterion(-0.1, 0.1, "no convergence, to a tenth of an order"),
        expected=0.0,
        metric="order in the step of the distance to a fine solution on another Brownian path",
    )


def _two_modes(solver: str, column: str, expected: float, lower: float, upper: float, metric: str) -> Quantity:
    return Quantity(
        f"{SOLVERS[solver].name}, {metric}",
        strong,
        loglog_slope("n_steps", column, solver=solver, law="two modes", path="same path").then(lambda slope: -slope),
        Criterion(lower, upper, "the order; a fifth for the few paths that flip"),
        expected=expected,
        metric=f"order in the step of the {metric}",
    )


CLAIMS = (
    Claim(
        "strong-order",
        "SEEDS converges strongly: on one Brownian path its samples go to the exact ones with the first power of the "
        "step.",
        "Abstract (convergence is proved); the orders are measured here",
        tuple(_order(solver) for solver in COMPARED),
        presets=PRESETS,
        kind="theorem",
        headline=True,
        excludes="the same solvers on another Brownian path, which do not converge",
        deviation=SETTING
        + "Two Gaussians that make one mode. The orders that the paper's theorems state were found in no "
        "public text, so none is quoted.",
    ),
    Claim(
        "no-coupling",
        "On another Brownian path nothing converges: the strong error is about the path, and not about the law.",
        "beside the abstract",
        tuple(_control(solver) for solver in ("seeds-1-data", "seeds-3-data")),
        presets=PRESETS,
        kind="ours",
        excludes="the same Brownian path, on which the order is one",
        deviation=SETTING,
    ),
    Claim(
        "separated-modes",
        "With two separated modes the root mean square error falls with the root of the step: as many paths as the "
        "step is long end in the other mode, and each errs by the distance of the modes.",
        "beside the abstract",
        (
            _two_modes("seeds-1-data", "rms", 0.5, 0.3, 0.7, "root mean square error"),
            _two_modes("seeds-1-data", "mean_abs", 1.0, 0.8, 1.2, "mean absolute error"),
            _two_modes("seeds-1-data", "flipped", 1.0, 0.8, 1.2, "share of paths in the other mode"),
        ),
        presets=PRESETS,
        kind="ours",
        excludes="one mode, where the root mean square error is of first order",
        deviation=SETTING + "Two Gaussians of standard deviation 0.1 at ±1.",
    ),
)


def draw_errors(results: Results) -> MatplotlibFigure:
    figure, axes = panels("seeds", 1, 2, width=8, height=5.4)
    rows = results.table(strong)
    for panel, law in zip(axes[0], LAWS, strict=True):
        of_law = where(rows, law=law)
        for solver in COMPARED:
            mean = where(of_law, solver=solver, path="same path").groupby("n_steps")["rms"].mean()
            panel.plot(mean.index, mean, **SOLVERS[solver].line())
        mean = where(of_law, solver="seeds-1-data", path="another path").groupby("n_steps")["rms"].mean()
        panel.plot(mean.index, mean, color="0.5", ls=":", label="SEEDS-1, another Brownian path")
        ticks(panel, of_law["n_steps"].unique(), yscale="log", xlabel="steps", title=law)
    axes[0, 0].set_ylabel("rms distance to the fine solution")
    legend(figure, columns=2)
    return finish(figure)


FIGURES = (
    Figure(
        "strong-order",
        "Two log-log plots of the root mean square distance to the fine solution against steps, for SEEDS-1, 2 and 3 "
        "in data and noise prediction: one mode, and two separated modes.",
        "Left: on the same Brownian path the distance falls with the first power of the step; on another path, in "
        "grey, it stays. Right: with two separated modes it falls with the root of the step.",
        (strong,),
        draw_errors,
    ),
)

STUDY = Study(
    "Strong order: the paths",
    "On one Brownian path, with which power of the step do the samples go to the exact ones?",
    (strong,),
    CLAIMS,
    FIGURES,
    "A solver that sees the Brownian path at the ends of its stages only does not know its integral over the step. "
    "That leaves a local error of order 3/2 with mean zero, and so the first order, however many stages there are: "
    "what more evaluations a step improve is the law.",
)
