"""Super-resolution: what the network is shown, that it is each image's own, and the regression beside it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.super_resolution import (
    conditional_loss,
    conditioned,
    downsample,
    regress,
    regression_loss,
    upsample,
)
from tests.papers.flow_matching.cases import at, randn, seeded

FM = OBJECTIVES["fm-ot"]
FLAT = torch.tensor([-1.0, 0.2, 0.9]).reshape(3, 1, 1, 1).expand(3, 1, 16, 16)
"""Images of one grey each: their low-resolution versions say all."""


def knows_the_answer(both: Tensor, t: Tensor) -> Tensor:
    """The velocity towards the image in the second channel: right where that is x_1 itself."""
    x, condition = both[..., :1, :, :], both[..., 1:, :, :]
    return FM.path.conditional_velocity(x.double(), condition.double(), t.double()).to(both)


def test_resizing_keeps_a_constant_and_a_ramp():
    torch.testing.assert_close(downsample(FLAT), FLAT[..., :4, :4])
    torch.testing.assert_close(upsample(FLAT[..., :4, :4]), FLAT)
    ramp = torch.linspace(-1, 1, 32).expand(1, 1, 32, 32)
    # Away from the border a symmetric kernel returns the mean of each block.
    torch.testing.assert_close(downsample(ramp)[..., 2:-2], ramp.reshape(1, 1, 32, 8, 4).mean(4)[:, :, :8, 2:-2])
    torch.testing.assert_close(upsample(downsample(ramp))[..., 14:-14], ramp[..., 14:-14])


def test_downsampling_does_not_alias():
    """Stripes of one pixel are beyond what a quarter of the size can hold: grey, where plain picking leaves stripes."""
    stripes = torch.tensor([1.0, -1.0]).repeat(8).expand(1, 1, 16, 16)
    assert downsample(stripes)[..., 1:-1].abs().max() < 0.05


def test_each_image_is_shown_its_own_low_resolution():
    loss = conditional_loss(FM, knows_the_answer, FLAT.double(), seeded(1))
    assert loss.shape == (3,)
    assert loss.max() < 1e-6
    wrong = FM.loss(conditioned(knows_the_answer, downsample(FLAT.roll(1, 0))), FLAT.double(), seeded(1))
    assert wrong.min() > 1e-2


def test_network_is_given_x_first_and_the_condition_second():
    x, low = randn(2, 1, 8, 8), randn(2, 1, 2, 2, seed=1)
    both = conditioned(lambda both, t: both, low)(x, at(0.5))
    assert torch.equal(both[:, :1], x)
    torch.testing.assert_close(both[:, 1:], upsample(low))


def test_regression_sees_the_low_resolution_alone():
    x_1 = randn(3, 1, 16, 16)
    seen = []

    def net(both: Tensor, t: Tensor) -> Tensor:
        seen.append((both, t))
        return both[..., 1:, :, :]

    torch.testing.assert_close(regress(net, downsample(x_1)), upsample(downsample(x_1)))
    loss = regression_loss(net, x_1)
    for both, t in seen:
        assert not both[:, 0].any()
        assert float(t) == 0
    assert loss.shape == (3,)
    assert loss.min() > 0.1
    assert regression_loss(net, FLAT).max() < 1e-10  # where low resolution says all, nothing is lost


def test_several_networks_at_once():
    x_1 = randn(2, 3, 1, 8, 8)
    assert torch.equal(downsample(x_1)[1], downsample(x_1[1]))
    loss = conditional_loss(FM, lambda both, t: both[..., :1, :, :], x_1, (seeded(1), seeded(2)))
    alone = conditional_loss(FM, lambda both, t: both[..., :1, :, :], x_1[1], seeded(2))
    torch.testing.assert_close(loss[1], alone)
    assert regression_loss(lambda both, t: both[..., :1, :, :], x_1).shape == (2, 3)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="factor is 4; it must divide height and width, 15 and 16"):
        downsample(randn(1, 1, 15, 16))
    with pytest.raises(ValueError, match="at factor 4, and must agree"):
        conditioned(lambda both, t: both, randn(2, 1, 4, 4))(randn(2, 1, 8, 8), at(0.5))
