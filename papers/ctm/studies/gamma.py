"""Do more steps help, and for which γ (Section 3.3, Figure 7)?

Students of the ring, and of digits, are sampled with 1 to 17 or 18 jumps; none has a discriminator. γ = 0 chains jumps
that do not overlap; γ = 1 jumps to the data, adds noise and jumps again, as consistency models do, so that the errors
of all jumps add up. The paper's curve for γ = 1 begins near 4, where its student with a discriminator would begin near
2: so it seems to be of one without, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Need, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend, ticks
from common.harness.studies.measures import paired_ratio
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from common.metrics.distances import sliced_w2
from common.training.stream import stream
from papers.ctm.published import FID_GAMMA_0, FID_GAMMA_1
from papers.ctm.sampling import Jump, gamma_sampling, sampling_times
from papers.ctm.studies.image_quality import digit_quality
from papers.ctm.studies.looks import GAMMAS, METHODS
from papers.ctm.studies.ring import (
    DIRECTIONS,
    GRID,
    REFERENCE,
    RENOISING,
    SIZES,
    STUDENTS,
    TEACHER,
    TRAINED,
    TURNS,
    even_ring,
    start,
    trained,
    trained_student,
)
from papers.ctm.teacher import HeunTeacher

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure


@dataclass(frozen=True)
class GammaConfig:
    """A student, and how it is sampled."""

    student: str
    size: str
    gammas: tuple[float, ...] = (0.0, 0.5, 1.0)
    nfes: tuple[int, ...] = (1, 2, 4, 8, 17)
    n: int = 10_000
    projections: int = 128

    def __post_init__(self) -> None:
        one_of(STUDENTS, self, "student")
        one_of(SIZES, self, "size")
        at_least(1, self, "nfes", "n", "projections")
        if not all(0 <= gamma <= 1 for gamma in self.gammas):
            raise ValueError(f"gammas are {self.gammas}; each must lie in [0, 1]")
        if self.n % len(TURNS):
            raise ValueError(f"n is {self.n}; it must be a multiple of {len(TURNS)}, the turns of each draw")


def _needs(config: GammaConfig, seed: int) -> Mapping[str, Need]:
    return {"student": trained(config.student, config.size, seed)}


@experiment(
    GammaConfig,
    {
        # Students differ more than their samples do: seeds, and not points, decide.
        "quick": Grid([GammaConfig("ctm", "quick", (0.0, 1.0), (1, 17), 4000, 64)], 8),
        "small": Grid([GammaConfig("ctm", "quick")], 16),
    },
    {"gamma": float, "nfe": int, "distance": float, "teacher": float, "floor": float},
    needs=_needs,
    tolerance=TRAINED,
)
def gamma_sampled(config: GammaConfig, seed: int, run: Run) -> list[Row]:
    """The sliced W2 distance of samples from the ring, by γ and evaluations; that of the teacher's, solved on the grid
    of training, and that of other draws of the ring."""
    student, x = trained_student(config.student, config.size, run.needs["student"]), start(config.n, seed)
    generator = stream(seed, REFERENCE)
    reference, again = (even_ring(config.n, generator) for _ in range(2))

    def distance(samples: Tensor) -> float:
        return sliced_w2(samples, reference, stream(seed, DIRECTIONS), config.projections)

    places = torch.zeros(config.n, dtype=torch.long)
    teacher = distance(HeunTeacher(TEACHER, GRID)(x, places, places + GRID.N - 1))
    beside = {"teacher": teacher, "floor": distance(again)}
    rows: list[Row] = []
    for gamma in config.gammas:
        for nfe in config.nfes:
            ends = turned_sampling(student, x, nfe, gamma, seed)
            rows.append({"gamma": gamma, "nfe": nfe, "distance": distance(ends), **beside})
    return rows


def turned_sampling(student: Jump, x: Tensor, nfe: int, gamma: float, seed: int) -> Tensor:
    """γ-sampling from `start`, (n, 2): each eighth of x is the first, turned, and so is the noise that is added."""
    ends = []
    for turn, part in zip(TURNS, x.reshape(len(TURNS), -1, 2), strict=True):

        def jump(x: Tensor, t: Tensor, s: Tensor, turn: Tensor = turn) -> Tensor:
            return student(x @ turn, t, s) @ turn.T

        times, generator = sampling_times(nfe, GRID), stream(seed, RENOISING)
        ends.append(gamma_sampling(jump, part @ turn.T, times, gamma, generator) @ turn)
    return torch.cat(ends)


def _row(gamma: float, nfe: int) -> Row:
    return {"gamma": gamma, "nfe": nfe}


def _on_ring(name: str, first: Row, second: Row, criterion: Criterion) -> Quantity:
    ratio = paired_ratio("distance", first=first, second=second)
    return Quantity(name, gamma_sampled, ratio, criterion, metric="ratio of sliced W2 distances", unit="×", scale="log")


def _on_digits(name: str, first: Row, second: Row, criterion: Criterion) -> Quantity:
    ratio = paired_ratio("fd", first=first, second=second, method="ctm")
    return Quantity(name, digit_quality, ratio, criterion, metric="ratio of fd_digits", unit="×", scale="log")


ONE = 1
NO_WORSE = Criterion(upper=1.1, reason="no worse, within 10 %")
WORSE = Criterion(1.3, reason="worse by far more than 10 %")


def _gamma_0(ratio: Callable[..., Quantity], many: int) -> tuple[Quantity, ...]:
    return (ratio(f"{many} evaluations over 1, γ = 0", _row(0.0, many), _row(0.0, ONE), NO_WORSE),)


def _gamma_1(ratio: Callable[..., Quantity], many: int, one: Row) -> tuple[Quantity, ...]:
    return (
        ratio(f"{many} evaluations over 1, γ = 1", _row(1.0, many), one, WORSE),
        ratio(f"γ = 1 over γ = 0, {many} evaluations", _row(1.0, many), _row(0.0, many), WORSE),
    )


SETTING = (
    "The ring of eight Gaussians with its exact denoiser as teacher, sliced W2 in the place of the FID, 17 evaluations "
    "in the place of 35. The student is trained briefly, so that one jump is worse than the teacher, as the paper's "
    "is. With five times the steps one jump is as good as the teacher, nothing is left to gain, and 17 evaluations are "
    "a little worse with both γ (a pilot). "
)
ON_DIGITS = (
    "Students of scikit-learn's digits with the exact denoiser as teacher, fd_digits in the place of the FID, 18 "
    "evaluations in the place of 35. The criteria are those of the ring; they were added when the numbers were known. "
)
CLAIMS = (
    Claim(
        "gamma-0",
        "With γ = 0 samples of many steps are no worse than those of one.",
        f"Section 3.3, Figure 7 (FID from {FID_GAMMA_0[1]} with 1 evaluation to {FID_GAMMA_0[35]} with 35)",
        _gamma_0(_on_ring, 17),
        headline=True,
        excludes="γ = 1",
        deviation=SETTING,
    ),
    Claim(
        "gamma-1",
        "With γ = 1, which is how consistency models are sampled, they are worse.",
        f"Section 3.3, Figure 7 (FID from {FID_GAMMA_1[1]:g} with 1 evaluation to {FID_GAMMA_1[35]} with 35)",
        _gamma_1(_on_ring, 17, _row(1.0, ONE)),
        headline=True,
        excludes="γ = 0",
        deviation=SETTING,
    ),
    Claim(
        "gamma-0-digits",
        "On digits, too, samples of many steps with γ = 0 are no worse than those of one.",
        "Section 3.3, Figure 7",
        _gamma_0(_on_digits, 18),
        presets=("small",),
        excludes="γ = 1 on the ring",
        deviation=ON_DIGITS,
    ),
    Claim(
        "gamma-1-digits",
        "On digits, too, they are worse with γ = 1.",
        "Section 3.3, Figure 7",
        _gamma_1(_on_digits, 18, _row(0.0, ONE)),  # one jump is the same with any γ
        presets=("small",),
        excludes="γ = 0",
        deviation=ON_DIGITS,
    ),
)


def draw_gammas(results: Results) -> MatplotlibFigure:
    table = results.table(gamma_sampled)
    figure, axes = panels("ctm", width=7, height=4.8)
    panel = axes[0, 0]
    for gamma, look in GAMMAS.items():
        by_nfe = where(table, gamma=gamma).groupby("nfe")["distance"]
        median = by_nfe.median()
        if len(median):
            low, high = (by_nfe.quantile(share) for share in (0.25, 0.75))
            panel.plot(median.index, median, **look.line())
            panel.fill_between(median.index, low, high, color=look.colour, alpha=0.2, lw=0)
    teacher = METHODS["teacher"]
    panel.axhline(table["teacher"].mean(), color=teacher.colour, ls=teacher.dash, label=f"{teacher.name}, 34")
    panel.axhline(table["floor"].mean(), color="0.4", ls=":", lw=1.5, label="same-distribution floor")
    ticks(panel, table["nfe"], ylim=(0, None), xlabel="evaluations (NFE)", ylabel="sliced W2 distance")
    legend(figure, 3)
    return finish(figure)


def draw_digits(results: Results) -> MatplotlibFigure:
    import pandas as pd

    rows = where(results.table(digit_quality), method="ctm")
    figure, axes = panels("ctm", width=7, height=4.4)
    panel = axes[0, 0]
    one = where(rows, gamma=0.0, nfe=ONE)
    for gamma in sorted(rows["gamma"].unique()):
        look, own = GAMMAS[gamma], where(rows, gamma=gamma)
        if gamma > 0:
            own = pd.concat([one, own])
        by_nfe = own.groupby("nfe")["fd"]
        panel.plot(by_nfe.mean().index, by_nfe.mean(), **look.line())
        panel.fill_between(by_nfe.mean().index, by_nfe.min(), by_nfe.max(), color=look.colour, alpha=0.2, lw=0)
    ticks(panel, rows["nfe"], ylim=(0, None), xlabel="evaluations (NFE)", ylabel="fd_digits")
    legend(figure, 3)
    return finish(figure)


FIGURES = (
    Figure(
        "gamma",
        "Distance of samples from the ring against evaluations, for values of γ, with the teacher's and the floor.",
        "Medians over seeds, for some trainings go badly; bands are from the lower to the upper quartile. With γ = 1 "
        "the distance grows with the evaluations; with γ = 0 it grows at first, and then comes back.",
        (gamma_sampled,),
        draw_gammas,
    ),
    Figure(
        "gamma-digits",
        "Frechet distance of samples of digits against evaluations, for γ = 0 and γ = 1.",
        "Means over seeds; bands are their range. One jump is the same for both.",
        (digit_quality,),
        draw_digits,
    ),
)

STUDY = Study(
    "More steps, by γ",
    "Do more steps make samples better or worse, and for which γ?",
    (gamma_sampled,),
    CLAIMS,
    FIGURES,
)
