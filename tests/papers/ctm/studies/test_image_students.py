"""Teachers, trajectories and students on images at tiny sizes: what each reads, draws and leaves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from common.diffusion.oracle import EmpiricalDenoiser
from common.harness.runs.rows import check
from common.metrics.features import digit_features, load_classifier
from common.training.checkpoint import load_checkpoint
from common.training.stream import stream
from papers.ctm.consistency import averaged_target, target
from papers.ctm.studies import methods, students, teachers
from papers.ctm.studies.images import (
    HEADS,
    JudgeTaps,
    ReaderConfig,
    as_judged,
    images_of,
    reader,
    reader_training,
    trained_reader,
)
from papers.ctm.studies.methods import (
    ADVERSARIAL,
    FIRST,
    METHODS,
    STUDENTS,
    StudentConfig,
    objective,
    student_config,
    untrained,
)
from papers.ctm.studies.students import (
    BEGUN,
    ENDED,
    digit_adversaries,
    digit_students,
    image_adversaries,
    image_students,
    student_from,
    trained,
)
from papers.ctm.studies.teachers import (
    GRID,
    TEACHERS,
    PathsConfig,
    TeacherConfig,
    paths_of,
    stored,
    teacher_of,
    teacher_paths,
    teacher_training,
)
from papers.ctm.teacher import OwnDiagonal, Solved, Stored, heun_step
from papers.ctm.times import DistillationTimes, SoftTimes
from papers.ctm.training import CTMTraining, begin
from tests.papers.fake_run import FakeRun

TINY = StudentConfig("ctm", "exact", steps=4, more=4, batch=4, lr=1e-2, more_lr=1e-3, ema=0.9, hidden=8)
TINY_UNET = TeacherConfig("digits", 8, images=32, batch=16, width=4, levels=2)


def paths(folder: Path, count: int = 3) -> Path:
    run = FakeRun(folder / "paths")
    check(teacher_paths(PathsConfig("exact", count), 0, run), teacher_paths.columns)
    return run.folder


def critic(folder: Path) -> Path:
    run = FakeRun(folder / "critic")
    (row,) = reader_training(ReaderConfig("critic", "digits", 8, steps=2), 0, run)
    check([row], reader_training.columns)
    assert 0 <= float(row["accuracy"]) <= 1
    assert float(row["judge_accuracy"]) > 0.9
    return run.folder


def test_trajectories_are_the_teacher_s_from_noisy_data_at_each_time(tmp_path: Path) -> None:
    states = stored(paths(tmp_path), "cpu").states
    assert [tuple(own.shape) for own in states] == [(3, 18 - i, 1, 8, 8) for i in range(17)]
    denoiser, times = EmpiricalDenoiser(images_of("digits", 8).x0), GRID.times
    for i in (0, 16):
        x = states[i][:, 0].double()
        for place in range(i, 17):
            x = heun_step(denoiser, x, times[place], times[place + 1])
        torch.testing.assert_close(states[i][:, -1].double(), x, rtol=1e-3, atol=1e-3)
    assert states[0][:, 0].std() == pytest.approx(80, rel=0.2), "noise of the first time"


def test_the_judge_s_taps_end_in_the_features_that_judge() -> None:
    x0 = images_of("digits", 8).x0[:5]
    judge = load_classifier("digits")
    taps = JudgeTaps(judge)
    maps = taps.taps(x0)
    assert tuple(own.shape[1] for own in maps) == taps.channels
    torch.testing.assert_close(maps[-1][:, :, 0, 0].double() / judge.scale, digit_features(x0))


def test_readers_differ_in_their_seed_and_each_is_what_it_was(tmp_path: Path) -> None:
    weights = {}
    for name in ("critic", "witness"):
        run = FakeRun(tmp_path / name)
        reader_training(ReaderConfig(name, "digits", 8, steps=2), 0, run)
        weights[name] = trained_reader(run.folder, "cpu").head.weight
    assert not torch.allclose(weights["critic"], weights["witness"])
    assert reader("critic", "mnist", 16).config.resolution == 16
    assert as_judged(torch.zeros(1, 1, 16, 16)).shape[-1] == 28


@pytest.mark.parametrize("method", METHODS)
def test_each_method_minimises_what_its_name_says(method: str, tmp_path: Path) -> None:
    config = replace(TINY, method=method)
    run = FakeRun(tmp_path / "run", paths=paths(tmp_path))
    learner = begin(untrained(config, 0), CTMTraining(1, 1))
    made = objective(config, learner, run)
    assert (made.dsm is None) == (method in ("without-dsm", "gan-without-dsm", "cd"))
    assert isinstance(made.law, DistillationTimes if method == "cd" else SoftTimes)
    assert made.goal is (averaged_target if method == "cd" else target)
    assert student_config(method, "exact").ema == (0.95 if method == "cd" else STUDENTS["exact"].ema)
    if method.startswith("no-teacher"):
        assert isinstance(made.pairs, Solved)
        assert isinstance(made.pairs.solver, OwnDiagonal)
        assert made.pairs.solver.average is learner.average
    else:
        assert isinstance(made.pairs, Stored)
    how = METHODS[method]
    assert (how.features != "") == (method in ADVERSARIAL) == (how.after in FIRST)
    if how.after:
        before = METHODS[how.after]
        assert (before.dsm, before.teacher, before.law) == (how.dsm, how.teacher, how.law)
        assert how.features == ("judge" if method == "judge" else "critic")


def test_the_stage_with_a_discriminator_goes_on_with_the_student_of_its_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeds, found, backbone = (3, 5), paths(tmp_path), critic(tmp_path)
    runs = [FakeRun(tmp_path / f"first-{seed}", paths=found) for seed in seeds]
    for rows in digit_students(TINY, seeds, tuple(runs)):
        check(rows, digit_students.columns)
    begun = [load_checkpoint(run.folder / BEGUN)[0] for run in runs]
    ended = [load_checkpoint(run.folder / ENDED)[0] for run in runs]
    moved = [name for name in begun[0] if not torch.equal(begun[0][name], ended[0][name])]
    assert "net.last.weight" in moved

    seen: dict[str, Any] = {}
    begin_as_it_is, train_as_it_is = students.begin, students.train

    def watch_begin(student: Any, config: CTMTraining, discriminator: Any = None) -> Any:
        seen["student"] = {name: value.clone() for name, value in student.state_dict().items()}
        seen["heads"] = discriminator.heads.projection_0.clone()
        return begin_as_it_is(student, config, discriminator)

    def watch_train(learner: Any, data: Tensor, objective: Any, config: CTMTraining, *others: Any) -> Any:
        seen["steps"], seen["lr"] = config.steps, config.lr
        return train_as_it_is(learner, data, objective, config, *others)

    monkeypatch.setattr(students, "begin", watch_begin)
    monkeypatch.setattr(students, "train", watch_train)
    config = replace(TINY, method="gan")
    later = [
        FakeRun(tmp_path / f"second-{seed}", student=run.folder, paths=found, critic=backbone)
        for seed, run in zip(seeds, runs, strict=True)
    ]
    for rows in digit_adversaries(config, seeds, tuple(later)):
        check(rows, digit_adversaries.columns)
    assert (seen["steps"], seen["lr"]) == (2 * TINY.more, TINY.more_lr), "student and discriminator take turns"
    for i, own in enumerate(begun):
        torch.testing.assert_close(seen["student"]["net.stacked.last.weight"][i], own["net.last.weight"])
        heads = methods.ProjectedHeads((24, 48, 96), generator=stream(seeds[i], HEADS))
        torch.testing.assert_close(seen["heads"][i], heads.get_buffer("projection_0"))


class Killed(BaseException):
    """As a process is killed."""


@pytest.mark.parametrize("at", [BEGUN, ENDED])
def test_a_training_that_was_killed_goes_on_from_its_last_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str
) -> None:
    config, seeds = replace(TINY, checkpoint_every=1), (3, 4)
    whole, broken = ([FakeRun(tmp_path / f"{name}{seed}", paths=paths(tmp_path)) for seed in seeds] for name in "ab")
    students.first_stage(config, seeds, tuple(whole))
    keep, steps = students._keep, list[int]()

    def killed(learner: Any, runs: Any, name: str) -> None:
        if name == at:
            raise Killed
        keep(learner, runs, name)

    with monkeypatch.context() as patch:
        patch.setattr(students, "_keep", killed)
        with pytest.raises(Killed):
            students.first_stage(config, seeds, tuple(broken))
    for own in broken:
        own.log = lambda **values: steps.append(int(values["step"]))  # type: ignore[method-assign]
    students.first_stage(config, seeds, tuple(broken))
    assert len(steps) == (0 if at == ENDED else TINY.more * len(seeds)), "what was trained is not trained again"
    for one, other in zip(whole, broken, strict=True):
        assert {file.name for file in other.folder.iterdir()} == {BEGUN, ENDED}, "nothing is left behind"
        for name in (BEGUN, ENDED):
            ours, theirs = (load_checkpoint(run.folder / name)[0] for run in (one, other))
            assert all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_u_net_starts_as_its_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TEACHERS, "unet", TINY_UNET)
    made = FakeRun(tmp_path / "made")
    check(teacher_training(TINY_UNET, 0, made), teacher_training.columns)
    x, sigma = torch.randn(3, 1, 8, 8, generator=stream(0, 0)), torch.tensor(0.7)
    solved = paths(tmp_path, 2)
    run = FakeRun(tmp_path / "by-net", teacher=made.folder)
    teacher, solvers = teacher_of("unet", run.needs, "cpu"), list[Any]()

    def make(denoiser: Any, x0: Tensor, *others: Any) -> Stored:
        solvers.append(denoiser(x, sigma))
        return stored(solved, "cpu")

    with monkeypatch.context() as patch:
        patch.setattr(teachers.Stored, "make", make)  # 306 evaluations of a U-Net, in the place of one
        check(teacher_paths(PathsConfig("unet", 2), 0, run), teacher_paths.columns)
    config = replace(TINY, teacher="unet", steps=2, more=1, lr=1e-12, more_lr=1e-12)
    first = FakeRun(tmp_path / "first", teacher=made.folder, paths=run.folder)
    check(image_students(config, 4, first), image_students.columns)
    student = student_from(config, first.folder / ENDED, "cpu")
    with torch.no_grad():
        torch.testing.assert_close(student.denoised(x, sigma), teacher(x, sigma), rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(solvers, [teacher(x, sigma)])
    second = FakeRun(tmp_path / "second", student=first.folder, paths=run.folder, critic=critic(tmp_path))
    check(image_adversaries(replace(config, method="gan"), 4, second), image_adversaries.columns)


def needed(experiment: Any, preset: str) -> Mapping[str, set[str]]:
    return {config.method: {*experiment.needs(config, 2)} for config in experiment.presets[preset].configs}


def test_each_run_needs_what_it_reads_and_of_its_own_seed() -> None:
    assert needed(digit_students, "small") == {
        "ctm": {"paths"}, "without-dsm": {"paths"}, "cd": {"paths"}, "no-teacher": set()
    }  # fmt: skip
    assert needed(digit_adversaries, "small") == {
        "gan": {"student", "paths", "critic"},
        "gan-without-dsm": {"student", "paths", "critic"},
        "no-teacher-gan": {"student", "critic"},
        "judge": {"student", "paths"},
    }
    assert needed(image_students, "small") == {"ctm": {"teacher", "paths"}}
    for preset in ("small", "gpu"):
        for experiment in (digit_adversaries, image_adversaries):
            if preset not in experiment.presets:
                continue
            grid = experiment.presets[preset]
            for config in grid.configs:
                needs = experiment.needs(config, 2)
                before = needs["student"]
                assert (before.seed, before.config) == (2, config.before)
                assert before.config in before.experiment.presets[preset].configs
                assert grid.seeds <= before.experiment.presets[preset].seeds
                for key in set(needs) - {"student"}:
                    assert needs[key].seed == 0, "one teacher and one critic for all seeds"
                    assert needs[key].config in needs[key].experiment.presets[preset].configs
    for teacher in STUDENTS:
        assert paths_of(teacher).config in [c for grid in teacher_paths.presets.values() for c in grid.configs]
        assert trained("gan", teacher, 1).config.method == "gan"
        assert trained("ctm", teacher, 1).experiment in (digit_students, image_students)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "vae"}, "method is one of ctm, "),
        ({"teacher": "vgg"}, "teacher is one of exact, unet, large unet, not 'vgg'"),
        ({"steps": 0}, "steps is at least 1, not 0"),
        ({"lr": 0.0}, "lr is 0.0; it must be positive"),
        ({"ema": 1.0}, r"ema is 1.0; it must lie in \[0, 1\)"),
    ],
)
def test_a_bad_student_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **fields)


def prepare(experiment: Any, config: StudentConfig) -> None:
    experiment.prepare(config)


def test_a_method_of_the_other_stage_is_refused() -> None:
    with pytest.raises(ValueError, match="method is one of ctm, without-dsm, no-teacher, cd, not 'gan'"):
        prepare(digit_students, replace(TINY, method="gan"))
    with pytest.raises(ValueError, match="not 'ctm'"):
        prepare(digit_adversaries, TINY)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: TeacherConfig("cats", 8), "dataset is one of digits, mnist, not 'cats'"),
        (lambda: TeacherConfig("mnist", 16, lr=-1.0), "lr is -1.0; it must be positive"),
        (lambda: PathsConfig("exact", 0), "count is at least 1, not 0"),
        (lambda: ReaderConfig("judge", "digits", 8), "reader is one of critic, witness, not 'judge'"),
    ],
)
def test_bad_teachers_and_readers_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_the_teacher_that_is_exact_needs_no_training() -> None:
    assert teachers.taught("exact") == {}
    assert {*teachers.taught("unet")} == {"teacher"}
