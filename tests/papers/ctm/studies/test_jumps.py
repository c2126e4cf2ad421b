"""Jumps: an exact student has no error, what is measured between which levels, and the claims and figure on tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.ctm.exact import GaussianTrajectory
from papers.ctm.studies import jumps as study
from papers.ctm.studies.jumps import CLAIMS, COMPARED, FIGURES, PLACES, JumpsConfig, exact_states, jumps, relative
from papers.ctm.studies.looks import METHODS
from papers.ctm.studies.ring import GRID
from tests.papers.ctm.cases import randn
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, table, verdict, wobble

OF = {claim.id: claim for claim in CLAIMS}
LEVELS = [float(t) for t in GRID.times[list(PLACES)]]
STD = 0.7
EXACT = GaussianTrajectory(STD)


class Bent:
    """The student that is exact for Gaussian data, but for a jump to s that is `factor` too long."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def __call__(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return EXACT(x, t, s) * (1 if t == s else self.factor)

    def g(self, x: Tensor, t: Tensor, s: Tensor) -> Tensor:
        return EXACT.g(x, t, s)


def rows_of(student: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Row]:
    monkeypatch.setattr(study, "TEACHER", EXACT.denoised)
    monkeypatch.setattr(study, "trained_student", lambda *given: student)
    run = FakeRun(tmp_path / "run", student=tmp_path)
    (rows,) = made(jumps, JumpsConfig("ctm", "quick", n=50, exact_steps=200), (1,), (run,))
    return rows


def test_an_exact_student_has_no_error_and_agrees_with_itself(monkeypatch: Any, tmp_path: Path) -> None:
    rows = rows_of(Bent(1.0), monkeypatch, tmp_path)
    assert len(rows) == 45
    assert max(row["error"] for row in rows) < 1e-4
    assert max(row.get("defect", 0.0) for row in rows) < 1e-9
    assert sum("defect" in row for row in rows) == 28
    for row in rows:
        assert ("of_g" in row) == (row["t"] == row["s"])
        # g at s = t shrinks x as the denoiser does: by σ²/(σ² + std²).
        if row["t"] == row["s"] == 80.0:
            assert row["of_g"] == pytest.approx(80.0 / (1 + 80.0**2) ** 0.5, rel=0.2)


def test_errors_are_those_of_the_jump_between_their_levels(monkeypatch: Any, tmp_path: Path) -> None:
    """A jump that is 10 % too long is wrong by 10 % of where it ends; two such are 10 % longer than one."""
    for row in rows_of(Bent(1.1), monkeypatch, tmp_path):
        size = ((STD**2 + row["s"] ** 2) / (1 + row["s"] ** 2)) ** 0.5  # of where it ends, by the common scale
        if row["t"] > row["s"]:
            assert row["error"] == pytest.approx(0.1 * size, rel=0.35)
        if "defect" in row:
            assert row["defect"] == pytest.approx(0.11 * size, rel=0.35)


def test_states_are_of_one_trajectory_at_the_levels() -> None:
    x = 80 * randn(20, 2)
    states = exact_states(x, GRID.times[list(PLACES)], 50)
    assert states[0] is x
    whole = exact_states(x, GRID.times[[0, 17]], 800)[-1]
    assert float((states[-1] - whole).abs().max()) < 0.02
    assert relative(x + 3, x, torch.tensor(4.0)) == pytest.approx(3 / 17**0.5)


def keys(config: JumpsConfig) -> list[Row]:
    pairs = [(t, s) for i, t in enumerate(LEVELS) for s in LEVELS[i:]]
    return [{"t": t, "s": s} for t, s in pairs]


def plant(**students: str) -> Any:
    """A trained student that is good and an untrained one that is not; or one in the other's place."""

    def of(row: Row) -> dict[str, float]:
        off = 0.03 if students.get(row["student"], row["student"]) == "ctm" else 0.6
        diagonal = row["t"] == row["s"]
        return {
            "error": 0.0 if diagonal else off * wobble(row),
            "defect": float("nan") if diagonal else off * wobble(row),
            "of_g": 0.5 if diagonal else float("nan"),
        }

    return of


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_claims_hold_for_a_student_that_jumps_and_fail_for_one_that_is_untrained(preset: str) -> None:
    good, none, swapped = (
        table(jumps, preset, keys, plant(**who))
        for who in ({}, {"ctm": "untrained"}, {"ctm": "untrained", "untrained": "ctm"})
    )
    for name in ("any-jump", "semigroup"):
        assert verdict(OF[name], (jumps, good)) == "holds"
        assert verdict(OF[name], (jumps, none)) == "fails"
        assert verdict(OF[name], (jumps, swapped)) == "fails"
    assert verdict(OF["no-jump"], (jumps, good)) == "holds"
    exchanged = good.rename(columns={"error": "of_g", "of_g": "error"})
    assert verdict(OF["no-jump"], (jumps, exchanged)) == "fails"


@pytest.mark.parametrize("column", ["error", "defect"])
def test_each_claim_reads_its_column(column: str) -> None:
    rows = table(jumps, "small", keys, plant())
    rows.loc[(rows["student"] == "ctm") & (rows["t"] > rows["s"]), column] = 0.5
    verdicts = {name: verdict(OF[name], (jumps, rows)) for name in ("any-jump", "semigroup")}
    assert verdicts[{"error": "any-jump", "defect": "semigroup"}[column]] == "fails"
    assert sorted(verdicts.values()) == ["fails", "holds"]


def test_numbers_that_are_made_up_meet_no_claim() -> None:
    for preset in ("quick", "small"):
        for claim in CLAIMS:
            assert verdict(claim, (jumps, table(jumps, preset, keys))) != "holds"


def test_the_heat_maps_are_means_over_seeds_of_their_student() -> None:
    rows = table(jumps, "small", keys, plant())
    drawn = FIGURES[0].draw(MadeUp({jumps: rows}))
    maps = [axes for axes in drawn.axes if axes.images]
    assert [axes.get_title() for axes in maps] == [
        f"{METHODS[student].name}: {what}" for what in ("error", "two jumps from one") for student in COMPARED
    ]
    for axes, (column, student) in zip(
        maps, [(column, student) for column in ("error", "defect") for student in COMPARED], strict=True
    ):
        array = axes.images[0].get_array()
        assert array is not None
        image = np.ma.filled(array, np.nan)
        mine = rows[(rows["student"] == student) & (rows["t"] == LEVELS[2]) & (rows["s"] == LEVELS[5])]
        across, down = axes.get_xticklabels(), axes.get_yticklabels()
        j = [tick.get_text() for tick in across].index(f"{LEVELS[5]:.2g}")
        i = [tick.get_text() for tick in down].index(f"{LEVELS[2]:.2g}")
        assert image[i, j] == pytest.approx(mine[column].mean())


@pytest.mark.parametrize(("field", "value"), [("student", "teacher"), ("size", "huge"), ("n", 0), ("exact_steps", 0)])
def test_settings_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        JumpsConfig(**{"student": "ctm", "size": "quick", field: value})  # type: ignore[arg-type]
