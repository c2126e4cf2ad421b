"""The score: what the diagonal is held to, that bits are those of the density, and claims and figure on tables."""

from __future__ import annotations

from dataclasses import replace
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

from papers.ctm.studies import score as study
from papers.ctm.studies.images import images_of
from papers.ctm.studies.looks import METHODS
from papers.ctm.studies.methods import student_config
from papers.ctm.studies.ring import TEACHER, trained
from papers.ctm.studies.score import (
    CLAIMS,
    FIGURES,
    SIGMAS,
    STUDENTS,
    DigitScoreConfig,
    ScoreConfig,
    diagonal,
    digit_diagonal,
)
from papers.ctm.studies.teachers import teacher_of
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, shows, table, verdict, wobble

OF = {claim.id: claim for claim in CLAIMS}
CONFIG = ScoreConfig("ctm", "small", n=200, n_bits=60)


def test_the_teacher_has_no_error_and_the_bits_of_the_law(tmp_path: Path) -> None:
    (rows,) = made(diagonal, replace(CONFIG, student="teacher"), (1,), (FakeRun(tmp_path / "run"),))
    assert [row["sigma"] for row in rows] == list(SIGMAS)
    assert max(row["rmse"] for row in rows) < 1e-12
    assert rows[0]["excess"] == pytest.approx(0, abs=1e-3)
    assert rows[0]["bits"] - rows[0]["entropy"] == pytest.approx(rows[0]["excess"])
    # log 8 components of N(0, std²) each, that hardly overlap.
    std = float(study.LAW.variances[0, 0]) ** 0.5
    entropy = (log(8) + 2 * (0.5 + log(std) + log(2 * 3.14159265) / 2)) / (2 * log(2))
    assert rows[0]["entropy"] == pytest.approx(entropy, abs=0.25)
    assert not any("bits" in row for row in rows[1:])


def test_errors_and_bits_are_those_of_the_student_that_is_needed(monkeypatch: Any, tmp_path: Path) -> None:
    def off(x: Tensor, sigma: Tensor) -> Tensor:
        return TEACHER(x, sigma) + 0.3 * sigma / (1 + sigma)

    read: list[tuple[object, ...]] = []

    def student(*given: object) -> Any:
        read.append(given)
        return SimpleNamespace(denoised=off)

    monkeypatch.setattr(study, "trained_student", student)
    config = replace(CONFIG, student="without-dsm")
    (rows,) = made(diagonal, config, (1,), (FakeRun(tmp_path / "run", student=tmp_path),))
    assert read == [("without-dsm", "small", tmp_path)]
    for row in rows:
        assert row["rmse"] == pytest.approx(0.3 * row["sigma"] / (1 + row["sigma"]), rel=1e-6)
    assert rows[0]["excess"] > 0.2
    assert diagonal.needs(config, 4) == {"student": trained("without-dsm", "small", 4)}
    assert diagonal.needs(replace(CONFIG, student="teacher"), 4) == {}


def keys(config: ScoreConfig) -> list[Row]:
    return [{"sigma": sigma} for sigma in SIGMAS]


def plant(excess: float = 0.02, spike: float = 0.04, **students: str) -> Any:
    def of(row: Row) -> dict[str, float]:
        good = students.get(row["student"], row["student"]) != "without-dsm"
        rmse = (spike if row["sigma"] == 0.5 else 0.02) if good else 0.4
        return {"rmse": rmse * wobble(row), "excess": (excess if good else 0.5) * wobble(row)}

    return of


SWAPPED = {"ctm": "without-dsm", "without-dsm": "ctm"}


@pytest.mark.parametrize("preset", ["small"])
def test_claims_hold_with_dsm_and_fail_without(preset: str) -> None:
    exchanged: Any = SWAPPED
    good, swapped = (table(diagonal, preset, keys, each) for each in (plant(), plant(**exchanged)))
    for claim in (OF["score"], OF["score-bits"]):
        assert verdict(claim, (diagonal, good)) == "holds"
        assert verdict(claim, (diagonal, swapped)) == "fails"
        assert verdict(claim, (diagonal, table(diagonal, preset, keys))) != "holds"
    one_level = table(diagonal, preset, keys, plant(spike=0.08))
    assert verdict(OF["score"], (diagonal, one_level)) == "fails"
    # What the script's residual would take off.
    below = table(diagonal, preset, keys, plant(excess=-0.3))
    assert verdict(OF["score-bits"], (diagonal, below)) == "fails"
    same: Any = {"without-dsm": "ctm"}
    alike = table(diagonal, preset, keys, plant(**same))
    assert verdict(OF["score"], (diagonal, alike)) == "fails"


def test_curves_are_means_over_seeds_of_their_student() -> None:
    rows = table(diagonal, "small", keys, plant())
    (panel,) = FIGURES[0].draw(MadeUp({diagonal: rows})).axes
    for student in STUDENTS:
        mean = rows[rows["student"] == student].groupby("sigma")["rmse"].mean().reset_index().to_numpy()
        assert shows(panel, mean, METHODS[student].colour)


def test_errors_on_digits_are_those_of_the_student_that_is_needed(monkeypatch: Any, tmp_path: Path) -> None:
    """A student that is off by a tenth of the pixels' deviation is so at each level, about training images."""
    exact, sigma_data = teacher_of("exact", {}, "cpu"), images_of("digits", 8).sigma_data
    read: list[tuple[object, ...]] = []

    def off(x: Tensor, sigma: Tensor) -> Tensor:
        near = (x.flatten(1)[:, None] - images_of("digits", 8).x0.double().flatten(1)).square().mean(-1).amin(1).sqrt()
        assert float(near.max()) < 1.5 * float(sigma)
        return exact(x, sigma) + 0.1 * sigma_data

    def student(*given: object) -> Any:
        read.append(given)
        return SimpleNamespace(denoised=off)

    monkeypatch.setattr(study.students, "trained_student", student)
    config = DigitScoreConfig("without-dsm", n=20)
    (rows,) = made(digit_diagonal, config, (3,), (FakeRun(tmp_path / "run", student=tmp_path),))
    assert read == [(student_config("without-dsm", "exact"), tmp_path, "cpu")]
    assert [row["sigma"] for row in rows] == list(SIGMAS)
    assert [row["rmse"] for row in rows] == pytest.approx([0.1] * len(SIGMAS), rel=1e-4)
    assert digit_diagonal.needs(config, 4) == {"student": study.students.trained("without-dsm", "exact", 4)}


def of_digits(swapped: bool = False) -> Any:
    return lambda row: {"rmse": (0.2 if (row["method"] == "ctm") != swapped else 0.3) * wobble(row)}


def test_the_claim_on_digits_holds_with_dsm_and_fails_without() -> None:
    good, other = (table(digit_diagonal, "small", keys, of_digits(swapped)) for swapped in (False, True))
    assert verdict(OF["score-digits"], (digit_diagonal, good)) == "holds"
    assert verdict(OF["score-digits"], (digit_diagonal, other)) == "fails"
    (panel,) = FIGURES[1].draw(MadeUp({digit_diagonal: good})).axes
    for method in STUDENTS:
        mean = good[good["method"] == method].groupby("sigma")["rmse"].mean().reset_index().to_numpy()
        assert shows(panel, mean, METHODS[method].colour)


@pytest.mark.parametrize(("field", "value"), [("student", "cd"), ("size", "huge"), ("n", 0), ("n_bits", 0)])
def test_settings_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        replace(CONFIG, **{field: value})  # type: ignore[arg-type]
