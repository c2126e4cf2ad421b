"""Is the score in the same network (Section 3.1 and 5.3)?

g(x, t, t) is to be the denoiser E[x0 | x_t], which denoising score matching (DSM) asks for directly. On the ring the
denoiser is known: the error of the diagonal is measured at each noise level, with DSM and without. The score gives a
density, through its probability-flow ODE; what a student needs in bits more than the law itself is a Kullback-Leibler
divergence, and so not negative.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING

import torch

from common.diffusion.likelihood import log_likelihood
from common.diffusion.solvers import Denoiser
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Need, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend
from common.harness.studies.measures import Measure, per_seed, value_at
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.ctm.published import BPD, BPD_TEACHER
from papers.ctm.studies import students
from papers.ctm.studies.images import images_of
from papers.ctm.studies.looks import METHODS
from papers.ctm.studies.methods import student_config
from papers.ctm.studies.ring import (
    GRID,
    HELD_OUT,
    LAW,
    SEEDS,
    SIZES,
    TEACHER,
    TRAINED,
    ring,
    trained,
    trained_student,
)
from papers.ctm.studies.teachers import teacher_of
from papers.ctm.teacher import noisy

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

SIGMAS = (0.002, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 20.0, 80.0)
STUDENTS = ("ctm", "without-dsm")
DENOISERS = (*STUDENTS, "teacher")


@dataclass(frozen=True)
class ScoreConfig:
    """Whose diagonal, on `n` points at each noise level; `n_bits` points whose density is taken."""

    student: str
    size: str
    n: int = 10_000
    n_bits: int = 1000
    tolerance: float = 1e-5
    """Of the ODE's solver."""

    def __post_init__(self) -> None:
        one_of(DENOISERS, self, "student")
        one_of(SIZES, self, "size")
        at_least(1, self, "n", "n_bits")


def _needs(config: ScoreConfig, seed: int) -> Mapping[str, Need]:
    return {} if config.student == "teacher" else {"student": trained(config.student, config.size, seed)}


@experiment(
    ScoreConfig,
    {"small": Grid([ScoreConfig(name, "small") for name in DENOISERS], SEEDS["small"])},
    {"sigma": float, "rmse": float, "bits": float, "entropy": float, "excess": float},
    needs=_needs,
    tolerance=TRAINED,
)
def diagonal(config: ScoreConfig, seed: int, run: Run) -> list[Row]:
    """By noise level, the root mean square error of g(x, σ, σ). At the least level, bits per dimension through its
    score, those of the law on the same points, and the difference."""
    denoiser: Denoiser = TEACHER
    if config.student != "teacher":
        denoiser = trained_student(config.student, config.size, run.needs["student"]).denoised
    generator = stream(seed, HELD_OUT)
    rows: list[Row] = []
    for sigma in SIGMAS:
        level = torch.tensor(sigma, dtype=torch.float64)
        x = noisy(ring(config.n, generator)[0].double(), level, generator)
        with torch.no_grad():
            error = denoiser(x, level) - TEACHER(x, level)
        rows.append({"sigma": sigma, "rmse": float(error.square().mean().sqrt())})
    end = GRID.sigma_min
    x = noisy(ring(config.n_bits, generator)[0].double(), torch.tensor(end), generator)
    own = -log_likelihood(denoiser, x, end, GRID.sigma_max, tolerance=config.tolerance) / (2 * log(2))
    of_law = -LAW.log_prob(x, end) / (2 * log(2))
    rows[0] = {
        **rows[0],
        "bits": float(own.mean()),
        "entropy": float(of_law.mean()),
        "excess": float((own - of_law).mean()),
    }
    return rows


@dataclass(frozen=True)
class DigitScoreConfig:
    """Whose diagonal, on `n` noisy digits at each noise level."""

    method: str
    n: int = 1000

    def __post_init__(self) -> None:
        one_of(STUDENTS, self, "method")
        at_least(1, self, "n")


@experiment(
    DigitScoreConfig,
    {"small": Grid([DigitScoreConfig(name) for name in STUDENTS], 5)},
    {"sigma": float, "rmse": float},
    needs=lambda config, seed: {"student": students.trained(config.method, "exact", seed)},
    tolerance=TRAINED,
)
@torch.no_grad()
def digit_diagonal(config: DigitScoreConfig, seed: int, run: Run) -> list[Row]:
    """By noise level, the root mean square error of g(x, σ, σ) on digits, over the standard deviation of the pixels."""
    student = students.trained_student(student_config(config.method, "exact"), run.needs["student"], run.device)
    denoiser, images = teacher_of("exact", {}, run.device), images_of("digits", 8)
    generator = stream(seed, HELD_OUT)
    rows: list[Row] = []
    for sigma in SIGMAS:
        x0 = images.x0[torch.randint(len(images.x0), (config.n,), generator=generator)].double()
        level = torch.tensor(sigma, dtype=torch.float64)
        x = noisy(x0, level, generator).to(run.device)
        error = student.denoised(x, level) - denoiser(x, level)
        rows.append({"sigma": sigma, "rmse": float(error.square().mean().sqrt()) / images.sigma_data})
    return rows


def _over_levels(value: str, /, **who: str) -> Measure:
    """The largest or the root mean square error over noise levels."""

    def of_rows(rows: pd.DataFrame) -> float:
        rmse = rows["rmse"].dropna()
        return float(rmse.max()) if value == "largest" else float((rmse**2).mean() ** 0.5)

    return per_seed(of_rows, ("rmse",), **who)


def _over_without(column: str) -> Measure:
    """The root mean square over noise levels with DSM over that without; `column` has the student's name."""

    def ratio(table: pd.DataFrame) -> pd.Series:
        own, other = (_over_levels("root mean square", **{column: name})(table) for name in STUDENTS)
        return own / other

    return Measure(ratio, ("rmse",), tuple({column: name} for name in STUDENTS))


def _excess(student: str) -> Quantity:
    return Quantity(
        f"{METHODS[student].name}: bits less entropy",
        diagonal,
        value_at("excess", student=student, sigma=SIGMAS[0]),
        Criterion(-0.005, 0.1, "not below the entropy, but for the noise of the sample; and near it"),
        metric="bits per dimension less those of the law on the same points",
    )


SETTING = "The ring of eight Gaussians with its exact denoiser as teacher; its standard deviation is 1. "
DENSITY = (
    "The density is that of the noisy law at σ_min, whose entropy is known: its bits are not a bound, and there is "
    f"nothing to dequantise. The paper's numbers on CIFAR-10, {BPD} and {BPD_TEACHER} of the teacher, are by a script "
    "that counts too few bits: see `official_likelihood`. "
)
CLAIMS = (
    Claim(
        "score",
        "The score comes from the same network: with denoising score matching the diagonal g(x, t, t) is the denoiser.",
        "Section 3.1 and 4.1, Equation 8",
        (
            Quantity(
                "largest error with DSM",
                diagonal,
                _over_levels("largest", student="ctm"),
                Criterion(upper=0.05, reason="a twentieth of the data's standard deviation, at every noise level"),
                metric="root mean square error of g(x, σ, σ), at the worst of eleven noise levels",
            ),
            Quantity(
                "error with DSM over that without",
                diagonal,
                _over_without("student"),
                Criterion(upper=0.5, reason="half at the most"),
                metric="root mean square over noise levels",
                unit="×",
                scale="log",
            ),
        ),
        presets=("small",),
        headline=True,
        excludes="a student without DSM",
        deviation=SETTING,
    ),
    Claim(
        "score-digits",
        "On digits, too, the diagonal is nearer to the denoiser with denoising score matching than without.",
        "Section 3.1 and 4.1, Equation 8",
        (
            Quantity(
                "error with DSM over that without, digits",
                digit_diagonal,
                _over_without("method"),
                Criterion(upper=1.0, reason="lower"),
                metric="root mean square over noise levels of the error of g(x, σ, σ)",
                unit="×",
                scale="log",
            ),
        ),
        presets=("small",),
        excludes="a student without DSM in its place",
        deviation="scikit-learn's digits with their exact denoiser as teacher; noisy training images.",
    ),
    Claim(
        "score-bits",
        "Bits per dimension through the student's score are near the law's own, and not below them.",
        "Section 5.3, Table 1",
        (_excess("ctm"),),
        presets=("small",),
        headline=True,
        excludes="a student without DSM; and the script's residual, with which bits are 0.3 to 0.7 too few",
        deviation=SETTING + DENSITY,
    ),
)


def draw_diagonal(results: Results) -> MatplotlibFigure:
    table = results.table(diagonal)
    figure, axes = panels("ctm", width=7, height=4.4)
    _curves(axes[0, 0], table, "student")
    axes[0, 0].axhline(0.05, color="0.6", lw=0.8, zorder=0)
    legend(figure, 2)
    return finish(figure)


def draw_digits(results: Results) -> MatplotlibFigure:
    figure, axes = panels("ctm", width=7, height=4.4)
    _curves(axes[0, 0], results.table(digit_diagonal), "method")
    legend(figure, 2)
    return finish(figure)


def _curves(panel: Axes, table: pd.DataFrame, column: str) -> None:
    for name in STUDENTS:
        by_sigma = where(table, **{column: name}).groupby("sigma")["rmse"]
        panel.plot(by_sigma.mean().index, by_sigma.mean(), **METHODS[name].line())
    panel.set(xscale="log", yscale="log", xlabel="noise level σ", ylabel="error of g(x, σ, σ)")


FIGURES = (
    Figure(
        "diagonal",
        "Root mean square error of the diagonal g(x, σ, σ) against the noise level, with DSM and without; both axes "
        "are logarithmic.",
        "Consistency alone never asks for the diagonal; denoising score matching brings its error down, below the grey "
        "line at 0.05.",
        (diagonal,),
        draw_diagonal,
    ),
    Figure(
        "diagonal-digits",
        "Root mean square error of the diagonal g(x, σ, σ) on digits against the noise level, with DSM and without; "
        "both axes are logarithmic.",
        "Errors are in units of the standard deviation of the pixels.",
        (digit_diagonal,),
        draw_digits,
    ),
)

STUDY = Study(
    "The score in the same network",
    "Is the student's diagonal the denoiser, and what is the density worth that it gives?",
    (diagonal, digit_diagonal),
    CLAIMS,
    FIGURES,
)
