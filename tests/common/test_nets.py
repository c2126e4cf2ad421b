"""The layers: initial weights, embeddings, the perceptrons, group normalisation and resampling convolutions."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from common.nets.embedding import FourierEmbedding, PositionalEmbedding, one_hot, per_sample
from common.nets.init import linear
from common.nets.mlp import MLP
from common.nets.norm import GroupNorm
from common.nets.unet_block import Conv, ResidualDown, UNetBlock

torch.set_num_threads(1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def channels_last(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=dtype).contiguous(memory_format=torch.channels_last)


def test_xavier_keeps_the_mean_of_both_fans_and_follows_its_generator_alone() -> None:
    layer = linear(300, 100, seeded(0))
    # Var U(-a, a) = a²/3 = 2 / (fan_in + fan_out); 30 000 draws put the sample's within 4 σ = 4 · 0.9/√30 000 = 2 %.
    assert layer.weight.var().item() == pytest.approx(2 / 400, rel=0.02)
    assert layer.weight.abs().max() <= math.sqrt(6 / 400)
    assert layer.bias.abs().max() == 0
    torch.manual_seed(123)
    before = torch.get_rng_state()
    again = linear(300, 100, seeded(0))
    assert torch.equal(again.weight, layer.weight)
    assert torch.equal(torch.get_rng_state(), before)


def test_convolution_fans_count_the_taps() -> None:
    conv = Conv(64, 32, 3, generator=seeded(0))
    assert conv.weight.var().item() == pytest.approx(2 / (9 * 96), rel=0.03)


def test_positional_embedding_has_unit_modulus_and_wavelengths_from_2pi_to_10000_2pi() -> None:
    embed = PositionalEmbedding(64)
    emb = embed(torch.tensor([0.0, 1.0, 3.7]))
    sin, cos = emb.chunk(2, dim=1)
    assert torch.allclose(sin**2 + cos**2, torch.ones_like(sin))
    assert torch.equal(sin[0], torch.zeros(32))
    # The fastest feature turns by one radian per unit, the slowest by 1e-4; in between the phases are geometric.
    phase = torch.atan2(sin[1], cos[1])
    assert phase[0].item() == pytest.approx(1.0)
    assert phase[-1].item() == pytest.approx(1e-4, rel=1e-3)
    ratios = phase[1:] / phase[:-1]
    assert torch.allclose(ratios, ratios[:1].expand_as(ratios), rtol=1e-4)


def test_fourier_embedding_is_periodic_in_its_frequency() -> None:
    embed = FourierEmbedding(256, scale=16.0, generator=seeded(0))
    assert embed.freqs.std().item() == pytest.approx(16.0, rel=0.25)  # 4 σ of 128 draws
    period = 1 / embed.freqs[5].item()
    emb = embed(torch.tensor([0.3, 0.3 + period, 0.3 + period / 4]))
    assert emb[0, 5].item() == pytest.approx(emb[1, 5].item(), abs=1e-4)
    # A quarter of a period further the cosine is minus the sine.
    assert emb[2, 128 + 5].item() == pytest.approx(-emb[0, 5].item(), abs=1e-4)


def test_labels_and_noise_levels_are_checked() -> None:
    x = torch.zeros(4, 2)
    assert per_sample(torch.tensor(0.5), x).tolist() == [0.5] * 4
    assert one_hot(torch.tensor([1, 0, 2, 1]), 3, x).argmax(1).tolist() == [1, 0, 2, 1]
    assert one_hot(None, 3, x).abs().sum() == 0
    with pytest.raises(ValueError, match=r"c_noise has shape \(3,\); a batch of 4 takes \(\) or \(4,\)"):
        per_sample(torch.zeros(3), x)
    with pytest.raises(ValueError, match=r"shape \(4, 3\); a batch of 3 × 4 takes \(\) or \(4,\) or \(3, 4\)"):
        per_sample(torch.zeros(4, 3), torch.zeros(3, 4, 2), dims=2)
    with pytest.raises(ValueError, match="class_labels has shape"):
        one_hot(torch.zeros(4, 2), 3, x)


def test_mlp_fits_a_function_of_x_noise_and_class() -> None:
    net = MLP(2, hidden=64, label_dim=2, generator=seeded(0))
    generator = seeded(1)
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    for _ in range(400):
        x, c = torch.randn(256, 2, generator=generator), torch.rand(256, generator=generator)
        label = torch.randint(2, (256,), generator=generator)
        target = x.flip(1) * c[:, None] + (2.0 * label - 1)[:, None]
        error = (net(x, c, label) - target).square().mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    # The target's variance is E c² + 1 = 1⅓. Blind to the class the error stays at 1, blind to c_noise at Var c = 1/12.
    assert error.item() < 0.02


def test_mlp_starts_near_zero() -> None:
    x = torch.randn(64, 2, generator=seeded(0))
    assert MLP(2, generator=seeded(1))(x, torch.tensor(0.3)).abs().max() < 1e-3


@pytest.mark.parametrize("channels", [8, 32, 160])
def test_group_norm_equals_torch_with_its_gradients(channels: int) -> None:
    norm = GroupNorm(channels).double()
    torch.nn.init.normal_(norm.weight, generator=seeded(1))
    torch.nn.init.normal_(norm.bias, generator=seeded(2))
    x = (3 + 2 * channels_last(3, channels, 5, 7)).requires_grad_()
    shift = torch.randn(3, channels, generator=seeded(3), dtype=torch.float64, requires_grad=True)
    direction = torch.randn(x.shape, generator=seeded(4), dtype=torch.float64)
    groups = {8: 2, 32: 8, 160: 32}[channels]
    inputs = [x, shift, norm.weight, norm.bias]
    ours = norm(x, shift)
    plain = (x + shift[:, :, None, None]).contiguous()
    theirs = F.group_norm(plain, groups, norm.weight, norm.bias, eps=1e-6)
    assert torch.allclose(ours, theirs, rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad((ours * direction).sum(), inputs)
    expected = torch.autograd.grad((theirs * direction).sum(), inputs)
    for a, b in zip(gradients, expected, strict=True):
        assert torch.allclose(a, b, rtol=1e-9, atol=1e-10)
    # Without a shift, and in the plain layout, which takes PyTorch's own kernel.
    assert torch.allclose(norm(x), norm(x.contiguous()), rtol=1e-10, atol=1e-10)


def test_group_norm_of_a_constant_is_its_bias() -> None:
    norm = GroupNorm(8)
    torch.nn.init.normal_(norm.bias, generator=seeded(0))
    x = torch.full((2, 8, 4, 4), 3.0).contiguous(memory_format=torch.channels_last)
    assert torch.allclose(norm(x), norm.bias[None, :, None, None].expand_as(x), atol=1e-3)


@pytest.mark.parametrize("taps", [(1, 1), (1, 3, 3, 1)])
@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("up", [True, False])
def test_resampling_convolution_equals_its_definition(taps: tuple[int, ...], kernel: int, up: bool) -> None:
    """Filter channel by channel with explicit loops over output pixels' taps, then convolve: the definition, slowly."""
    conv = Conv(3, 4, kernel, up=up, down=not up, resample_filter=taps, generator=seeded(0)).double()
    torch.nn.init.normal_(conv.bias, generator=seeded(1))
    x = channels_last(2, 3, 6, 6)
    n_out = 12 if up else 3
    line = torch.tensor(taps, dtype=torch.float64) / sum(taps)
    # One axis as a matrix: sample j of the output weighs input i. Downwards the filter is centred on pairs of pixels;
    # upwards it is the transpose, doubled because half of the samples that it meets are the zeros put in between.
    matrix = torch.zeros(n_out, 6, dtype=torch.float64)
    pad = (len(taps) - 1) // 2
    for coarse in range(min(n_out, 6)):
        for t, weight in enumerate(line):
            fine = 2 * coarse + t - pad
            if 0 <= fine < max(n_out, 6):
                if up:
                    matrix[fine, coarse] += 2 * weight
                else:
                    matrix[coarse, fine] += weight
    filtered = torch.einsum("ai,bj,ncij->ncab", matrix, matrix, x)
    expected = F.conv2d(filtered, conv.weight, conv.bias, padding=kernel // 2)
    assert torch.allclose(conv(x), expected, rtol=1e-10, atol=1e-12)
    assert torch.allclose(conv(x, 0.7), 0.7 * expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("taps", [(1, 1), (1, 3, 3, 1)])
def test_resampling_keeps_constants_inside(taps: tuple[int, ...]) -> None:
    ones = torch.ones(1, 1, 8, 8, dtype=torch.float64).contiguous(memory_format=torch.channels_last)
    for up in (True, False):
        y = Conv(1, 1, 1, up=up, down=not up, resample_filter=taps).double().resample(ones)
        assert torch.allclose(y[:, :, 1:-1, 1:-1], torch.ones_like(y[:, :, 1:-1, 1:-1]))


def test_residual_down_commutes_with_the_filter_away_from_the_border() -> None:
    down = ResidualDown(2, 3, 3, down=True, resample_filter=(1, 3, 3, 1), generator=seeded(0)).double()
    torch.nn.init.normal_(down.bias, generator=seeded(1))
    x = channels_last(2, 2, 12, 12)
    # Away from borders both orders of a filter and a convolution are one: convolve, and filter with a stride of two.
    full = F.conv2d(x, down.weight, padding=1)
    inside = Conv(3, 3, 1, down=True, resample_filter=(1, 3, 3, 1)).double().resample(full)
    expected = inside + down.bias[None, :, None, None]
    assert torch.allclose(down(x)[:, :, 1:-1, 1:-1], expected[:, :, 1:-1, 1:-1], rtol=1e-10)
    assert down(x).shape == (2, 3, 6, 6)
    assert torch.allclose(down(x, 0.5), 0.5 * down(x))


def test_attention_equals_softmax_by_hand() -> None:
    """On the official layout of qkv, in which output 3c + j is channel c of q, k or v (j = 0, 1, 2)."""
    block = UNetBlock(8, 8, 4, attention=True, generator=seeded(0)).double()
    for layer in (block.qkv, block.proj):
        torch.nn.init.normal_(layer.weight, generator=seeded(1))
        torch.nn.init.normal_(layer.bias, generator=seeded(2))
    x = channels_last(2, 8, 3, 5)
    normed = F.group_norm(x.contiguous(), 2, eps=1e-6)
    qkv = F.conv2d(normed, block.qkv.weight, block.qkv.bias).flatten(2)
    q, k, v = qkv[:, 0::3], qkv[:, 1::3], qkv[:, 2::3]
    weights = torch.softmax(torch.einsum("bcq,bck->bqk", q, k) / math.sqrt(8), dim=2)
    mixed = torch.einsum("bqk,bck->bcq", weights, v).view(2, 8, 3, 5)
    expected = F.conv2d(mixed, block.proj.weight, block.proj.bias)
    assert torch.allclose(block.attend(x), expected, rtol=1e-9, atol=1e-11)


def test_attention_starts_with_a_fifth_of_the_variance() -> None:
    """The official gain of q, k and v is √0.2, so that attention starts nearly uniform; other layers have gain 1."""
    block = UNetBlock(64, 64, 16, attention=True, generator=seeded(0))
    # 12 288 draws put the sample's variance within 4 · 0.9/√12 288 = 3.3 %.
    assert block.qkv.weight.var().item() == pytest.approx(0.2 * 2 / (64 + 192), rel=0.033)
    assert block.conv0.weight.var().item() == pytest.approx(2 / (9 * 128), rel=0.033)


def test_a_fresh_block_is_its_skip_connection_over_root_two() -> None:
    x = channels_last(2, 8, 6, 6, dtype=torch.float32)
    emb = torch.randn(2, 16, generator=seeded(1))
    plain = UNetBlock(8, 8, 16, generator=seeded(0))
    assert torch.allclose(plain(x, emb), x * math.sqrt(0.5), atol=1e-3)
    attending = UNetBlock(8, 8, 16, attention=True, generator=seeded(0))
    assert torch.allclose(attending(x, emb), x * 0.5, atol=1e-3)


def test_dropout_acts_in_training_only() -> None:
    block = UNetBlock(8, 8, 16, dropout=0.5, generator=seeded(0))
    torch.nn.init.normal_(block.conv1.weight, generator=seeded(1))
    x, emb = channels_last(2, 8, 6, 6, dtype=torch.float32), torch.zeros(2, 16)
    assert not torch.equal(block.train()(x, emb), block(x, emb))
    assert torch.equal(block.eval()(x, emb), block(x, emb))


def test_perceptron_without_features_sees_the_time_as_one_more_coordinate() -> None:
    """Its first layer is then linear in [x, c]: the same as a perceptron of D + 1 inputs, by hand."""
    net = MLP(3, hidden=8, hidden_layers=1, features=0, gain=1.0, generator=seeded(0))
    x, c = torch.randn(5, 3, generator=seeded(1)), torch.rand(5, generator=seeded(2))
    weight = net.hidden[0].get_parameter("weight").detach()
    inputs = weight[:, :3] @ x.T + weight[:, 3:] * c
    torch.testing.assert_close(net(x, c), net.out(F.silu(inputs.T)))
    torch.testing.assert_close(net(x, c[0]), net(x, c[:1].expand(5)))
    # Glorot's width of the last layer is kept with gain 1: U(-a, a) with a² = 6/11.
    assert 0.5 < float(net.out.weight.detach().abs().max()) <= math.sqrt(6 / 11)
