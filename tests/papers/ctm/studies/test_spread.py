"""The spread of samples: with jumps whose variance is known, and the claim and figure on tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.ctm.exact import GaussianTrajectory
from papers.ctm.studies import spread as study
from papers.ctm.studies.ring import GRID
from papers.ctm.studies.spread import CLAIMS, FIGURES, GAMMAS, LOOKS, SpreadConfig, spread
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, shows, table, verdict, wobble

(CLAIM,) = CLAIMS
EXACT = GaussianTrajectory(0.7)
CONFIG = SpreadConfig("ctm", "quick", states=40, samples=200, exact_steps=20)


@pytest.mark.parametrize("student", LOOKS)
def test_of_gaussian_data_the_variance_is_that_of_the_noise_after_the_jump(
    student: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(study, "TEACHER", EXACT.denoised)
    monkeypatch.setattr(study, "trained_student", lambda *given: EXACT)
    (rows,) = made(spread, replace(CONFIG, student=student), (1,), (FakeRun(tmp_path / "run", student=tmp_path),))
    assert [row["gamma"] for row in rows] == list(GAMMAS)
    for row in rows:
        noise = 2 * (row["gamma"] * CONFIG.s * float(EXACT.stretch(CONFIG.s, GRID.sigma_min))) ** 2
        # A median of 40 variances, each of 400 squares: a mean of them, with a standard error 1.25 times as large.
        assert row["variance"] == pytest.approx(noise, rel=5 * 1.25 * (2 / 16_000) ** 0.5)


def test_the_median_state_counts_and_not_the_few_at_a_border(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def sample(jump: Any, x: Tensor, times: Any, gamma: float, generator: torch.Generator) -> Tensor:
        groups = torch.randn(CONFIG.states, CONFIG.samples, 2, generator=generator, dtype=x.dtype)
        groups[:10] *= 1000
        return groups.reshape(x.shape)

    monkeypatch.setattr(study, "gamma_sampling", sample)
    monkeypatch.setattr(study, "trained_student", lambda *given: None)
    (rows,) = made(spread, CONFIG, (1,), (FakeRun(tmp_path / "run", student=tmp_path),))
    assert [row["variance"] for row in rows] == pytest.approx([2.0] * len(GAMMAS), rel=0.1)


def test_all_samples_of_a_state_start_from_it_and_states_differ(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def sample(jump: Any, x: Tensor, times: Any, gamma: float, generator: torch.Generator) -> Tensor:
        groups = x.reshape(CONFIG.states, CONFIG.samples, 2)
        assert torch.equal(groups, groups[:, :1].expand_as(groups))
        assert len(groups[:, 0].unique(dim=0)) == CONFIG.states
        assert times == [CONFIG.t, CONFIG.s, GRID.sigma_min]
        # They are of the noisy ring: of variance 1 + t².
        assert float(groups[:, 0].var()) == pytest.approx(1 + CONFIG.t**2, rel=0.6)
        return x

    monkeypatch.setattr(study, "gamma_sampling", sample)
    monkeypatch.setattr(study, "trained_student", lambda *given: None)
    (rows,) = made(spread, CONFIG, (1,), (FakeRun(tmp_path / "run", student=tmp_path),))
    assert [row["variance"] for row in rows] == [0.0] * len(GAMMAS)


def keys(config: SpreadConfig) -> list[Row]:
    return [{"gamma": gamma} for gamma in GAMMAS]


def plant(power: float, student: str | None = None) -> Any:
    def of(row: Row) -> dict[str, float]:
        own = power if student in (None, row["student"]) else 2.0
        return {"variance": row["gamma"] ** (own + 0.01 * row["seed"])}

    return of


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_the_claim_holds_for_the_square_alone_of_student_and_exact_jumps(preset: str) -> None:
    assert verdict(CLAIM, (spread, table(spread, preset, keys, plant(2.0)))) == "holds"
    for power in (4.0, 1.0):
        for student in LOOKS:
            assert verdict(CLAIM, (spread, table(spread, preset, keys, plant(power, student)))) == "fails"
    assert verdict(CLAIM, (spread, table(spread, preset, keys))) != "holds"


def test_curves_are_means_over_seeds() -> None:
    rows = table(spread, "small", keys, lambda row: {"variance": row["gamma"] ** 2 * wobble(row)})
    (panel,) = FIGURES[0].draw(MadeUp({spread: rows})).axes
    for student, look in LOOKS.items():
        mean = rows[rows["student"] == student].groupby("gamma")["variance"].mean().reset_index().to_numpy()
        assert shows(panel, mean, look.colour)
    gammas = np.array(GAMMAS)
    (guide,) = [line for line in panel.lines if line.get_label() == "slope 2"]
    np.testing.assert_allclose(np.diff(np.log(guide.get_ydata())), 2 * np.diff(np.log(gammas)))


@pytest.mark.parametrize(
    ("field", "value"),
    [("student", "cd"), ("size", "huge"), ("t", 0.0), ("s", 0.0), ("states", 0), ("samples", 0), ("exact_steps", 0)],
)
def test_settings_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        replace(CONFIG, **{field: value})  # type: ignore[arg-type]
