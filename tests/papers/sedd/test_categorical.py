"""Draws follow their law down to probabilities that float32 cannot see, and the float32 race fails by the formula."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from papers.sedd.categorical import (
    RESOLUTION,
    categorical,
    gumbel_categorical,
    gumbel_law,
    gumbel_probability,
    inverse_cdf,
)
from papers.sedd.exact import base_law, entropy, sampler_law
from papers.sedd.graph import Absorbing
from papers.sedd.noise import LogLinear
from papers.sedd.sampler import reverse_times, sample, tweedie_step
from tests.papers.sedd.cases import P, generator


def test_draws_follow_their_law_whatever_the_normalisation():
    weights = torch.tensor([0.5, 0.0, 3.0, 1.5])
    draws = categorical(weights.expand(40_000, 4), generator())
    counts = np.bincount(draws.numpy(), minlength=4)
    assert counts[1] == 0
    assert stats.chisquare(counts[[0, 2, 3]], 40_000 * np.array([0.1, 0.6, 0.3])).pvalue > P


def test_the_law_is_inverted_exactly():
    u = torch.tensor([0.0, 0.25 - 1e-12, 0.25, 0.75 - 1e-12, 0.75, 1 - 2.0**-53], dtype=torch.float64)
    assert inverse_cdf(torch.tensor([0.0, 0.25, 0.5, 0.0, 0.25, 0.0]).expand(6, 6), u).tolist() == [1, 1, 2, 2, 4, 4]


def test_events_below_the_resolution_of_float32_are_drawn():
    """A token of probability 10⁻⁹ after one of 1 − 10⁻⁹: in float32 their sum is 1 from the first on."""
    probs = torch.tensor([1 - 1e-9, 1e-9], dtype=torch.float64)
    u = torch.tensor([1 - 1.01e-9, 1 - 0.99e-9, 1 - 1e-15], dtype=torch.float64)
    assert inverse_cdf(probs.expand(3, 2), u).tolist() == [0, 1, 1]


def test_each_draw_takes_one_float64_number_from_the_generator():
    probs = torch.rand(500, 30, 6, generator=generator())
    u = torch.rand(500, 30, generator=generator(7), dtype=torch.float64).numpy()
    cdf = probs.double().numpy().cumsum(axis=-1)
    expected = (u[..., None] * cdf[..., -1:] >= cdf).sum(axis=-1)
    assert np.array_equal(categorical(probs, generator(7)).numpy(), expected)
    # Numbers with 24 bits would be multiples of 2⁻²⁴.
    assert (np.modf(u * 2**24)[0] != 0).mean() > 0.99


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_uniform_numbers_are_multiples_of_the_resolution(dtype):
    u = torch.rand(1_000_000, generator=generator(), dtype=dtype).double()
    assert u.max() < 1
    grid = u[u >= 0.5] / RESOLUTION[dtype]
    assert torch.equal(grid, grid.round())
    assert (grid % 2 == 1).any()


@pytest.mark.parametrize("multiple", [0.5, 1.0, 4.0])
def test_a_rare_token_is_drawn_as_the_formula_says(multiple):
    """In half precision h = 2⁻¹¹, and few draws show what takes 10⁹ in single precision. The formula's own error is
    p² + h, relatively 0.3 %, below the 5 standard errors of the count."""
    n, p = 4_000_000, torch.tensor(multiple * RESOLUTION[torch.float16], dtype=torch.float64)
    count = int(gumbel_categorical(torch.stack([p.new_ones(()), p]).expand(n, 2), generator(), torch.float16).sum())
    expected = n * float(gumbel_probability(p, torch.float16))
    assert abs(count - expected) < 5 * expected**0.5
    assert abs(count - n * float(p)) > 5 * (n * float(p)) ** 0.5


def test_the_law_of_the_race_where_no_token_dominates():
    """Three likely tokens and two rare ones, as weights that sum to 3. The formula is off by h/2, a sixth of the
    standard error of the likely ones' frequencies."""
    n, h = 100_000, RESOLUTION[torch.float16]
    weights = torch.tensor([0.9, 1.2 - 9 * h, 0.9, 6 * h, 3 * h], dtype=torch.float64)
    counts = torch.bincount(gumbel_categorical(weights.expand(n, 5), generator(), torch.float16), minlength=5)
    law = gumbel_law(weights, torch.float16)
    assert stats.chisquare(counts.numpy(), n * law.numpy()).pvalue > P
    assert stats.chisquare(counts.numpy(), n * weights.numpy() / 3).pvalue < P
    torch.testing.assert_close(gumbel_law(weights, torch.float64), weights / 3)


def test_where_float32_is_right_and_where_it_is_wrong():
    h = RESOLUTION[torch.float32]
    p = torch.tensor([1000 * h, h, h / 40, 0.0], dtype=torch.float64)
    rate = gumbel_probability(p)
    assert float(rate[0] / p[0]) == pytest.approx(1 - 1 / 2000, rel=1e-6)  # 1 − x/2 + …
    assert float(rate[1] / p[1]) == pytest.approx(1 / (np.e - 1))
    assert rate[2] / p[2] < 1e-15
    assert rate[3] == 0
    assert float(gumbel_probability(p, torch.float64)[2] / p[2]) == pytest.approx(1, abs=1e-6)


def test_the_race_cuts_the_tail_off_whole_samples_as_the_formula_says():
    """One token of five under masks, 96 steps in half precision: in a step even the likeliest is rare.

    The error of the formula, h to each step's law, is below the 5 standard errors of the frequencies. In float64 the
    same race keeps the law, and with it the entropy.
    """
    p0 = torch.tensor([0.55, 0.3, 0.1, 0.04, 0.01], dtype=torch.float64)
    graph, noise, times, n = Absorbing(5), LogLinear(), reverse_times(96, 1e-3), 6_000
    base = base_law(graph, 1)

    def log_score(x_t: Tensor, sigma: Tensor) -> Tensor:
        return graph.log_score_of(p0.log().expand(*x_t.shape, 5), x_t, sigma)

    def race_step(*arguments: Any) -> Tensor:
        return gumbel_law(tweedie_step(*arguments), torch.float16)

    predicted = sampler_law(log_score, base, graph, noise, times, race_step)
    for dtype, law in ((torch.float16, predicted), (torch.float64, p0)):
        draw = partial(gumbel_categorical, dtype=dtype)
        x = graph.sample_base((n, 1), generator())
        x = sample(log_score, x, graph, noise, times, tweedie_step, generator(1), draw=draw)
        frequencies = torch.bincount(x[:, 0], minlength=5) / n
        assert ((frequencies - law).abs() < 5 * (law / n).sqrt()).all()
    assert entropy(predicted) < entropy(p0) - 0.05


@pytest.mark.parametrize("weights", [[0.5, -0.1], [0.0, 0.0], [1.0, float("nan")], [1.0, float("inf")]])
def test_what_is_no_law_is_refused(weights):
    with pytest.raises(ValueError, match="each row of probabilities must be finite, not negative, and not all 0"):
        categorical(torch.tensor([[0.5, 0.5], weights]), generator())
