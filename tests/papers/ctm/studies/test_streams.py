"""From which random streams each experiment draws, and which runs it reads: those of its own seed, and none twice."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from common.harness.studies.experiment import Experiment
from common.training.stream import stream
from papers.ctm.paper import PAPER
from papers.ctm.studies import gamma, guidance, image_quality, images, methods, quality, ring, students
from papers.ctm.studies.gamma import GammaConfig, gamma_sampled
from papers.ctm.studies.guidance import GuidanceConfig
from papers.ctm.studies.image_quality import QualityConfig, digit_quality
from papers.ctm.studies.images import ReaderConfig, reader_training
from papers.ctm.studies.jumps import JumpsConfig, jumps
from papers.ctm.studies.matching import CostConfig, teacher_cost
from papers.ctm.studies.official_likelihood import BitsConfig, official_bits
from papers.ctm.studies.quality import one_jump
from papers.ctm.studies.ring import ring_training
from papers.ctm.studies.score import ScoreConfig, diagonal
from papers.ctm.studies.spread import SpreadConfig, spread
from papers.ctm.studies.students import digit_adversaries, digit_students
from papers.ctm.studies.teachers import TEACHERS, PathsConfig, TeacherConfig, teacher_paths, teacher_training
from tests.papers.fake_run import FakeRun
from tests.papers.made import made

ON_RING: dict[Experiment, tuple[Any, set[int]]] = {
    jumps: (JumpsConfig("untrained", "quick", 8, 1), {ring.SAMPLING, ring.INITIAL}),
    gamma_sampled: (
        GammaConfig("ctm", "quick", (1.0,), (2,), 16, 4),
        {ring.SAMPLING, ring.RENOISING, ring.REFERENCE, ring.DIRECTIONS},
    ),
    diagonal: (ScoreConfig("teacher", "small", 8, 2, 1e-2), {ring.HELD_OUT}),
    spread: (SpreadConfig("exact", "quick", states=2, samples=2, exact_steps=1), {ring.SAMPLING}),
    one_jump: (quality.QualityConfig("ctm", "comparison", n=8, exact_steps=1), {ring.SAMPLING, ring.REFERENCE}),
    teacher_cost: (CostConfig("text", "soft", 1, 2), {ring.TRAINING, ring.STEPS}),
    official_bits: (BitsConfig(0.5, 2), {0, 1}),
    teacher_training: (
        TeacherConfig("digits", 8, images=2, batch=2, width=4, levels=1),
        {images.INITIAL, images.TRAINING},
    ),
    teacher_paths: (PathsConfig("exact", 1), {images.PATHS}),
}
HELD_OUT = {teacher_training: {(0, images.TRAINING)}}
"""What is measured on the same points for all."""


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> set[tuple[int, int]]:
    """The (seed, purpose) of every stream that a study asks for."""
    asked: set[tuple[int, int]] = set()

    def watched(seed: int, purpose: int, device: str = "cpu") -> torch.Generator:
        asked.add((seed, purpose))
        return stream(seed, purpose, device)

    for name, module in list(sys.modules.items()):
        if name.startswith("papers.ctm.studies.") and hasattr(module, "stream"):
            monkeypatch.setattr(module, "stream", watched)
    return asked


def linear(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    return x * s / t


@pytest.mark.parametrize("experiment", ON_RING, ids=lambda experiment: experiment.name)
def test_every_stream_is_of_the_seed(
    experiment: Experiment, drawn: set[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for module in (gamma, quality):
        monkeypatch.setattr(module, "trained_student", lambda *given: linear)
    config, purposes = ON_RING[experiment]
    made(experiment, config, (3,), (FakeRun(tmp_path / "run", student=tmp_path),))
    assert drawn == {(3, purpose) for purpose in purposes} | HELD_OUT.get(experiment, set())


def test_students_of_the_ring_have_streams_of_their_own_and_share_the_teacher_s_steps(
    drawn: set[tuple[int, int]], tmp_path: Path
) -> None:
    config = ring.StudentConfig(steps=1, batch=2, hidden=2)
    made(ring_training, config, (3, 4), [FakeRun(tmp_path / name) for name in "ab"])
    own = {(seed, purpose) for seed in (3, 4) for purpose in (ring.INITIAL, ring.TRAINING)}
    assert drawn == own | {(0, ring.STEPS), (0, ring.HELD_OUT)}


@pytest.mark.parametrize("reader", images.READERS)
def test_classifiers_have_streams_of_their_own(reader: str, drawn: set[tuple[int, int]], tmp_path: Path) -> None:
    reader_training(ReaderConfig(reader, "digits", 8, steps=1), 3, FakeRun(tmp_path / "run"))
    assert drawn == {(images.READERS[reader] + 3, purpose) for purpose in (images.INITIAL, images.TRAINING)}
    assert len(set(images.READERS.values())) == len(images.READERS)


def test_the_two_stages_of_students_on_images_draw_anew(
    drawn: set[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(students, "train", lambda *given: None)
    config = methods.StudentConfig("without-dsm", "exact", 1, 1, 2, lr=1e-3, more_lr=1e-3, ema=0.9, hidden=2)
    monkeypatch.setattr(students, "objective", lambda *given: None)
    made(digit_students, config, (3, 4), [FakeRun(tmp_path / f"first{seed}") for seed in (3, 4)])
    shared = {(0, images.STEPS), (0, images.TRAINING)}  # also the noise of the loss that is reported
    assert drawn == {(seed, purpose) for seed in (3, 4) for purpose in (images.INITIAL, images.TRAINING)} | shared
    drawn.clear()
    later = [FakeRun(tmp_path / f"second{seed}", student=tmp_path / f"first{seed}") for seed in (3, 4)]
    made(digit_adversaries, replace(config, method="judge"), (3, 4), later)
    own = {(seed, purpose) for seed in (3, 4) for purpose in (images.HEADS, images.SECOND)}
    assert drawn - {(0, images.INITIAL)} == own | shared, "weights that are read take the place of first ones"


@pytest.mark.parametrize("study", [image_quality, guidance])
def test_samples_of_images_are_of_the_seed(
    study: Any, drawn: set[tuple[int, int]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(study, "trained_student", lambda *given: linear)
    monkeypatch.setattr(study, "fd", lambda *given: 1.0)
    monkeypatch.setattr(study, "fd_floor", lambda *given: 1.0)
    if study is guidance:
        monkeypatch.setattr(study, "trained_reader", lambda *given: None)
        monkeypatch.setattr(study, "guided_sampling", lambda jump, loss, x, *others: x)
        config: Any = GuidanceConfig("gan", "exact", (0.0,), 1, n_samples=2)
        guidance.guidance(config, 3, FakeRun(tmp_path / "run", student=tmp_path, critic=tmp_path))
    else:
        monkeypatch.setattr(study, "trained_reader", lambda *given: None)
        config = QualityConfig("gan", "exact", (2,), (1.0,), 2)
        digit_quality(config, 3, FakeRun(tmp_path / "run", student=tmp_path, witness=tmp_path))
    assert drawn == {(3, images.SAMPLING), (3, images.RENOISING), (3, images.FLOOR)}


def test_noise_of_different_purposes_is_different() -> None:
    for module, purposes in ((ring, 8), (images, 9)):
        names = [name for name, value in vars(module).items() if name.isupper() and isinstance(value, int)]
        assert len({getattr(module, name) for name in names}) == len(names) == purposes


SHARED = {"critic", "witness", "teacher", "paths"}
"""Needs that are made once for all seeds."""


@pytest.mark.parametrize("experiment", PAPER.experiments.values(), ids=lambda experiment: experiment.name)
def test_what_is_needed_is_of_the_same_preset_seed_and_teacher(experiment: Experiment) -> None:
    short = experiment is gamma_sampled  # its student is that of `quick` in all presets, with more seeds
    for preset, grid in experiment.presets.items():
        for config in grid.configs:
            for key, need in experiment.needs(config, 2).items():
                there = need.experiment.presets["quick" if short else preset]
                assert need.config in there.configs
                assert need.seed == (0 if key in SHARED else 2)
                assert grid.seeds <= there.seeds or key in SHARED or short
                if key in ("critic", "witness"):
                    teacher = TEACHERS[config.teacher]
                    expected = (key, teacher.dataset, teacher.resolution)
                    assert (need.config.reader, need.config.dataset, need.config.resolution) == expected
                if key == "teacher":
                    assert need.config == TEACHERS[config.teacher]
                if key == "paths" or (key == "student" and hasattr(config, "teacher")):
                    assert need.config.teacher == config.teacher


ONCE: tuple[Callable[..., Any], ...] = (teacher_training, teacher_paths, reader_training, teacher_cost)


def test_small_has_five_seeds_of_all_that_is_measured_of_students() -> None:
    for experiment in PAPER.experiments.values():
        if "small" in experiment.presets and experiment not in ONCE:
            assert experiment.presets["small"].seeds >= 5, experiment.name


def test_the_sizes_of_a_preset_are_its_own() -> None:
    (quick, _), (small, _), (compared, _) = (ring.SIZES[name] for name in ("quick", "small", "comparison"))
    assert quick < compared < small
    assert 5 * compared == 2 * small, "two fifths as long"
    for experiment in PAPER.experiments.values():
        for preset, grid in experiment.presets.items() if experiment is not gamma_sampled else ():
            sizes = {getattr(config, "size", preset) for config in grid.configs}
            assert sizes <= ({"quick"} if preset == "quick" else {"small", "comparison", "gpu"}), experiment.name
