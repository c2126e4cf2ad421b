"""How far do samples from one state spread with γ (Proposition 7)?

γ-sampling goes from x_t to √(1 − γ²) s, adds noise of standard deviation γ s, and jumps to the end. Where that jump is
smooth, the variance of samples from the same x_t grows as γ². Measured for a student and for exact jumps, of the
median of many states: at the border between two Gaussians the noise decides to which of them the jump goes, and the
variance grows more slowly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Need, Row, Run, at_least, experiment, one_of, positive
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import Look, legend
from common.harness.studies.measures import loglog_slope
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.ctm.exact import exact_jump
from papers.ctm.sampling import Jump, gamma_sampling
from papers.ctm.studies.looks import METHODS
from papers.ctm.studies.ring import GRID, SAMPLING, SEEDS, SIZES, TEACHER, TRAINED, ring, trained, trained_student
from papers.ctm.teacher import noisy

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

GAMMAS = (0.05, 0.1, 0.2, 0.4)
STUDENTS = ("ctm", "exact")
"""Whose samples are measured."""
LOOKS: Mapping[str, Look] = {"ctm": METHODS["ctm"], "exact": Look("exact jumps", "black", "s", "--")}


@dataclass(frozen=True)
class SpreadConfig:
    """Whose samples, how many of each of how many states, and where noise is added."""

    student: str
    size: str
    t: float = 2.0
    s: float = 0.3
    states: int = 200
    samples: int = 200
    exact_steps: int = 40

    def __post_init__(self) -> None:
        one_of(STUDENTS, self, "student")
        one_of(SIZES, self, "size")
        at_least(1, self, "states", "samples", "exact_steps")
        positive(self, "t", "s")


def _needs(config: SpreadConfig, seed: int) -> Mapping[str, Need]:
    return {"student": trained("ctm", config.size, seed)} if config.student == "ctm" else {}


@experiment(
    SpreadConfig,
    {
        size: Grid([SpreadConfig(name, size, states=n, samples=n) for name in STUDENTS], SEEDS[size])
        for size, n in (("quick", 60), ("small", 200))
    },
    {"gamma": float, "variance": float},
    needs=_needs,
    tolerance=TRAINED,
)
def spread(config: SpreadConfig, seed: int, run: Run) -> list[Row]:
    """The variance of samples from a fixed x_t, in two jumps with noise between them; the median over states."""
    generator = stream(seed, SAMPLING)
    x_t = noisy(ring(config.states, generator)[0].double(), torch.tensor(config.t), generator)
    x = x_t.repeat_interleave(config.samples, 0)
    jump: Jump = (
        (lambda x, t, s: exact_jump(TEACHER, x, float(t), float(s), config.exact_steps))
        if config.student == "exact"
        else trained_student("ctm", config.size, run.needs["student"])
    )
    rows: list[Row] = []
    for gamma in GAMMAS:
        ends = gamma_sampling(jump, x, [config.t, config.s, GRID.sigma_min], gamma, generator)
        variance = ends.reshape(config.states, config.samples, -1).var(1).sum(-1).median()
        rows.append({"gamma": gamma, "variance": float(variance)})
    return rows


CLAIMS = (
    Claim(
        "variance-of-gamma",
        "From a fixed state the variance of samples grows as γ².",
        "Proposition 7",
        tuple(
            Quantity(
                look.name,
                spread,
                loglog_slope("gamma", "variance", student=student),
                Criterion(1.8, 2.2, "the power, and room for the next term"),
                expected=2.0,
                metric="log-log slope in γ of the variance, median over states",
            )
            for student, look in LOOKS.items()
        ),
        kind="theorem",
        excludes="noise of standard deviation γ² or √γ in the place of γ",
        deviation="The ring of eight Gaussians; an exact jump is Heun's method with small steps. "
        "From t = 2 to 0.3, where the noise is added, and on to the end; the median over states, few of which lie on a "
        "border.",
    ),
)


def draw_spread(results: Results) -> MatplotlibFigure:
    table = results.table(spread)
    figure, axes = panels("ctm", width=6.5, height=4.2)
    panel = axes[0, 0]
    for student, look in LOOKS.items():
        mean = where(table, student=student).groupby("gamma")["variance"].mean()
        panel.plot(mean.index, mean, **look.line())
    slope = mean.iloc[0] * (mean.index / mean.index[0]) ** 2
    panel.plot(mean.index, slope, color="0.85", lw=7, zorder=0, label="slope 2")
    panel.set(xscale="log", yscale="log", xlabel="γ", ylabel="variance of samples")
    panel.set_xticks(list(GAMMAS), [f"{gamma:g}" for gamma in GAMMAS])
    panel.minorticks_off()
    legend(figure, 3)
    return finish(figure)


FIGURES = (
    Figure(
        "variance-of-gamma",
        "Variance of samples from a fixed state against γ, for the student and for exact jumps; both axes are "
        "logarithmic.",
        "Medians over states. The noise that is added has the standard deviation γ s, and the jump that follows is "
        "smooth: for small γ the variance grows as γ². At the largest the next term shows.",
        (spread,),
        draw_spread,
    ),
)

STUDY = Study(
    "Spread with γ",
    "How far do samples from one state spread with γ?",
    (spread,),
    CLAIMS,
    FIGURES,
)
