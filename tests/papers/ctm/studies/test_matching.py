"""Matching and sensitivity: what one jump is held to, what the teacher costs, and claims and figures on tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.ctm.exact import exact_jump
from papers.ctm.studies import quality
from papers.ctm.studies.looks import LAWS
from papers.ctm.studies.looks import MATCHING as LOOKS
from papers.ctm.studies.matching import CLAIMS, EQUAL_TEACHER, FIGURES, CostConfig, Counted, teacher_cost
from papers.ctm.studies.quality import QualityConfig, one_jump
from papers.ctm.studies.ring import COMPARED, GRID, TEACHER, trained
from papers.ctm.studies.sensitivity import CLAIMS as OF_LAWS
from papers.ctm.studies.sensitivity import FIGURES as FIGURES_OF_LAWS
from papers.ctm.studies.sensitivity import STUDENTS
from papers.ctm.teacher import HeunTeacher
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, table, verdict, wobble

OF = {claim.id: claim for claim in (*CLAIMS, *OF_LAWS)}
CONFIG = QualityConfig("local", "comparison", 3.0, n=500, exact_steps=60)


def test_one_jump_is_held_to_the_exact_end_and_to_the_ring(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    read: list[tuple[object, ...]] = []

    def shifted(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        assert (float(t), float(s)) == (GRID.sigma_max, GRID.sigma_min)
        return exact_jump(TEACHER, x, float(t), float(s), 60) + 0.4

    def student(*given: object) -> Any:
        read.append(given)
        return shifted

    monkeypatch.setattr(quality, "trained_student", student)
    ((row,),) = made(one_jump, CONFIG, (2,), (FakeRun(tmp_path / "run", student=tmp_path),))
    assert row["error"] == pytest.approx(0.4)
    assert row["distance"] == pytest.approx(0.4, abs=0.1)
    assert read == [("local", "comparison", tmp_path)]
    assert one_jump.needs(CONFIG, 2) == {"student": trained("local", "comparison", 2, 3.0)}


def test_the_teacher_s_evaluations_are_counted(tmp_path: Path) -> None:
    counted = Counted()
    places = torch.tensor([0, 3, 5])
    HeunTeacher(counted, GRID)(torch.ones(3, 1), places, torch.tensor([17, 4, 5]))
    assert counted.points == 2 * (17 + 1)
    found = {}
    for config in teacher_cost.presets["small"].configs:
        ((row,),) = made(teacher_cost, replace(config, batches=40), (1,), (FakeRun(tmp_path / "run"),))
        found[config.times, config.matching] = row["evaluations"]
    # Of the text's law: t is uniform on 17 places, s on those after it, and u on those up to s.
    pairs = [(t, s) for t in range(17) for s in range(t + 1, 18)]
    weights = [1 / 17 / (17 - t) for t, _ in pairs]
    whole = 2 * sum(w * (s - t) for w, (t, s) in zip(weights, pairs, strict=True))
    soft = 2 * sum(w * (s - t + 1) / 2 for w, (t, s) in zip(weights, pairs, strict=True))
    assert found["text", "global"] == pytest.approx(whole, rel=0.1)
    assert found["text", "soft"] == pytest.approx(soft, rel=0.1)
    assert found["text", "local"] == found["official", "local"] == 2
    # k is drawn p ∝ k from 1 to 17.
    assert found["official", "soft"] == pytest.approx(2 * sum(k * k for k in range(18)) / 153, rel=0.2)
    assert found["official", "global"] > found["official", "soft"]
    for other, steps in EQUAL_TEACHER.items():
        assert steps * found["text", other] == pytest.approx(found["text", "soft"], rel=0.1)


def test_each_need_is_trained() -> None:
    asked = {(config.student, config.steps) for config in one_jump.presets["small"].configs}
    assert asked == set(COMPARED)
    assert {("soft", 1.0), *EQUAL_TEACHER.items()} <= asked
    assert set(STUDENTS) == set(LAWS)
    assert {(name, 1.0) for name in STUDENTS.values()} <= asked


def nothing(config: Any) -> list[Row]:
    return [{}]


ORDER = {"global": 1.0, "soft": 1.0, "local": 2.5}


def plant(column: str = "", **students: str) -> Any:
    """Local matching is worse than the others, which are equal; longer training does not help local matching."""

    def of(row: Row) -> dict[str, float]:
        value = ORDER.get(students.get(row["student"], str(row["student"])), 1.0) * wobble(row)
        return {name: 0.1 * (value if column in ("", name) else wobble(row) / 3) for name in ("error", "distance")}

    return of


SWAPPED = {"soft": "local", "local": "soft"}


def test_claims_hold_for_soft_matching_and_fail_with_local_in_its_place() -> None:
    same = table(one_jump, "small", nothing, plant(soft="local"))
    assert {verdict(OF[name], (one_jump, same)) for name in ("soft-or-local", "soft-or-global")} == {"fails"}
    good, swapped = (table(one_jump, "small", nothing, plant(**who)) for who in ({}, SWAPPED))
    for name in ("soft-or-local", "soft-or-global", "equal-teacher"):
        assert verdict(OF[name], (one_jump, good)) == "holds"
        assert verdict(OF[name], (one_jump, swapped)) == "fails"
        assert verdict(OF[name], (one_jump, table(one_jump, "small", nothing))) != "holds"


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
def test_costs_are_in_their_order(preset: str) -> None:
    evaluations = {"local": 2.0, "soft": 6.0, "global": 10.0}
    wrong = {"soft": 10.0, "global": 6.0, "local": 2.0}

    def costs(by: dict[str, float]) -> Any:
        return table(teacher_cost, preset, nothing, lambda row: {"evaluations": by[row["matching"]] * wobble(row)})

    assert verdict(OF["matching-cost"], (teacher_cost, costs(evaluations))) == "holds"
    assert verdict(OF["matching-cost"], (teacher_cost, costs(wrong))) == "fails"
    assert verdict(OF["matching-cost"], (teacher_cost, table(teacher_cost, preset, nothing))) != "holds"


@pytest.mark.parametrize("changed", [name for name in STUDENTS if name != "official"])
def test_sensitivity_holds_where_nothing_changes_and_fails_where_one_error_is_local_matching_s(changed: str) -> None:
    alike = table(one_jump, "small", nothing, plant())
    assert verdict(OF["sensitivity"], (one_jump, alike)) == "holds"
    worse = table(one_jump, "small", nothing, plant(**{STUDENTS[changed]: "local"}))
    assert verdict(OF["sensitivity"], (one_jump, worse)) == "fails"


def test_figures_show_each_seed() -> None:
    rows = table(one_jump, "small", nothing, plant())
    for axes, column in zip(FIGURES[0].draw(MadeUp({one_jump: rows})).axes, ("error", "distance"), strict=True):
        shown = {(x, y) for line in axes.lines for x, y in np.asarray(line.get_xydata())}
        drawn = rows[rows["student"].isin(LOOKS)]
        assert shown == set(zip(drawn["steps"], drawn[column], strict=True))
        for name, look in LOOKS.items():
            (named,) = [line for line in axes.lines if line.get_label() == look.name]
            mine = rows[(rows["student"] == name) & (rows["steps"] == 1.0)]
            assert list(np.asarray(named.get_ydata())) == list(mine[column])
    for axes, column in zip(FIGURES_OF_LAWS[0].draw(MadeUp({one_jump: rows})).axes, ("error", "distance"), strict=True):
        for place, (line, name) in enumerate(zip(axes.lines, LAWS, strict=True)):
            mine = rows[(rows["student"] == STUDENTS[name]) & (rows["steps"] == 1.0)]
            assert list(np.asarray(line.get_xdata())) == list(mine[column])
            assert set(np.asarray(line.get_ydata())) == {place}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: QualityConfig("hard", "small"), "student is one of"),
        (lambda: QualityConfig("soft", "huge"), "size is one of"),
        (lambda: QualityConfig("soft", "small", 0.0), "steps is 0.0"),
        (lambda: QualityConfig("soft", "small", n=0), "n is at least 1"),
        (lambda: CostConfig("late", "soft"), "times is one of"),
        (lambda: CostConfig("text", "hard"), "matching is one of"),
        (lambda: CostConfig("text", "soft", batches=0), "batches is at least 1"),
    ],
)
def test_settings_out_of_range_are_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
