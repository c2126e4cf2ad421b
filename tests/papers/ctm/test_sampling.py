"""γ-sampling, guidance and bits on Gaussian data, where laws and numbers are known."""

import pytest
import torch

from common.diffusion.likelihood import log_likelihood
from papers.ctm.exact import GaussianTrajectory
from papers.ctm.likelihood import official_root, official_sigma, residual, variational_bits
from papers.ctm.sampling import gamma_sampling, guided_sampling, jump_end, one_step, sampling_times
from papers.ctm.times import TimeGrid
from tests.papers.ctm.cases import gaussian_student, randn, seeded, stretch, student

STD = 0.6
GAMMAS = [0.0, 0.3, 0.7, 1.0]
EXACT = GaussianTrajectory(STD)


@pytest.mark.parametrize("gamma", GAMMAS)
def test_every_state_has_the_law_of_noisy_data_for_every_gamma(gamma):
    """An exact jump and the missing noise keep x_t ~ N(0, (std² + t²) I), to the standard error of the variance."""
    n, times = 20_000, sampling_times(4, TimeGrid(sigma_max=10.0))
    x = (STD**2 + times[0] ** 2).sqrt() * randn(n, 2)
    states: list[torch.Tensor] = []
    gamma_sampling(EXACT, x, times, gamma, seeded(1), callback=states.append)
    assert len(states) == 5
    for state, t in zip(states, times, strict=True):
        assert float(state.var()) == pytest.approx(float(STD**2 + t**2), rel=4 * (2 / (2 * n)) ** 0.5)


@pytest.mark.parametrize("gamma", [0.25, 0.5, 1.0])
def test_the_noise_added_has_variance_gamma_squared_and_the_jump_goes_to_the_rest(gamma):
    """Two jumps from one x_t (Proposition 7): the variance is γ² s² times what the second jump makes of it; end = 0."""
    t, s, n = 5.0, 1.0, 40_000
    x = torch.full((n, 1), 2.0, dtype=torch.float64)
    samples = gamma_sampling(EXACT, x, [t, s, 1e-9], gamma, seeded(1))
    second = stretch(STD, s, 0.0)
    assert float(samples.var()) == pytest.approx(float((gamma * s * second) ** 2), rel=4 * (2 / n) ** 0.5)
    middle = (1 - gamma**2) ** 0.5 * s
    mean = 2.0 * stretch(STD, t, middle) * second
    assert float(samples.mean()) == pytest.approx(float(mean), abs=4 * gamma * s / n**0.5)


def test_a_jump_never_goes_beyond_the_end_and_noise_makes_up_for_it():
    t_next, end = torch.tensor(0.5), torch.tensor(0.1)
    for gamma in GAMMAS:
        s, spread = jump_end(t_next, end, gamma)
        assert float(end) <= float(s) <= float(t_next)
        assert float(s**2 + spread**2) == pytest.approx(0.25)
    assert float(jump_end(t_next, end, 1.0)[0]) == pytest.approx(0.1)
    assert float(jump_end(t_next, end, 0.0)[0]) == 0.5


def test_without_noise_many_jumps_are_one_and_nothing_is_drawn():
    x, generator = 80 * randn(5, 2), seeded(3)
    before = generator.get_state()
    for nfe in (1, 3, 17):
        assert torch.allclose(gamma_sampling(EXACT, x, sampling_times(nfe), 0.0, generator), one_step(EXACT, x))
    assert torch.equal(generator.get_state(), before)
    assert torch.allclose(one_step(EXACT, x), x * stretch(STD, 80.0, 0.002))


def test_gamma_one_jumps_to_the_end_each_time():
    seen = []

    def jump(x, t, s):
        seen.append((float(t), float(s)))
        return EXACT(x, t, s)

    times = sampling_times(3)
    gamma_sampling(jump, 80 * randn(5, 2), times, 1.0, seeded())
    assert [t for t, _ in seen] == times[:-1].tolist()
    assert [s for _, s in seen] == pytest.approx([0.002] * 3)


def test_members_are_sampled_each_with_its_own_noise():
    both, x = student(0, 1), 80 * randn(2, 4, 2)
    with torch.no_grad():
        together = gamma_sampling(both, x, sampling_times(3), 0.5, (seeded(1), seeded(2)))
        alone = gamma_sampling(both.member(1), x[1], sampling_times(3), 0.5, seeded(2))
    assert torch.allclose(together[1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("gamma", [0.0, 0.5])
def test_guidance_by_a_linear_loss_moves_gaussian_data_as_it_should(gamma):
    """p(x0) e^{−scale L} with L = −b x0 is N(scale b std², std²); scale 0 is no guidance at all."""
    b, n = torch.tensor([1.0, -0.5], dtype=torch.float64), 4000
    grid, own = TimeGrid(sigma_max=40.0), gaussian_student(STD)
    x = (STD**2 + 40.0**2) ** 0.5 * randn(n, 2)
    for scale in (0.0, 1.0, 2.0):
        samples = guided_sampling(own, lambda x0: -(x0 @ b), x, sampling_times(60, grid), gamma, scale, seeded(1))
        expected = scale * b * STD**2
        assert torch.allclose(samples.mean(0), expected, atol=0.03 * scale + 4 * STD / n**0.5)
        assert float(samples.std()) == pytest.approx(STD, rel=0.05) if scale == 0 else True
    plain = gamma_sampling(own, x, sampling_times(5, grid), gamma, seeded())
    unguided = guided_sampling(own, lambda x0: -(x0 @ b), x, sampling_times(5, grid), gamma, 0.0, seeded())
    assert torch.equal(plain, unguided)


def test_log_likelihood_through_the_students_score():
    x = STD * randn(20, 2)
    got = log_likelihood(gaussian_student(STD).denoised, x, 0.01, 200.0)
    expected = torch.distributions.Normal(0.0, (STD**2 + 0.01**2) ** 0.5).log_prob(x).sum(1)
    assert torch.allclose(got, expected, atol=1e-3)


@pytest.mark.parametrize(("std", "missing"), [(0.5, 0.29), (0.25, 0.53), (0.1, 0.68)])
def test_the_official_scripts_bits_are_too_low_by_what_the_residual_lacks(std, missing):
    """The script on Gaussian data, whose bits are known; with the residual at the ODE's end the bound is tight."""
    x0 = std * randn(4000, 2)
    bits = float(torch.distributions.Normal(0.0, std).entropy()) / torch.log(torch.tensor(2.0)).item()
    own = gaussian_student(std)
    right = variational_bits(own.denoised, x0, seeded(1))
    official = variational_bits(own.denoised, x0, seeded(1), residual_sigma=official_root())
    error = float(right.std()) / len(x0) ** 0.5
    assert float(right.mean()) == pytest.approx(bits, abs=4 * error + 0.002)
    assert float((right - official).mean()) == pytest.approx(missing, abs=0.02)


def test_the_official_levels():
    assert official_root() == pytest.approx(0.413, abs=5e-4)
    assert official_sigma() == pytest.approx(0.00205, abs=1e-5)


def test_the_residual_falls_with_its_level():
    x0 = STD * randn(20_000, 2)
    values = [float(residual(EXACT_DENOISER, x0, sigma, seeded(1)).mean()) for sigma in (0.01, 0.4, 20.0)]
    expected = [-(sigma**2) / (sigma**2 + STD**2) for sigma in (0.01, 0.4, 20.0)]
    assert values == pytest.approx(expected, abs=0.03)


def EXACT_DENOISER(x, sigma):
    return EXACT.denoised(x, sigma[:, None])


def test_what_is_refused():
    x = randn(2, 2)
    with pytest.raises(ValueError, match="nfe is 0"):
        sampling_times(0)
    with pytest.raises(ValueError, match=r"gamma is 1.5; it must lie in \[0, 1\]"):
        gamma_sampling(EXACT, x, [1.0, 0.1], 1.5, seeded())
    for times in ([1.0], [0.1, 1.0], [1.0, -0.1]):
        with pytest.raises(ValueError, match="times must be at least two, decrease"):
            gamma_sampling(EXACT, x, times, 0.5, seeded())
