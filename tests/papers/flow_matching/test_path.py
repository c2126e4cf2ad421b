"""Conditional paths: Theorem 3 by differentiation of the flow, ends in closed form, and the diffusions as
`common/diffusion` has them, with time the other way."""

from __future__ import annotations

from math import exp

import pytest
import torch
from torch import Tensor
from torch.autograd.functional import jvp

from common.diffusion.path import VP as Diffusion
from papers.flow_matching.path import OT, VE, VP, ConditionalPath
from tests.papers.flow_matching.cases import PATHS, at, randn, seeded, times_of

X_0, X_1 = randn(6, 3, seed=1), randn(6, 3, seed=2)
paths = pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())


def along(path: ConditionalPath, x_0: Tensor, x_1: Tensor, time: float) -> tuple[Tensor, Tensor]:
    """ψ_t(x_0), and its derivative in time by automatic differentiation."""
    return jvp(lambda t: path.sample(x_0, x_1, t), at(time), at(1.0))


@paths
def test_velocity_and_target_are_the_time_derivative_of_the_flow(path):
    for time in times_of(path):
        x, moving = along(path, X_0, X_1, time)
        torch.testing.assert_close(path.target(X_0, X_1, at(time)), moving, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(path.conditional_velocity(x, X_1, at(time)), moving, rtol=1e-7, atol=1e-7)


@paths
def test_a_time_for_each_sample_and_for_several_networks(path):
    t = 0.9 * torch.rand(2, 6, generator=seeded(), dtype=torch.float64)
    x_0, x_1 = randn(2, 6, 1, 2, 2, seed=3), randn(2, 6, 1, 2, 2, seed=4)
    for call in (path.sample, path.target, path.conditional_velocity):
        singly = [[call(x_0[s, b], x_1[s, b], t[s, b]) for b in range(6)] for s in range(2)]
        torch.testing.assert_close(call(x_0, x_1, t), torch.stack([torch.stack(row) for row in singly]))
        torch.testing.assert_close(call(x_0[1], x_1[1], t[1]), torch.stack(singly[1]))


def test_ot_runs_straight_from_the_noise_to_a_ball_of_size_sigma_min():
    path = OT(sigma_min=0.1)
    torch.testing.assert_close(path.sample(X_0, X_1, at(0.0)), X_0)
    end = X_1 + 0.1 * X_0
    torch.testing.assert_close(path.sample(X_0, X_1, at(1.0)), end)
    for time in times_of(path):  # straight, at constant speed: all that is left is the difference of the ends
        torch.testing.assert_close(path.target(X_0, X_1, at(time)), end - X_0)


def test_vp_is_the_diffusion_of_common_with_time_the_other_way():
    path, diffusion = VP(beta_min=0.3, beta_max=7.0), Diffusion(beta_min=0.3, beta_d=6.7)
    t = torch.tensor([0.0, 0.2, 0.5, 0.9, 0.999], dtype=torch.float64)
    s = 1 - t
    torch.testing.assert_close(path.mean_scale(t), diffusion.alpha(s))
    torch.testing.assert_close(path.sigma(t), diffusion.sigma(s))
    torch.testing.assert_close(path.mean_scale_dot(t), -diffusion.alpha_dot(s))
    torch.testing.assert_close(path.sigma_dot(t), -diffusion.sigma_dot(s))
    x, x_1 = randn(5, 3, seed=5), randn(5, 3, seed=6)
    velocity = -diffusion.convert(x_1, x, s, "x0", "velocity")
    torch.testing.assert_close(path.conditional_velocity(x, x_1, t), velocity)


def test_vp_keeps_the_variance_of_unit_data():
    path = VP()
    for time in times_of(path):
        assert float(path.mean_scale(at(time)) ** 2 + path.sigma(at(time)) ** 2) == pytest.approx(1, abs=1e-14)
    # T(1) is the area under β: the mean of its ends.
    assert float(path.mean_scale(at(0.0))) == pytest.approx(exp(-(0.1 + 20) / 4), rel=1e-12)


def test_probability_flow_of_the_conditional_score_is_the_conditional_velocity():
    path = VP()
    for time in times_of(path):
        x = path.sample(X_0, X_1, at(time))
        law = torch.distributions.Normal(path.mean_scale(at(time)) * X_1, path.sigma(at(time)))
        x.requires_grad_()
        (score,) = torch.autograd.grad(law.log_prob(x).sum(), x)
        x = x.detach()
        expected = path.conditional_velocity(x, X_1, at(time))
        torch.testing.assert_close(path.probability_flow(x, score, at(time)), expected, rtol=1e-7, atol=1e-7)


def test_ve_explodes_geometrically_around_the_data():
    path = VE(sigma_min=0.1, sigma_max=10.0)
    t = torch.tensor([0.0, 0.5, 1.0], dtype=torch.float64)
    torch.testing.assert_close(path.sigma(t), torch.tensor([10.0, 1.0, 0.1], dtype=torch.float64))
    assert path.prior_scale == 10
    torch.testing.assert_close(path.sample(0 * X_0, X_1, at(0.3)), X_1)


@paths
def test_velocity_is_finite_to_the_last_time_and_refused_beyond(path):
    assert path.conditional_velocity(X_0, X_1, at(path.last)).isfinite().all()
    for time in (-0.01, path.last + 5e-6):
        with pytest.raises(ValueError, match=r"must lie in \[0, "):
            path.conditional_velocity(X_0, X_1, at(time))


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match="sigma_min is 0"):
        OT(sigma_min=0)
    with pytest.raises(ValueError, match="beta_min and beta_max are 2 and 1"):
        VP(beta_min=2, beta_max=1)
    with pytest.raises(ValueError, match="end is 1"):
        VP(end=1.0)
    with pytest.raises(ValueError, match="sigma_min and sigma_max are 3 and 2"):
        VE(sigma_min=3, sigma_max=2)
    with pytest.raises(ValueError, match=r"t has shape \(4,\)"):
        OT().sample(X_0, X_1, torch.rand(4))
