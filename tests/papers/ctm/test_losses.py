"""The noise of DSM by its quantiles, its loss by the posterior variance of Gaussian data, and the adaptive weight."""

import pytest
import torch
from scipy import stats

from common.diffusion.denoising_loss import EDMWeight
from papers.ctm.losses import DSM_CLIP, GAN_CLIP, HalfLogNormal, adaptive_weight, dsm_loss
from papers.ctm.times import TimeGrid
from tests.papers.ctm.cases import gaussian_student, randn, seeded, student


def test_half_of_the_noise_levels_are_lognormal_and_half_on_the_first_seventy_per_cent_of_the_grid():
    grid = TimeGrid()
    sigma = HalfLogNormal(grid).sample((20_001,), seeded())
    first, second = sigma[:10_000], sigma[10_000:]
    assert stats.kstest(first.log().numpy(), "norm", args=(-1.2, 1.2)).pvalue > 1e-3
    place = (second ** (1 / 7) - 80 ** (1 / 7)) / (0.002 ** (1 / 7) - 80 ** (1 / 7))
    assert stats.kstest(place.numpy(), "uniform", args=(0, 0.7)).pvalue > 1e-3
    assert float(second.max()) > 79


def test_members_draw_their_own_noise_levels():
    noise = HalfLogNormal(TimeGrid())
    both = noise.sample((2, 9), (seeded(1), seeded(2)))
    assert torch.equal(both[1], noise.sample((9,), seeded(2)))


def test_the_dsm_loss_of_an_exact_student_is_the_posterior_variance():
    """λ(σ) std² σ²/(std² + σ²) in the mean; of any other linear denoiser it is more."""
    std, n = 0.6, 20_000
    x0 = std * randn(n, 2)
    noise = HalfLogNormal(TimeGrid())
    got = dsm_loss(gaussian_student(std), x0, seeded(1), noise)
    sigma = noise.sample((n,), seeded(1))
    expected = EDMWeight(0.7)(sigma) * std**2 * sigma**2 / (std**2 + sigma**2)
    error = float((got - expected).std()) / n**0.5
    assert abs(float((got - expected).mean())) < 4 * error
    wrong = dsm_loss(gaussian_student(1.2), x0, seeded(1), noise)
    assert float((wrong - got).mean()) > 20 * error


def test_the_dsm_loss_of_members_is_each_ones_own():
    both, x0, noise = student(0, 1), randn(2, 6, 2).float(), HalfLogNormal(TimeGrid())
    got = dsm_loss(both, x0, (seeded(1), seeded(2)), noise)
    assert torch.allclose(got[1], dsm_loss(both.member(1), x0[1], seeded(2), noise), rtol=1e-4)


@pytest.mark.parametrize("clip", [DSM_CLIP, GAN_CLIP])
def test_the_adaptive_weight_makes_the_pulls_equal_within_its_clip(clip):
    own, other = randn(3, 4), 0.5 * randn(3, 4, seed=1)
    weight = adaptive_weight(own, other, clip, members=False)
    assert float((weight * other).norm()) == pytest.approx(float(own.norm()), rel=1e-3)
    assert float(adaptive_weight(1e9 * own, other, clip, members=False)) == clip[1]
    assert float(adaptive_weight(1e-9 * own, other, clip, members=False)) == pytest.approx(clip[0], abs=1e-8)
    # The small number in the denominator keeps a loss without gradient from a weight of infinity.
    assert float(adaptive_weight(1e-4 * own, 0 * other, clip, members=False)) == pytest.approx(float(own.norm()))


def test_the_clips_are_the_official_ones():
    assert (DSM_CLIP, GAN_CLIP) == ((0.0, 1e4), (0.01, 10.0))


def test_members_are_balanced_each_by_its_own_norms():
    own, other = randn(2, 3, 4), randn(2, 3, 4, seed=1)
    own[1] *= 3
    both = adaptive_weight(own, other, DSM_CLIP, members=True)
    for i in range(2):
        assert float(both[i]) == pytest.approx(float(adaptive_weight(own[i], other[i], DSM_CLIP, members=False)))
