"""Who learns from what and who judges what, on images: with a stand-in for each, that leaves a mark of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common.data.images import Images, digits
from common.metrics.features import load_classifier
from common.training.checkpoint import load_checkpoint
from papers.ctm.consistency import PseudoHuber
from papers.ctm.critic import CriticClassifier
from papers.ctm.losses import HalfLogNormal, dsm_loss
from papers.ctm.studies import guidance, image_quality, images, methods, students, teachers
from papers.ctm.studies.guidance import GuidanceConfig
from papers.ctm.studies.image_quality import QualityConfig, digit_quality
from papers.ctm.studies.images import ReaderConfig, images_of, precond_of, reader_training
from papers.ctm.studies.methods import STUDENTS, StudentConfig, student_config
from papers.ctm.studies.students import BEGUN, ENDED, digit_students, student_from
from papers.ctm.studies.teachers import GRID, WEIGHTS, PathsConfig, TeacherConfig, stored, teacher_paths
from tests.papers.fake_run import FakeRun

TINY = StudentConfig("ctm", "exact", steps=40, more=20, batch=3, lr=1e-2, more_lr=1e-3, ema=0.9, hidden=4)


def test_a_classifier_learns_from_training_images_and_is_tried_on_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def always_three(net: CriticClassifier, x0: Tensor, labels: Tensor, *others: Any) -> None:
        assert torch.equal(x0, digits("train").x0)
        assert torch.equal(labels, digits("train").labels)
        with torch.no_grad():
            net.head.weight.zero_()
            net.head.bias.copy_(torch.eye(10)[3])

    monkeypatch.setattr(images, "train_critic", always_three)
    (row,) = reader_training(ReaderConfig("critic", "digits", 8), 0, FakeRun(tmp_path / "run"))
    test = digits("test")
    assert row["accuracy"] == pytest.approx(float((test.labels == 3).double().mean()), rel=1e-9)
    right = load_classifier("digits")(test.x0).argmax(1) == test.labels
    assert row["judge_accuracy"] == pytest.approx(float(right.double().mean()), rel=1e-9)


def test_mnist_is_the_training_set_but_for_the_trial(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read: list[tuple[str, int]] = []

    def mnist(split: str, resolution: int) -> Images:
        read.append((split, resolution))
        return Images(torch.zeros(2, 1, resolution, resolution), torch.zeros(2, dtype=torch.long))

    monkeypatch.setattr(images, "mnist", mnist)
    images_of("mnist", 16)
    reader_training(ReaderConfig("critic", "mnist", 16, steps=1, batch=1), 0, FakeRun(tmp_path / "run"))
    assert read == [("train", 16), ("train", 16), ("test", 16)]


def test_the_preconditioning_knows_the_deviation_of_the_pixels() -> None:
    assert precond_of("digits", 8).sigma_data == pytest.approx(float(images_of("digits", 8).x0.std()), rel=1e-4)


def test_a_teacher_s_average_is_kept_after_all_its_images(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config, seen = TeacherConfig("digits", 8, images=96, batch=16, width=4), SimpleNamespace()

    def train(net: nn.Module, loss: Any, x0: Tensor, how: Any, *others: Any, **more: Any) -> Any:
        average = teachers.Preconditioned(teachers.unet(config), net.precond)  # type: ignore[arg-type]
        for own, value in ((net, 1.0), (average, 2.0)):
            for weight in own.parameters():
                nn.init.constant_(weight, value)
        seen.images, seen.weight, seen.data = how.steps * how.batch_size, loss.keywords["weight"], x0
        return SimpleNamespace(network=net, net=net, ema=average)

    monkeypatch.setattr(teachers, "train", train)
    run = FakeRun(tmp_path / "run")
    teachers.teacher_training(config, 0, run)
    kept = load_checkpoint(run.folder / WEIGHTS)[0]
    weights = [name for name, _ in teachers.unet(config).named_parameters()]
    assert all(bool((kept[name] == 2).all()) for name in weights)
    assert seen.images == 96
    assert torch.equal(seen.data, images_of("digits", 8).x0)
    assert seen.weight.sigma_data == precond_of("digits", 8).sigma_data


def test_trajectories_start_from_images_at_random_and_are_counted(tmp_path: Path) -> None:
    run = FakeRun(tmp_path / "run")
    (row,) = teacher_paths(PathsConfig("exact", 4), 0, run)
    # From place i of 18 times there are 17 − i steps of two evaluations, for four images each.
    assert row["evaluations"] == 4 * 2 * sum(17 - i for i in range(17))
    data, states = images_of("digits", 8).x0, stored(run.folder, "cpu").states
    assert row["spread"] == pytest.approx(float(data.std()), rel=0.1)
    of = [torch.cdist(own[:, 0].flatten(1), data.flatten(1)).argmin(1).tolist() for own in states[-3:]]
    assert len({tuple(sorted(own)) for own in of}) == 3
    assert max(max(own) for own in of) > 100


@pytest.mark.parametrize("method", ["ctm", "judge"])
def test_distances_are_pseudo_huber_and_the_judge_is_of_the_data_set(
    method: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(methods, "stored", lambda *given: None)
    learner: Any = SimpleNamespace(average=None)
    config = student_config(method, "unet")
    made = methods.objective(config, learner, FakeRun(tmp_path / "run", paths=tmp_path))
    assert isinstance(made.distance, PseudoHuber)
    if method == "judge":
        real = methods.load_classifier

        def load(name: Any) -> Any:
            asked.append(name)
            return real(name)

        monkeypatch.setattr(methods, "load_classifier", load)
        heads = methods.discriminator(config, (0, 1), FakeRun(tmp_path / "heads"))
        assert isinstance(heads.backbone, images.JudgeTaps)
        assert asked == ["mnist"]


def test_a_training_has_the_settings_of_its_config_and_keeps_the_averages_of_each_seed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stages: list[tuple[float, ...]] = []

    def train(learner: Any, data: Tensor, objective: Any, how: Any, *others: Any) -> None:
        (group,) = learner.optimizer.param_groups
        stages.append((how.steps, how.batch_size, how.lr, group["lr"], how.ema, how.log_every))
        with torch.no_grad():
            for name, whole in (("average", learner.average), ("student", learner.student)):
                for weight in whole.parameters():
                    for i, own in enumerate(weight):
                        own.fill_({"average": 0.01, "student": 0.5}[name] * (i + 1) + 0.001 * len(stages))

    monkeypatch.setattr(students, "train", train)
    monkeypatch.setattr(students, "objective", lambda *given: None)
    runs = tuple(FakeRun(tmp_path / name) for name in "ab")
    found = digit_students(TINY, (3, 4), runs)
    assert stages == [(40, 3, 1e-2, 1e-2, 0.9, 2), (20, 3, 1e-3, 1e-3, 0.9, 1)]
    for i, (run, (row,)) in enumerate(zip(runs, found, strict=True)):
        for stage, name in enumerate((BEGUN, ENDED), start=1):
            weight = load_checkpoint(run.folder / name)[0]["net.last.weight"]
            torch.testing.assert_close(weight, torch.full_like(weight, 0.01 * (i + 1) + 0.001 * stage))
        ended, x0 = student_from(TINY, run.folder / ENDED, "cpu"), images_of("digits", 8).x0[:1000]
        loss = dsm_loss(ended, x0, students.stream(0, images.TRAINING), HalfLogNormal(GRID)).mean()
        assert float(row["dsm"]) == pytest.approx(float(loss), rel=1e-4)
    stages.clear()
    later = tuple(FakeRun(tmp_path / f"later-{run.folder.name}", student=run.folder) for run in runs)
    students.second_stage(replace(TINY, method="judge"), (3, 4), later)
    assert stages == [(40, 3, 1e-3, 1e-3, 0.9, 2)], "the discriminator has half of the updates"
    for run in later:
        assert (run.folder / ENDED).exists()


def test_a_trained_student_is_the_one_at_the_end(tmp_path: Path) -> None:
    config = replace(TINY, hidden=4)
    for i, name in enumerate((BEGUN, ENDED)):
        students.save_checkpoint(tmp_path / name, methods.untrained(config, i).state_dict(), {})
    ended = students.trained_student(config, tmp_path, "cpu").last_weight
    assert torch.equal(ended, methods.untrained(config, 1).last_weight)


def test_samples_are_judged_by_judge_witness_and_floor_each_in_its_column(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {}

    def witness(net: Any, samples: Tensor, data: Tensor) -> float:
        assert net == "the witness"
        assert len(samples) == 4
        assert torch.equal(data, images_of("digits", 8).x0)
        return 0.2

    def floor(dataset: str, resolution: int, n: int, generator: torch.Generator) -> float:
        assert (dataset, resolution, n) == ("digits", 8, 4)
        return 0.3

    def student(config: StudentConfig, folder: Path, device: str) -> Any:
        asked["student"] = (config, folder)
        return lambda x, t, s: x * s / t

    readers = {tmp_path / "witness": "the witness"}
    monkeypatch.setattr(image_quality, "trained_reader", lambda folder, device: readers[folder])
    monkeypatch.setattr(image_quality, "trained_student", student)
    monkeypatch.setattr(image_quality, "fd", lambda dataset, samples: 0.1)
    monkeypatch.setattr(image_quality, "fd_witness", witness)
    monkeypatch.setattr(image_quality, "fd_floor", floor)
    run = FakeRun(tmp_path / "run", student=tmp_path / "student", witness=tmp_path / "witness")
    (row,) = digit_quality(QualityConfig("without-dsm", "exact", (1,), (0.0,), 4), 0, run)
    assert row == {"gamma": 0.0, "nfe": 1, "fd": 0.1, "fd_witness": 0.2, "floor": 0.3}
    assert asked["student"] == (replace(STUDENTS["exact"], method="without-dsm"), tmp_path / "student")


def test_the_critic_guides_and_the_judge_reads_what_was_wanted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def sampling(jump: Any, loss: Any, x: Tensor, times: Tensor, gamma: float, scale: float, generator: Any) -> Tensor:
        assert loss.critic == "the critic"
        assert (len(times) - 1, gamma) == (5, 0.25)
        # An image of the class that is wanted, in every place but the last.
        wanted = [x0[y == c][0] for c in loss.classes]
        return torch.stack([*wanted[:-1], -torch.ones_like(wanted[0])]) if scale else torch.ones_like(x)

    data = digits()
    right = load_classifier("digits")(data.x0).argmax(1) == data.labels
    x0, y = data.x0[right], data.labels[right]
    readers = {tmp_path / "critic": "the critic"}
    monkeypatch.setattr(guidance, "trained_reader", lambda folder, device: readers[folder])
    monkeypatch.setattr(guidance, "trained_student", lambda *given: None)
    monkeypatch.setattr(guidance, "guided_sampling", sampling)
    monkeypatch.setattr(guidance, "fd", lambda dataset, samples: float(samples[0, 0, 0, 0]) + 5)
    monkeypatch.setattr(guidance, "fd_floor", lambda dataset, resolution, n, generator: {25: 0.3}[n])
    run = FakeRun(tmp_path / "run", student=tmp_path / "student", critic=tmp_path / "critic")
    config = GuidanceConfig("gan", "exact", (0.0, 3.0), steps=5, gamma=0.25, n_samples=25)
    none, led = guidance.guidance(config, 0, run)
    assert none["accuracy"] in (pytest.approx(2 / 25), pytest.approx(3 / 25)), "one class"
    assert led["accuracy"] == pytest.approx(24 / 25, abs=1e-9)
    assert (none["fd"], led["fd"]) == (6.0, float(x0[y == 0][0, 0, 0, 0]) + 5)
    assert none["floor"] == led["floor"] == 0.3
    assert len(run.arrays["scale_3"]) == 20
    assert torch.equal(run.arrays["scale_3"][:10], torch.stack([x0[y == c][0] for c in range(10)]))
