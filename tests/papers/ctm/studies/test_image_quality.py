"""What is sampled from which student and teacher, by how many evaluations, and who judges it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from common.diffusion.oracle import EmpiricalDenoiser
from common.harness.runs.rows import check
from common.metrics.floor import floor, resampled
from common.metrics.frechet import digits_reference, fd_digits
from common.training.checkpoint import save_checkpoint
from common.training.stream import stream
from papers.ctm.critic import CriticClassifier
from papers.ctm.studies import guidance as guided
from papers.ctm.studies import image_quality as study
from papers.ctm.studies.guidance import GuidanceConfig, Towards, guidance
from papers.ctm.studies.image_quality import (
    TEACHER,
    QualityConfig,
    digit_quality,
    fd_witness,
    mnist_quality,
    of_teacher,
    start,
)
from papers.ctm.studies.images import FLOOR, SAMPLING, WEIGHTS, fd_floor, images_of
from papers.ctm.studies.methods import METHODS, STUDENTS, untrained
from papers.ctm.studies.students import ENDED, trained
from papers.ctm.studies.teachers import GRID, TEACHERS
from tests.papers.fake_run import FakeRun


@pytest.fixture
def witness(tmp_path: Path) -> Path:
    return reader(tmp_path / "witness", 7)


def reader(folder: Path, seed: int) -> Path:
    net = CriticClassifier(generator=stream(seed, 0))
    save_checkpoint(folder / WEIGHTS, net.state_dict(), {})
    return folder


def student(folder: Path, method: str = "gan") -> Path:
    config = replace(STUDENTS["exact"], method=method)
    save_checkpoint(folder / ENDED, untrained(config, 0).state_dict(), {})
    return folder


@dataclass
class Judged:
    """Samples that were judged, in order."""

    samples: list[Tensor]


@pytest.fixture
def judged(monkeypatch: pytest.MonkeyPatch) -> Judged:
    seen = Judged([])

    def fd(dataset: str, samples: Tensor) -> float:
        assert dataset == "digits"
        seen.samples.append(samples)
        return float(len(seen.samples))

    monkeypatch.setattr(study, "fd", fd)
    monkeypatch.setattr(guided, "fd", fd)
    return seen


def test_a_student_jumps_as_often_as_its_row_says_from_the_noise_of_its_seed(
    tmp_path: Path, witness: Path, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With exact jumps of one step of Euler, from noise that the teacher has too."""
    jumps: list[tuple[float, float, int]] = []

    def jump(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        jumps.append((float(t), float(s), len(x)))
        return x * s / t

    monkeypatch.setattr(study, "trained_student", lambda config, folder, device: jump)
    run = FakeRun(tmp_path / "run", witness=witness, student=tmp_path)
    rows = digit_quality(QualityConfig("gan", "exact", (1, 4), (0.0, 1.0), 6), 3, run)
    check(rows, digit_quality.columns)
    assert [(row["gamma"], row["nfe"], row["fd"]) for row in rows] == [(0.0, 1, 1.0), (0.0, 4, 2.0), (1.0, 4, 3.0)]
    assert jumps[0] == pytest.approx((80.0, GRID.sigma_min, 6))
    assert [t for t, _, _ in jumps[1:5]] == [t for t, _, _ in jumps[5:]]
    assert all(s == pytest.approx(GRID.sigma_min) for _, s, _ in jumps[5:]), "γ = 1 jumps to the data"
    x = 80.0 * torch.randn(6, 1, 8, 8, generator=stream(3, SAMPLING), dtype=torch.float64)
    torch.testing.assert_close(start(TEACHERS["exact"], 6, 3, "cpu"), x)
    torch.testing.assert_close(judged.samples[0], x * GRID.sigma_min / 80)
    torch.testing.assert_close(torch.from_numpy(run_array(run, "nfe_1")), judged.samples[0].float())


def run_array(run: FakeRun, name: str) -> Any:
    array = run.arrays[name]
    return array.numpy() if isinstance(array, Tensor) else array


def test_the_teacher_s_evaluations_are_counted(tmp_path: Path, witness: Path, judged: Judged) -> None:
    run = FakeRun(tmp_path / "run", witness=witness)
    rows = digit_quality(of_teacher("exact", 4, (5, 35)), 1, run)
    assert [row["nfe"] for row in rows] == [5, 35]
    data = images_of("digits", 8).x0.double()
    nearest = torch.cdist(judged.samples[1].flatten(1).double(), data.flatten(1)).min(1).values
    assert (nearest < 0.05).all(), "the exact denoiser ends on training images"
    assert EmpiricalDenoiser(data).data.shape == (1797, 1, 8, 8)


def test_floor_and_witness_are_what_the_metric_says_of_data(tmp_path: Path) -> None:
    x0 = images_of("digits", 8).x0
    expected = floor(fd_digits, resampled(x0), 50, stream(2, FLOOR), repeats=4, reference=digits_reference()).mean
    assert fd_floor("digits", 8, 50, stream(2, FLOOR)) == pytest.approx(expected)
    net = CriticClassifier(generator=stream(7, 0)).eval()
    assert fd_witness(net, x0, x0) == pytest.approx(0, abs=1e-6)
    assert fd_witness(net, x0 + 0.3 * torch.randn(x0.shape, generator=stream(0, 0)), x0) > 10 * fd_witness(
        net, x0[::2], x0
    )


def test_each_run_needs_the_training_of_its_seed() -> None:
    for experiment in (digit_quality, mnist_quality):
        for preset, grid in experiment.presets.items():
            for config in grid.configs:
                needs = experiment.needs(config, 2)
                assert ("witness" in needs) == (config.teacher == "exact")
                if config.method == TEACHER:
                    assert ("teacher" in needs) == (config.teacher != "exact")
                    continue
                need = needs["student"]
                assert (need.config.method, need.config.teacher, need.seed) == (config.method, config.teacher, 2)
                assert need.config in need.experiment.presets[preset].configs
                assert grid.seeds <= need.experiment.presets[preset].seeds
    assert {config.method for config in digit_quality.presets["small"].configs} == {*METHODS, TEACHER}
    for preset, grid in guidance.presets.items():
        for config in grid.configs:
            needs = guidance.needs(config, 4)
            assert needs["student"] == trained(config.method, config.teacher, 4)
            assert needs["critic"].config in needs["critic"].experiment.presets[preset].configs


def test_guidance_wants_all_classes_alike_and_scale_0_is_none(
    tmp_path: Path, judged: Judged, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted: list[Tensor] = []
    as_it_is = Towards.__init__

    def watch(self: Towards, critic: Any, classes: Tensor) -> None:
        wanted.append(classes)
        as_it_is(self, critic, classes)

    monkeypatch.setattr(Towards, "__init__", watch)
    needs = {"student": student(tmp_path / "student"), "critic": reader(tmp_path / "critic", 5)}
    config = GuidanceConfig("gan", "exact", (0.0, 5.0), steps=2, gamma=0.0, n_samples=20)
    run = FakeRun(tmp_path / "run", **needs)
    rows = guidance(config, 0, run)
    check(rows, guidance.columns)
    assert [row["scale"] for row in rows] == [0.0, 5.0]
    assert torch.equal(wanted[0], torch.arange(20) % 10)
    unguided = digit_quality(
        QualityConfig("gan", "exact", (2,), (0.0,), 20),
        0,
        FakeRun(tmp_path / "plain", student=needs["student"], witness=needs["critic"]),
    )
    assert isfinite(float(unguided[0]["fd_witness"]))
    first, led, plain = judged.samples
    torch.testing.assert_close(first, plain.float())
    assert not torch.allclose(led, first)
    loss = Towards(study.trained_reader(needs["critic"], "cpu"), torch.arange(20) % 10)
    assert loss(led).mean() < loss(first).mean(), "downhill"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QualityConfig("vae", "exact"), "method is one of ctm, "),
        (lambda: QualityConfig("ctm", "exact", gammas=(1.5,)), r"gammas has 1.5; each must lie in \[0, 1\]"),
        (lambda: of_teacher("exact", 10, (4,)), "nfes has 4; Heun's method takes an odd number of evaluations"),
        (lambda: QualityConfig("ctm", "exact", nfes=(0,)), "nfes is at least 1, not 0"),
        (lambda: GuidanceConfig("ctm", "exact", scales=(-1.0,)), "scales is at least 0, not -1.0"),
        (lambda: GuidanceConfig("ctm", "exact", gamma=2.0), r"gamma is 2.0; it must lie in \[0, 1\]"),
        (lambda: GuidanceConfig("ctm", "vgg"), "teacher is one of exact, unet, large unet, not 'vgg'"),
    ],
)
def test_bad_fields_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
