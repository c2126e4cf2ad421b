"""What the tests of the alternation share: networks that hold an affine drift, Gaussian data, and a short training."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from papers.dsbm.bridge import Direction
from papers.dsbm.imf import IMFConfig, Method, Pass, alternate

torch.set_num_threads(1)


def seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


class Exact(nn.Module):
    """A given drift, as a network."""

    def __init__(self, drift: Any) -> None:
        super().__init__()
        self.drift = drift

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.drift(x, t)


class Affine(nn.Module):
    """v(x, t) = Σ_k T_k(2t − 1) (a_k x + b_k), Chebyshev polynomials T_k: holds every affine drift here to 1e-3.

    The same for all coordinates, so that a sample of (n, *D) is as good as one of n D points of a line.
    """

    def __init__(self, terms: int = 6) -> None:
        super().__init__()
        self.terms = terms
        self.weight = nn.Parameter(torch.zeros(terms, 2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        k = torch.arange(self.terms, dtype=x.dtype)
        angle = (2 * t.to(x.dtype).reshape(-1, 1) - 1).clamp(-1, 1).acos()
        a, b = ((k * angle).cos() @ self.weight).unbind(1)
        column = (-1, *[1] * (x.ndim - 1))
        return a.reshape(column) * x + b.reshape(column)


A = 0.1
DIM = 10
# 10 000 rows of 10 coordinates: standard errors of covariances are 0.004.
DATA_0, DATA_1 = (m + torch.randn(10_000, DIM, generator=seeded(s)) for s, m in ((0, -A), (1, A)))
# 60 steps leave a third of the discretisation error of the paper's 20; averaged weights lose most of Adam's noise.
QUICK = IMFConfig(
    passes=3, steps=60, inner_steps=250, batch=1000, lr=0.05, cache=10_000, refresh_every=125, ema_halflife=50_000
)


def nets() -> dict[Direction, nn.Module]:
    return {"b": Affine(), "f": Affine()}


def moments(done: Pass, config: IMFConfig = QUICK) -> tuple[float, float, float]:
    """Of the end that this pass simulates: its covariance with the start, its variance and its mean."""
    start = DATA_0 if done.direction == "f" else DATA_1
    x_0, x_1 = done.couple(start, config, seeded(7))
    assert torch.equal(start, x_0 if done.direction == "f" else x_1)
    end = x_1 if done.direction == "f" else x_0
    covariance = ((end - end.mean(0)) * (start - start.mean(0))).mean()
    return float(covariance), float(end.var(0).mean()), float(end.mean())


def run(method: Method, config: IMFConfig = QUICK, **more: Any) -> list[tuple[float, float, float]]:
    return [moments(done, config) for done in alternate(DATA_0, DATA_1, nets(), method, config, seeded(2), **more)]


IPF = list(zip((1 / 2, 2 / 3, 3 / 5), (3 / 4, 10 / 9, 0.96), strict=True))
"""Covariances, and variances of the simulated end: backward, forward, backward."""


def assert_ipf(passes: list[tuple[float, float, float]]) -> None:
    for (covariance, variance, _), (exact, exact_variance) in zip(passes, IPF, strict=True):
        assert covariance == pytest.approx(exact, abs=0.05)
        assert variance == pytest.approx(exact_variance, abs=0.05)
    assert passes[0][1] == pytest.approx(0.75, abs=0.03)
    assert passes[0][2] == pytest.approx(0.0, abs=0.03)
