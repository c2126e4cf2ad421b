"""What does the training depend on, among what the paper leaves to the code (Section 3.2, Appendix B)?

The official code draws the number k of teacher steps once a batch, with p ∝ k, and averages the student's weights. Here
one thing at a time is changed, on the ring: k uniform; u uniform between t and s for each point, as in the paper's
text; no average.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import paired_ratio
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from papers.ctm.studies.looks import LAWS
from papers.ctm.studies.quality import one_jump

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

STUDENTS = {"official": "ctm", "uniform-k": "uniform-k", "uniform-u": "uniform-u", "no-average": "no-average"}
"""The students by the names of `LAWS`."""
LITTLE = Criterion(0.5, 2.0, "a factor of two, either way: local matching makes more of a difference")


def _changed(name: str) -> Quantity:
    return Quantity(
        f"{LAWS[name].name} over {LAWS['official'].name}",
        one_jump,
        paired_ratio("error", first={"student": STUDENTS[name]}, second={"student": "ctm"}, steps=1.0),
        LITTLE,
        metric="error of one jump over that of the official training",
        unit="×",
        scale="log",
    )


CLAIMS = (
    Claim(
        "sensitivity",
        "How the teacher's steps are drawn, and the average of the weights, change the error by less than a factor of "
        "two.",
        "beside Section 3.2 and Appendix B",
        tuple(_changed(name) for name in ("uniform-k", "uniform-u", "no-average")),
        presets=("small",),
        kind="ours",
        excludes="local matching, whose error is several times as large",
        deviation="The ring of eight Gaussians with its exact denoiser as teacher, at equal iterations.",
    ),
)


def draw_sensitivity(results: Results) -> MatplotlibFigure:
    table = results.table(one_jump)
    figure, axes = panels("ctm", columns=2, width=8, height=3.4)
    for panel, column in zip(axes[0], ("error", "distance"), strict=True):
        for place, (name, look) in enumerate(LAWS.items()):
            values = where(table, student=STUDENTS[name], steps=1.0)[column]
            panel.plot(values, [place] * len(values), ls="", marker=look.marker, color=look.colour, alpha=0.6)
        panel.set(xlim=(0, None), ylim=(len(LAWS) - 0.5, -0.5))
        panel.set_yticks(range(len(LAWS)), [look.name for look in LAWS.values()] if column == "error" else [])
    axes[0, 0].set_xlabel("error of one jump")
    axes[0, 1].set_xlabel("sliced W2 of one jump")
    return finish(figure)


FIGURES = (
    Figure(
        "sensitivity",
        "Error and sliced W2 distance of one jump, a point for each seed, for the official training and for three "
        "changes of it.",
        "Each row changes one thing in the official training; points are seeds.",
        (one_jump,),
        draw_sensitivity,
    ),
)

STUDY = Study(
    "Sensitivity of the training",
    "What does the training depend on, among what the paper leaves to the code?",
    (),
    CLAIMS,
    FIGURES,
)
