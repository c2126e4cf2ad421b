"""The students on images: one training for each method and seed, which all studies of images share.

On digits all seeds are trained as one network. As published, the discriminator comes second: it enters when the student
has been trained for a while without it. The student without a discriminator goes on for as many steps of its own, so
that both have seen as many images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch

from common.harness.studies.experiment import Experiment, Grid, Need, Resources, Row, Run, experiment
from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.members import Generators
from common.training.stream import stream
from papers.ctm.losses import HalfLogNormal, dsm_loss
from papers.ctm.studies.images import SECOND, STEPS, TRAINED, TRAINING, images_of, look_at, reader
from papers.ctm.studies.methods import (
    ADVERSARIAL,
    FIRST,
    StudentConfig,
    alone,
    discriminator,
    objective,
    one_for_all,
    student_config,
    together,
    untrained,
)
from papers.ctm.studies.teachers import GRID, TEACHERS, paths_of, taught, teacher_weights
from papers.ctm.training import CTMTraining, Learner, begin, train
from papers.ctm.trajectory import Trajectory

BEGUN, ENDED = "begun.safetensors", "average.safetensors"
"""The averaged student when the discriminator enters, and at the end."""


def first_stage(config: StudentConfig, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> list[list[Row]]:
    """Train without a discriminator to the end; keep what the discriminator's stage goes on with."""
    device, students = runs[0].device, [untrained(config, seed) for seed in seeds]
    if not TEACHERS[config.teacher].exact:
        for each in students:
            each.net.start_from(teacher_weights(runs[0].needs))  # type: ignore[operator]  # torch does not type a module's attributes
    learner = begin(together(students).to(device), _how(config, config.steps, config.lr))
    draws, steps = _streams(seeds, TRAINING, device)
    for updates, lr, kept in ((config.steps, config.lr, BEGUN), (config.more, config.more_lr, ENDED)):
        for group in learner.optimizer.param_groups:
            group["lr"] = lr
        _train(learner, config, _how(config, updates, lr), draws, steps, runs, f"training-{kept}")
        _keep(learner, runs, kept)
    _clear(runs[0])
    return _rows(config, learner, runs)


def second_stage(config: StudentConfig, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> list[list[Row]]:
    """Go on with a discriminator."""
    device = runs[0].device
    students = [student_from(config, run.needs["student"] / BEGUN, device) for run in runs]
    how = _how(config, 2 * config.more, config.more_lr)
    learner = begin(together(students), how, discriminator(config, seeds, runs[0]))
    draws, steps = _streams(seeds, SECOND, device)
    _train(learner, config, how, draws, steps, runs, f"training-{ENDED}")
    _keep(learner, runs, ENDED)
    _clear(runs[0])
    return _rows(config, learner, runs)


def _how(config: StudentConfig, updates: int, lr: float) -> CTMTraining:
    return CTMTraining(
        updates,
        config.batch,
        lr,
        ema=config.ema,
        log_every=max(1, updates // 20),
        checkpoint_every=config.checkpoint_every,
    )


def _streams(seeds: tuple[int, ...], purpose: int, device: str) -> tuple[Generators, torch.Generator]:
    return one_for_all([stream(seed, purpose, device) for seed in seeds]), stream(0, STEPS)


def _train(
    learner: Learner,
    config: StudentConfig,
    how: CTMTraining,
    draws: Generators,
    steps: torch.Generator,
    runs: tuple[Run, ...],
    state: str,
) -> None:
    """Train; a training that was stopped goes on from the file `state` of its first run, until `_clear`."""
    made, run = TEACHERS[config.teacher], runs[0]
    data = images_of(made.dataset, made.resolution).x0.to(run.device)
    logs = tuple(each.log for each in runs)
    log = logs if len(logs) > 1 else logs[0]
    checkpoint = run.folder / state if config.checkpoint_every else None
    train(learner, data, objective(config, learner, run), how, draws, steps, log, checkpoint)


def _clear(run: Run) -> None:
    """What a finished training does not need."""
    for file in run.folder.glob("training-*"):
        file.unlink()


def _keep(learner: Learner, runs: tuple[Run, ...], name: str) -> None:
    for i, run in enumerate(runs):
        save_checkpoint(run.folder / name, alone(learner.average, i).state_dict(), {})


@torch.no_grad()
def _rows(config: StudentConfig, learner: Learner, runs: tuple[Run, ...]) -> list[list[Row]]:
    """The denoising loss of each average, at noise that is the same for all."""
    made, device = TEACHERS[config.teacher], runs[0].device
    x0 = images_of(made.dataset, made.resolution).x0[:1000].to(device)
    rows: list[list[Row]] = []
    for i, _ in enumerate(runs):
        loss = dsm_loss(alone(learner.average, i), x0, stream(0, TRAINING, device), HalfLogNormal(GRID))
        rows.append([{"dsm": float(loss.mean())}])
    return rows


def student_from(config: StudentConfig, file: Path, device: str) -> Trajectory:
    """A trained student from a file of its run."""
    student = untrained(config, 0)
    student.load_state_dict(load_checkpoint(file)[0])
    return student.to(device).eval().requires_grad_(False)


def trained_student(config: StudentConfig, folder: Path, device: str) -> Trajectory:
    """A student at the end of its training, from the folder of its run."""
    return student_from(config, folder / ENDED, device)


def needed_first(config: StudentConfig, seed: int) -> Mapping[str, Need]:
    """The runs that the first stage reads: the teacher that it starts from, and trajectories."""
    paths = {"paths": paths_of(config.teacher)} if config.how.teacher else {}
    return {**taught(config.teacher), **paths}


def needed_second(config: StudentConfig, seed: int) -> Mapping[str, Need]:
    """The runs that the second stage reads: the student of the first, trajectories, and the critic."""
    made = TEACHERS[config.teacher]
    paths = {"paths": paths_of(config.teacher)} if config.how.teacher else {}
    critic = {"critic": reader("critic", made.dataset, made.resolution)} if config.how.features == "critic" else {}
    return {"student": Need(first_of(config.teacher), config.before, seed), **paths, **critic}


def _prepare(config: StudentConfig) -> None:
    made = TEACHERS[config.teacher]
    look_at(made.dataset, made.resolution)


def _only(config: StudentConfig, stage: tuple[str, ...]) -> None:
    if config.method not in stage:
        raise ValueError(f"method is one of {', '.join(stage)}, not {config.method!r}")


def _checked(stage: tuple[str, ...]) -> Callable[[StudentConfig], None]:
    """Before anything runs: that the method belongs to the stage, and that there is data."""

    def check(config: StudentConfig) -> None:
        _only(config, stage)
        _prepare(config)

    return check


def _grid(teacher: str, methods: tuple[str, ...], seeds: int) -> Grid:
    return Grid([student_config(name, teacher) for name in methods], seeds)


COLUMNS = {"dsm": float}
ON_GPU = {"gpu": Resources(cpus=4, gpus=1.0)}


@experiment(
    StudentConfig,
    {"small": _grid("exact", FIRST, 5)},
    COLUMNS,
    needs=needed_first,
    prepare=_checked(FIRST),
    together=8,
    tolerance=TRAINED,
)
def digit_students(config: StudentConfig, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> list[list[Row]]:
    """Train students on digits without a discriminator, all seeds at once."""
    return first_stage(config, seeds, runs)


@experiment(
    StudentConfig,
    {"small": _grid("exact", ADVERSARIAL, 5)},
    COLUMNS,
    needs=needed_second,
    prepare=_checked(ADVERSARIAL),
    together=8,
    tolerance=TRAINED,
)
def digit_adversaries(config: StudentConfig, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> list[list[Row]]:
    """Go on with students on digits against a discriminator, all seeds at once."""
    return second_stage(config, seeds, runs)


@experiment(
    StudentConfig,
    {"small": _grid("unet", ("ctm",), 5), "gpu": _grid("large unet", ("ctm",), 3)},
    COLUMNS,
    resources=ON_GPU,
    needs=needed_first,
    prepare=_checked(FIRST),
    tolerance=TRAINED,
)
def image_students(config: StudentConfig, seed: int, run: Run) -> list[Row]:
    """Train a student on MNIST without a discriminator."""
    return first_stage(config, (seed,), (run,))[0]


@experiment(
    StudentConfig,
    {"small": _grid("unet", ("gan",), 5), "gpu": _grid("large unet", ("gan",), 3)},
    COLUMNS,
    resources=ON_GPU,
    needs=needed_second,
    prepare=_checked(ADVERSARIAL),
    tolerance=TRAINED,
)
def image_adversaries(config: StudentConfig, seed: int, run: Run) -> list[Row]:
    """Go on with a student on MNIST against a discriminator."""
    return second_stage(config, (seed,), (run,))[0]


def trained(method: str, teacher: str, seed: int) -> Need:
    """The training of a student to its end."""
    config = student_config(method, teacher)
    if not config.how.after:
        return Need(first_of(teacher), config, seed)
    return Need(digit_adversaries if TEACHERS[teacher].exact else image_adversaries, config, seed)


def first_of(teacher: str) -> Experiment:
    """The experiment of the first stage."""
    return digit_students if TEACHERS[teacher].exact else image_students
