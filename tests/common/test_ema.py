"""The average of the weights: its half-life, its ramp, and that it averages."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from common.nets.ema import averaged, ema_beta, update_ema


def test_half_is_forgotten_after_a_halflife() -> None:
    """Of a weight that steps from 1 to 0 the average keeps a half after one half-life and a quarter after two."""
    net = nn.Linear(1, 1, bias=False)
    nn.init.ones_(net.weight)
    ema = averaged(net)
    nn.init.zeros_(net.weight)
    for step in range(1, 41):
        update_ema(ema, net, ema_beta(batch_size=50, halflife=1000, images_seen=10**9))
        if step in (20, 40):
            assert float(ema.weight.detach()) == pytest.approx(0.5 ** (step / 20), rel=1e-5)


def test_the_ramp_caps_the_halflife_by_a_share_of_the_images_seen() -> None:
    # 5 % of 4000 images are 200: the half-life of 1000 is not yet reached; of 40 000 they would be 2000: it is.
    assert ema_beta(100, 1000, images_seen=4000, rampup=0.05) == pytest.approx(ema_beta(100, 200, 0, rampup=None))
    assert ema_beta(100, 1000, images_seen=40_000, rampup=0.05) == pytest.approx(0.5**0.1)
    # Nothing seen: the average is the network.
    assert ema_beta(100, 1000, images_seen=0) == 0.0


def test_the_average_is_apart_from_the_network_and_copies_its_buffers() -> None:
    net = nn.BatchNorm1d(3)
    ema = averaged(net)
    assert not ema.training
    assert net.training
    assert not any(p.requires_grad for p in ema.parameters())
    net(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)) + 5)
    nn.init.constant_(net.weight, 3.0)
    assert float(ema.weight.detach()[0]) == 1.0
    update_ema(ema, net, beta=0.75)
    assert float(ema.weight.detach()[0]) == pytest.approx(0.75 * 1.0 + 0.25 * 3.0)
    assert torch.equal(ema.state_dict()["running_mean"], net.state_dict()["running_mean"])
