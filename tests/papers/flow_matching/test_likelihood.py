"""Log-likelihood against exact densities, trace estimators against exact traces, and bits per dimension against known
probabilities and entropies."""

from __future__ import annotations

from math import log

import pytest
import torch
from scipy import stats
from torch import Generator, Tensor

from common.diffusion.likelihood import Trace, exact_trace, hutchinson_trace, rademacher
from common.diffusion.oracle import GaussianMixture
from papers.flow_matching.likelihood import (
    bits_of,
    bits_per_dim,
    dequantise,
    dequantised_log_likelihoods,
    exact,
    hutchinson,
    log_likelihood,
    to_levels,
)
from papers.flow_matching.marginal import MixtureField
from papers.flow_matching.path import OT, VE, VP
from tests.papers.flow_matching.cases import MIXTURE, at, randn, seeded

CASES = {
    # Paths that start from their prior to within rounding: where p_0 differs from it, so does the model from p_1.
    "OT": OT(sigma_min=0.1),
    "VP": VP(beta_min=0.1, beta_max=60.0, end=0.999),
    "VE": VE(sigma_min=0.1, sigma_max=1e4),
}


@pytest.mark.parametrize("path", CASES.values(), ids=CASES.keys())
def test_likelihood_of_the_exact_velocity_is_the_exact_log_density(path):
    centred = GaussianMixture(
        MIXTURE.means - MIXTURE.weights @ MIXTURE.means, torch.tensor([0.5, 0.7]), MIXTURE.weights
    )
    field = MixtureField(path, centred)
    x = randn(5, 2, seed=4)
    got = log_likelihood(field.velocity, x, exact_trace, path.last, path.prior_scale, tolerance=1e-8)
    torch.testing.assert_close(got, field.log_prob(x, at(path.last)), rtol=0, atol=1e-5)


def test_a_stretching_flow_has_the_density_of_its_image():
    """dx/dt = a x takes N(0, 1) to N(0, e^{2a})."""
    a = 0.8
    got = log_likelihood(lambda x, t: a * x, x := randn(4, 3), tolerance=1e-9)
    expected = torch.from_numpy(stats.norm(scale=2.718281828459045**a).logpdf(x.numpy())).sum(1)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-6)


def test_one_rademacher_probe_is_exact_where_the_jacobian_is_diagonal():
    """Then vᵀ J v = Σ v_i² J_ii is the trace for signs v. For a normal v it is not."""
    scales = torch.tensor([0.5, 1.0, -2.0], dtype=torch.float64)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return torch.tanh(scales * x) + t * x

    x = randn(5, 3)
    expected = log_likelihood(velocity, x, exact_trace, tolerance=1e-9)
    torch.testing.assert_close(log_likelihood(velocity, x, hutchinson(x, seeded()), tolerance=1e-9), expected)
    normal = log_likelihood(velocity, x, hutchinson_trace(randn(5, 3, seed=1)), tolerance=1e-9)
    assert (normal - expected).abs().min() > 1e-2


def test_hutchinson_is_unbiased_and_its_probe_fixed_for_the_solve():
    field = MixtureField(CASES["OT"], MIXTURE)
    x = randn(4, 2)
    traces = [hutchinson_trace(torch.tensor([[1.0, sign]]).double().expand(4, 2)) for sign in (1.0, -1.0)]
    each = [log_likelihood(field.velocity, x, trace, tolerance=1e-8) for trace in traces]
    # The two other sign vectors are minus these and give the same: the mean of the two is the expectation.
    torch.testing.assert_close((each[0] + each[1]) / 2, field.log_prob(x, at(1.0)), rtol=0, atol=1e-5)
    assert (each[0] - each[1]).abs().min() > 1e-3
    generator = seeded(5)
    first, second = hutchinson(x, generator), hutchinson(x, generator)
    values = [trace(field.velocity, x, at(0.5))[1] for trace in (first, first, second)]
    assert torch.equal(values[0], values[1])
    assert not torch.equal(values[0], values[2])
    assert set(rademacher(x, seeded()).unique().tolist()) == {-1.0, 1.0}


# Bits per dimension.


def still(x: Tensor, t: Tensor) -> Tensor:
    """The flow that leaves N(0, I) as it is."""
    return 0 * x


def probability(levels: Tensor, width: float) -> Tensor:
    """Of the bins around `levels` under N(0, 1)."""
    normal = torch.distributions.Normal(at(0.0), at(1.0))
    return normal.cdf(levels + width / 2) - normal.cdf(levels - width / 2)


def test_bits_are_those_of_the_bins_probability():
    """Of a standard normal model the probability of an image is a product of differences of Φ."""
    images = torch.tensor([[-1.0, 0.0, 1.0, 1.0], [0.0, 0.0, 1.0, -1.0]], dtype=torch.float64)
    copies, width = 1000, 1.0
    # Draws for copies of an image are draws for the image: 4000 of them in 4 solves.
    draws = dequantised_log_likelihoods(
        still, images.repeat_interleave(copies, 0), 4, seeded(2), levels=3, divergence=exact
    )
    draws = draws.reshape(4, 2, copies).transpose(1, 2).reshape(4 * copies, 2)
    bits = bits_of(draws, 4, levels=3)
    expected = -probability(images, width).log2().mean(1)
    p = draws.exp()
    error = 5 * p.std(0) / p.mean(0) / len(p) ** 0.5 / 4 / log(2)  # five standard errors of the mean's logarithm
    assert ((bits - expected).abs() < error).all()
    # What it must not be: the mean of the logarithms is off by twice as much or more.
    assert ((bits_of(draws.mean(0, keepdim=True), 4, levels=3) - expected).abs() > 2 * error).all()


def test_bits_per_dim_is_the_bits_of_its_draws():
    images = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    draws = dequantised_log_likelihoods(still, images, 3, seeded(2), levels=3, divergence=exact)
    bits = bits_per_dim(still, images, 3, seeded(2), levels=3, divergence=exact)
    assert torch.equal(bits, bits_of(draws, 2, levels=3))


def test_bits_of_known_densities():
    """Densities 1 and 3 have the mean 2: one bit less for the image, and the bin's volume added."""
    draws = torch.tensor([[1.0], [3.0]], dtype=torch.float64).log()
    assert float(bits_of(draws, D=5, levels=256)) == pytest.approx(-1 / 5 + 6.9943534, abs=1e-6)  # log2(255/2)
    assert float(bits_of(draws, D=5, levels=17)) == pytest.approx(-1 / 5 + 3)
    uniform = torch.full((7, 2), -5 * log(2 * 17 / 16), dtype=torch.float64)  # on all 17 bins of each of five pixels
    assert bits_of(uniform, D=5, levels=17).tolist() == pytest.approx([4.087462841] * 2)  # log2(17)
    # Densities far below what exp can hold.
    assert float(bits_of(draws - 5000, D=5, levels=17)) == pytest.approx(-1 / 5 + 3 + 1000 / log(2))


def test_bits_fall_with_k_towards_the_probability():
    image, width = torch.tensor([[0.0, 0.0]]), 1.0
    draws = dequantised_log_likelihoods(still, image.expand(3000, 2), 8, seeded(3), levels=3, divergence=exact)
    by_k = [float(bits_of(draws[:k], 2, levels=3).mean()) for k in (1, 2, 8)]
    exact_bits = float(-probability(image, width).log2().mean())
    assert by_k[0] > by_k[1] > by_k[2] > exact_bits - 1e-3


def test_bits_are_never_below_the_entropy_of_the_law():
    """−Σ q log P >= −Σ q log q for every model P: here the one that has the law's own spikes."""
    levels, q = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]), torch.tensor([0.1, 0.3, 0.05, 0.15, 0.4]).double()
    spikes = GaussianMixture(levels[:, None], torch.full((5,), 0.08), q)
    model = MixtureField(OT(sigma_min=0.02), spikes)
    copies = levels.repeat_interleave(1000)[:, None]
    draws = dequantised_log_likelihoods(model.velocity, copies, 1, seeded(6), 5, divergence=exact, tolerance=1e-4)
    bits = bits_of(draws.reshape(5, 1000).T, 1, levels=5)
    entropy = float(-(q * q.log2()).sum())
    # The density is high on a third of the bin: the mean of 1000 has a noise of 4 %, the sum over levels less.
    assert entropy - 0.06 < float(q @ bits) < entropy + 0.1
    # One draw is a bound too, and a loose one.
    assert float(q @ bits_of(draws, 1, levels=5).reshape(5, 1000).mean(1)) > entropy + 0.5


def test_each_draw_has_its_own_noise_and_probe():
    seen: list[Tensor] = []

    def recorder(x: Tensor, generator: Generator) -> Trace:
        seen.append(x)
        return hutchinson_trace(rademacher(x, generator))

    image = torch.zeros(2, 3)
    draws = dequantised_log_likelihoods(still, image, 4, seeded(7), levels=3, divergence=recorder)
    assert draws.shape == (4, 2)
    assert len({tuple(x.flatten().tolist()) for x in seen}) == 4
    assert all(torch.equal(to_levels(x, 3), image.double()) for x in seen)


def test_dequantisation_fills_the_bin_and_no_more():
    levels = torch.linspace(-1, 1, 17)
    images = levels[torch.randint(17, (500, 8), generator=seeded(8))]
    noisy = dequantise(images, seeded(9), levels=17)
    offset = (noisy - images).flatten() / (2 / 16)
    assert stats.kstest(offset.double().numpy(), "uniform", args=(-0.5, 1)).pvalue > 1e-3
    assert offset.abs().max() <= 0.5 + 1e-5
    torch.testing.assert_close(to_levels(noisy, 17), images)
    # MNIST's and CIFAR-10's own scaling is on the grid, in float32 too.
    pixels = torch.arange(256) / 127.5 - 1
    assert to_levels(dequantise(pixels[:, None], seeded())).allclose(pixels[:, None], atol=1e-6)


def test_images_off_the_grey_levels_are_refused():
    resized = torch.tensor([[1.0, 0.1234]])
    with pytest.raises(ValueError, match=r"0\.1234, which is none of the 256 grey levels"):
        bits_per_dim(still, resized, 1, seeded())
    assert bits_per_dim(still, to_levels(resized), 1, seeded(), divergence=exact).isfinite().all()
    with pytest.raises(ValueError, match="2, which is none of the 17"):
        dequantise(torch.tensor([[2.0]]), seeded(), levels=17)
    assert to_levels(torch.tensor([-1.3, 0.1234, 0.13, 2.0]), 3).tolist() == [-1, 0, 0, 1]


def test_bad_input_is_named():
    x = randn(2, 2)
    with pytest.raises(ValueError, match="t_1 is 0"):
        log_likelihood(still, x, t_1=0)
    with pytest.raises(ValueError, match="K is 0"):
        bits_per_dim(still, torch.zeros(1, 1), 0, seeded(), levels=3)
    with pytest.raises(ValueError, match="levels is 1"):
        to_levels(x, 1)
    with pytest.raises(RuntimeError, match="not finite at time 1"):
        log_likelihood(lambda x, t: x / 0 * 0, x)
