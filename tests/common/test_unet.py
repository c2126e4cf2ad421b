"""The U-Nets: the published sizes and key layout, the official numbers, and what the architecture must keep."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from common.nets.unet import UNet, ddpmpp, ncsnpp

torch.set_num_threads(1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def parameters(net: UNet) -> int:
    return sum(p.numel() for p in net.parameters())


def tiny(build: Callable[..., UNet], **kwargs: int) -> UNet:
    return build(
        12,
        2,
        model_channels=16,
        channel_mult=(1, 2),
        num_blocks=1,
        attn_resolutions=(12,),
        generator=seeded(0),
        **kwargs,
    ).eval()


def fill(net: UNet) -> None:
    """Weights that any implementation can make: sines of the element's and the (sorted) tensor's index."""
    state = net.state_dict()
    for k, name in enumerate(sorted(state)):
        value = state[name]
        wave = torch.sin(torch.arange(value.numel(), dtype=torch.float64) * 1.3 + k).reshape(value.shape)
        if name.endswith("resample_filter"):
            continue
        if name.endswith("freqs"):
            wave = 4 * wave
        elif value.ndim > 1:
            wave = wave * math.sqrt(2 / value[0].numel())
        else:
            wave = 0.3 * wave + (1.0 if "norm" in name and name.endswith("weight") else 0.0)
        state[name] = wave.to(value.dtype)
    net.load_state_dict(state)


def test_the_published_cifar10_networks_have_their_sizes_and_keys() -> None:
    vp = ddpmpp(32, 3, label_dim=10, augment_dim=9, generator=seeded(0))
    assert round(parameters(vp) / 1e6, 2) == 55.74
    keys = vp.state_dict().keys()
    assert len(keys) == 427
    assert {
        "map_label.weight",
        "map_augment.weight",
        "map_layer1.bias",
        "enc.32x32_conv.weight",
        "enc.16x16_down.conv0.resample_filter",
        "enc.16x16_down.skip.resample_filter",
        "enc.16x16_block3.qkv.bias",
        "dec.8x8_in0.proj.weight",
        "dec.16x16_block4.norm2.weight",
        "dec.32x32_block4.affine.weight",
        "dec.32x32_aux_norm.bias",
        "dec.32x32_aux_conv.weight",
    } <= keys
    assert "map_augment.bias" not in keys
    assert not [key for key in keys if key.startswith("map_noise")]


def test_the_published_ncsnpp_has_its_size_and_keys() -> None:
    ve = ncsnpp(32, 3, augment_dim=9, generator=seeded(0))
    assert round(parameters(ve) / 1e6, 2) == 56.40
    keys = ve.state_dict().keys()
    # The unconditional network; labels add map_label.weight and map_label.bias.
    assert len(keys) == 432
    assert {"map_noise.freqs", "enc.16x16_aux_residual.weight", "enc.8x8_aux_residual.resample_filter"} <= keys


# The official SongUNet, given these weights and inputs, returned these five numbers (and equals this network to 3e-6
# everywhere; so it did for seven more configurations of either flavour, with gradients).
OFFICIAL = {
    ddpmpp: (-0.03327, 0.36288, 0.14701, 0.49063, 7.01645),
    ncsnpp: (0.04669, 0.19487, 0.12428, 0.29378, 5.82384),
}


@pytest.mark.parametrize("build", OFFICIAL)
def test_outputs_equal_the_official_implementation(build: Callable[..., UNet]) -> None:
    net = tiny(build, label_dim=3, augment_dim=9)
    fill(net)
    x = torch.sin(torch.arange(2 * 2 * 12 * 12, dtype=torch.float64) * 0.37).reshape(2, 2, 12, 12).float()
    c_noise, labels = torch.tensor([-0.7, 1.9]), torch.tensor([0, 2])
    augment = torch.cos(torch.arange(18.0)).reshape(2, 9)
    with torch.no_grad():
        y = net(x, c_noise, labels, augment)
    found = (y[0, 0, 0, 0], y[0, 1, 5, 7], y[1, 0, 11, 3], y[1, 1, 6, 11], y.norm())
    # Rounded to 1e-5, and float32 sums in another order: 3e-6 was seen.
    assert [float(v) for v in found] == pytest.approx(OFFICIAL[build], abs=3e-5)


@pytest.mark.parametrize("build", [ddpmpp, ncsnpp])
@pytest.mark.parametrize(("resolution", "mult"), [(8, (1, 2)), (28, (1, 2, 2)), (14, (2, 1)), (7, (1,))])
def test_every_resolution_that_halves_often_enough(
    build: Callable[..., UNet], resolution: int, mult: tuple[int, ...]
) -> None:
    net = build(resolution, 1, model_channels=8, channel_mult=mult, num_blocks=1, attn_resolutions=(7,))
    fill(net)
    x = torch.randn(2, 1, resolution, resolution, generator=seeded(1))
    y = net.eval()(x, torch.tensor([0.1, 0.9]))
    assert y.shape == x.shape
    # Samples do not see one another.
    alone = net(x[1:], torch.tensor(0.9))
    assert torch.allclose(y[1:], alone, atol=1e-5)


def test_impossible_sizes_and_inputs_are_named() -> None:
    with pytest.raises(ValueError, match="resolution 14 cannot be halved 2 times; 3 multipliers need a multiple of 4"):
        ddpmpp(14, 1, channel_mult=(1, 2, 2))
    net = tiny(ddpmpp)
    x = torch.zeros(2, 2, 12, 12)
    with pytest.raises(ValueError, match=r"this network takes \(B, 2, 12, 12\)"):
        net(torch.zeros(2, 1, 12, 12), torch.tensor(0.0))
    with pytest.raises(ValueError, match="without classes"):
        net(x, torch.tensor(0.0), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="without augmentation"):
        net(x, torch.tensor(0.0), None, torch.zeros(2, 9))


@pytest.mark.parametrize("build", [ddpmpp, ncsnpp])
def test_a_fresh_network_is_near_zero(build: Callable[..., UNet]) -> None:
    y = tiny(build)(torch.randn(2, 2, 12, 12, generator=seeded(0)), torch.tensor(0.3))
    assert y.abs().max() < 1e-3


def test_labels_as_numbers_and_as_weights_agree_and_none_is_no_class() -> None:
    net = tiny(ddpmpp, label_dim=3)
    fill(net)
    x = torch.randn(2, 2, 12, 12, generator=seeded(0))
    c_noise = torch.tensor(0.3)
    numbers = net(x, c_noise, torch.tensor([2, 0]))
    assert torch.equal(numbers, net(x, c_noise, torch.tensor([[0.0, 0, 1], [1, 0, 0]])))
    assert torch.equal(net(x, c_noise), net(x, c_noise, torch.zeros(2, 3)))
    assert (numbers - net(x, c_noise)).abs().max() > 1e-3


def test_weights_and_outputs_lie_channels_last_and_input_layout_does_not_matter() -> None:
    net = tiny(ncsnpp)
    fill(net)
    x = torch.randn(2, 2, 12, 12, generator=seeded(0))
    y = net(x, torch.tensor(0.3))
    assert net.get_parameter("enc.12x12_conv.weight").is_contiguous(memory_format=torch.channels_last)
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(y, net(x.contiguous(memory_format=torch.channels_last), torch.tensor(0.3)))


def test_gradients_match_finite_differences() -> None:
    net = tiny(ncsnpp).double()
    fill(net)
    x = torch.randn(1, 2, 12, 12, generator=seeded(0), dtype=torch.float64)
    direction = torch.randn(x.shape, generator=seeded(1), dtype=torch.float64)

    def f(step: float) -> Tensor:
        return net(x + step * direction, torch.tensor(0.3, dtype=torch.float64)).square().sum()

    x.requires_grad_()
    exact = (torch.autograd.grad(f(0.0), x)[0] * direction).sum()
    h = 1e-5
    # The central difference errs by h² f'''/6, far below 1e-6 of the derivative, plus rounding of 1e-16 f / h.
    with torch.no_grad():
        assert float((f(h) - f(-h)) / (2 * h)) == pytest.approx(float(exact), rel=1e-6)
