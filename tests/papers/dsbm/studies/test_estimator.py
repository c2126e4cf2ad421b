"""The floors of the two fits against their known bias."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from papers.dsbm.process import Drift
from papers.dsbm.studies import estimator as study
from papers.dsbm.studies.estimator import FloorConfig, gaussian_floor
from papers.dsbm.studies.methods import TEST, N
from tests.papers.dsbm.cases import generator, is_stream
from tests.papers.fake_run import FakeRun


def test_the_floors_are_those_of_exact_samples(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def simulate(drift: Drift, x: Tensor, sigma: float, steps: int, g: torch.Generator, **_: Any) -> Tensor:
        assert is_stream(g, 0, TEST)
        assert (sigma, steps, len(x)) == (1.0, 20, N)
        return 10 * torch.randn(steps + 1, *x.shape, dtype=x.dtype, generator=generator())

    monkeypatch.setattr(study, "simulate", simulate)
    dim, n = 20, N
    (row,) = gaussian_floor(FloorConfig(dim), 0, run)
    # Half a degree of freedom over n for each number that is fitted: mean and variance, or mean and covariance.
    assert float(row["floor_diagonal"]) == pytest.approx(1e3 * dim / n, rel=0.2)
    assert float(row["floor_full"]) == pytest.approx(1e3 * dim * (dim + 3) / (4 * n), rel=0.1)
    assert min(float(row["euler_diagonal"]), float(row["euler_full"])) > 1e3
