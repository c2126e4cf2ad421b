"""γ-sampling: what is measured of a student that is exact, and of one that is not; claims and figure on tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.ctm.exact import exact_jump
from papers.ctm.studies import gamma as study
from papers.ctm.studies.gamma import CLAIMS, FIGURES, GammaConfig, gamma_sampled
from papers.ctm.studies.image_quality import digit_quality
from papers.ctm.studies.looks import GAMMAS
from papers.ctm.studies.ring import TEACHER
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, lines, shows, table, verdict, wobble

OF = {claim.id: claim for claim in CLAIMS}
CONFIG = GammaConfig("ctm", "quick", nfes=(1, 3), n=400, projections=32)


def rows_of(jump: Any, monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[tuple[float, int], Row]:
    monkeypatch.setattr(study, "trained_student", lambda *given: jump)
    (rows,) = made(gamma_sampled, CONFIG, (1,), (FakeRun(folder, student=folder),))
    return {(row["gamma"], row["nfe"]): row for row in rows}


def exact(x: Tensor, t: Tensor, s: Tensor) -> Tensor:
    return exact_jump(TEACHER, x, float(t), float(s), 20)


def test_exact_jumps_draw_the_ring_for_every_gamma_and_shifted_ones_by_their_shifts(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    right = rows_of(exact, monkeypatch, tmp_path / "right")
    assert set(right) == {(gamma, nfe) for gamma in GAMMAS for nfe in (1, 3)}
    for row in right.values():
        assert row["distance"] < 2.5 * row["floor"] + 0.05
        assert row["teacher"] < 2.5 * row["floor"] + 0.05
    shifted = rows_of(lambda x, t, s: exact(x, t, s) + 0.5 * (t > 1), monkeypatch, tmp_path / "shifted")
    # A shift by v in both coordinates is one of v in the sliced distance, in the mean over directions.
    assert shifted[1.0, 1]["distance"] == pytest.approx(0.5, rel=0.3)
    assert shifted[0.0, 1]["distance"] == shifted[1.0, 1]["distance"]
    assert shifted[0.0, 1]["teacher"] == right[0.0, 1]["teacher"]


def test_gamma_is_that_of_its_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[float, int]] = []

    def sample(jump: Any, x: Tensor, times: Tensor, gamma: float, generator: torch.Generator) -> Tensor:
        asked.append((gamma, len(times) - 1))
        assert (float(times[0]), float(times[-1])) == pytest.approx((80, 0.002))
        # Noise that is added on the way is independent of where samples start: five standard errors.
        noise = torch.randn(x.shape, generator=generator, dtype=x.dtype)
        assert abs(float((noise * x / 80).mean())) < 5 / x.numel() ** 0.5
        return (1000 * gamma + 100 * len(times)) * x / 80

    monkeypatch.setattr(study, "gamma_sampling", sample)
    rows = rows_of(exact, monkeypatch, tmp_path / "run")
    assert asked == [(gamma, nfe) for gamma in GAMMAS for nfe in (1, 3) for _ in range(8)]
    # A scale that is far above the size of the ring is one of the distance.
    for (gamma, nfe), row in rows.items():
        expected = (100 * gamma + 10 * (nfe + 1)) / 20
        assert row["distance"] / rows[0.0, 1]["distance"] == pytest.approx(expected, rel=0.03)


def keys(config: GammaConfig) -> list[Row]:
    return [{"gamma": gamma, "nfe": nfe} for gamma in config.gammas for nfe in config.nfes]


def plant(exchanged: bool = False, growth: float = 0.5) -> Any:
    def of(row: Row) -> dict[str, float]:
        worse = (1 - row["gamma"] if exchanged else row["gamma"]) * growth
        return {"distance": 0.03 * (1 + worse * np.log(row["nfe"]) / np.log(17)) * wobble(row)}

    return of


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_claims_hold_where_gamma_1_grows_worse_and_fail_with_the_gammas_exchanged(preset: str) -> None:
    for claim in (OF["gamma-0"], OF["gamma-1"]):
        paper, other = (table(gamma_sampled, preset, keys, plant(exchanged)) for exchanged in (False, True))
        assert verdict(claim, (gamma_sampled, paper)) == "holds"
        assert verdict(claim, (gamma_sampled, other)) == "fails"
    assert verdict(OF["gamma-1"], (gamma_sampled, table(gamma_sampled, preset, keys))) != "holds"
    little = table(gamma_sampled, preset, keys, plant(growth=0.15))
    assert verdict(OF["gamma-1"], (gamma_sampled, little)) == "fails"


def test_curves_are_medians_over_seeds_of_their_gamma() -> None:
    rows = table(gamma_sampled, "small", keys, plant())
    (panel,) = FIGURES[0].draw(MadeUp({gamma_sampled: rows})).axes
    for gamma, look in GAMMAS.items():
        median = rows[rows["gamma"] == gamma].groupby("nfe")["distance"].median().reset_index().to_numpy()
        assert shows(panel, median, look.colour)
    assert lines(panel, "same-distribution floor")[0][0, 1] == pytest.approx(rows["floor"].mean())
    assert lines(panel, "teacher, Heun, 34")[0][0, 1] == pytest.approx(rows["teacher"].mean())


def digit_keys(config: Any) -> list[Row]:
    return [{"gamma": g, "nfe": n} for g in config.gammas for n in config.nfes if not (g > 0 and n == 1)]


def of_digits(by_gamma: dict[float, float]) -> Any:
    """What 18 evaluations do to the student of the claims; all other methods are decoys."""

    def of(row: Row) -> dict[str, float]:
        factor = 1 + (by_gamma[row["gamma"]] - 1) * np.log(row["nfe"]) / np.log(18)
        return {"fd": 5 * factor * wobble(row)} if row["method"] == "ctm" else {}

    return of


@pytest.mark.parametrize(
    ("by_gamma", "verdicts"),
    [
        ({0.0: 0.9, 1.0: 1.5}, ("holds", "holds")),
        ({0.0: 1.5, 1.0: 0.9}, ("fails", "fails")),
        ({0.0: 0.5, 1.0: 0.9}, ("holds", "fails")),  # better than γ = 0 by far is not worse than one step
    ],
)
def test_claims_on_digits_ask_what_those_on_the_ring_do(
    by_gamma: dict[float, float], verdicts: tuple[str, str]
) -> None:
    rows = table(digit_quality, "small", digit_keys, of_digits(by_gamma))
    for name, expected in zip(("gamma-0-digits", "gamma-1-digits"), verdicts, strict=True):
        assert verdict(OF[name], (digit_quality, rows)) == expected


def test_curves_of_digits_are_means_over_seeds_and_begin_with_the_same_jump() -> None:
    rows = table(digit_quality, "small", digit_keys, of_digits({0.0: 0.6, 1.0: 1.5}))
    (panel,) = FIGURES[1].draw(MadeUp({digit_quality: rows})).axes
    own = rows[rows["method"] == "ctm"]
    for gamma in (0.0, 1.0):
        of_gamma = own[(own["gamma"] == gamma) | (own["nfe"] == 1)]
        mean = of_gamma.groupby("nfe")["fd"].mean().reset_index().to_numpy()
        assert shows(panel, mean, GAMMAS[gamma].colour)


@pytest.mark.parametrize(
    ("field", "value"),
    [("student", "cd"), ("size", "huge"), ("nfes", (0,)), ("n", 0), ("projections", 0), ("gammas", (1.5,))],
)
def test_settings_out_of_range_are_named(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        replace(CONFIG, **{field: value})  # type: ignore[arg-type]
