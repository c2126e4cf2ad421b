"""The perceptron of small images: its two paths, alone and stacked."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from common.nets.perceptron import Perceptron
from common.training.members import Members

torch.set_num_threads(1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scattered(seed: int, shape: tuple[int, ...] = (1, 4, 4)) -> Perceptron:
    net = Perceptron(shape, 16, seeded(seed)).double()
    for parameter in net.parameters():
        nn.init.normal_(parameter, 0.0, 0.3, generator=seeded(seed))
    return net


def draws(*shape: int) -> Tensor:
    return torch.randn(shape, generator=seeded(9), dtype=torch.float64)


def test_without_its_hidden_layers_each_pixel_is_multiplied_by_a_gain_of_the_time() -> None:
    net, x = scattered(0), draws(3, 1, 4, 4)
    nn.init.zeros_(net.mlp.out.weight)
    nn.init.zeros_(net.mlp.out.bias)
    gain = net(torch.ones_like(x), torch.tensor(0.7))
    torch.testing.assert_close(net(x, torch.tensor(0.7)), gain * x)
    assert not torch.allclose(net(torch.ones_like(x), torch.tensor(300.0)), gain, rtol=0.1)


def test_without_gains_it_is_its_mlp_on_flat_images() -> None:
    net, x, c = scattered(0), draws(3, 1, 4, 4), torch.tensor([0.1, 5.0, 900.0])
    nn.init.zeros_(net.gain.weight)
    nn.init.zeros_(net.gain.bias)
    torch.testing.assert_close(net(x, c).flatten(1), net.mlp(x.flatten(1), c))


@pytest.mark.parametrize("shape", [(1, 4, 4), (3, 2, 2), (5,)])
def test_stacked_it_is_each_alone(shape: tuple[int, ...]) -> None:
    nets = [scattered(s, shape) for s in range(3)]
    x, c = draws(3, 2, *shape), 100 * draws(3, 2)
    for time in (c, c[0], c[0, 0]):
        own = [time[s] if time.ndim == 2 else time for s in range(3)]
        expected = torch.stack([net(x[s], own[s]) for s, net in enumerate(nets)])
        torch.testing.assert_close(Members(nets)(x, time), expected, rtol=1e-12, atol=1e-12)


def test_images_of_another_shape_are_named() -> None:
    with pytest.raises(ValueError, match=r"x has shape \(3, 4, 4\); this network takes \(B, 1, 4, 4\)"):
        scattered(0)(torch.zeros(3, 4, 4, dtype=torch.float64), torch.tensor(0.0))
