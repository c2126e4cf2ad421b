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
from torch import Tensor

from common.diffusion.oracle import GaussianMixture
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import PRESETS, Grid, Row, Run, at_least, experiment, positive
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend, ticks
from common.harness.studies.measures import Measure, loglog_slope
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.seeds.brownian import BrownianPath, Noise
from papers.seeds.grids import uniform_log_snr
from papers.seeds.studies.looks import SOLVERS
from papers.seeds.studies.methods import FORMS, METHODS, follow

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure


class Modes(NamedTuple):
    """Two Gaussians of one standard deviation at ±mean."""

    mean: float
    std: float

    def mixture(self) -> GaussianMixture:
        return GaussianMixture(torch.tensor([[-self.mean], [self.mean]]), torch.tensor([self.std, self.std]))


ONE_MODE, TWO_MODES = Modes(0.3, 0.3), Modes(1.0, 0.1)
COUPLED = ("same path", "another path")
COMPARED = tuple(f"seeds-{kind}" for kind in ("1-data", "1-noise", "2a-data", "2a-noise", "3-data", "3-noise"))
UNCOUPLED = ("seeds-1-data", "seeds-3-data")
"""Those that are followed on another path, too."""
PATHS, OTHER_PATHS = 0, 1
"""The random streams."""


@dataclass(frozen=True)
class StrongConfig:
    """One mode."""

    steps: tuple[int, ...] = (32, 64, 128)
    reference_steps: int = 768
    """Of SEEDS-3, at three evaluations each: the fine grid has three cells to a step."""
    n_samples: int = 400
    sigma_max: float = 20.0
    sigma_min: float = 0.02

    def __post_init__(self) -> None:
        _in_range(self)
        if any(3 * self.reference_steps % (6 * steps) for steps in self.steps):
            raise ValueError(
                f"steps are {self.steps}; twice each must divide reference_steps, {self.reference_steps}, so that the "
                "stages of all methods lie on the fine grid"
            )


@dataclass(frozen=True)
class SeparatedConfig:
    """Two modes, by SEEDS-1."""

    steps: tuple[int, ...] = (16, 32, 64, 128)
    reference_steps: int = 512
    n_samples: int = 2000
    sigma_max: float = 10.0
    sigma_min: float = 0.1

    def __post_init__(self) -> None:
        _in_range(self)
        if any(self.reference_steps % steps for steps in self.steps):
            raise ValueError(f"steps are {self.steps}; each must divide reference_steps, {self.reference_steps}")


def _in_range(config: StrongConfig | SeparatedConfig) -> None:
    at_least(1, config, "steps", "reference_steps", "n_samples")
    positive(config, "sigma_min")
    if not config.sigma_max > config.sigma_min:
        raise ValueError(f"sigma_max is {config.sigma_max}; it must lie above sigma_min, {config.sigma_min}")


class Coupled(NamedTuple):
    """What solvers of one law share."""

    denoiser: GaussianMixture
    start: Tensor
    """x at sigma_max, (B, 1)."""
    fine: Tensor
    """A grid of σ, in equal steps of the log-SNR."""
    paths: Mapping[str, Noise]
    """Normals of a Brownian path on that grid, and of another."""

    def end(self, solver: str, every: int, path: str = "same path") -> Tensor:
        """Where a solver ends that takes each step over `every` cells of the fine grid."""
        return follow(METHODS[solver](self.fine[::every]), self.denoiser, self.start, self.paths[path])


def coupled(law: Modes, config: StrongConfig | SeparatedConfig, cells: int, seed: int) -> Coupled:
    """Starts and Brownian paths of a seed."""
    generator, denoiser = stream(seed, PATHS), law.mixture()
    x0 = denoiser.sample(config.n_samples, generator)
    start = x0 + config.sigma_max * torch.randn(x0.shape, generator=generator, dtype=torch.float64)
    fine = uniform_log_snr(FORMS["data"], cells, config.sigma_max, config.sigma_min)
    generators = dict(zip(COUPLED, (generator, stream(seed, OTHER_PATHS)), strict=True))
    nodes = FORMS["data"].half_log_snr(fine)
    paths = {name: BrownianPath.draw(nodes, x0.shape, own).noise() for name, own in generators.items()}
    return Coupled(denoiser, start, fine, paths)


def rms(error: Tensor) -> float:
    """√ of the mean square."""
    return float(error.square().mean().sqrt())


@experiment(
    StrongConfig,
    {preset: Grid([StrongConfig()], 4 if preset == "quick" else 10) for preset in PRESETS},
    {"solver": COMPARED, "path": COUPLED, "n_steps": int, "rms": float},
)
def strong(config: StrongConfig, seed: int, run: Run) -> Sequence[Row]:
    """How far solvers with coarse steps end from a fine solution, on the same Brownian path and on another."""
    cells = 3 * config.reference_steps
    shared = coupled(ONE_MODE, config, cells, seed)
    exact = shared.end("seeds-3-data", 3)
    followed = [(solver, "same path") for solver in COMPARED] + [(solver, "another path") for solver in UNCOUPLED]
    return [
        {
            "solver": solver,
            "path": path,
            "n_steps": steps,
            "rms": rms(shared.end(solver, cells // steps, path) - exact),
        }
        for solver, path in followed
        for steps in config.steps
    ]


@experiment(
    SeparatedConfig,
    {preset: Grid([SeparatedConfig()], 4 if preset == "quick" else 10) for preset in PRESETS},
    {"n_steps": int, "rms": float, "mean_abs": float, "flipped": float},
)
def separated(config: SeparatedConfig, seed: int, run: Run) -> Sequence[Row]:
    """The same with two separated modes, and how many paths end in the other one."""
    shared = coupled(TWO_MODES, config, config.reference_steps, seed)
    exact = shared.end("seeds-1-data", 1)
    rows: list[Row] = []
    for steps in config.steps:
        error = (shared.end("seeds-1-data", config.reference_steps // steps) - exact).abs()
        flipped = float((error > TWO_MODES.mean).double().mean())
        rows.append({"n_steps": steps, "rms": rms(error), "mean_abs": float(error.mean()), "flipped": flipped})
    return rows


FIRST = Criterion(0.9, 1.1, "first order; the margin is for the error's next term")
AT_LEAST = Criterion(0.8, reason="the first order, which the noise within a step bounds; coarse steps may show less")
SETTING = (
    "Exact denoisers in one dimension, in equal steps of the log-SNR. The fine solution is on the same Brownian path. "
)


def _falls(column: str, **where: str) -> Measure:
    return loglog_slope("n_steps", column, **where).then(lambda slope: -slope)


def _order(solver: str) -> Quantity:
    return Quantity(
        SOLVERS[solver].name,
        strong,
        _falls("rms", solver=solver, path="same path"),
        FIRST if solver.startswith("seeds-1") else AT_LEAST,
        expected=1.0,
        metric="order in the step of the root mean square distance to the fine solution",
    )


def _control(solver: str) -> Quantity:
    return Quantity(
        f"{SOLVERS[solver].name}, another path",
        strong,
        _falls("rms", solver=solver, path="another path"),
        Criterion(-0.1, 0.1, "no convergence, to a tenth of an order"),
        expected=0.0,
        metric="order in the step of the distance to a fine solution on another Brownian path",
    )


def _two_modes(column: str, name: str, expected: float, margin: float) -> Quantity:
    return Quantity(
        name,
        separated,
        _falls(column),
        Criterion(expected - margin, expected + margin, "the order; the margin is for the few paths that flip"),
        expected=expected,
        metric="order in the step, two modes",
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
        + "Two Gaussians that make one mode. The orders that the paper's theorems state were found in no public text, "
        "so none is quoted.",
    ),
    Claim(
        "no-coupling",
        "On another Brownian path nothing converges: the strong error is about the path, and not about the law.",
        "beside the abstract",
        tuple(_control(solver) for solver in UNCOUPLED),
        presets=PRESETS,
        kind="ours",
        excludes="the same Brownian path, on which the order is one",
        deviation=SETTING,
    ),
    Claim(
        "separated-modes",
        "With two separated modes the root mean square error falls with the root of the step: the share of paths that "
        "end in the other mode falls with the step, and each of them errs by the distance of the modes.",
        "beside the abstract",
        (
            _two_modes("rms", "root mean square error", 0.5, 0.2),
            _two_modes("mean_abs", "mean absolute error", 1.0, 0.25),
            _two_modes("flipped", "share of paths in the other mode", 1.0, 0.25),
        ),
        presets=PRESETS,
        kind="ours",
        excludes="one mode, where the root mean square error is of first order",
        deviation=SETTING + "SEEDS-1 in data prediction; two Gaussians of standard deviation 0.1 at ±1.",
    ),
)


def draw_errors(results: Results) -> MatplotlibFigure:
    figure, axes = panels("seeds", 1, 2, width=8, height=5.4)
    left, right = axes[0]
    rows = results.table(strong)
    for solver in COMPARED:
        mean = where(rows, solver=solver, path="same path").groupby("n_steps")["rms"].mean()
        left.plot(mean.index, mean, **SOLVERS[solver].line())
    mean = where(rows, solver="seeds-1-data", path="another path").groupby("n_steps")["rms"].mean()
    left.plot(mean.index, mean, color="0.5", ls=":", label="SEEDS-1, another Brownian path")
    means = results.table(separated).groupby("n_steps")[[*MODES]].mean()
    for column, (name, dash) in MODES.items():
        right.plot(means.index, means[column], color=SOLVERS["seeds-1-data"].colour, ls=dash, label=name)
    for panel, title, table in ((left, "one mode", rows), (right, "two modes, SEEDS-1", results.table(separated))):
        ticks(panel, table["n_steps"].unique(), yscale="log", xlabel="steps", title=title)
    left.set_ylabel("rms distance to the fine solution")
    legend(figure, columns=2)
    return finish(figure)


MODES = {
    "rms": ("rms distance, two modes", "-"),
    "mean_abs": ("mean distance, two modes", "--"),
    "flipped": ("share of paths in the other mode", ":"),
}
"""By column: the name and the dash of what is drawn of two modes."""

FIGURES = (
    Figure(
        "strong-order",
        "Two log-log plots against steps. Left: root mean square distances to the fine solution of SEEDS-1, 2 and 3 in "
        "data and noise prediction, for one mode. Right: root mean square and mean distance of SEEDS-1, and the share "
        "of paths in the other mode, for two modes.",
        "Left: on the same Brownian path the distance falls with the first power of the step; on another path, in "
        "grey, it stays. Right: the paths that end in the other mode become fewer with the first power of the step, so "
        "that the root mean square falls with its root.",
        (strong, separated),
        draw_errors,
    ),
)

STUDY = Study(
    "Strong order: the paths",
    "On one Brownian path, with which power of the step do the samples go to the exact ones?",
    (strong, separated),
    CLAIMS,
    FIGURES,
    "A solver that sees the Brownian path at the ends of its stages only does not know its integral over the step. "
    "That leaves a local error of order 3/2 with mean zero, and so the first order, however many stages there are: "
    "what more evaluations a step improve is the law.",
)
