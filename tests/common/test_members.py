"""Several networks as one: the same functions side by side, each with its own draws, and trained as each alone."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common.nets.mlp import MLP
from common.nets.unet import UNet, ddpmpp
from common.training import loop
from common.training.loop import NonFiniteLoss, TrainConfig, Trained, draw_from, train
from common.training.members import Generators, Members, each, normal, uniform

torch.set_num_threads(1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def scattered(network: Any, seed: int) -> Any:
    """The network with weights that are nowhere zero, in float64."""
    generator = seeded(seed)
    for parameter in network.double().parameters():
        nn.init.normal_(parameter, 0.0, 0.3, generator=generator)
    return network


def unet(seed: int, dropout: float = 0.0) -> UNet:
    return scattered(
        ddpmpp(8, 1, model_channels=4, channel_mult=(1, 2), num_blocks=1, attn_resolutions=(4,), dropout=dropout), seed
    )


class Tied(nn.Module):
    """A network that is none of ours: one layer used under two names, a time it does not need, a label."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(3, 3)
        self.second = nn.Linear(3, 3)
        self.second.weight = self.first.weight
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))

    def forward(self, x: Tensor, t: Tensor, label: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(x))) * label[:, None] + t.reshape(-1, 1)


MLPS: dict[str, dict[str, Any]] = {
    "features": {},
    "time alone": {"features": 0},
    "labels": {"label_dim": 3},
    "labels, time alone": {"label_dim": 3, "features": 0, "hidden_layers": 1},
}


@pytest.mark.parametrize("kind", MLPS)
def test_perceptrons_side_by_side_are_each_alone(kind: str) -> None:
    nets = [scattered(MLP(2, hidden=16, generator=seeded(s), **MLPS[kind]), s) for s in range(3)]
    members = Members(nets)
    x, t = normal((3, 5, 2), seeded(9), torch.float64), uniform((3, 5), seeded(8), torch.float64)
    labels: list[dict[str, Tensor]] = [{}]
    if "labels" in kind:
        indices = torch.arange(15).reshape(3, 5) % 3
        labels = [{}, {"class_labels": indices}, {"class_labels": nn.functional.one_hot(indices, 3) * 0.5}]
    for cond in labels:
        for time in (t, t[0], t[0, 0]):
            own = [time[s] if time.ndim == 2 else time for s in range(3)]
            alone = [net(x[s], own[s], **{k: v[s] for k, v in cond.items()}) for s, net in enumerate(nets)]
            torch.testing.assert_close(members(x, time, **cond), torch.stack(alone), rtol=1e-12, atol=1e-12)
    gradient = torch.autograd.grad(members(x.requires_grad_(), t)[0].sum(), x)[0]
    assert gradient[0].abs().min() > 0
    assert gradient[1:].abs().max() == 0


def test_unets_side_by_side_are_each_alone_with_their_gradients() -> None:
    nets = [unet(s) for s in range(2)]
    members = Members(nets)
    x, t = normal((2, 3, 1, 8, 8), seeded(9), torch.float64), uniform((2, 3), seeded(8), torch.float64)
    out = members(x, t)
    out.square().sum().backward()
    for s, net in enumerate(nets):
        alone = net(x[s], t[s])
        assert torch.equal(out[s], alone)
        alone.square().sum().backward()
        for name, parameter in net.named_parameters():
            gradient = members.stacked.get_parameter(name).grad
            assert gradient is not None
            torch.testing.assert_close(gradient[s], parameter.grad, rtol=1e-10, atol=1e-10)
    kernel = members.stacked.get_parameter("enc.8x8_block0.conv0.weight")[1]
    assert kernel.is_contiguous(memory_format=torch.channels_last)


def test_any_network_can_be_a_member_with_what_it_shares_and_what_it_is_told() -> None:
    nets = [Tied().double() for _ in range(2)]
    members = Members(nets)
    assert members.stacked.second.weight is members.stacked.first.weight
    x, label = normal((2, 4, 3), seeded(0), torch.float64), uniform((2, 4), seeded(1), torch.float64)
    expected = torch.stack([net(x[s], torch.tensor(0.3), label[s]) for s, net in enumerate(nets)])
    assert torch.equal(members(x, torch.tensor(0.3), label=label), expected)


@pytest.mark.parametrize("make", [lambda s: scattered(MLP(2, hidden=8), s), unet], ids=["perceptron", "unet"])
def test_a_member_is_a_network_of_its_own(make: Any) -> None:
    nets = [make(s) for s in range(3)]
    members = Members(nets)
    single = members.eval().member(1)
    assert type(single) is type(nets[1])
    assert not single.training
    for (name, value), original in zip(single.state_dict().items(), nets[1].state_dict().values(), strict=True):
        assert torch.equal(value, original), name
        assert value.stride() == original.stride(), name
    with torch.no_grad():
        next(single.parameters()).add_(1.0)
    assert torch.equal(next(members.parameters())[1], next(nets[1].parameters()))


def test_dropout_of_a_member_follows_its_own_stream() -> None:
    """Member 1 is dropped the same units whoever is beside it, and as alone after `manual_seed`."""
    x, t = normal((2, 2, 1, 8, 8), seeded(0), torch.float64), torch.tensor(0.5)
    net = unet(0, dropout=0.5)
    pair, other = Members([net, net]), Members([unet(1, dropout=0.5), net])
    torch.manual_seed(3)
    alone = [net(x[1], t), net(x[1], t)]
    pair.seed([7, 3])
    other.seed([8, 3])
    before = torch.get_rng_state()
    for expected in alone:
        assert torch.equal(pair(x, t)[1], expected)
        assert torch.equal(other(x, t)[1], expected)
    assert torch.equal(torch.get_rng_state(), before)
    # From a kept state it goes on as it went on.
    kept = copy.deepcopy(pair)
    assert torch.equal(kept(x, t), pair(x, t))
    assert not torch.equal(alone[0], alone[1])


def test_a_member_draws_from_its_own_generator() -> None:
    for draw, single in ((normal, torch.randn), (uniform, torch.rand)):
        both = draw((2, 3, 4), (seeded(0), seeded(1)), torch.float64)
        for s in range(2):
            assert torch.equal(both[s], single(3, 4, generator=seeded(s), dtype=torch.float64))
        assert torch.equal(draw((3, 4), seeded(1), torch.float64), both[1])
        with pytest.raises(ValueError, match=r"the shape is \(3, 4\); 2 generators draw \(2, ...\)"):
            draw((3, 4), (seeded(0), seeded(1)))
        with pytest.raises(ValueError, match=r"the shape is \(\)"):
            draw((), (seeded(0),))
    picks = each(lambda g: torch.randperm(5, generator=g), (seeded(0), seeded(1)))
    assert torch.equal(picks[1], torch.randperm(5, generator=seeded(1)))


def test_what_cannot_be_stacked_is_named() -> None:
    with pytest.raises(ValueError, match="no networks are given; at least 1"):
        Members([])
    with pytest.raises(ValueError, match="network 1 is of another architecture than network 0"):
        Members([MLP(2), MLP(3)])
    with pytest.raises(ValueError, match=r"x has shape \(3, 5, 2\); 2 members take \(2, B, ...\)"):
        Members([MLP(2), MLP(2)])(torch.zeros(3, 5, 2), torch.tensor(0.0))


def denoising(net: Any, x0: Tensor, generator: Generators, **cond: Tensor) -> Tensor:
    """One loss for one network and for several: x0 (B, *D) or (S, B, *D)."""
    batch = x0.shape[: 2 if isinstance(generator, tuple) else 1]
    t = uniform(batch, generator, x0.dtype)
    eps = normal(x0.shape, generator, x0.dtype)
    error = net(x0 + t.reshape(*batch, *[1] * (x0.ndim - len(batch))) * eps, t, **cond) - eps
    return error.square().flatten(len(batch)).mean(-1)


class Setting:
    """Networks that start unlike, data, and a training in which clipping, average and warm-up all matter."""

    def __init__(self, kind: str) -> None:
        images = kind == "unet"
        shape = (1, 8, 8) if images else (2,)
        x0 = normal((40, *shape), seeded(0), torch.float64)
        self.data = draw_from(x0) if images else draw_from(x0, class_labels=torch.arange(40) % 3)
        self.images = images
        self.config = TrainConfig(
            7, 8, lr=0.01, lr_rampup=24, ema_halflife=40.0, ema_rampup=0.5, clip=0.05, log_every=1
        )

    def network(self, s: int) -> Any:
        return unet(s, dropout=0.2) if self.images else scattered(MLP(2, hidden=8, label_dim=3, generator=seeded(s)), s)

    def together(self, seeds: tuple[int, ...], **others: Any) -> Trained[Members[Any]]:
        generators = tuple(seeded(100 + s) for s in seeds)
        return train(Members([self.network(s) for s in seeds]), denoising, self.data, self.config, generators, **others)

    def alone(self, s: int, **others: Any) -> Trained[Any]:
        return train(self.network(s), denoising, self.data, self.config, seeded(100 + s), **others)


def distance(one: nn.Module, other: nn.Module) -> float:
    """The greatest difference of a weight."""
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


KINDS = ("perceptron", "unet")


@pytest.mark.parametrize("kind", KINDS)
def test_a_member_among_others_trains_as_it_does_alone(kind: str) -> None:
    setting, seeds = Setting(kind), (4, 0, 2)
    entries: list[list[dict[str, float]]] = [[] for _ in seeds]
    logs = tuple(lambda own=own, **metrics: own.append(metrics) for own in entries)
    both = setting.together(seeds, log=logs)
    for s, seed in enumerate(seeds):
        own: list[dict[str, float]] = []
        alone = setting.alone(seed, log=lambda own=own, **metrics: own.append(metrics))
        # Sums run in another order, in float64.
        assert distance(both.network.member(s), alone.network) < 1e-9
        assert distance(both.ema.member(s), alone.ema) < 1e-9
        assert [list(entry) for entry in entries[s]] == [list(entry) for entry in own]
        for entry, expected in zip(entries[s], own, strict=True):
            assert entry == pytest.approx(expected, rel=1e-9)
        # What is compared is no triviality: the gradient is clipped, and the weights go elsewhere than the average.
        assert all(entry["grad_norm"] > 0.05 for entry in own)
        assert distance(alone.network, alone.ema) > 1e-3
        assert distance(alone.network, setting.network(seed)) > 1e-2


def test_a_norm_over_all_members_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The comparison above tells a joint clipping from one of each."""
    setting, seeds = Setting("perceptron"), (4, 0, 2)
    alone = setting.alone(0)
    monkeypatch.setattr(loop, "clip_members_", lambda p, norm: nn.utils.clip_grad_norm_(p, norm).expand(len(seeds)))
    assert distance(setting.together(seeds).network.member(1), alone.network) > 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_a_resumed_training_of_members_is_the_unbroken_one_bit_for_bit(kind: str, tmp_path: Path) -> None:
    setting, path = Setting(kind), tmp_path / "state.safetensors"
    whole = setting.together((0, 1))
    short = Setting(kind)
    short.config = TrainConfig(**{**vars(setting.config), "steps": 3})
    short.together((0, 1), checkpoint=path)
    # Other generators, and another state of the default stream: neither may matter any more.
    torch.manual_seed(999)
    nets = Members([setting.network(s) for s in (0, 1)])
    resumed = train(nets, denoising, setting.data, setting.config, (seeded(5), seeded(6)), checkpoint=path)
    assert distance(resumed.network, whole.network) == 0
    assert distance(resumed.ema, whole.ema) == 0
    with pytest.raises(ValueError, match="was left by a run of 2 members, not of 3 members; remove it"):
        setting.together((0, 1, 2), checkpoint=path)
    with pytest.raises(ValueError, match="was left by a run of 2 members, not of one network; remove it"):
        setting.alone(0, checkpoint=path)


def test_the_member_whose_loss_is_not_finite_is_named() -> None:
    def diverges(net: Any, x0: Tensor, generator: Generators, **cond: Tensor) -> Tensor:
        return denoising(net, x0, generator, **cond) * torch.tensor([[1.0], [torch.inf], [1.0]])

    setting = Setting("perceptron")
    generators = (seeded(0), seeded(1), seeded(2))
    nets = Members([setting.network(s) for s in range(3)])
    with pytest.raises(NonFiniteLoss, match="the loss of member 1 is inf at step 0") as caught:
        train(nets, diverges, setting.data, setting.config, generators)
    assert caught.value.member == 1


def test_networks_generators_logs_and_losses_must_be_as_many() -> None:
    setting = Setting("perceptron")
    pair = Members([setting.network(s) for s in range(2)])

    def attempt(net: nn.Module, generator: Any, loss: Any = denoising, **others: Any) -> None:
        train(net, loss, setting.data, setting.config, generator, **others)

    with pytest.raises(ValueError, match="generator is one alone; 2 members take a tuple of 2"):
        attempt(pair, seeded(0))
    with pytest.raises(ValueError, match="generator is a tuple of 1; 2 members take a tuple of 2"):
        attempt(pair, (seeded(0),))
    with pytest.raises(ValueError, match="generator is a tuple of 2; one network takes one alone"):
        attempt(setting.network(0), (seeded(0), seeded(1)))
    with pytest.raises(ValueError, match="log is one alone; 2 members take a tuple of 2"):
        attempt(pair, (seeded(0), seeded(1)), log=print)
    with pytest.raises(ValueError, match=r"values of shape \(8,\); it must be \(2, B\) for 2 members"):
        attempt(pair, (seeded(0), seeded(1)), lambda *a, **k: denoising(*a, **k).mean(0))
    with pytest.raises(ValueError, match=r"values of shape \(8, 2\); it must be \(B,\) for one network"):
        attempt(setting.network(0), seeded(0), lambda *a, **k: denoising(*a, **k)[:, None].expand(8, 2))
