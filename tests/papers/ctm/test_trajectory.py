"""G, g, the score and the networks: closed forms of Gaussian data, identities, and the shapes that are refused."""

import pytest
import torch

from common.diffusion.oracle import GaussianMixture, gaussian_flow
from common.diffusion.precond import EDMPrecond, Preconditioned
from common.nets.small_unet import small_unet
from common.training.members import Members
from papers.ctm.exact import EqualMixture, GaussianTrajectory, exact_jump
from papers.ctm.networks import TwoTimePerceptron, TwoTimeUNet, small_two_time_unet
from papers.ctm.trajectory import Trajectory
from tests.papers.ctm.cases import MEANS, RING, SKEW, STD, gaussian_student, network, randn, seeded, stretch, student

T = torch.tensor([0.03, 0.5, 2.0, 40.0], dtype=torch.float64)


@pytest.mark.parametrize("std", [0.25, 1.3])
def test_jumps_of_an_exact_student_are_the_closed_form(std):
    x = randn(4, 3) * T[:, None]
    for share in (0.02, 0.3, 0.9, 1.0):
        s = share * T
        expected = x * stretch(std, T, s)[:, None]
        assert torch.allclose(gaussian_student(std)(x, T, s), expected, rtol=1e-9)
        assert torch.allclose(GaussianTrajectory(std)(x, T[:, None], s[:, None]), expected, rtol=1e-9)


def test_g_has_both_ends_of_the_closed_form():
    """At s = t the posterior mean; at s = 0 the end of the trajectory; between them what makes G right."""
    std, x = 0.6, randn(4, 3)
    exact, t = GaussianTrajectory(std), T[:, None]
    assert torch.allclose(exact.denoised(x, t), x * std**2 / (std**2 + t**2))
    assert torch.allclose(exact.g(x, t, 0.0), x * stretch(std, T, 0.0)[:, None])
    for s in (0.01 * t, 0.7 * t):
        assert torch.allclose(s / t * x + (1 - s / t) * exact.g(x, t, s), exact(x, t, s))
        assert torch.allclose(gaussian_student(std).g(x, T, s[:, 0]), exact.g(x, t, s), rtol=1e-8)


def test_a_jump_to_where_one_is_is_the_identity_of_any_network():
    x = randn(4, 2).float()
    assert torch.equal(student(0)(x, T, T), x)


def test_the_score_is_the_gaussian_one():
    std, x = 0.4, randn(4, 3)
    assert torch.allclose(gaussian_student(std).score(x, T), -x / (std**2 + T[:, None] ** 2), rtol=1e-9)


def test_the_diagonal_is_a_denoiser_with_edms_coefficients():
    """A network that is not told of s, called through EDM's own preconditioning, is the same denoiser."""
    unet, x = small_unet(dropout=0.0, generator=seeded()), randn(3, 1, 16, 16).float()
    with torch.no_grad():
        for weight in unet.parameters():  # a fresh block is its skip connection, and would hear of no time
            weight.add_(0.1 * torch.randn(weight.shape, generator=seeded(2)))
    own = small_two_time_unet(generator=seeded(1))
    own.start_from(unet.state_dict())
    t = torch.tensor([0.1, 1.0, 20.0])
    teacher = Preconditioned(unet, EDMPrecond(0.5))
    for s in (t, 0.3 * t):
        assert torch.allclose(Trajectory(own, EDMPrecond(0.5)).g(x, t, s), teacher(x, t), atol=1e-5)


def test_coefficients_are_those_at_t():
    """The network returns 0: g is c_skip(t) x, the linear estimate of x0 at t, wherever the jump ends."""
    net = network()
    with torch.no_grad():
        for layer in (net.last, net.gain):
            layer.weight.zero_()
            layer.bias.zero_()
    x, precond = randn(4, 2), EDMPrecond(0.8)
    expected = x * 0.8**2 / (0.8**2 + T[:, None] ** 2)
    for share in (0.01, 0.5):
        assert torch.allclose(Trajectory(net, precond).g(x, T, share * T), expected)


def test_networks_hear_both_times():
    x = randn(4, 2).float()
    own = student(0)
    assert not torch.allclose(own.g(x, T, 0.5 * T), own.g(x, T, 0.1 * T), rtol=1e-2)
    assert not torch.allclose(own.g(x, T, 0.01), own.g(x, 2 * T, 0.01), rtol=1e-2)
    images, unet = randn(2, 1, 16, 16).float(), small_two_time_unet(generator=seeded())
    with torch.no_grad():
        unet.last.weight.mul_(1e5)
    c = torch.tensor([0.2, 0.4])
    assert not torch.allclose(unet(images, c, c), unet(images, c, c - 1), rtol=1e-2)


def test_members_are_what_they_are_alone():
    both, x, s = student(0, 1), randn(2, 5, 2).float(), torch.rand(2, 5, generator=seeded())
    t = s + 1
    together = both(x, t, s)
    for i in range(2):
        assert torch.allclose(together[i], both.member(i)(x[i], t[i], s[i]), atol=1e-6)
        assert torch.allclose(together[i], student(i)(x[i], t[i], s[i]), atol=1e-6)
        assert torch.allclose(both.score(x, t)[i], student(i).score(x[i], t[i]), atol=1e-5)
    assert both.last_weight.shape == (2, 2, 16)


def test_many_heun_steps_solve_gaussian_data_and_converge_with_order_two():
    assert SKEW.axes is not None
    cov = SKEW.axes[0] @ torch.diag(SKEW.variances[0]) @ SKEW.axes[0].T
    data = GaussianMixture(torch.zeros(1, 2), cov[None])
    x = 5 * randn(6, 2)
    exact = gaussian_flow(x, 5.0, 0.05, torch.zeros(2), cov)
    errors = [float((exact_jump(data, x, 5.0, 0.05, steps=n) - exact).abs().max()) for n in (40, 80, 160)]
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.15)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.15)


def test_exact_jumps_of_a_mixture_can_be_chained():
    x = 5 * randn(20, 2)
    whole = exact_jump(SKEW, x, 5.0, 0.05, steps=800)
    parts = exact_jump(SKEW, exact_jump(SKEW, x, 5.0, 0.7, steps=500), 0.7, 0.05, steps=500)
    assert torch.allclose(whole, parts, atol=2e-5)
    assert torch.equal(exact_jump(SKEW, x, 5.0, 5.0, steps=3), x)


def test_the_fast_mixture_is_the_mixture():
    sigma = torch.tensor([0.002, 0.3, 5.0, 80.0], dtype=torch.float64)
    x = RING.sample(4, seeded()) + sigma[:, None] * randn(4, 2)
    assert torch.allclose(EqualMixture(MEANS, STD)(x, sigma), RING(x, sigma), rtol=1e-10)
    assert torch.allclose(EqualMixture(MEANS, STD)(x.float(), 0.3), RING(x, 0.3).float(), atol=1e-5)


def test_what_is_refused():
    own, x = student(0), randn(4, 2).float()
    with pytest.raises(ValueError, match=r"a time has shape \(3,\); a batch of \(4,\)"):
        own(x, torch.ones(3), 0.1)
    with pytest.raises(ValueError, match="this network takes"):
        own(randn(4, 3).float(), 1.0, 0.1)
    with pytest.raises(ValueError, match="only `Members`"):
        own.member(0)
    with pytest.raises(ValueError, match="hidden 0; at least 1"):
        TwoTimePerceptron((2,), hidden=0)
    with pytest.raises(ValueError, match="features is 1"):
        TwoTimePerceptron((2,), features=1)
    with pytest.raises(ValueError, match="augment_dim is 0"):
        TwoTimeUNet(small_unet())
    wider = small_unet(channel_mult=(2, 4)).state_dict()
    with pytest.raises(ValueError, match=r"another architecture than the student: see unet\."):
        small_two_time_unet().start_from(wider)
    with pytest.raises(ValueError, match="0 < s <= t"):
        exact_jump(SKEW, randn(2, 2), 1.0, 2.0)


def test_members_of_networks_share_a_shape_of_times():
    own = Trajectory(Members([network(0), network(1)]))
    with pytest.raises(ValueError, match=r"a batch of \(2, 3\)"):
        own(randn(2, 3, 2).float(), torch.ones(2), 0.1)
