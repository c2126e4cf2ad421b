"""Does one network jump from any noise level to any lower one (Section 3)?

On the ring every trajectory is known: Heun's method with many steps on the exact denoiser. Students are held to it over
pairs (t, s), and to themselves: two jumps must end where one does. That no jump at all changes nothing is in the form
of G; the rest is training, as the untrained student shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Need, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import Measure, per_seed
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from papers.ctm.exact import exact_jump
from papers.ctm.studies.looks import METHODS
from papers.ctm.studies.ring import (
    GRID,
    SEEDS,
    SIZES,
    TEACHER,
    TRAINED,
    ring_training,
    start,
    student_config,
    trained,
    trained_student,
    untrained,
)
from papers.ctm.trajectory import Trajectory

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

PLACES = (0, 2, 4, 6, 8, 10, 12, 14, 17)
"""Of the noise levels between which jumps are judged, on the grid of training."""
COMPARED = ("ctm", "untrained")


@dataclass(frozen=True)
class JumpsConfig:
    """A student, and exact trajectories of `exact_steps` Heun steps between neighbouring levels."""

    student: str
    size: str
    n: int = 1000
    exact_steps: int = 1250

    def __post_init__(self) -> None:
        one_of(COMPARED, self, "student")
        one_of(SIZES, self, "size")
        at_least(1, self, "n", "exact_steps")


def _needs(config: JumpsConfig, seed: int) -> Mapping[str, Need]:
    return {"student": trained("ctm", config.size, seed)} if config.student == "ctm" else {}


def _student(config: JumpsConfig, seed: int, run: Run) -> Trajectory:
    if config.student == "untrained":
        return untrained(student_config("ctm", config.size), seed)
    return trained_student("ctm", config.size, run.needs["student"])


def exact_states(x: Tensor, levels: Tensor, steps: int) -> list[Tensor]:
    """The trajectories of the ring that start from x at levels[0], at each of the levels."""
    states = [x]
    for t, s in pairwise(levels.tolist()):
        states.append(exact_jump(TEACHER, states[-1], t, s, steps))
    return states


def relative(x: Tensor, y: Tensor, s: Tensor) -> float:
    """√ of the mean square of x − y, over the standard deviation of points at level s, √(1 + s²)."""
    return float((x - y).square().mean().sqrt() / (1 + s**2).sqrt())


@experiment(
    JumpsConfig,
    {
        size: Grid([JumpsConfig(name, size, n, steps) for name in COMPARED], SEEDS[size])
        for size, n, steps in (("quick", 300, 100), ("small", 1000, 1250))
    },
    {"t": float, "s": float, "error": float, "defect": float, "of_g": float},
    needs=_needs,
    tolerance=TRAINED,
)
@torch.no_grad()
def jumps(config: JumpsConfig, seed: int, run: Run) -> list[Row]:
    """For each pair of levels t >= s: the error of G(x, t, s); where a level u is between them, how far
    G(G(x, t, u), u, s) is from it; and for t = s, how far g is from x."""
    student, levels = _student(config, seed, run), GRID.times[list(PLACES)]
    states = exact_states(start(config.n, seed), levels, config.exact_steps)
    rows: list[Row] = []
    for i, t in enumerate(levels):
        ends = [student(states[i], t, s) for s in levels[i:]]
        for j, s in enumerate(levels[i:]):
            row = {"t": float(t), "s": float(s), "error": relative(ends[j], states[i + j], s)}
            if j == 0:
                row["of_g"] = relative(student.g(states[i], t, s), states[i], s)
            if j > 1:
                turns = [relative(student(ends[k], levels[i + k], s), ends[j], s) for k in range(1, j)]
                row["defect"] = (sum(turn**2 for turn in turns) / len(turns)) ** 0.5
            rows.append(row)
    return rows


def _mean(column: str, student: str) -> Measure:
    """The mean over pairs t > s that have it."""
    return per_seed(
        lambda rows: float(rows[rows["t"] > rows["s"]][column].dropna().mean()), (column, "t", "s"), student=student
    )


def _over_untrained(column: str) -> Measure:
    def ratio(table: pd.DataFrame) -> pd.Series:
        own, other = (_mean(column, name)(table) for name in COMPARED)
        return own / other

    return Measure(ratio, (column, "t", "s"), tuple({"student": name} for name in COMPARED))


def _on_diagonal(column: str) -> Measure:
    return per_seed(lambda rows: float(rows[rows["t"] == rows["s"]][column].max()), (column, "t", "s"), student="ctm")


def _trained_and_over_untrained(
    column: str, what: str, of_what: str, metric: str, share: Criterion
) -> tuple[Quantity, Quantity]:
    tenth = Criterion(upper=0.1, reason="a tenth of the standard deviation")
    over = f"{what} over that of an untrained student"
    return (
        Quantity(f"{what} {of_what}", jumps, _mean(column, "ctm"), tenth, metric=metric),
        Quantity(over, jumps, _over_untrained(column), share, unit="×", scale="log"),
    )


SETTING = (
    "The ring of eight Gaussians with its exact denoiser as teacher, a perceptron of 128 units. Errors are root mean "
    "squares over the standard deviation at the end of the jump. "
)
CLAIMS = (
    Claim(
        "any-jump",
        "One network jumps from any noise level to any lower one along the trajectory.",
        "Section 3.1, Equations 3 and 4",
        _trained_and_over_untrained(
            "error",
            "error",
            "of a jump",
            "mean over pairs (t, s) of the relative error",
            Criterion(upper=0.25, reason="training, and not the form of G, makes it"),
        ),
        headline=True,
        excludes="an untrained student",
        deviation=SETTING,
    ),
    Claim(
        "semigroup",
        "Two jumps end where one does: G(G(x, t, u), u, s) = G(x, t, s).",
        "Section 3.1",
        _trained_and_over_untrained(
            "defect",
            "distance",
            "of two jumps from one",
            "mean over pairs (t, s) of the relative distance, root mean square over turns u",
            Criterion(upper=0.5, reason="half at the most: training, and not the form of G, makes it"),
        ),
        headline=True,
        excludes="an untrained student",
        deviation=SETTING,
    ),
    Claim(
        "no-jump",
        "A jump from t to t changes nothing, by the form of G: G(x, t, t) = x.",
        "Section 3.1, Equation 4",
        (
            Quantity(
                "largest change",
                jumps,
                _on_diagonal("error"),
                Criterion(upper=1e-9, reason="an identity, to rounding"),
                expected=0.0,
                zero=1e-9,
            ),
            Quantity(
                "largest change with g in the place of G",
                jumps,
                _on_diagonal("of_g"),
                Criterion(1e-3, reason="the control is far from an identity"),
            ),
        ),
        kind="theorem",
        excludes="g in the place of G",
        deviation=SETTING,
    ),
)


def draw_jumps(results: Results) -> MatplotlibFigure:
    from matplotlib.colors import LogNorm

    table = results.table(jumps)
    figure, axes = panels("ctm", 2, 2, width=8, height=7.6)
    for row, (column, title) in zip(axes, (("error", "error"), ("defect", "two jumps from one")), strict=True):
        for panel, student in zip(row, COMPARED, strict=True):
            rows = where(table, student=student)
            rows = rows[rows["t"] > rows["s"]]
            mean = rows.pivot_table(index="t", columns="s", values=column)
            mean = mean.iloc[::-1, ::-1]
            image = panel.imshow(mean, norm=LogNorm(1e-3, 1), cmap="viridis")
            panel.set(title=f"{METHODS[student].name}: {title}", xlabel="s", ylabel="t")
            panel.set_xticks(range(mean.shape[1]), [f"{s:.2g}" for s in mean.columns], rotation=90, fontsize="small")
            panel.set_yticks(range(mean.shape[0]), [f"{t:.2g}" for t in mean.index], fontsize="small")
        figure.colorbar(image, ax=list(row), label="over the standard deviation")
    return finish(figure, despine=False)


FIGURES = (
    Figure(
        "jumps",
        "Four heat maps over the noise levels t and s < t: the error of a jump, and how far two jumps end from one, of "
        "a trained and of an untrained student.",
        "Training brings both down where a jump starts above the scale of the data and ends below it. Within high "
        "noise and within low, c_skip x, which is all that the untrained student has, is nearly right already.",
        (jumps,),
        draw_jumps,
    ),
)

STUDY = Study(
    "Any jump",
    "Does one network jump from any noise level to any lower one, and do its jumps agree with each other?",
    (ring_training, jumps),
    CLAIMS,
    FIGURES,
)
