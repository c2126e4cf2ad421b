"""One step against many (Section 5.1, Tables 1 and 3): how good is a student's single jump?

It stands beside its teacher with 35 evaluations, beside the same student without a discriminator, beside consistency
distillation with the same budget, and beside a student that had no teacher. Students on digits have the exact denoiser
as teacher, which no network can equal; there its evaluations to the student's quality are counted. On MNIST the teacher
is a U-Net of the student's size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend, ticks, tiles
from common.harness.studies.measures import Measure, first_reached, per_seed, pick
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.statistics import student_t
from common.harness.studies.study import Study
from papers.ctm.published import (
    FID_DISTILLATION,
    FID_DISTILLATION_RERUN,
    FID_TEACHER_UNCONDITIONAL,
    FID_UNCONDITIONAL,
    FID_WITHOUT_GAN,
    FID_WITHOUT_TEACHER,
    NFE_TEACHER,
)
from papers.ctm.studies.drawing import mean_curve, plain
from papers.ctm.studies.image_quality import SCALED_DOWN, TEACHER, at, digit_quality, fd_ratio, mnist_quality
from papers.ctm.studies.images import reader_training
from papers.ctm.studies.looks import METHODS
from papers.ctm.studies.students import digit_adversaries, digit_students, image_adversaries, image_students
from papers.ctm.studies.teachers import teacher_paths, teacher_training

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure


def worth(method: str) -> Measure:
    """The evaluations after which the teacher is first as good as the student with one; the most that were made, where
    it never is."""
    picks = (at(method, 1), {"method": TEACHER})

    def evaluations(rows: pd.DataFrame) -> float:
        own, curve = (pick(rows, which) for which in picks)
        goal = float(own["fd"].iloc[0])
        if goal < curve["fd"].min():
            return float(curve["nfe"].max())
        return first_reached([*curve["nfe"]], [*curve["fd"]], goal)

    return per_seed(evaluations, ("nfe", "fd"), picks)


NO_WORSE = Criterion(upper=1.1, reason="no worse than the teacher within 10 %, as the paper's 1.98 against 2.01 is")


def _over_teacher(name: str, method: str, nfe: int, criterion: Criterion, fid: float) -> Quantity:
    return Quantity(
        name,
        mnist_quality,
        fd_ratio(at(method, nfe), at(TEACHER, NFE_TEACHER)),
        criterion,
        expected=fid / FID_TEACHER_UNCONDITIONAL,
        metric=f"fd_mnist over the teacher's with {NFE_TEACHER}; CIFAR-10 has an FID of {fid} over "
        f"{FID_TEACHER_UNCONDITIONAL}",
        unit="×",
        scale="log",
    )


def _worth(name: str, method: str) -> Quantity:
    return Quantity(
        name,
        mnist_quality,
        worth(method),
        Criterion(5.0, reason="five times cheaper at equal quality, at the least"),
        metric="evaluations with which the teacher is first as good as the student with one",
        scale="log",
    )


CLAIMS = (
    Claim(
        "one-step-teacher",
        "With the adversarial loss one step of the student, and two, are no worse than its teacher with 35 "
        "evaluations; without it one step is worse.",
        "Abstract, Tables 1 and 3",
        (
            _over_teacher("with GAN, one step", "gan", 1, NO_WORSE, FID_UNCONDITIONAL[1]),
            _over_teacher("with GAN, two steps", "gan", 2, NO_WORSE, FID_UNCONDITIONAL[2]),
            _over_teacher(
                "without GAN, one step",
                "ctm",
                1,
                Criterion(1.1, reason="worse than the teacher by more than the margin above"),
                FID_WITHOUT_GAN[1],
            ),
        ),
        presets=("small", "gpu"),
        headline=True,
        excludes="the student without GAN in the place of the one with it, and the other way round",
        deviation=SCALED_DOWN,
    ),
    Claim(
        "one-step-cost",
        "One evaluation of the student is worth several of its teacher's.",
        "Section 5.1, Table 1",
        (
            _worth("with GAN", "gan"),
            _worth("without GAN", "ctm"),
        ),
        presets=("small",),
        headline=True,
        excludes="a student that is as good as the teacher with three evaluations",
        deviation=SCALED_DOWN
        + " MNIST alone: the exact denoiser of digits is better than all students with 9 evaluations, for it ends on "
        "training images.",
    ),
    Claim(
        "one-step-distillation",
        "Without a discriminator CTM is within a fifth of consistency distillation of the same budget at one step, and "
        "better with eight.",
        "Table 1 (the authors' own rerun)",
        (
            Quantity(
                "one step",
                digit_quality,
                fd_ratio(at("ctm", 1), at("cd", 1)),
                Criterion(upper=1.2, reason="within a fifth: seeds differ by a tenth (pilot)"),
                expected=FID_WITHOUT_GAN[1] / FID_DISTILLATION_RERUN,
                metric=f"fd_digits, CTM over consistency distillation; CIFAR-10 has an FID of {FID_WITHOUT_GAN[1]} "
                f"over {FID_DISTILLATION_RERUN} as the authors ran it, {FID_DISTILLATION} as its own paper has it",
                unit="×",
                scale="log",
            ),
            Quantity(
                "eight steps",
                digit_quality,
                fd_ratio(at("ctm", 8), at("cd", 8, gamma=1.0)),
                Criterion(upper=0.9, reason="better by a tenth at the least"),
                metric="fd_digits, CTM with γ = 0 over consistency distillation with γ = 1, for which it is trained",
                unit="×",
                scale="log",
            ),
        ),
        presets=("small",),
        excludes="consistency distillation in CTM's place with eight steps",
        deviation=SCALED_DOWN,
    ),
    Claim(
        "one-step-without-teacher",
        "Trained without a teacher, by its own denoiser, one step of the student is nearly as good as with one, both "
        "with GAN.",
        "Table 1",
        (
            Quantity(
                "without a teacher over with one",
                digit_quality,
                fd_ratio(at("no-teacher-gan", 1), at("gan", 1)),
                Criterion(upper=1.3, reason="the paper's is 2.39 against 1.98, 1.2 times"),
                expected=FID_WITHOUT_TEACHER / FID_UNCONDITIONAL[1],
                metric=f"fd_digits with one step; CIFAR-10 has an FID of {FID_WITHOUT_TEACHER} over "
                f"{FID_UNCONDITIONAL[1]}",
                unit="×",
                scale="log",
            ),
        ),
        presets=("small",),
        excludes="a student without a discriminator in its place",
        deviation=SCALED_DOWN
        + " Pairs are solved with the averaged student's g(x, t, t), where the official code has its "
        "jump from t to u; and they are solved anew in each step, while those of a teacher are drawn from 1000 stored "
        "trajectories a level. So the student without a teacher sees more of them.",
    ),
)


def draw_curves(results: Results) -> MatplotlibFigure:
    """Distance against evaluations: students without and with GAN, and their teacher."""
    return _curves(results.table(digit_quality), "fd_digits")


def draw_mnist_curves(results: Results) -> MatplotlibFigure:
    return _curves(results.table(mnist_quality), "fd_mnist")


def _curves(table: pd.DataFrame, metric: str) -> MatplotlibFigure:
    rows = where(table, gamma=0.0)
    figure, axes = panels("ctm", 1, 1, width=7, height=4.6)
    panel = axes[0, 0]
    for method in ("ctm", "gan", TEACHER):
        mean = mean_curve(where(rows, method=method))
        panel.plot(mean.index, mean, **METHODS[method].line())
    panel.axhline(rows["floor"].mean(), color="0.4", ls=":", lw=1.5, label="same-distribution floor")
    ticks(panel, (1, 2, 3, 5, 9, 18, 35), yscale="log", xlabel="evaluations (NFE)", ylabel=metric)
    legend(figure, columns=2)
    return finish(figure)


def draw_methods(results: Results) -> MatplotlibFigure:
    """Distance at one step of every method on digits, seed by seed."""
    table = where(results.table(digit_quality), nfe=1)
    figure, axes = panels("ctm", 1, 1, width=7.5, height=4.2)
    panel, methods = axes[0, 0], [name for name in METHODS if name in set(table["method"])]
    for place, name in enumerate(methods):
        values, look = [float(value) for value in where(table, method=name)["fd"]], METHODS[name]
        estimate = student_t(values, "log")
        panel.plot(values, [place] * len(values), ls="", marker=".", color="0.6")
        panel.plot([estimate.low, estimate.high], [place, place], color=look.colour, lw=2.5, solid_capstyle="butt")
        panel.plot(estimate.mean, place, ls="", marker=look.marker, color=look.colour)
    panel.set_yticks(range(len(methods)), [METHODS[name].name for name in methods])
    panel.set(xscale="log", xlabel="fd_digits of one step", ylim=(len(methods) - 0.5, -0.5))
    plain(panel.xaxis)
    panel.axvline(table["floor"].mean(), color="0.4", ls=":", lw=1.5, label="same-distribution floor")
    panel.grid(axis="y", color="0.9")
    legend(figure, columns=1)
    return finish(figure)


def draw_samples(results: Results) -> MatplotlibFigure:
    """Samples of one seed by one step without and with GAN, by two, and by the teacher, from the same noise."""
    seed = int(results.table(mnist_quality)["seed"].min())
    shown = (("ctm", 1), ("gan", 1), ("gan", 2), (TEACHER, NFE_TEACHER))
    figure, axes = panels("ctm", 2, 2, width=7.5, height=4.6)
    for panel, (method, nfe) in zip(axes.flat, shown, strict=True):
        panel.axis("off")
        _, arrays = results.arrays(mnist_quality, method=method, seed=seed)[0]
        panel.imshow(tiles(arrays[f"nfe_{nfe}"], columns=8), cmap="gray_r", vmin=-1, vmax=1, interpolation="none")
        panel.set_title(f"{METHODS[method].name}, NFE {nfe}")
    return finish(figure, despine=False)


FIGURES = (
    Figure(
        "one-step-curves",
        "Log-log plot of the Frechet distance of samples of digits against evaluations, for students without and with "
        "GAN and for the exact teacher with Heun's method, and the same-distribution floor.",
        "Geometric means over seeds; all start from the same noise. The teacher is the exact denoiser of the training "
        "images: one step of Heun's method and one of Euler's (NFE 3) leave it far away; from NFE 9 on it comes to "
        "the floor.",
        (digit_quality,),
        draw_curves,
    ),
    Figure(
        "one-step-mnist",
        "Log-log plot of the Frechet distance of samples of MNIST against evaluations, for students without and with "
        "GAN and for their teacher, and the same-distribution floor.",
        "Geometric means over seeds; all start from the same noise.",
        (mnist_quality,),
        draw_mnist_curves,
    ),
    Figure(
        "one-step-methods",
        "The Frechet distance of one step on digits for each way of training, seed by seed with a 95 % interval.",
        "Further left is better. All students have the same size and as many updates. One without a teacher "
        "has fresh pairs in each of them.",
        (digit_quality,),
        draw_methods,
    ),
    Figure(
        "one-step-samples",
        "Four grids of generated digits: one step without GAN, one and two steps with GAN, and the teacher's 35 "
        "evaluations.",
        "All grids start from the same noise, so that an image can be followed by its place from one grid to the next.",
        (mnist_quality,),
        draw_samples,
    ),
)

STUDY = Study(
    "One step against many",
    "How good is one step of a student, beside its teacher, beside other ways of training, and without a teacher?",
    (
        reader_training,
        teacher_training,
        teacher_paths,
        digit_students,
        digit_adversaries,
        image_students,
        image_adversaries,
        digit_quality,
        mnist_quality,
    ),
    CLAIMS,
    FIGURES,
)
