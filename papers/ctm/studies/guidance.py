"""Can an unconditional student be led to a wanted class (Section 3.3, loss-guided jumps)?

The score that the student has at hand, g(x, t, t), is moved downhill on a loss of the clean image that it expects: here
the cross-entropy of the wanted class by the critic. The judge, which neither student nor guidance has seen, says how
many samples are of the class that was wanted, and how far all are from the data. Classes are wanted equally often, as
the data has them. Scale 0 is no guidance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Need, Resources, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend, tiles
from common.harness.studies.measures import paired_ratio, value_at
from common.harness.studies.panels import finish, panels
from common.harness.studies.study import Study
from common.metrics.features import load_classifier
from common.training.stream import stream
from papers.ctm.critic import CriticClassifier
from papers.ctm.sampling import guided_sampling, sampling_times
from papers.ctm.studies.drawing import mean_curve
from papers.ctm.studies.image_quality import CHUNK, SCALED_DOWN, start
from papers.ctm.studies.images import (
    FLOOR,
    RENOISING,
    TRAINED,
    accuracy,
    as_judged,
    fd,
    fd_floor,
    look_at,
    reader,
    trained_reader,
)
from papers.ctm.studies.looks import METHODS as LOOKS
from papers.ctm.studies.methods import METHODS, student_config
from papers.ctm.studies.students import trained, trained_student
from papers.ctm.studies.teachers import GRID, TEACHERS, TeacherConfig

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

CLASSES = 10


@dataclass(frozen=True)
class GuidanceConfig:
    """A student that is led to a class, at several scales."""

    method: str
    """One of `METHODS`."""
    teacher: str
    """One of `TEACHERS`."""
    scales: tuple[float, ...] = (0.0, 1.0, 3.0, 6.0)
    steps: int = 18
    gamma: float = 0.7
    """Noise that is added on the way lets a sample change its class; with γ = 0 and few steps it hardly can (pilot)."""
    n_samples: int = 1000

    def __post_init__(self) -> None:
        one_of(METHODS, self, "method")
        one_of(TEACHERS, self, "teacher")
        at_least(0, self, "scales")
        if not 0 <= self.gamma <= 1:
            raise ValueError(f"gamma is {self.gamma}; it must lie in [0, 1]")
        at_least(1, self, "steps")
        at_least(2, self, "n_samples")

    @property
    def made(self) -> TeacherConfig:
        return TEACHERS[self.teacher]


def _needs(config: GuidanceConfig, seed: int) -> Mapping[str, Need]:
    made = config.made
    return {
        "student": trained(config.method, config.teacher, seed),
        "critic": reader("critic", made.dataset, made.resolution),
    }


@experiment(
    GuidanceConfig,
    {
        "small": Grid([GuidanceConfig("gan", "exact")], 5),
        "gpu": Grid([GuidanceConfig("gan", "large unet", n_samples=5000)], 3),
    },
    {"scale": float, "accuracy": float, "fd": float, "floor": float},
    resources={"gpu": Resources(cpus=4, gpus=1.0)},
    needs=_needs,
    prepare=lambda config: look_at(config.made.dataset, config.made.resolution),
    tolerance=TRAINED,
)
def guidance(config: GuidanceConfig, seed: int, run: Run) -> list[Row]:
    """The share of samples of the class that was wanted, and their Frechet distance, by scale."""
    made, device = config.made, run.device
    student = trained_student(student_config(config.method, config.teacher), run.needs["student"], device)
    critic = trained_reader(run.needs["critic"], device)
    x, wanted = start(made, config.n_samples, seed, device), torch.arange(config.n_samples, device=device) % CLASSES
    times = sampling_times(config.steps, GRID)
    floor = fd_floor(made.dataset, made.resolution, config.n_samples, stream(seed, FLOOR))
    rows: list[Row] = []
    shown: dict[str, Tensor] = {}
    for scale in config.scales:
        generator = stream(seed, RENOISING, device)
        parts = [
            guided_sampling(student, Towards(critic, classes), some, times, config.gamma, scale, generator)
            for some, classes in zip(x.split(CHUNK), wanted.split(CHUNK), strict=True)
        ]
        samples = torch.cat(parts).float().cpu()
        shown[f"scale_{scale:g}"] = samples[: 2 * CLASSES]
        of_class = accuracy(load_classifier(made.dataset), as_judged(samples.clamp(-1, 1)), wanted.cpu())
        rows.append({"scale": scale, "accuracy": of_class, "fd": fd(made.dataset, samples), "floor": floor})
    run.save_arrays(**shown)
    return rows


@dataclass(frozen=True)
class Towards:
    """The cross-entropy −log p(c | x0) of each image's wanted class c, by the critic."""

    critic: CriticClassifier
    classes: Tensor

    def __call__(self, x0: Tensor) -> Tensor:
        return F.cross_entropy(self.critic(x0.float()), self.classes, reduction="none")


LED = 3.0
"""The scale at which the claim is judged."""

CLAIMS = (
    Claim(
        "guidance-class",
        "An unconditional student gives digits of a wanted class by loss-guided jumps, and their quality stays "
        "near what it was.",
        "Section 3.3",
        (
            Quantity(
                "of the wanted class",
                guidance,
                value_at("accuracy", scale=LED),
                Criterion(0.8, reason="eight of ten, where chance has one"),
                metric=f"share of samples at scale {LED:g}, as the judge reads them",
            ),
            Quantity(
                "quality",
                guidance,
                paired_ratio("fd", first={"scale": LED}, second={"scale": 0.0}),
                Criterion(upper=1.5, reason="at most one and a half times the distance"),
                metric=f"Frechet distance at scale {LED:g} over that without guidance",
                unit="×",
                scale="log",
            ),
        ),
        presets=("small", "gpu"),
        headline=True,
        excludes="no guidance (scale 0), where one sample in ten is of the wanted class",
        deviation=SCALED_DOWN + " The paper shows pictures and no number. The loss is the critic's cross-entropy.",
    ),
)


def draw_trade(results: Results) -> MatplotlibFigure:
    """Accuracy and distance by scale, each seed and the mean."""
    table = results.table(guidance)
    figure, axes = panels("ctm", 1, 2, width=8, height=4.2)
    for panel, column, label in zip(
        axes[0], ("accuracy", "fd"), ("share of the wanted class", "Frechet distance"), strict=True
    ):
        for _, own in table.groupby("seed"):
            panel.plot(own["scale"], own[column], color="0.75", lw=1)
        mean = table.groupby("scale")[column].mean() if column == "accuracy" else mean_curve(table, by="scale")
        panel.plot(mean.index, mean, **LOOKS[table["method"].iloc[0]].line())
        panel.set_xscale("symlog", linthresh=1.0)
        scales = sorted(table["scale"].unique())
        panel.set_xticks(scales, [f"{scale:g}" for scale in scales])
        panel.set(xlabel="guidance scale", ylabel=label, ylim=(0, None))
    axes[0, 0].axhline(1 / CLASSES, color="0.4", ls=":", lw=1.5, label="chance")
    axes[0, 1].axhline(table["floor"].mean(), color="0.4", ls="--", lw=1.5, label="same-distribution floor")
    legend(figure, columns=3)
    return finish(figure)


def draw_led(results: Results) -> MatplotlibFigure:
    """Two samples wanted of each class, a column a class, without guidance and with it, from the same noise."""
    table = results.table(guidance)
    seed = int(table["seed"].min())
    _, arrays = results.arrays(guidance, seed=seed)[0]
    figure, axes = panels("ctm", 2, 1, width=7, height=4.2)
    for panel, scale in zip(axes.flat, (0.0, LED), strict=True):
        panel.axis("off")
        panel.imshow(tiles(arrays[f"scale_{scale:g}"], columns=CLASSES), cmap="gray_r", vmin=-1, vmax=1)
        panel.set_title("no guidance" if scale == 0 else f"scale {scale:g}: 0 to 9 from left to right")
    return finish(figure, despine=False)


FIGURES = (
    Figure(
        "guidance-trade",
        "Two plots against the guidance scale: the share of samples of the wanted class, and the Frechet distance.",
        "Grey lines are seeds. Guidance buys the class; what it costs in quality is on the right.",
        (guidance,),
        draw_trade,
    ),
    Figure(
        "guidance-samples",
        "Two rows of digits for each class that was wanted, a column a class: without guidance above, with it below.",
        "Both start from the same noise. The wanted class is 0 to 9 from left to right; most samples reach it. "
        "All have 18 steps and γ = 0.7.",
        (guidance,),
        draw_led,
    ),
)

STUDY = Study(
    "Guidance",
    "Can an unconditional student be led to a wanted class, and what does it cost in quality?",
    (guidance,),
    CLAIMS,
    FIGURES,
)
