"""Schedules: the rate is the derivative of the total, and the total is what the schedule is named for."""

import pytest
import torch

from papers.sedd.noise import Geometric, LogLinear
from tests.papers.sedd.cases import NOISES, name

T = torch.linspace(0, 1, 21, dtype=torch.float64)


@pytest.mark.parametrize("noise", [*NOISES, LogLinear(0.2), Geometric()], ids=name)
def test_the_rate_is_the_derivative_of_the_total(noise):
    t = T.clone().requires_grad_()
    (derivative,) = torch.autograd.grad(noise.sigma(t).sum(), t)
    torch.testing.assert_close(noise.sigma_deriv(T), derivative, rtol=1e-12, atol=0)
    torch.testing.assert_close(noise.sigma_inv(noise.sigma(T)), T, rtol=1e-11, atol=1e-11)


def test_log_linear_noise_masks_in_proportion_to_time():
    torch.testing.assert_close(1 - (-LogLinear(0.01).sigma(T)).exp(), 0.99 * T)
    assert LogLinear().sigma(T[:1]) == 0
    assert LogLinear().eps == 1e-3


def test_geometric_noise_is_a_straight_line_in_its_logarithm():
    sigma = Geometric(0.01, 10).sigma(T)
    assert (float(sigma[0]), float(sigma[10]), float(sigma[-1])) == pytest.approx((0.01, 0.1**0.5, 10))
    torch.testing.assert_close(sigma.log().diff(), sigma.log().diff()[:1].expand(20))


def test_bad_input_is_one_line():
    with pytest.raises(ValueError, match="eps must lie between 0 and 1, not 0"):
        LogLinear(0)
    with pytest.raises(ValueError, match=r"0 < sigma_min < sigma_max does not hold for 2 and 1"):
        Geometric(2, 1)
