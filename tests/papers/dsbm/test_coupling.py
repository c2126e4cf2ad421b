"""The reference as a coupling, against its own law."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Generator, Tensor

from papers.dsbm.coupling import reference

torch.set_num_threads(1)


def seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


def normal(n: int, dim: int, seed: int) -> Tensor:
    return torch.randn(n, dim, generator=seeded(seed), dtype=torch.float64)


def test_reference_is_brownian_motion_from_pi_0_whatever_pi_1_is() -> None:
    x = normal(20_000, 1, 0)
    x_0, x_1 = reference(0.6)(x, torch.full_like(x, math.nan), seeded(1))
    assert torch.equal(x_0, x)
    assert float((x_1 - x_0).var()) == pytest.approx(0.36, rel=5 * math.sqrt(2 / 20_000))
    assert abs(float(torch.corrcoef(torch.cat([x_0, x_1 - x_0], 1).T)[0, 1])) < 5 / math.sqrt(20_000)


def test_reference_follows_its_generator_alone() -> None:
    x = normal(64, 2, 0)
    first, again, other = (reference(1.0)(x, x, seeded(seed))[1] for seed in (5, 5, 6))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_negative_sigma_is_named() -> None:
    with pytest.raises(ValueError, match=r"sigma is -1.0; it must be 0 or more"):
        reference(-1.0)
