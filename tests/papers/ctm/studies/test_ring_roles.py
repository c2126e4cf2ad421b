"""Which student of the ring is read, by what it is called and from where; and which rows the comparisons read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor, nn

from common.metrics.distances import sliced_w2
from papers.ctm.studies import gamma, jumps, quality, ring, spread
from papers.ctm.studies.gamma import GammaConfig, gamma_sampled
from papers.ctm.studies.jumps import JumpsConfig
from papers.ctm.studies.matching import CLAIMS, EQUAL_TEACHER, teacher_cost
from papers.ctm.studies.quality import one_jump
from papers.ctm.studies.ring import even_ring
from papers.ctm.studies.sensitivity import CLAIMS as OF_LAWS
from papers.ctm.studies.sensitivity import STUDENTS
from papers.ctm.studies.spread import SpreadConfig
from tests.papers.ctm.cases import seeded
from tests.papers.fake_run import FakeRun
from tests.papers.planted import MadeUp, Row, table, verdict, wobble

OF = {claim.id: claim for claim in (*CLAIMS, *OF_LAWS)}


class Linear:
    """Jumps that take the noise off and leave nothing."""

    def __call__(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return x * s / t

    def g(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return 0 * x


@pytest.mark.parametrize(
    ("study", "experiment", "config"),
    [
        (gamma, gamma_sampled, GammaConfig("without-dsm", "comparison", (0.0,), (1,), 8, 2)),
        (jumps, jumps.jumps, JumpsConfig("ctm", "comparison", 2, 1)),
        (spread, spread.spread, SpreadConfig("ctm", "comparison", states=2, samples=2)),
        (quality, one_jump, quality.QualityConfig("local", "comparison", 3.0, 8, 1)),
    ],
)
def test_the_student_that_is_read_is_that_of_the_config(
    study: Any, experiment: Any, config: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read: list[tuple[object, ...]] = []

    def student(*given: object) -> Linear:
        read.append(given)
        return Linear()

    monkeypatch.setattr(study, "trained_student", student)
    experiment(config, 1, FakeRun(tmp_path / "run", student=tmp_path))
    assert read == [(config.student, "comparison", tmp_path)]


def test_the_floor_is_the_distance_of_one_draw_of_the_ring_from_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(gamma, "trained_student", lambda *given: Linear())
    (row,) = gamma_sampled(
        GammaConfig("ctm", "quick", (0.0,), (1,), 400, 64), 1, FakeRun(tmp_path / "run", student=tmp_path)
    )
    draws = [even_ring(400, seeded(seed)) for seed in range(6)]
    others = [sliced_w2(x, y, seeded(), 64) for x, y in zip(draws[::2], draws[1::2], strict=True)]
    assert 0.5 * min(others) < float(row["floor"]) < 2 * max(others)
    # Where all jumps end at the origin, what is left is the ring's size: 1 in each coordinate.
    assert float(row["distance"]) == pytest.approx(1.0, rel=0.15)


def test_what_is_learned_is_the_average(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(learner: Any, *others: Any, **more: Any) -> None:
        for own, value in ((learner.student, 0.75), (learner.average, 0.25)):
            for weight in own.parameters():
                nn.init.constant_(weight, value)

    monkeypatch.setattr(ring, "train", train)
    learned = ring.learn(ring.StudentConfig(steps=1, batch=1, hidden=2), (3,), (print,))
    assert {float(value) for weight in learned.parameters() for value in weight.flatten()} == {0.25}


@pytest.mark.parametrize(("place", "column"), [(0, "error"), (2, "defect")])
def test_each_heat_map_is_of_its_column(place: int, column: str) -> None:
    levels = [float(t) for t in ring.GRID.times[list(jumps.PLACES)]]
    rows = table(jumps.jumps, "small", lambda config: [{"t": t, "s": s} for t in levels for s in levels if s <= t])
    panel = [axes for axes in jumps.FIGURES[0].draw(MadeUp({jumps.jumps: rows})).axes if axes.images][place]
    whole = rows[(rows["student"] == "ctm") & (rows["t"] == levels[0]) & (rows["s"] == levels[-1])]
    image = np.asarray(panel.images[0].get_array())
    assert image[0, -1] == pytest.approx(whole[column].mean()), "from the highest level, above, to the lowest, right"


def nothing(config: Any) -> list[Row]:
    return [{}]


@pytest.mark.parametrize("other", EQUAL_TEACHER)
@pytest.mark.parametrize("column", ["error", "distance"])
def test_equal_evaluations_of_the_teacher_are_judged_by_the_other_number_of_steps(other: str, column: str) -> None:
    def plant(steps: float, value: float) -> Any:
        def of(row: Row) -> dict[str, float]:
            here = (row["student"], row["steps"]) == (other, steps)
            return {"error": 0.1, "distance": 0.1, **({column: value} if here else {})}

        return of

    def judged(claim: str, steps: float, value: float) -> str:
        rows = table(
            one_jump, "small", nothing, lambda row: {k: v * wobble(row) for k, v in plant(steps, value)(row).items()}
        )
        return verdict(OF[claim], (one_jump, rows))

    assert judged("equal-teacher", EQUAL_TEACHER[other], 0.1) == "holds"
    assert judged("equal-teacher", EQUAL_TEACHER[other], 0.03) == "fails", "better with as many evaluations"
    assert judged("equal-teacher", 1.0, 0.03) == "holds", "with as many steps it is another claim"
    assert judged(f"soft-or-{other}", 1.0, 0.03) == "fails"


@pytest.mark.parametrize("law", ["text", "official"])
def test_costs_are_read_for_each_law_of_times(law: str) -> None:
    def judged(**there: float) -> str:
        usual = {"local": 2.0, "soft": 6.0, "global": 10.0}

        def plant(row: Row) -> dict[str, float]:
            by = {**usual, **there} if row["times"] == law else usual
            return {"evaluations": by[row["matching"]] * wobble(row)}

        return verdict(OF["matching-cost"], (teacher_cost, table(teacher_cost, "small", nothing, plant)))

    assert judged() == "holds"
    assert judged(soft=11.0) == "fails"
    assert judged(local=7.0) == "fails"


@pytest.mark.parametrize("changed", [name for name in STUDENTS if name != "official"])
def test_sensitivity_is_of_the_error_to_the_official_training(changed: str) -> None:
    def judged(student: str, column: str) -> str:
        def plant(row: Row) -> dict[str, float]:
            more = 3.0 if row["student"] == student else 1.0
            return {name: 0.1 * wobble(row) * (more if name == column else 1.0) for name in ("error", "distance")}

        return verdict(OF["sensitivity"], (one_jump, table(one_jump, "small", nothing, plant)))

    assert judged(STUDENTS[changed], "error") == "fails"
    assert judged(STUDENTS[changed], "distance") == "holds"
    assert judged(STUDENTS["official"], "error") == "fails"
    assert judged("soft", "error") == "holds", "the same training by another name, of another claim"
