"""The VDM bound: entropies that are known, Gaussians in closed form, its terms by scipy, and the law of the sampler.

Expectations over noise are by Gauss–Hermite quadrature and those over data are sums, so that nothing is sampled where
equality is asked.
"""

from __future__ import annotations

from math import log

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import Tensor

from common.diffusion.oracle import GaussianMixture
from common.training.stream import stream
from papers.weighted_elbo.vdm import (
    Bound,
    LinearLogSnr,
    Numbers,
    alpha_sigma,
    ancestral_sample,
    ancestral_step,
    bound,
    diffusion_loss,
    discrete_diffusion_loss,
    prior_loss,
    reconstruction_loss,
    spread_times,
    squared_error,
    uniform_times,
)

SCHEDULE = LinearLogSnr(13.3, -5.0)
"""The ends of the authors' example."""
NODES, WEIGHTS = (torch.from_numpy(values) for values in np.polynomial.hermite_e.hermegauss(80))
WEIGHTS = WEIGHTS / WEIGHTS.sum()


def at(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def exact_net(law: GaussianMixture):
    """ε̂ = (z − α E[x|z]) / σ of a law that is known."""

    def eps_net(z: Tensor, log_snr: Tensor) -> Tensor:
        alpha, sigma = (value[:, None] for value in alpha_sigma(log_snr))
        return (z - alpha * law(z / alpha, (sigma / alpha)[:, 0])) / sigma

    return eps_net


def atoms(numbers: Numbers, p: Tensor) -> GaussianMixture:
    """The law of f(x), x drawn from p: its exact denoiser knows that data are whole numbers."""
    return GaussianMixture(numbers.encode(torch.arange(numbers.count))[:, None], torch.zeros(numbers.count), p)


@torch.no_grad()
def expected_bound(
    numbers: Numbers, p: Tensor, schedule: LinearLogSnr, steps: int | None = None, n: int = 200
) -> float:
    """E over x ~ p and ε of the bound of the exact denoiser, in nats."""
    eps_net, x = exact_net(atoms(numbers, p)), torch.arange(numbers.count).repeat_interleave(80)[:, None]
    eps, weight = NODES.repeat(numbers.count)[:, None], p.repeat_interleave(80) * WEIGHTS.repeat(numbers.count)
    f, whole = numbers.encode(x), torch.ones(len(x), dtype=torch.float64)
    if steps is None:
        nodes, shares = np.polynomial.legendre.leggauss(n)
        grid = [((node + 1) / 2, share / 2) for node, share in zip(nodes, shares, strict=True)]
        losses = [share * (weight @ diffusion_loss(eps_net, f, eps, t * whole, schedule)) for t, share in grid]
        diffusion = torch.stack(losses).sum()
    else:
        losses = [
            weight @ discrete_diffusion_loss(eps_net, f, eps, whole * i / steps, schedule, steps)
            for i in range(1, steps + 1)
        ]
        diffusion = torch.stack(losses).mean()
    terms = Bound(
        weight @ prior_loss(f, schedule(whole)),
        weight @ reconstruction_loss(x, eps, numbers, schedule(0 * whole)),
        diffusion,
    )
    return float(terms.total)


@pytest.fixture(scope="module")
def small_numbers() -> tuple[Numbers, Tensor]:
    p = at(1, 5, 2, 0.5, 4, 1, 3, 0.2, 2, 2, 1, 0.3)
    return Numbers(12, 5.0, 3.5), p / p.sum()


def test_the_bound_of_the_exact_denoiser_is_the_entropy(small_numbers) -> None:
    """What the prior loses, KL(q(z_1) ‖ N), is of second order in the 2 % of signal that are left; levels are told
    apart at the data."""
    numbers, p = small_numbers
    entropy = float(-(p * p.log()).sum())
    found = expected_bound(numbers, p, LinearLogSnr(13.3, -9.0))
    assert found == pytest.approx(entropy, abs=2e-4)
    assert found > entropy - 1e-9


def test_the_bound_counts_its_ends_too(small_numbers) -> None:
    """Where noise at the data end hides the levels, or the last z is far from the prior, the bound is the entropy plus
    what that loses."""
    numbers, p = small_numbers
    entropy = float(-(p * p.log()).sum())
    assert expected_bound(numbers, p, LinearLogSnr(4.0, -9.0)) > entropy + 0.005
    assert expected_bound(numbers, p, LinearLogSnr(13.3, 0.0)) > entropy + 0.005
    # The prior's loss at λ_1 is KL(q(z_1) ‖ N(0, I)), by quadrature over z: the posterior does the rest.
    z = torch.linspace(-12, 12, 20001, dtype=torch.float64)[:, None]
    law, (alpha, sigma) = atoms(numbers, p), alpha_sigma(at(0.0))
    log_q = law.log_prob(z / alpha, float(sigma / alpha)) - float(alpha.log())
    kl = torch.trapezoid(log_q.exp() * (log_q + z[:, 0].square() / 2 + log(2 * np.pi) / 2), z[:, 0])
    assert expected_bound(numbers, p, LinearLogSnr(13.3, 0.0)) - entropy == pytest.approx(float(kl), abs=1e-6)


@pytest.mark.parametrize("scale", [2.5, 8.0])
def test_uniform_nibbles_take_four_bits_in_each_dimension(scale: float) -> None:
    """Bits and not nats, and for each dimension; the width of a bin is that of whole numbers, whatever the scale."""
    p = torch.full((16,), 1 / 16, dtype=torch.float64)
    numbers, ends = Numbers(16, 7.5, scale), LinearLogSnr(2 * log(scale) + 6.0, -9.0)
    assert expected_bound(numbers, p, ends) / log(2) == pytest.approx(4, abs=1e-3)
    eps_net, draw = exact_net(atoms(numbers, p)), stream(0, 0)

    def both(z: Tensor, log_snr: Tensor) -> Tensor:
        return torch.cat([eps_net(z[:, :1], log_snr), eps_net(z[:, 1:], log_snr)], 1)

    with torch.no_grad():
        found = bound(both, torch.randint(16, (20_000, 2), generator=draw), numbers, ends, draw).bits(2).total
    assert float(found.mean()) == pytest.approx(4, abs=4 * float(found.std()) / 20_000**0.5)
    assert 4 * float(found.std()) / 20_000**0.5 < 0.3, "nats would be 2.8"


def test_the_diffusion_loss_of_a_gaussian_is_known() -> None:
    """For x ~ N(0, s²) the exact denoiser leaves E(ε̂ − ε)² = e^λ s² / (1 + e^λ s²), whose integral is
    ½ log (1 + s² e^λ_0)/(1 + s² e^λ_1)."""
    s = 0.7
    law = GaussianMixture(torch.zeros(1, 1), at(s))
    eps_net = exact_net(law)
    x, eps = s * NODES.repeat_interleave(80)[:, None], NODES.repeat(80)[:, None]
    weight = WEIGHTS.repeat_interleave(80) * WEIGHTS.repeat(80)

    def loss(t: float) -> float:
        times = torch.full((6400,), t, dtype=torch.float64)
        with torch.no_grad():
            return float(weight @ diffusion_loss(eps_net, x, eps, times, SCHEDULE))

    expected = 0.5 * log((1 + s**2 * np.exp(13.3)) / (1 + s**2 * np.exp(-5.0)))
    assert integrate.quad(loss, 0, 1)[0] == pytest.approx(expected, rel=1e-6)


def test_a_step_of_the_discrete_loss_is_a_kl_between_the_sampler_s_gaussians() -> None:
    """KL(q(z_s|z_t, x) ‖ p(z_s|z_t)): one step of the sampler with the true and with the predicted noise."""
    generator, T = stream(3, 0), 7
    f, eps = (torch.randn(5, 3, generator=generator, dtype=torch.float64) for _ in range(2))
    wrong = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    for i in (1, 4, 7):
        t, s = (torch.full((5,), k / T, dtype=torch.float64) for k in (i, i - 1))
        log_snr_t, log_snr_s = SCHEDULE(t), SCHEDULE(s)
        alpha, sigma = (value[:, None] for value in alpha_sigma(log_snr_t))
        z, zero = alpha * f + sigma * eps, torch.zeros_like(f)
        q, p = (ancestral_step(e, z, log_snr_t, log_snr_s, zero) for e in (eps, wrong))
        std = ancestral_step(eps, z, log_snr_t, log_snr_s, zero + 1) - q
        kl = ((q - p) / std).square().sum(1) / 2
        loss = discrete_diffusion_loss(lambda z, log_snr: wrong, f, eps, t, SCHEDULE, T)
        torch.testing.assert_close(loss, T * kl, rtol=1e-8, atol=0)


def test_one_step_takes_the_noisy_law_of_a_point_to_that_at_less_noise() -> None:
    """With the data known, z_t ~ N(α_t f, σ_t²) goes to N(α_s f, σ_s²): mean and variance of a linear map."""
    f = at(1.3)[:, None]

    def step(log_snr_t: Tensor, log_snr_s: Tensor, e: float, noise: float) -> float:
        alpha, sigma = alpha_sigma(log_snr_t)
        z = alpha * f + sigma * e
        return float(ancestral_step((z - alpha * f) / sigma, z, log_snr_t, log_snr_s, at(noise)[:, None]))

    for ends in ((-5.0, -4.0), (-1.0, 2.0), (3.0, 13.0)):
        t, s = (at(end) for end in ends)
        mean, by_e, by_noise = (
            step(t, s, 0, 0),
            step(t, s, 1, 0) - step(t, s, 0, 0),
            step(t, s, 0, 1) - step(t, s, 0, 0),
        )
        alpha, sigma = alpha_sigma(s)
        assert mean == pytest.approx(float(alpha * 1.3), rel=1e-9)
        assert by_e**2 + by_noise**2 == pytest.approx(float(sigma) ** 2, rel=1e-9)


def test_the_loss_of_steps_falls_to_the_continuous_one_from_above(small_numbers) -> None:
    """L_2T < L_T, and L_T − L_∞ halves as T doubles."""
    numbers, p = small_numbers
    limit = expected_bound(numbers, p, LinearLogSnr(10.0, -7.0))
    gaps = np.array([expected_bound(numbers, p, LinearLogSnr(10.0, -7.0), T) - limit for T in (8, 16, 32, 64, 128)])
    assert (gaps[1:] < gaps[:-1]).all()
    assert (gaps > 0).all()
    assert gaps[-2] / gaps[-1] == pytest.approx(2, abs=0.1)


def test_in_a_mean_over_times_both_forms_are_their_integrals(small_numbers) -> None:
    """Of `bound`: the three terms of one batch, from the streams of its generator, and what their mean tends to."""
    numbers, p = small_numbers
    eps_net = exact_net(atoms(numbers, p))
    x = torch.multinomial(p, 40_000, replacement=True, generator=stream(5, 0))[:, None]
    for steps in (None, 8):
        with torch.no_grad():
            found = bound(eps_net, x, numbers, LinearLogSnr(10.0, -7.0), stream(6, 0), steps)
        expected = expected_bound(numbers, p, LinearLogSnr(10.0, -7.0), steps)
        assert float(found.total.mean()) == pytest.approx(expected, abs=4 * float(found.total.std()) / 200)
    assert float(found.bits(1).total.mean()) == pytest.approx(float(found.total.mean()) / log(2))


def test_a_bound_has_its_three_terms_at_the_two_ends_of_its_schedule(small_numbers) -> None:
    """The prior's at λ_1 and the reconstruction at λ_0, with the noise that the generator gives first."""
    numbers, _ = small_numbers
    x, schedule = torch.tensor([[0], [7], [11]]), LinearLogSnr(4.0, 0.5)
    with torch.no_grad():
        found = bound(lambda z, log_snr: 0 * z, x, numbers, schedule, stream(0, 0))
    f, three = numbers.encode(x), torch.ones(3, dtype=torch.float64)
    torch.testing.assert_close(found.prior, prior_loss(f, 0.5 * three))
    eps_0 = torch.randn(3, 1, generator=stream(0, 0), dtype=torch.float64)
    torch.testing.assert_close(found.reconstruction, reconstruction_loss(x, eps_0, numbers, 4 * three))
    torch.testing.assert_close(found.total, found.prior + found.reconstruction + found.diffusion)
    assert min(float(term.min()) for term in (found.prior, found.reconstruction, found.diffusion)) > 1e-3
    torch.testing.assert_close(found.bits(3).total, found.total / (3 * log(2)))


def test_reconstruction_is_the_posterior_of_whole_numbers_under_gaussian_noise() -> None:
    """By scipy's densities in units of whole numbers: the noise of z_0/α_0 has a standard deviation of scale e^{−λ/2}
    there."""
    numbers, log_snr, eps = Numbers(30, 11.0, 6.0), at(3.0, 5.0), at(0.4, -1.7)[:, None]
    x = torch.tensor([[4], [29]])
    found = reconstruction_loss(x, eps, numbers, log_snr)
    for i in range(2):
        std = 6.0 * np.exp(-float(log_snr[i]) / 2)
        density = stats.norm(float(x[i]) + std * float(eps[i]), std).pdf(np.arange(30))
        assert float(found[i]) == pytest.approx(-np.log(density[int(x[i])] / density.sum()), rel=1e-9)


def test_the_prior_is_scipy_s_kl_to_the_standard_normal() -> None:
    f, log_snr = at(0.3, -2.0)[None], at(-1.0)
    (alpha,), (sigma,) = (value.tolist() for value in alpha_sigma(log_snr))

    def kl(value: float) -> float:
        q = stats.norm(alpha * value, sigma)
        return integrate.quad(lambda z: q.pdf(z) * (q.logpdf(z) - stats.norm.logpdf(z)), -12, 12)[0]

    assert float(prior_loss(f, log_snr)) == pytest.approx(kl(0.3) + kl(-2.0), rel=1e-8)


def test_alpha_and_sigma_preserve_variance() -> None:
    log_snr = torch.linspace(-12, 12, 9, dtype=torch.float64)
    alpha, sigma = alpha_sigma(log_snr)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(9).double())
    torch.testing.assert_close(2 * (alpha.log() - sigma.log()), log_snr)


def test_the_ends_are_learned_and_the_slope_is_the_derivative() -> None:
    schedule = LinearLogSnr(13.3, -5.0)
    t = torch.linspace(0, 1, 5, dtype=torch.float64, requires_grad=True)
    log_snr = schedule(t)
    assert float(log_snr[0]) == pytest.approx(13.3, abs=1e-6)
    assert float(log_snr[-1]) == pytest.approx(-5.0, abs=1e-5)
    (derivative,) = torch.autograd.grad(log_snr.sum(), t)
    torch.testing.assert_close(schedule.slope(t), derivative)
    # A wider range costs diffusion loss, at −½ E‖ε̂ − ε‖² for each unit of λ: the gradient reaches both ends.
    loss = diffusion_loss(lambda z, log_snr: 0 * z, torch.zeros(5, 1).double(), torch.ones(5, 1).double(), t, schedule)
    loss.mean().backward()
    assert schedule.w.grad is not None
    assert float(schedule.w.grad) == pytest.approx(0.5)
    prior_loss(torch.ones(1, 1).double(), schedule(at(1.0))).sum().backward()
    assert schedule.b.grad is not None
    assert float(schedule.b.grad) < 0, "more noise at the end, and less is left for the prior"


def test_times_are_uniform_and_spread_times_cover_the_unit_evenly() -> None:
    several = (stream(1, 0), stream(2, 0))
    for shape, generator in (((4000,), stream(0, 0)), ((2, 4000), several)):
        for times in (uniform_times, spread_times):
            t = times(shape, generator)
            assert t.shape == shape
            assert float(t.min()) >= 0
            assert float(t.max()) < 1
            assert (stats.kstest(t.flatten().numpy(), "uniform").statistic) < 0.03
    spread = spread_times((10,), stream(0, 0)).sort().values
    torch.testing.assert_close(spread.diff(), torch.full((9,), 0.1).double())
    firsts = torch.stack([spread_times((4,), generator)[0] for generator in (stream(s, 0) for s in range(400))])
    assert stats.kstest(firsts.numpy(), "uniform").pvalue > 1e-3


def test_samples_of_the_exact_denoiser_have_the_law_of_the_data(small_numbers) -> None:
    """In many steps, by a χ² test; with the noise left out of the steps it fails."""
    numbers, p = small_numbers
    x = ancestral_sample(exact_net(atoms(numbers, p)), (4000, 1), numbers, LinearLogSnr(10.0, -9.0), 120, stream(1, 0))
    counts = torch.bincount(x[:, 0], minlength=12).numpy()
    assert stats.chisquare(counts, 4000 * p.numpy()).pvalue > 1e-3


def test_several_networks_at_once_are_each_alone(small_numbers) -> None:
    numbers, p = small_numbers
    x = torch.multinomial(p, 60, replacement=True, generator=stream(5, 0)).reshape(3, 20, 1)

    def generators() -> tuple[torch.Generator, ...]:
        return tuple(stream(s, 0) for s in range(3))

    def net(z: Tensor, log_snr: Tensor) -> Tensor:
        return z * log_snr.reshape(*log_snr.shape, 1).sigmoid()

    stacked = LinearLogSnr(10.0, -7.0)
    stacked.w.data, stacked.b.data = stacked.w.data * torch.tensor([1.0, 1.1, 1.2]), stacked.b.data.expand(3).clone()
    for steps in (None, 5):
        together = bound(net, x, numbers, stacked, generators(), steps)
        for s in range(3):
            alone = LinearLogSnr(10.0, -7.0)
            alone.w.data = alone.w.data * (1 + 0.1 * s)
            single = bound(net, x[s], numbers, alone, stream(s, 0), steps)
            for term in ("prior", "reconstruction", "diffusion"):
                torch.testing.assert_close(getattr(together, term)[s], getattr(single, term), rtol=1e-5, atol=1e-7)


def test_squared_errors_are_summed_over_the_elements_of_a_sample() -> None:
    eps = torch.zeros(2, 1, 3, 3, dtype=torch.float64)
    found = squared_error(lambda z, log_snr: torch.ones_like(z), eps, eps, at(0.0, 1.0))
    torch.testing.assert_close(found, at(9.0, 9.0))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="count is 1; there are at least two whole numbers"):
        Numbers(1, 0.0, 1.0)
    with pytest.raises(ValueError, match=r"scale is 0\.0; it must be positive"):
        Numbers(4, 0.0, 0.0)
    with pytest.raises(ValueError, match=r"log_snr_max is -5\.0 and log_snr_min 13\.3"):
        LinearLogSnr(-5.0, 13.3)
    for call in (
        lambda: discrete_diffusion_loss(lambda z, s: z, at(0.0)[:, None], at(0.0)[:, None], at(1.0), SCHEDULE, 0),
        lambda: ancestral_sample(lambda z, s: z, (1, 1), Numbers(4, 0.0, 1.0), SCHEDULE, 0, stream(0, 0)),
    ):
        with pytest.raises(ValueError, match="steps is 0; a chain has at least 1"):
            call()
