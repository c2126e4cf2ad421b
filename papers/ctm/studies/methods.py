"""How students on images are trained: the methods that are compared, and what each minimises.

On digits students are perceptrons; on MNIST they are U-Nets, which start as their teacher. The distance between
estimate and target is the pseudo-Huber one, where the paper has LPIPS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import nn

from common.harness.studies.experiment import Run, at_least, one_of, positive
from common.metrics.features import load_classifier
from common.training.members import Generators, Members
from common.training.stream import stream
from papers.ctm.adversarial import ProjectedDiscriminator, ProjectedHeads
from papers.ctm.consistency import PseudoHuber, Target, averaged_target, target
from papers.ctm.losses import HalfLogNormal
from papers.ctm.networks import TwoTimePerceptron, TwoTimeUNet
from papers.ctm.studies.images import HEADS, INITIAL, JudgeTaps, precond_of, trained_reader
from papers.ctm.studies.teachers import GRID, TEACHERS, stored, unet
from papers.ctm.teacher import OwnDiagonal, Pairs, Solved
from papers.ctm.times import OFFICIAL_TIMES, DistillationTimes, TimeLaw
from papers.ctm.training import Learner, Objective
from papers.ctm.trajectory import Trajectory


@dataclass(frozen=True)
class Method:
    """What a student is trained by."""

    law: TimeLaw = OFFICIAL_TIMES
    dsm: bool = True
    teacher: bool = True
    """Whether its pairs are a teacher's, or solved with its own denoiser g(x, t, t). The official code has the
    student's own jump there; after trainings as short as these its one step is nowhere near the data (pilot)."""
    features: str = ""
    """Whose features the discriminator of the second stage reads: the critic's or the judge's; none without one."""
    goal: Target = target
    """Consistency distillation has the averaged weights in its target, as it was published."""
    ema: float = 0.0
    """Of the averaged weights; 0 for that of the other methods. With an average in its target consistency distillation
    learns as slowly as this follows: at .995 one step is nowhere near the data, at .95 it is where CTM's is (pilot)."""
    after: str = ""
    """The method whose student the discriminator's stage goes on with."""


METHODS: Mapping[str, Method] = {
    "ctm": Method(),
    "without-dsm": Method(dsm=False),
    "no-teacher": Method(teacher=False),
    "cd": Method(DistillationTimes(), dsm=False, goal=averaged_target, ema=0.95),
    "gan": Method(features="critic", after="ctm"),
    "gan-without-dsm": Method(dsm=False, features="critic", after="without-dsm"),
    "no-teacher-gan": Method(teacher=False, features="critic", after="no-teacher"),
    "judge": Method(features="judge", after="ctm"),
}
"""By what they are called in `looks`."""
FIRST = tuple(name for name, method in METHODS.items() if not method.after)
ADVERSARIAL = tuple(name for name, method in METHODS.items() if method.after)


@dataclass(frozen=True)
class StudentConfig:
    """A student and its training."""

    method: str
    """One of `METHODS`."""
    teacher: str
    """One of `TEACHERS`, also where the student is not taught by it: it says what the data is."""
    steps: int
    """Updates of the student before the discriminator enters."""
    more: int
    """And from then on; the discriminator has as many of its own."""
    batch: int
    lr: float
    more_lr: float
    ema: float
    """Of the averaged weights; the official .999 is for a training many times as long."""
    hidden: int = 256
    """Units of the perceptron's layers."""
    checkpoint_every: int = 0
    """In steps; 0 for never."""

    def __post_init__(self) -> None:
        one_of(METHODS, self, "method")
        one_of(TEACHERS, self, "teacher")
        at_least(1, self, "steps", "more", "batch", "hidden")
        at_least(0, self, "checkpoint_every")
        positive(self, "lr", "more_lr")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; it must lie in [0, 1)")

    @property
    def how(self) -> Method:
        return METHODS[self.method]

    @property
    def before(self) -> StudentConfig:
        """The student that the discriminator's stage goes on with."""
        return replace(self, method=self.how.after)


STUDENTS: Mapping[str, StudentConfig] = {
    "exact": StudentConfig("ctm", "exact", steps=1500, more=500, batch=64, lr=3e-3, more_lr=1e-3, ema=0.995),
    "unet": StudentConfig(
        "ctm", "unet", steps=400, more=300, batch=32, lr=1e-3, more_lr=4e-4, ema=0.99, checkpoint_every=100
    ),
    "large unet": StudentConfig(
        "ctm", "large unet", steps=1500, more=1500, batch=256, lr=4e-4, more_lr=1e-4, ema=0.999, checkpoint_every=250
    ),
}
"""By their teacher."""


def student_config(method: str, teacher: str) -> StudentConfig:
    common = STUDENTS[teacher]
    return replace(common, method=method, ema=METHODS[method].ema or common.ema)


def untrained(config: StudentConfig, seed: int) -> Trajectory:
    """The student of a seed as it starts; a U-Net has not its teacher's weights yet."""
    made, generator = TEACHERS[config.teacher], stream(seed, INITIAL)
    net: nn.Module
    if made.exact:
        net = TwoTimePerceptron(made.shape, hidden=config.hidden, generator=generator)
    else:
        net = TwoTimeUNet(unet(made, generator, second_time=16), generator)
    return Trajectory(net, precond_of(made.dataset, made.resolution))


def together(students: list[Trajectory]) -> Trajectory:
    """Several students as one; one stays as it is."""
    if len(students) == 1:
        return students[0]
    return Trajectory(Members([each.net for each in students]), students[0].precond)


def one_for_all(draws: list[torch.Generator]) -> Generators:
    return tuple(draws) if len(draws) > 1 else draws[0]


def alone(student: Trajectory, i: int) -> Trajectory:
    return student if student.members is None else student.member(i)


def objective(config: StudentConfig, learner: Learner, run: Run) -> Objective:
    """What a method minimises."""
    own = OwnDiagonal(learner.average, GRID)
    pairs: Pairs = stored(run.needs["paths"], run.device) if config.how.teacher else Solved(own, GRID)
    dsm = HalfLogNormal(GRID) if config.how.dsm else None
    return Objective(pairs, GRID, config.how.law, PseudoHuber(), dsm, config.how.goal)


def discriminator(config: StudentConfig, seeds: tuple[int, ...], run: Run) -> ProjectedDiscriminator:
    """Heads of each seed's own on features that all share."""
    made = TEACHERS[config.teacher]
    if config.how.features == "judge":
        backbone: nn.Module = JudgeTaps(load_classifier(made.dataset)).to(run.device)
    else:
        backbone = trained_reader(run.needs["critic"], run.device)
    heads = [ProjectedHeads(backbone.channels, generator=stream(seed, HEADS)) for seed in seeds]  # type: ignore[arg-type]  # torch does not type a module's attributes
    return ProjectedDiscriminator(backbone, Members(heads).stacked if len(heads) > 1 else heads[0]).to(run.device)
