"""What do the losses add: the adversarial one and denoising score matching (Section 5.4, Table 3 and Figure 11)?

The discriminator sees where a jump ends, so it should help one step more than many; score matching teaches the diagonal
g(x, t, t), which short jumps rest on, so it should help many steps. The control: a discriminator that reads the judge's
own features. If the judge can be deceived, it gains more by the judge than by a witness that nobody was trained on.
"""

from __future__ import annotations

from math import nextafter
from typing import TYPE_CHECKING

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend, ticks
from common.harness.studies.measures import Measure, per_seed, pick
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from papers.ctm.published import FID_WITH_GAN, FID_WITHOUT_GAN
from papers.ctm.studies.drawing import mean_curve, plain
from papers.ctm.studies.image_quality import SCALED_DOWN, at, digit_quality, fd_ratio
from papers.ctm.studies.looks import METHODS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

MANY = 18
"""Steps of Table 3."""


def gain_at_one_step(with_it: str, without: str) -> Measure:
    """What a loss takes off the distance at one step less what it takes off with many, as in Table 3."""
    picks = tuple(at(method, nfe) for nfe in (1, MANY) for method in (without, with_it))

    def difference(rows: pd.DataFrame) -> float:
        one_without, one_with, many_without, many_with = (float(pick(rows, which)["fd"].iloc[0]) for which in picks)
        return (one_without - one_with) - (many_without - many_with)

    return per_seed(difference, ("fd",), picks)


def overstated(method: str, other: str) -> Measure:
    """fd of `method` over that of `other` by the judge, over the same ratio by a witness, at one step."""
    picks = (at(method, 1), at(other, 1))

    def factor(rows: pd.DataFrame) -> float:
        own, its = (pick(rows, which) for which in picks)
        by_judge = float(own["fd"].iloc[0]) / float(its["fd"].iloc[0])
        return by_judge / (float(own["fd_witness"].iloc[0]) / float(its["fd_witness"].iloc[0]))

    return per_seed(factor, ("fd", "fd_witness"), picks)


CLAIMS = (
    Claim(
        "losses-gan",
        "The adversarial loss helps one step more than many.",
        "Table 3",
        (
            Quantity(
                "digits",
                digit_quality,
                gain_at_one_step("gan", "ctm"),
                Criterion(nextafter(0.0, 1.0), reason="the claim is the sign, on paired seeds"),
                expected=(FID_WITHOUT_GAN[1] - FID_WITH_GAN[1]) - (FID_WITHOUT_GAN[18] - FID_WITH_GAN[18]),
                metric="what it takes off fd_digits at one step, less what it takes off at 18; CIFAR-10's FID falls by "
                "2.91 and by .77",
            ),
        ),
        presets=("small",),
        headline=True,
        excludes="a discriminator that takes as much off many steps as off one",
        deviation=SCALED_DOWN,
    ),
    Claim(
        "losses-dsm",
        "Without a discriminator, denoising score matching helps many steps.",
        "Figure 11",
        (
            Quantity(
                "without DSM over with it, 18 steps",
                digit_quality,
                fd_ratio(at("without-dsm", MANY), at("ctm", MANY)),
                Criterion(1.2, reason="a fifth at the least"),
                metric="fd_digits without GAN",
                unit="×",
                scale="log",
            ),
        ),
        presets=("small",),
        headline=True,
        excludes="a student without it in its place",
        deviation=SCALED_DOWN,
    ),
    Claim(
        "losses-judge",
        "A discriminator that reads the features of the judge looks better than it is.",
        "Control; ours",
        (
            Quantity(
                "by the judge over by the witness",
                digit_quality,
                overstated("judge", "ctm"),
                Criterion(upper=nextafter(1.0, 0.0), reason="the claim is the sign: others see less of the gain"),
                metric="fd_digits of GAN on the judge's features over that without GAN, one step, over the same "
                "ratio on the features of a witness",
                unit="×",
                scale="log",
            ),
        ),
        presets=("small",),
        kind="ours",
        excludes="a discriminator on features that are not used for judging",
        deviation=SCALED_DOWN
        + " A first version had GAN on the critic's features in the denominator. But the witness has "
        "the critic's architecture and may favour it, as a second reader saw before the runs were finished.",
    ),
)


def draw_losses(results: Results) -> MatplotlibFigure:
    """Distance against evaluations on digits, without and with each loss."""
    rows = where(results.table(digit_quality), gamma=0.0)
    figure, axes = panels("ctm", 1, 1, width=7, height=4.8)
    for method in ("ctm", "without-dsm", "gan", "gan-without-dsm", "judge"):
        mean = mean_curve(where(rows, method=method))
        axes[0, 0].plot(mean.index, mean, **METHODS[method].line())
    axes[0, 0].axhline(rows["floor"].mean(), color="0.4", ls=":", lw=1.5, label="same-distribution floor")
    ticks(axes[0, 0], (1, 2, 4, 8, 18), yscale="log", xlabel="evaluations (NFE)", ylabel="fd_digits")
    plain(axes[0, 0].yaxis)
    legend(figure, columns=2)
    return finish(figure)


def draw_control(results: Results) -> MatplotlibFigure:
    """The same samples by the judge and by the witness: one point a seed."""
    rows = where(results.table(digit_quality), gamma=0.0, nfe=1)
    figure, axes = panels("ctm", 1, 1, width=6.5, height=4.6)
    for method in ("ctm", "gan", "judge"):
        own, look = where(rows, method=method), METHODS[method]
        axes[0, 0].plot(own["fd"], own["fd_witness"], ls="", marker=look.marker, color=look.colour, label=look.name)
    axes[0, 0].set(xscale="log", yscale="log", xlabel="by the judge: fd_digits", ylabel="by the witness")
    for axis in (axes[0, 0].xaxis, axes[0, 0].yaxis):
        plain(axis, (1, 2, 3, 4, 6, 8))
    legend(figure, columns=2)
    return finish(figure)


FIGURES = (
    Figure(
        "losses-curves",
        "Log-log plot of the Frechet distance of samples of digits against evaluations, for students with and without "
        "the adversarial loss and score matching.",
        "Geometric means over seeds. The discriminator halves the distance at one step and two, and takes little off "
        "at 18. With a discriminator, students without score matching are better from four steps on.",
        (digit_quality,),
        draw_losses,
    ),
    Figure(
        "losses-control",
        "Scatter plot of one-step samples of digits: their Frechet distance by the judge against that by a witness, "
        "for students without GAN, with GAN, and with GAN on the judge's features.",
        "One point a seed; below and to the left is nearer to the data. If part of what a student gains were seen by "
        "the judge alone, it would go further to the left than down.",
        (digit_quality,),
        draw_control,
    ),
)

STUDY = Study(
    "What the losses add",
    "Where does the adversarial loss help, where does score matching, and can the judge be deceived?",
    (),
    CLAIMS,
    FIGURES,
)
