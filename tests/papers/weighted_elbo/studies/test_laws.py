"""Laws of 8-bit data: probabilities by scipy, and draws that have them."""

from __future__ import annotations

from math import log, pi

import numpy as np
import pytest
from scipy import stats
from scipy.special import ndtr

from common.training.stream import stream
from papers.weighted_elbo.studies.laws import (
    MIXTURE_MEANS,
    MIXTURE_SHARES,
    MIXTURE_STDS,
    bits_per_dim,
    entropy,
    mixture,
    swirl,
    swirl_law,
)


def test_the_mixture_has_scipy_s_probabilities_and_entropy() -> None:
    p, edges = mixture().numpy(), np.arange(257)
    parts = zip(MIXTURE_MEANS, MIXTURE_STDS, MIXTURE_SHARES, strict=True)
    expected = sum(share * np.diff(stats.norm(mean, std).cdf(edges)) for mean, std, share in parts)
    np.testing.assert_allclose(p, expected, atol=1e-4)
    assert p.sum() == pytest.approx(1)
    assert entropy(mixture()) == pytest.approx(float(stats.entropy(p)))
    assert bits_per_dim(2 * log(2), 2) == pytest.approx(1)


@pytest.mark.parametrize("cell", [(108, 120), (32, 119), (196, 100), (120, 145)])
def test_a_cell_of_the_swirl_has_the_probability_of_a_riemann_sum(cell: tuple[int, int]) -> None:
    """∫ du of the chance to fall into the cell, u uniform: the noise is a quarter before the factor of 4."""
    u = (np.arange(400_000) + 0.5) / 400_000
    theta = 3 * pi * np.sqrt(u)
    places = [4 * (turn(theta) * (2 * theta + pi) + 30) for turn in (np.cos, np.sin)]
    chances = [ndtr(n + 1 - place) - ndtr(n - place) for n, place in zip(cell, places, strict=True)]
    assert float(swirl_law()[cell]) == pytest.approx(float(np.mean(chances[0] * chances[1])), rel=1e-6, abs=1e-12)


def test_the_swirl_lies_within_a_byte_and_has_its_law() -> None:
    """The mean of −log p over draws is the entropy, and counts in blocks of 16 × 16 fit."""
    x, law, n = swirl(40_000, stream(0, 0)), swirl_law(), 40_000
    assert float(law.sum()) == pytest.approx(1, abs=1e-12)
    assert int(x.min()) >= 0
    assert int(x.max()) <= 255
    surprise = -law[x[:, 0], x[:, 1]].log()
    assert float(surprise.mean()) == pytest.approx(entropy(law), abs=4 * float(surprise.std()) / n**0.5)
    blocks = law.reshape(16, 16, 16, 16).sum((1, 3)).flatten().numpy()
    counts = np.bincount((x[:, 0] // 16 * 16 + x[:, 1] // 16).numpy(), minlength=256)
    often = blocks * n > 5
    rest = (counts[~often].sum(), blocks[~often].sum() * n)
    found, expected = [*counts[often], rest[0]], [*(blocks[often] * n), rest[1]]
    assert stats.chisquare(found, expected).pvalue > 1e-3


def test_more_nodes_change_nothing() -> None:
    assert entropy(swirl_law(100, 20)) == pytest.approx(entropy(swirl_law()), rel=1e-9)


def test_an_empty_swirl_is_refused() -> None:
    with pytest.raises(ValueError, match="n is 0; a sample has at least 1 point"):
        swirl(0, stream(0, 0))
