"""The ring of several studies: eight Gaussians whose trajectories are known, and students of them, one training for
each way of training and seed, that all studies share.

The teacher is the exact denoiser, so whatever error a student has is its own. Students are perceptrons; all seeds are
trained as one network. What differs from the official training are the size; the distance, here ‖x − y‖²/D; the
learning rate, which is larger and falls; and the average, .99 in the place of .999, for there are some thousand steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from common.data.toy import eight_gaussians, eight_gaussians_mixture
from common.diffusion.oracle import GaussianMixture
from common.diffusion.precond import EDMPrecond
from common.harness.studies.experiment import Grid, Need, Row, Run, at_least, experiment, one_of, positive
from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.loop import Batch
from common.training.members import Members
from common.training.stream import stream
from papers.ctm.exact import EqualMixture
from papers.ctm.losses import HalfLogNormal, dsm_loss
from papers.ctm.networks import TwoTimePerceptron
from papers.ctm.teacher import HeunTeacher, Solved
from papers.ctm.times import (
    CIFAR10_GRID,
    OFFICIAL_TIMES,
    DistillationTimes,
    GlobalTimes,
    LocalTimes,
    SoftTimes,
    TimeLaw,
    UniformTimes,
)
from papers.ctm.training import CTMTraining, Objective, begin, train
from papers.ctm.trajectory import Trajectory

GRID = CIFAR10_GRID
MEANS, STD = eight_gaussians_mixture()
TEACHER = EqualMixture(MEANS, STD)
"""E[x0 | x] of the ring, which has mean 0 and mean variance 1."""
LAW = GaussianMixture(MEANS, torch.full((len(MEANS),), STD, dtype=torch.float64))
"""The same with its density."""
SIGMA_DATA = 1.0

INITIAL, TRAINING, STEPS, HELD_OUT, SAMPLING, REFERENCE, RENOISING, DIRECTIONS = range(8)
"""What the streams of a seed are for. Noise that is added on the way is not the noise that samples start from."""
TRAINED = 0.1
"""How far another processor may move a number that a trained student gives, relatively: rounding grows in training."""

RATES = ((0.5, 1.0), (0.8, 0.3), (1.0, 0.1))
"""The learning rate as a multiple of the first, each up to a share of the training."""

TIMES: Mapping[str, TimeLaw] = {
    "official": OFFICIAL_TIMES,
    "uniform-k": SoftTimes(power=0.0),
    "text": UniformTimes(),
    "distillation": DistillationTimes(),
}
MATCHING: Mapping[str, Callable[[TimeLaw], TimeLaw]] = {
    "soft": lambda law: law,
    "local": LocalTimes,
    "global": GlobalTimes,
}


@dataclass(frozen=True)
class StudentConfig:
    """A student of the ring and its training: `steps` of `batch` points each."""

    times: str = "official"
    """One of `TIMES`: the law of t, u and s."""
    matching: str = "soft"
    """One of `MATCHING`: whether u is the law's, one step after t, or s."""
    dsm: bool = True
    ema: float = 0.99
    """Of the averaged weights; 0 for no average."""
    steps: int = 3000
    batch: int = 256
    lr: float = 1e-2
    """Of 0.01 and 0.005 what gave the smaller errors of one jump and of all, after 2000 steps on another seed."""
    hidden: int = 128

    def __post_init__(self) -> None:
        one_of(TIMES, self, "times")
        one_of(MATCHING, self, "matching")
        at_least(1, self, "steps", "batch", "hidden")
        positive(self, "lr")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; it must lie in [0, 1)")

    @property
    def law(self) -> TimeLaw:
        return MATCHING[self.matching](TIMES[self.times])


STUDENTS: Mapping[str, StudentConfig] = {
    "ctm": StudentConfig(),
    "without-dsm": StudentConfig(dsm=False),
    "uniform-k": StudentConfig(times="uniform-k"),
    "uniform-u": StudentConfig(times="text"),
    "no-average": StudentConfig(ema=0.0),
    "soft": StudentConfig(times="text"),
    "local": StudentConfig(times="text", matching="local"),
    "global": StudentConfig(times="text", matching="global"),
}
"""By what they are called in `looks`. Soft matching is compared with local and global by the text's law of times, and
so is the same student as "uniform-u"."""
SIZES: Mapping[str, tuple[int, int]] = {"quick": (1000, 128), "small": (5000, 256), "comparison": (2000, 256)}
"""Steps and batch. Where ways of training are compared, in `small`, all train for two fifths as long."""
SEEDS: Mapping[str, int] = {"quick": 4, "small": 5}


def student_config(name: str, size: str, steps: float = 1.0) -> StudentConfig:
    """One of `STUDENTS`, at one of `SIZES`, with `steps` times as many steps."""
    usual, batch = SIZES[size]
    return replace(STUDENTS[name], steps=round(steps * usual), batch=batch)


def untrained(config: StudentConfig, seed: int) -> Trajectory:
    """The student of a seed as it starts."""
    net = TwoTimePerceptron((2,), hidden=config.hidden, generator=stream(seed, INITIAL))
    return Trajectory(net, EDMPrecond(SIGMA_DATA))


def ring(n: int, generator: Generator) -> Batch:
    """Training data without end: n fresh points, (n, 2), float32."""
    return eight_gaussians(n, generator), {}


def learn(config: StudentConfig, seeds: tuple[int, ...], log: tuple[Callable[..., None], ...]) -> Trajectory:
    """The averaged students of `seeds`, trained at once. How many steps the teacher takes is drawn alike for all."""
    student = Trajectory(Members([untrained(config, seed).net for seed in seeds]), EDMPrecond(SIGMA_DATA))
    how = CTMTraining(config.steps, config.batch, config.lr, ema=config.ema, log_every=max(1, config.steps // 20))
    objective = Objective(
        Solved(HeunTeacher(TEACHER, GRID), GRID), GRID, config.law, dsm=HalfLogNormal(GRID) if config.dsm else None
    )
    generators, steps, learner = tuple(stream(seed, TRAINING) for seed in seeds), stream(0, STEPS), begin(student, how)
    done = 0
    for share, factor in RATES:
        if (end := round(share * config.steps)) > done:
            learner.optimizer.param_groups[0]["lr"] = factor * config.lr
            logs = tuple(_from(done, own) for own in log)
            train(learner, ring, objective, replace(how, steps=end - done), generators, steps, log=logs)
            done = end
    return learner.average


def _from(done: int, log: Callable[..., None]) -> Callable[..., None]:
    """A log that goes on after `done` steps."""
    return lambda step, **values: log(step=done + step, **values)


COMPARED: tuple[tuple[str, float], ...] = (
    *((name, 1.0) for name in STUDENTS if name != "without-dsm"),
    ("local", 3.0),
    ("global", 0.6),
)
"""Which students are compared in training, and for how many times its steps they train."""
TRAININGS: Mapping[str, tuple[StudentConfig, ...]] = {
    "quick": (student_config("ctm", "quick"),),
    "small": (
        student_config("ctm", "small"),
        student_config("without-dsm", "small"),
        *dict.fromkeys(student_config(name, "comparison", steps) for name, steps in COMPARED),
    ),
}


@experiment(
    StudentConfig,
    {preset: Grid(configs, SEEDS[preset]) for preset, configs in TRAININGS.items()},
    {"dsm_loss": float},
    together=5,
    tolerance=TRAINED,
)
def ring_training(config: StudentConfig, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> list[list[Row]]:
    """Train students: the denoising loss of each average on points that are the same for all, and its weights."""
    average = learn(config, seeds, tuple(run.log for run in runs))
    return [[_left(average.member(i), run)] for i, run in enumerate(runs)]


WEIGHTS = "average.safetensors"


@torch.no_grad()
def _left(student: Trajectory, run: Run) -> Row:
    """Save a student, and return its loss."""
    save_checkpoint(run.folder / WEIGHTS, student.state_dict(), {})
    generator = stream(0, HELD_OUT)
    x0, _ = ring(4000, generator)
    return {"dsm_loss": float(dsm_loss(student, x0, generator, HalfLogNormal(GRID)).mean())}


def trained(name: str, size: str, seed: int, steps: float = 1.0) -> Need:
    """The training of one of `STUDENTS`."""
    return Need(ring_training, student_config(name, size, steps), seed)


def trained_student(name: str, size: str, folder: Path) -> Trajectory:
    """A trained student, from the folder of its run."""
    student = untrained(student_config(name, size), 0)
    student.load_state_dict(load_checkpoint(folder / WEIGHTS)[0])
    return student.eval().requires_grad_(False)


EIGHTHS = torch.arange(8, dtype=torch.float64) * math.pi / 4
TURNS = torch.stack([EIGHTHS.cos(), EIGHTHS.sin(), -EIGHTHS.sin(), EIGHTHS.cos()], -1).reshape(8, 2, 2)
"""x @ TURNS[i] is x turned by i eighths of a circle, which the ring does not change."""


def start(n: int, seed: int) -> Tensor:
    """n points at σ_max, (n, 2) float64: N(0, σ_max² I), as samples are started from; draws, then each turned.

    So exact trajectories come to all eight Gaussians alike. Where independent draws do not, by 1/√n, W2 is off by the
    root of that, and what is left of a student's own error is small beside it.
    """
    draws = torch.randn(-(-n // 8), 2, generator=stream(seed, SAMPLING), dtype=torch.float64)
    return GRID.sigma_max * (draws @ TURNS).flatten(0, 1)[:n]


def even_ring(n: int, generator: Generator) -> Tensor:
    """n points of the ring, (n, 2) float64, as many of each Gaussian."""
    return MEANS.to(torch.float64)[torch.arange(n) % 8] + STD * torch.randn(n, 2, generator=generator).double()
