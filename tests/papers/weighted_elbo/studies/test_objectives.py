"""Objectives as weighted ELBOs: the identity on the study's own rows, the control, and planted claim and figures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from papers.weighted_elbo.objectives import OBJECTIVES, VDM_RANGE
from papers.weighted_elbo.studies import objectives as study
from papers.weighted_elbo.studies.line import DATA, LAW
from papers.weighted_elbo.studies.looks import OBJECTIVES as LOOKS
from papers.weighted_elbo.studies.looks import WEIGHTINGS as DRAWN
from papers.weighted_elbo.studies.objectives import (
    CLAIMS,
    FIGURES,
    FINEST,
    JUDGED,
    KINDS,
    IdentityConfig,
    drawn,
    identity,
    shape_error,
    weighting,
)
from papers.weighted_elbo.weighting import WEIGHTINGS
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, table, verdict, wobble

(CLAIM,) = CLAIMS
SMALL = IdentityConfig(lengths=(300, 600), points=2, levels=200, nodes=24)


def test_the_studies_of_the_paper_are_whole() -> None:
    """No claim reads what no experiment writes: the harness refuses such a study when it loads it."""
    from papers.weighted_elbo.paper import PAPER

    assert list(PAPER.load()) == list(PAPER.studies)


def test_every_objective_has_a_look() -> None:
    assert set(LOOKS) == set(OBJECTIVES)
    assert set(DRAWN) <= set(WEIGHTINGS)


def test_the_rows_are_of_first_order_in_the_step_and_the_control_is_far_off(run: FakeRun) -> None:
    ((*rows,),) = made(identity, SMALL, (3,), (run,))
    found = pd.DataFrame(rows)
    assert len(found) == len(OBJECTIVES) * len(JUDGED) * len(KINDS) * 2
    derived, timed = (found[found["w"] == kind] for kind in KINDS)
    coarse, fine = (derived[derived["steps"] == steps].set_index(["objective", "denoiser"]) for steps in (300, 600))
    # A step of 0.03 in λ is half of it off at most.
    assert (fine["identity_error"] < 0.017).all()
    ratio = coarse["identity_error"] / fine["identity_error"]
    assert ratio.between(1.9, 2.1).all()
    assert (derived["shape_error"] < 1e-6).all()
    assert (timed["identity_error"] > 1).all()
    assert (timed["shape_error"] > 0.1).all()
    assert set(run.arrays) >= {"log_snr", *DRAWN}


def test_points_are_those_of_the_seed(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Tensor] = []

    def terms(denoiser: Any, x: torch.Tensor, log_snr: torch.Tensor, nodes: int) -> torch.Tensor:
        seen.append(x)
        assert (float(log_snr[0]), float(log_snr[-1])) == VDM_RANGE[::-1]
        return torch.ones(len(log_snr) - 1, len(x)).double()

    monkeypatch.setattr(study, "kl_terms", terms)
    identity(SMALL, 5, run)
    assert all(torch.equal(x, LAW.sample(2, study.stream(5, DATA))[:, 0]) for x in seen)


def test_the_control_is_w_times_the_speed_of_the_schedule() -> None:
    at = torch.linspace(-4, 8, 7, dtype=torch.float64)
    # On the cosine path λ = −2 log tan(πt/2) has −dλ/dt = 2π / sin(πt), and sin(πt) = sech(λ/2).
    speed = 2 * np.pi * torch.cosh(at / 2)
    objective = OBJECTIVES["v-cosine"]
    torch.testing.assert_close(weighting(objective, "timed", at), speed * weighting(objective, "derived", at))
    assert shape_error(objective, "timed", at) > 0.1


def test_a_curve_is_relative_to_its_largest_and_ends_with_the_levels() -> None:
    at = torch.linspace(-10, 10, 41, dtype=torch.float64)
    assert np.isnan(drawn("elbo", at)[:10]).all()
    np.testing.assert_allclose(drawn("elbo", at)[10:], 1)
    assert drawn("eps-cosine", at).argmax() == 20


def keys(config: IdentityConfig) -> list[Row]:
    return [
        {"objective": name, "denoiser": denoiser, "w": kind, "steps": steps}
        for name in OBJECTIVES
        for denoiser in JUDGED
        for kind in KINDS
        for steps in config.lengths
    ]


@pytest.mark.parametrize("preset", ["quick", "small"])
@pytest.mark.parametrize(
    ("kind", "shape", "error", "order", "one", "expected"),
    [
        ("derived", 1e-12, 4e-4, -1.0, "", "holds"),
        ("timed", 1e-12, 4e-4, -1.0, "", "fails"),
        ("derived", 1e-5, 4e-4, -1.0, "", "fails"),
        ("derived", 1e-12, 4e-3, -1.0, "", "fails"),
        ("derived", 1e-12, 4e-4, -0.5, "", "fails"),
        ("derived", 1e-12, 4e-4, -1.0, "indi", "fails"),
    ],
    ids=["right", "-dλ/dt left in w", "another shape", "off", "another order", "one objective off"],
)
def test_the_claim(preset: str, kind: str, shape: float, error: float, order: float, one: str, expected: str) -> None:
    def plant(row: Row) -> dict[str, float]:
        if row["w"] != kind:  # the control's numbers
            return {"shape_error": 0.5 * wobble(row), "identity_error": 8.0 * wobble(row)}
        size = error * (row["steps"] / FINEST) ** order * (5 if row["objective"] == one else 1)
        return {"shape_error": shape, "identity_error": size * wobble(row)}

    assert verdict(CLAIM, (identity, table(identity, preset, keys, plant))) == expected


def test_the_figure_of_weightings_marks_those_with_a_peak() -> None:
    def arrays(run: Row) -> dict[str, np.ndarray]:
        at = torch.linspace(-10, 10, 41, dtype=torch.float64)
        return {"log_snr": at.numpy(), **{name: drawn(name, at) for name in DRAWN}}

    (panel,) = FIGURES[0].draw(MadeUp({identity: table(identity, "quick", keys)}, arrays)).axes
    shown = {str(line.get_label()): line for line in panel.lines}
    assert [*shown] == [look.name for look in DRAWN.values()]
    peaked = {"eps-cosine", "eps-vp", "edm", "p2", "min-snr"}
    for name, look in DRAWN.items():
        line = shown[look.name]
        np.testing.assert_allclose(np.asarray(line.get_ydata()), arrays({})[name])
        assert line.get_color() == look.colour
        assert (line.get_linestyle() != "-") == (name in peaked)


def test_the_figure_of_errors_has_each_objective_in_its_row() -> None:
    rows = table(identity, "quick", keys)
    (panel,) = FIGURES[1].draw(MadeUp({identity: rows})).axes
    names = [label.get_text() for label in panel.get_yticklabels()]
    assert names == [LOOKS[name].name for name in LOOKS]
    wanted = {
        "w against the table": ("shape_error", "exact", "derived"),
        "identity, exact denoiser": ("identity_error", "exact", "derived"),
        "identity, wrong denoiser": ("identity_error", "wrong", "derived"),
        "identity with −dλ/dt inside w": ("identity_error", "wrong", "timed"),
    }
    for cloud in panel.collections:
        column, denoiser, kind = wanted.pop(str(cloud.get_label()))
        own = rows[(rows["denoiser"] == denoiser) & (rows["w"] == kind) & (rows["steps"] == FINEST)]
        expected = own.groupby("objective")[column].mean()
        for x, y in np.asarray(cloud.get_offsets()):
            assert x == pytest.approx(expected[list(LOOKS)[-round(y)]])
    assert not wanted


@pytest.mark.parametrize("fields", [{"lengths": (1,)}, {"points": 0}, {"levels": 1}, {"nodes": 1}])
def test_settings_out_of_range_are_named(fields: Row) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(fields))} is at least"):
        IdentityConfig(**fields)
