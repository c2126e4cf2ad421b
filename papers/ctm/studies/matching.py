"""Soft, local or global: how far should the teacher go before the student takes over (Section 3.2)?

The teacher brings x_t to u, and the student jumps from there. u one step after t is local consistency, as in
consistency distillation; u = s is global, the teacher all the way; soft matching draws u between them. The three are
compared at equal iterations, and at equal evaluations of the teacher, with t, u and s by the law of the paper's text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nextafter
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import PRESETS, Grid, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend
from common.harness.studies.measures import Measure, paired_ratio
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.ctm.published import COST_GLOBAL_OVER_LOCAL, COST_SOFT_OVER_GLOBAL
from papers.ctm.studies.drawing import plain
from papers.ctm.studies.looks import MATCHING as LOOKS
from papers.ctm.studies.quality import one_jump
from papers.ctm.studies.ring import GRID, MATCHING, STEPS, TIMES, TRAINING
from papers.ctm.teacher import HeunTeacher

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

LAWS = ("text", "official")


@dataclass(frozen=True)
class CostConfig:
    """A law of times and a way of matching, over `batches` batches of `batch` points."""

    times: str
    matching: str
    batches: int = 100
    batch: int = 64

    def __post_init__(self) -> None:
        one_of(LAWS, self, "times")
        one_of(MATCHING, self, "matching")
        at_least(1, self, "batches", "batch")


class Counted:
    """A denoiser that counts the points that it was given."""

    def __init__(self) -> None:
        self.points = 0

    def __call__(self, x: Tensor, sigma: Tensor | float) -> Tensor:
        self.points += len(x)
        return x


@experiment(
    CostConfig,
    {preset: Grid([CostConfig(times, name) for times in LAWS for name in MATCHING], 3) for preset in PRESETS},
    {"evaluations": float},
)
def teacher_cost(config: CostConfig, seed: int, run: Run) -> Sequence[Row]:
    """How often the teacher is evaluated for a point of a training step, in the mean."""
    law, denoiser, generator = MATCHING[config.matching](TIMES[config.times]), Counted(), stream(seed, TRAINING)
    teacher, steps = HeunTeacher(denoiser, GRID), stream(seed, STEPS)
    for _ in range(config.batches):
        times = law(GRID, (config.batch,), generator, steps)
        teacher(torch.ones(config.batch, 1), times.t, times.u)
    return [{"evaluations": denoiser.points / (config.batches * config.batch)}]


EQUAL_TEACHER: Mapping[str, float] = {"local": 3.0, "global": 0.6}
"""For how many times soft matching's steps the others may train, at equal evaluations of the teacher: it takes 1, 3 and
5 steps in the mean, 18 levels given."""


def _over(column: str, other: str, steps: float) -> Measure:
    return paired_ratio(column, first={"student": "soft", "steps": 1.0}, second={"student": other, "steps": steps})


def _quality(other: str, steps: float, upper: float, reason: str) -> tuple[Quantity, ...]:
    return tuple(
        Quantity(
            f"{name} of one jump, soft over {other}",
            one_jump,
            _over(column, other, steps),
            Criterion(upper=upper, reason=reason),
            unit="×",
            scale="log",
        )
        for column, name in (("error", "error"), ("distance", "sliced W2"))
    )


def _cost(first: str, second: str, times: str, criterion: Criterion, published: float | None) -> Quantity:
    return Quantity(
        f"{first} over {second}, law of the {times if times == 'text' else 'official code'}",
        teacher_cost,
        paired_ratio("evaluations", first={"matching": first}, second={"matching": second}, times=times),
        criterion,
        published=published,
        metric="evaluations of the teacher in a training step",
        unit="×",
        scale="log",
    )


SETTING = (
    "The ring of eight Gaussians with its exact denoiser as teacher; t, u and s by the law of the paper's text. All "
    "have the learning rate that was chosen for soft matching. With it local matching drifts: three times the steps "
    "make it worse, not better. "
)
CLAIMS = (
    Claim(
        "soft-or-local",
        "At equal iterations soft matching is better than local matching.",
        "Section 3.2",
        _quality("local", 1.0, nextafter(1.0, 0.0), "better"),
        presets=("small",),
        excludes="local matching in the place of soft",
        deviation=SETTING,
    ),
    Claim(
        "soft-or-global",
        "At equal iterations soft matching is no worse than global matching.",
        "Section 3.2",
        _quality("global", 1.0, 1.1, "no worse, within 10 %"),
        presets=("small",),
        excludes="local matching in the place of soft",
        deviation=SETTING,
    ),
    Claim(
        "equal-teacher",
        "At equal evaluations of the teacher soft matching is no worse than either.",
        "beside Section 3.2",
        tuple(
            quantity
            for other, steps in EQUAL_TEACHER.items()
            for quantity in _quality(other, steps, 1.1, "no worse, within 10 %")
        ),
        presets=("small",),
        kind="ours",
        excludes="local matching in the place of soft",
        deviation=SETTING,
    ),
    Claim(
        "matching-cost",
        "Local matching costs least, soft matching more, global matching most.",
        "Section 3.2",
        (
            _cost("soft", "global", "text", Criterion(upper=0.75, reason="a quarter less"), COST_SOFT_OVER_GLOBAL),
            _cost("global", "local", "text", Criterion(2.0, reason="twice at the least"), COST_GLOBAL_OVER_LOCAL),
            _cost("soft", "global", "official", Criterion(upper=0.95, reason="less"), COST_SOFT_OVER_GLOBAL),
            _cost("global", "local", "official", Criterion(2.0, reason="twice at the least"), COST_GLOBAL_OVER_LOCAL),
        ),
        presets=PRESETS,
        excludes="any two of them exchanged",
        deviation="Evaluations of the teacher are counted. The paper has seconds of a training step, in which those of "
        "the student are too.",
    ),
)


def draw_matching(results: Results) -> MatplotlibFigure:
    table = results.table(one_jump)
    figure, axes = panels("ctm", columns=2, width=8, height=4.4)
    for panel, column in zip(axes[0], ("error", "distance"), strict=True):
        for name, look in LOOKS.items():
            for steps, filled in ((1.0, True), (EQUAL_TEACHER.get(name, 1.0), False)):
                values = where(table, student=name, steps=steps)[column]
                face = look.colour if filled else "none"
                label = look.name if filled else None
                panel.plot(
                    [steps] * len(values),
                    values,
                    ls="",
                    marker=look.marker,
                    color=look.colour,
                    mfc=face,
                    label=label,
                    ms=11 if name == "soft" else 7,  # those of global matching lie on them
                )
        panel.set(xscale="log", yscale="log", xlabel="training steps, soft matching = 1")
        panel.set_xticks([0.6, 1, 3], ["0.6", "1", "3"])
        panel.minorticks_off()
        plain(panel.yaxis)
    axes[0, 0].set_ylabel("error of one jump")
    axes[0, 1].set_ylabel("sliced W2 of one jump")
    legend(figure, 3)
    return finish(figure)


FIGURES = (
    Figure(
        "matching",
        "Error and sliced W2 distance of one jump against the steps of training, a point for each seed, for soft, "
        "local and global matching at equal iterations and at equal evaluations of the teacher.",
        "Filled marks have as many steps as soft matching, open ones as many evaluations of the teacher: 0.6 and 3 "
        "times the steps.",
        (one_jump,),
        draw_matching,
    ),
)

STUDY = Study(
    "Soft, local and global matching",
    "How far should the teacher go before the student takes over?",
    (one_jump, teacher_cost),
    CLAIMS,
    FIGURES,
)
