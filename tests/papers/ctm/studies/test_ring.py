"""The students of the ring: trained on what, by which law, that seeds are their own, and what is left behind."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from common.training.stream import stream
from papers.ctm.exact import exact_jump
from papers.ctm.losses import HalfLogNormal, dsm_loss
from papers.ctm.paper import PAPER
from papers.ctm.studies import ring as module
from papers.ctm.studies.ring import (
    COMPARED,
    GRID,
    HELD_OUT,
    LAW,
    SEEDS,
    SIGMA_DATA,
    STUDENTS,
    TEACHER,
    StudentConfig,
    even_ring,
    learn,
    ring,
    ring_training,
    start,
    student_config,
    trained,
    trained_student,
    untrained,
)
from papers.ctm.times import DistillationTimes, GlobalTimes, LocalTimes, SoftTimes, UniformTimes
from tests.papers.ctm.cases import randn
from tests.papers.fake_run import FakeRun
from tests.papers.made import made

TINY = StudentConfig(steps=3, batch=8, hidden=8)


def silent(**values: float) -> None: ...


def test_the_teacher_is_the_denoiser_of_the_law_and_the_data_are_of_it() -> None:
    x = 2 * randn(200, 2)
    for sigma in (0.002, 0.3, 5.0, 80.0):
        torch.testing.assert_close(TEACHER(x, sigma), LAW(x, sigma), rtol=1e-9, atol=1e-9)
    x0, _ = ring(100_000, torch.Generator().manual_seed(0))
    assert x0.dtype == torch.float32
    # Five standard errors of the mean and of the variance.
    assert float(x0.mean(0).abs().max()) < 5 * (1 / 100_000) ** 0.5
    assert float(x0.var(0).mean()) == pytest.approx(SIGMA_DATA**2, rel=0.02)
    assert torch.equal(LAW.means, TEACHER.means)


def test_samples_start_at_the_highest_level_from_the_stream_of_their_seed() -> None:
    x = start(50_000, 3)
    assert float(x.std()) == pytest.approx(80, rel=0.01)
    assert torch.equal(start(5, 3), start(5, 3))
    assert not torch.equal(start(5, 3), start(5, 4))


def test_exact_jumps_from_the_starts_come_to_all_gaussians_alike_as_even_points_of_the_ring_do() -> None:
    ends, even = exact_jump(TEACHER, start(800, 1), 80.0, 0.002, 40), even_ring(800, torch.Generator().manual_seed(1))
    for x in (ends, even):
        nearest = torch.cdist(x, LAW.means).argmin(1)
        assert nearest.bincount().tolist() == [100] * 8
        assert not torch.cdist(x, x).fill_diagonal_(1).eq(0).any()
    assert float((even - LAW.means[torch.arange(800) % 8]).std()) == pytest.approx(module.STD, rel=0.1)
    x = start(800, 1).reshape(8, 100, 2)
    angle = torch.atan2(x[..., 1], x[..., 0])
    torch.testing.assert_close(
        (angle[1:] - angle[:-1]).remainder(2 * torch.pi), torch.full((7, 100), torch.pi / 4).double()
    )


def test_seeds_are_trained_together_as_each_alone_and_their_weights_are_kept(tmp_path: Path) -> None:
    both = [FakeRun(tmp_path / name) for name in "ab"]
    rows = made(ring_training, TINY, (3, 4), both)
    (alone,) = made(ring_training, TINY, (4,), (FakeRun(tmp_path / "c"),))
    assert rows[1][0]["dsm_loss"] == pytest.approx(alone[0]["dsm_loss"], rel=1e-4)
    assert rows[0][0]["dsm_loss"] != rows[1][0]["dsm_loss"]


def test_a_student_is_read_again_as_it_was_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STUDENTS, "ctm", StudentConfig(hidden=8))
    monkeypatch.setitem(module.SIZES, "quick", (3, 8))
    config = student_config("ctm", "quick")
    run = FakeRun(tmp_path / "run")
    ((row,),) = made(ring_training, config, (5,), (run,))
    again = trained_student("ctm", "quick", run.folder)
    expected = learn(config, (5,), (silent,)).member(0)
    x = randn(6, 2)
    torch.testing.assert_close(again(x, 3.0, 0.5), expected(x, 3.0, 0.5), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(again(x, 3.0, 0.5), untrained(config, 5)(x, 3.0, 0.5), rtol=1e-6)
    generator = stream(0, HELD_OUT)
    x0, _ = ring(4000, generator)
    loss = dsm_loss(again, x0, generator, HalfLogNormal(GRID)).mean()
    assert row["dsm_loss"] == pytest.approx(float(loss), rel=1e-5)


@pytest.mark.parametrize(
    "change", [{"dsm": False}, {"ema": 0.0}, {"times": "text"}, {"matching": "local"}, {"lr": 3e-2}, {"batch": 9}]
)
def test_each_field_changes_what_is_learned(change: dict[str, Any]) -> None:
    x = randn(4, 2)
    usual, other = (learn(config, (1,), (silent,)).member(0) for config in (TINY, replace(TINY, **change)))
    assert not torch.allclose(usual(x, 3.0, 0.5), other(x, 3.0, 0.5), rtol=1e-7)


def test_the_learning_rate_falls_and_the_steps_are_counted_through(monkeypatch: pytest.MonkeyPatch) -> None:
    stages: list[tuple[int, float]] = []
    real: Any = module.train

    def train(learner: Any, data: Any, objective: Any, how: Any, *given: Any, **others: Any) -> Any:
        stages.append((how.steps, learner.optimizer.param_groups[0]["lr"]))
        return real(learner, data, objective, how, *given, **others)

    monkeypatch.setattr(module, "train", train)
    seen: list[int] = []
    learn(replace(TINY, steps=10, lr=0.01), (1,), (lambda **values: seen.append(values["step"]),))
    assert stages == [(5, 0.01), (3, pytest.approx(0.003)), (2, pytest.approx(0.001))]
    assert seen == list(range(1, 11))


def test_students_are_what_they_are_called() -> None:
    laws = {name: config.law for name, config in STUDENTS.items()}
    assert laws["ctm"] == laws["without-dsm"] == laws["no-average"] == SoftTimes(1.0)
    assert laws["uniform-k"] == SoftTimes(0.0)
    assert laws["uniform-u"] == laws["soft"] == UniformTimes()
    assert (laws["local"], laws["global"]) == (LocalTimes(UniformTimes()), GlobalTimes(UniformTimes()))
    assert StudentConfig(times="distillation").law == DistillationTimes()
    assert {name for name, config in STUDENTS.items() if not config.dsm} == {"without-dsm"}
    assert {name for name, config in STUDENTS.items() if config.ema != 0.99} == {"no-average"}


def test_every_training_that_is_needed_is_in_the_grid_once() -> None:
    for preset, grid in ring_training.presets.items():
        assert len(grid.configs) == len(set(grid.configs))
        assert grid.seeds == SEEDS[preset]
    small = ring_training.presets["small"].configs
    for name, size, steps in [(name, "comparison", steps) for name, steps in COMPARED] + [("without-dsm", "small", 1)]:
        need = trained(name, size, 2, steps)
        assert (need.experiment, need.seed) == (ring_training, 2)
        assert need.config in small
        assert need.config.steps == round(steps * student_config("ctm", size).steps)
    for size in ("quick", "small"):
        assert trained("ctm", size, 0).config in ring_training.presets[size].configs


@pytest.mark.parametrize(
    ("field", "value"),
    [("times", "late"), ("matching", "hard"), ("steps", 0), ("batch", 0), ("lr", 0.0), ("hidden", 0), ("ema", 1.0)],
)
def test_settings_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        StudentConfig(**{field: value})  # type: ignore[arg-type]


def test_no_column_of_rows_has_the_name_of_a_setting() -> None:
    for experiment in PAPER.experiments.values():
        settings = {field.name for field in fields(experiment.config)}
        assert not settings & set(experiment.columns), experiment.name
