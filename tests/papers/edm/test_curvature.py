"""Curvature of curves and of trajectories whose curvature is known."""

import numpy as np
import pytest
import torch

from papers.edm.studies.curvature import CurvatureConfig, curvature, curvature_of
from papers.edm.studies.laws import around
from tests.papers.edm.made import by, made
from tests.papers.fake_run import FakeRun


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_curvature_of_known_curves() -> None:
    u = torch.linspace(0, 1, 2001, dtype=torch.float64)
    start, end = torch.randn(2, 1, 4, 3, generator=generator(), dtype=torch.float64)
    straight = start + u[:, None, None] * (end - start)
    assert curvature_of(u, straight) == pytest.approx(0, abs=1e-12)
    # x = u²: ∫ (2u)² du - 1 = 1/3; the trapezia of the polygon are exact to 1/K².
    parabola = start + u[:, None, None] ** 2 * (end - start)
    assert curvature_of(u, parabola) == pytest.approx(1 / 3, abs=1e-6)
    assert curvature_of(5 + 100 * u, 7 * parabola) == pytest.approx(1 / 3, abs=1e-6)
    # At one speed round a half circle: the arc is π/2 times the chord, and the energy its square.
    half = torch.stack([(torch.pi * u).cos(), (torch.pi * u).sin()], dim=1)[:, None]
    assert curvature_of(u, half) == pytest.approx((torch.pi / 2) ** 2 - 1, abs=1e-4)


def test_curvature_of_the_schedules_on_pure_noise(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """For data at one point x(t) = s(t) σ(t) ε: straight under EDM, √t under VE, and sin(πt/2) under the cosine."""
    point = around(torch.zeros(1, 2, dtype=torch.float64), std=1e-6)
    monkeypatch.setattr("papers.edm.studies.curvature.exact_denoiser", lambda *_: (point, (2,)))
    low, high = 0.02, 80.0
    rows = by(made(curvature, CurvatureConfig("mixture", low, high, steps=1024, n_samples=4), 0, run), "schedule")
    found = {name: float(row["curvature"]) for name, row in rows.items()}
    assert found["edm"] == pytest.approx(0, abs=1e-6)
    # ∫ (d√t/dt)² dt = ¼ ln(T/t0) = ½ ln(high/low), times T over (high - low)².
    assert found["ve"] == pytest.approx(0.5 * np.log(high / low) * (high**2 - low**2) / (high - low) ** 2 - 1, rel=1e-3)
    # ∫ cos² over a quarter turn is π/4, over a chord of 1: π²/8 - 1, but for the ends that are cut off.
    assert found["cosine"] == pytest.approx(np.pi**2 / 8 - 1, rel=0.05)
    assert set(run.arrays) >= {"sigma", "unscaled", "t_vp", "x_vp", "t_edm", "x_edm"}
