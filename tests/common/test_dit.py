"""Attention with rotary positions, the DiT block and the token transformer, against independent formulations."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.nets.attention import attend, rotary_phases, rotate
from common.nets.dit import DiTBlock, TokenTransformer
from common.nets.linear import linear_of_rows

torch.set_num_threads(1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64)


def scrambled(net: nn.Module, seed: int = 0) -> nn.Module:
    """The network in float64 with every parameter random, zero-initialised ones too, and in eval mode."""
    generator = seeded(seed)
    for parameter in net.double().parameters():
        std = parameter.shape[-1] ** -0.5 if parameter.ndim > 1 else 0.5
        nn.init.normal_(parameter, std=std, generator=generator)
    return net.eval()


def turn(angle: float, width: int) -> Tensor:
    """The rotation by `angle` · ω_j in the plane of features 2j and 2j + 1, as a matrix exponential (D, D)."""
    skew = torch.zeros(width, width, dtype=torch.float64)
    for j in range(width // 2):
        omega = math.exp(-math.log(10_000) * j / (width // 2))
        skew[2 * j, 2 * j + 1], skew[2 * j + 1, 2 * j] = -omega, omega
    return torch.linalg.matrix_exp(angle * skew)


def test_rotation_by_complex_numbers_is_rotation_by_matrices() -> None:
    x = normal(2, 7, 3, 8)
    expected = torch.stack([x[:, n] @ turn(n, 8).T for n in range(7)], dim=1)
    torch.testing.assert_close(rotate(x, rotary_phases(7, 8)), expected)


def test_logits_depend_on_relative_position_alone() -> None:
    q, k = (normal(1, 1, 1, 16, seed=s).expand(1, 40, 1, 16) for s in (1, 2))
    phases = rotary_phases(40, 16)
    logits = rotate(q, phases)[0, :, 0] @ rotate(k, phases)[0, :, 0].T
    torch.testing.assert_close(logits[1:, 1:], logits[:-1, :-1])
    # It does depend on it, and which of the two comes first matters.
    assert (logits[0] - logits[0, 0]).abs()[1:].min() > 1e-3
    assert (logits - logits.T).abs().max() > 0.1


@pytest.mark.parametrize("causal", [False, True])
def test_attention_is_softmax_of_relatively_turned_dot_products(causal: bool) -> None:
    L, H, D = 6, 2, 8
    qkv = normal(2, L, 3, H, D)
    got = attend(qkv, phases=rotary_phases(L, D), causal=causal).unflatten(-1, (H, D))
    q, k, v = qkv.unbind(2)
    for n in range(L):
        seen = range(n + 1 if causal else L)
        # Turning the key by its distance is turning both by their positions.
        logits = torch.stack([(q[:, n] * (k[:, m] @ turn(m - n, D).T)).sum(-1) for m in seen]) / math.sqrt(D)
        expected = (logits.softmax(0)[..., None] * torch.stack([v[:, m] for m in seen])).sum(0)
        torch.testing.assert_close(got[:, n], expected)


@pytest.mark.parametrize("causal", [False, True])
def test_block_without_condition_is_torchs_encoder_layer(causal: bool) -> None:
    W, H, L = 24, 3, 10
    ours = scrambled(DiTBlock(W, H, causal=causal))
    theirs = nn.TransformerEncoderLayer(W, H, 4 * W, 0.0, "gelu", batch_first=True, norm_first=True).double()
    zero = torch.zeros(3 * W, dtype=torch.float64)
    names = {
        "norm1": "norm1",
        "norm2": "norm2",
        "mlp_in": "linear1",
        "mlp_out": "linear2",
        "attention_out": "self_attn.out_proj",
    }
    state = {
        f"{names[key.split('.')[0]]}.{key.split('.')[1]}": value
        for key, value in ours.state_dict().items()
        if not key.startswith("qkv")
    }
    state |= {"self_attn.in_proj_weight": ours.get_parameter("qkv.weight").detach()}
    state |= {"self_attn.in_proj_bias": zero, "self_attn.out_proj.bias": zero[:W]}
    theirs.load_state_dict(state)
    x = normal(2, L, W).requires_grad_()
    mask = nn.Transformer.generate_square_subsequent_mask(L, dtype=torch.float64) if causal else None
    expected, got = theirs(x, src_mask=mask), ours(x)
    torch.testing.assert_close(got, expected)
    direction = normal(2, L, W, seed=1)
    gradients = [torch.autograd.grad((y * direction).sum(), x)[0] for y in (got, expected)]
    torch.testing.assert_close(*gradients)


def test_modulation_is_another_block_for_each_sample() -> None:
    """Scale and shift fold into the norms, gates into what the branches put out: a plain block for that condition."""
    W, H, K, L = 16, 2, 5, 6
    block = scrambled(DiTBlock(W, H, cond_features=K))
    assert isinstance(block, DiTBlock)
    assert block.modulation is not None
    x, cond, phases = normal(3, L, W), normal(3, K, seed=1), rotary_phases(L, W // H)
    got = block(x, cond, phases)
    for b in range(3):
        linear = block.modulation.linear
        shift1, scale1, gate1, shift2, scale2, gate2 = (linear.weight @ cond[b] + linear.bias).view(6, W)
        plain = DiTBlock(W, H).double()
        plain.load_state_dict({key: value for key, value in block.state_dict().items() if "modulation" not in key})
        with torch.no_grad():
            for norm, shift, scale in ((plain.norm1, shift1, scale1), (plain.norm2, shift2, scale2)):
                norm.weight.mul_(1 + scale)
                norm.bias.mul_(1 + scale).add_(shift)
            plain.attention_out.weight.mul_(gate1[:, None])
            plain.mlp_out.weight.mul_(gate2[:, None])
            plain.mlp_out.bias.mul_(gate2)
        torch.testing.assert_close(got[b : b + 1], plain(x[b : b + 1], None, phases))


def test_the_last_norm_is_modulated_too() -> None:
    net = scrambled(TokenTransformer(7, width=16, depth=0, heads=2, cond_features=8))
    assert isinstance(net, TokenTransformer)
    assert net.map_noise is not None
    assert net.modulation is not None
    tokens = torch.randint(7, (1, 5), generator=seeded(1))
    got = net(tokens, torch.tensor(0.4))
    cond = net.map_noise(torch.tensor([0.4], dtype=torch.float64))[0]
    shift, scale = (net.modulation.linear.weight @ cond + net.modulation.linear.bias).view(2, 16)
    plain = TokenTransformer(7, width=16, depth=0, heads=2, cond_features=0).double()
    plain.load_state_dict({k: v for k, v in net.state_dict().items() if k in plain.state_dict()})
    with torch.no_grad():
        plain.norm.weight.mul_(1 + scale)
        plain.norm.bias.mul_(1 + scale).add_(shift)
    torch.testing.assert_close(got, plain(tokens))


def test_a_conditioned_block_begins_as_the_identity_and_the_network_at_zero() -> None:
    x = normal(2, 5, 16).float()
    assert torch.equal(DiTBlock(16, 2, cond_features=4, generator=seeded(0))(x, torch.ones(2, 4)), x)
    tokens = torch.randint(7, (2, 5), generator=seeded(0))
    for cond_features, c_noise in ((8, torch.tensor(0.3)), (0, None)):
        net = TokenTransformer(7, 6, width=16, heads=2, cond_features=cond_features, generator=seeded(0))
        logits = net(tokens, c_noise)
        assert torch.equal(logits, torch.zeros(2, 5, 6))
        # Zero, but not stuck there: the head learns at once.
        F.cross_entropy(logits.flatten(0, 1), tokens.flatten() % 6).backward()
        assert net.head.weight.grad is not None
        assert net.head.weight.grad.abs().max() > 1e-3


@pytest.mark.parametrize("cond_features", [0, 8])
def test_a_causal_network_sees_no_later_token_bit_for_bit(cond_features: int) -> None:
    net = scrambled(TokenTransformer(9, width=32, depth=2, heads=4, cond_features=cond_features, causal=True)).float()
    c_noise = torch.tensor([0.2, 1.0, 3.0]) if cond_features else None
    tokens = torch.randint(9, (3, 20), generator=seeded(1))
    for i in (0, 7, 18):
        changed = tokens.clone()
        changed[:, i + 1 :] = (tokens[:, i + 1 :] + 1) % 9
        assert torch.equal(net(changed, c_noise)[:, : i + 1], net(tokens, c_noise)[:, : i + 1])
        # Token i itself is seen, by itself and by all that follow.
        changed = tokens.clone()
        changed[:, i] = (tokens[:, i] + 1) % 9
        moved = (net(changed, c_noise) - net(tokens, c_noise)).abs().amax(-1)
        assert moved[:, :i].sum() == 0
        assert moved[:, i:].min() > 1e-6
        torch.testing.assert_close(net(tokens[:, : i + 1], c_noise), net(tokens, c_noise)[:, : i + 1])


def test_a_bidirectional_network_sees_every_token_and_each_sample_its_own_time() -> None:
    net = scrambled(TokenTransformer(9, width=32, depth=2, heads=4, cond_features=8))
    tokens = torch.randint(9, (2, 12), generator=seeded(1))
    c_noise = torch.tensor([0.3, 2.0], dtype=torch.float64)
    before = net(tokens, c_noise)
    for i in (0, 5, 11):
        changed = tokens.clone()
        changed[:, i] = (tokens[:, i] + 1) % 9
        assert (net(changed, c_noise) - before).abs().amax(-1).min() > 1e-6
    after = net(tokens, torch.tensor([0.3, 2.1], dtype=torch.float64))
    torch.testing.assert_close(after[0], before[0])
    assert (after[1] - before[1]).abs().min() > 1e-8
    torch.testing.assert_close(net(tokens, torch.tensor(2.0))[1], before[1])


def test_training_finds_time_and_position() -> None:
    """The target is the token to the left where c_noise is 0, the one to the right where it is 1.

    A network blind to time stays at log 2 = 0.69 or above; one blind to position at about the tokens' entropy, log 6.
    """
    net = TokenTransformer(6, width=32, depth=2, heads=2, cond_features=16, generator=seeded(0))
    optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)
    generator = seeded(1)

    def loss(c_told: Tensor | None = None) -> Tensor:
        tokens = torch.randint(6, (32, 10), generator=generator)
        c_noise = torch.randint(2, (32,), generator=generator)
        target = torch.where(c_noise[:, None] == 0, tokens.roll(1, 1), tokens.roll(-1, 1))
        logits = net(tokens, c_noise if c_told is None else c_told)
        return F.cross_entropy(logits[:, 1:-1].flatten(0, 1), target[:, 1:-1].flatten())

    for _ in range(200):
        error = loss()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert error.item() < 0.1
    assert loss(torch.tensor(0.0)).item() > math.log(2)


@pytest.mark.parametrize("bias", [False, True])
def test_the_fast_layer_is_torchs_with_its_gradients(bias: bool) -> None:
    layer = linear_of_rows(160, 130, seeded(0), bias=bias)
    x, direction = normal(8, 150, 160).float().requires_grad_(), normal(8, 150, 130, seed=1).float()
    y = layer(x)
    assert y.grad_fn is not None
    assert "OneDNN" in y.grad_fn.name()  # large enough to take the fast path
    wanted = [x, *layer.parameters()]
    got = [y, *torch.autograd.grad((y * direction).sum(), wanted)]
    exact = layer.double()
    x64 = x.detach().double().requires_grad_()
    y64 = F.linear(x64, exact.weight, exact.bias)
    expected = [y64, *torch.autograd.grad((y64 * direction).sum(), [x64, *exact.parameters()])]
    for a, b in zip(got, expected, strict=True):
        # Sums of at most 1200 products rounded to 2^-24, whose errors add at random.
        assert (a.double() - b).abs().max() < 4 * 2**-24 * math.sqrt(1200) * b.std()


@pytest.mark.parametrize(("width", "depth", "millions"), [(128, 4, 1.2), (256, 6, 7.1)])
def test_sizes(width: int, depth: int, millions: float) -> None:
    net = TokenTransformer(28, width=width, depth=depth, cond_features=width)
    layer = nn.TransformerEncoderLayer(width, 4, 4 * width)
    plain = sum(p.numel() for p in layer.parameters()) - 4 * width  # attention has no biases here
    modulation = 6 * width * (width + 1)
    blocks = sum(p.numel() for p in net.blocks.parameters())
    assert blocks == depth * (plain + modulation)
    assert blocks / 1e6 == pytest.approx(millions, abs=0.05)
    # Outside the blocks: token table, head with bias, last norm and modulation, and the two layers of time.
    rest = 28 * width * 2 + 28 + 2 * width + 2 * width * (width + 1) + (256 + 1) * width + (width + 1) * width
    assert sum(p.numel() for p in net.parameters()) == blocks + rest


def test_initial_weights_follow_their_generator_alone() -> None:
    before = torch.get_rng_state()
    nets = [TokenTransformer(5, width=16, heads=2, cond_features=8, generator=seeded(s)) for s in (0, 0, 1)]
    assert torch.equal(torch.get_rng_state(), before)
    first, again, other = (net.state_dict() for net in nets)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not torch.equal(first["blocks.3.qkv.weight"], other["blocks.3.qkv.weight"])


def test_dropout_acts_in_training_only_and_keeps_the_mean() -> None:
    block = scrambled(DiTBlock(8, 2, dropout=0.3))
    x = normal(1, 3, 8)
    assert torch.equal(block(x), block(x))
    assert isinstance(block, DiTBlock)
    torch.manual_seed(0)  # F.dropout draws from torch's default stream
    # Without the perceptron the branch is linear in what is kept, so its mean is the branch without dropout.
    nn.init.zeros_(block.mlp_out.weight)
    nn.init.zeros_(block.mlp_out.bias)
    block.eval()
    still = block(x) - x
    block.train()
    many = block(x.expand(4000, 3, 8)) - x
    assert (many == 0).double().mean().item() == pytest.approx(0.3, abs=4 * math.sqrt(0.21 / 96_000))
    # Each entry is a two-point law of standard deviation |still| √(0.3 / 0.7), averaged over 4000; 24 entries.
    assert ((many.mean(0) - still[0]).abs() < 4.5 * still[0].abs() * math.sqrt(0.3 / 0.7 / 4000)).all()


def test_lower_precision_agrees() -> None:
    net = scrambled(TokenTransformer(9, width=32, depth=2, heads=4, cond_features=8))
    tokens, c_noise = torch.randint(9, (2, 12), generator=seeded(1)), torch.tensor(0.7, dtype=torch.float64)
    exact = net(tokens, c_noise)
    single = net.float()(tokens, c_noise)
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-4 * exact.std().item())
    with torch.autocast("cpu", torch.bfloat16):
        half = net(tokens, c_noise)
    # bfloat16 rounds to 2^-9; some ten roundings in a row, of about the size of the result.
    assert (half.double() - exact).std() < 10 * 2**-9 * exact.std()


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="width 10 cannot be shared by 4 heads"):
        DiTBlock(10, 4)
    with pytest.raises(ValueError, match="a head is 3 wide; rotary embedding needs an even width"):
        TokenTransformer(5, width=12, heads=4)
    tokens = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="c_noise is missing"):
        TokenTransformer(5, width=16)(tokens)
    with pytest.raises(ValueError, match="c_noise is given, but the network has no time"):
        TokenTransformer(5, width=16, cond_features=0)(tokens, torch.tensor(0.0))
    with pytest.raises(ValueError, match=r"c_noise has shape \(3,\); a batch of 2"):
        TokenTransformer(5, width=16)(tokens, torch.zeros(3))
