"""The training loop: that it learns, what it computes per step, and that a resumed run is the unbroken one."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common.nets.ema import ema_beta
from common.nets.unet import UNet, ddpmpp
from common.training.loop import NonFiniteLoss, TrainConfig, draw_from, train

torch.set_num_threads(1)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


class Constant(nn.Module):
    """One weight θ, so that every step can be computed by hand."""

    def __init__(self, value: float = 0.0) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.tensor([value], dtype=torch.float64))


def linear_loss(net: Constant, x0: Tensor, generator: torch.Generator, **cond: Tensor) -> Tensor:
    """Slope 1 in θ whatever the batch: Adam then moves θ by exactly -lr (1 / (1 + 1e-8)) per step."""
    return net.theta.expand(len(x0))


def quadratic_loss(net: Constant, x0: Tensor, generator: torch.Generator, **cond: Tensor) -> Tensor:
    return (net.theta - x0[:, 0]).square()


def denoising_loss(net: Any, x0: Tensor, generator: torch.Generator, **cond: Tensor) -> Tensor:
    sigma = torch.rand(len(x0), generator=generator)
    eps = torch.randn(x0.shape, generator=generator)
    return (net(x0 + sigma[:, None, None, None] * eps, sigma, **cond) - eps).square().flatten(1).mean(1)


def test_the_minimiser_of_the_squared_error_is_the_mean() -> None:
    data = 2 + torch.randn(500, 1, generator=seeded(0), dtype=torch.float64)
    config = TrainConfig(600, 64, lr=0.05, ema_halflife=6400)
    trained = train(Constant(), quadratic_loss, data, config, seeded(1))
    # The average is over some 0.05 · 38 400 = 1920 images; σ/√1920 = 0.023, within 4 of them.
    assert float(trained.ema.theta.detach()) == pytest.approx(float(data.mean()), abs=0.1)
    assert trained.steps == 600
    assert not trained.network.training


def test_without_an_average_the_steps_are_the_same_and_the_network_itself_is_kept() -> None:
    data = torch.randn(50, 1, generator=seeded(0), dtype=torch.float64)
    kept, plain = (
        train(Constant(), quadratic_loss, data, TrainConfig(20, 8, lr=0.05, ema_halflife=halflife), seeded(1))
        for halflife in (50.0, None)
    )
    assert torch.equal(kept.network.theta, plain.network.theta)
    assert plain.ema is plain.network
    assert not torch.equal(kept.ema.theta, kept.network.theta)


def test_warm_up_is_linear_in_the_images_seen() -> None:
    """With Adam's unit steps θ after the run is minus the sum of the learning rates 0, lr/4, lr/2, 3lr/4, lr, lr."""
    config = TrainConfig(6, 10, lr=0.01, lr_rampup=40)
    trained = train(Constant(), linear_loss, torch.zeros(5, 1), config, seeded(0))
    assert float(trained.network.theta.detach()) == pytest.approx(-0.01 * (0 + 0.25 + 0.5 + 0.75 + 1 + 1), rel=1e-6)


def test_the_average_follows_the_trajectory() -> None:
    config = TrainConfig(30, 10, lr=0.01, ema_halflife=50, ema_rampup=0.5)
    trained = train(Constant(), linear_loss, torch.zeros(5, 1), config, seeded(0))
    # θ after step k is -lr (k + 1); the average of that with EDM's betas, images counted before each step.
    ema = 0.0
    for k in range(30):
        beta = ema_beta(10, 50, 10 * k, 0.5)
        ema = beta * ema + (1 - beta) * (-0.01 * (k + 1))
    assert float(trained.ema.theta.detach()) == pytest.approx(ema, rel=1e-6)


def test_the_gradient_is_clipped_and_its_norm_logged() -> None:
    logs: list[dict[str, float]] = []

    def steep(net: Constant, x0: Tensor, generator: torch.Generator, **cond: Tensor) -> Tensor:
        return (1e3 * net.theta).expand(len(x0)) if len(logs) == 0 else net.theta.expand(len(x0))

    config = TrainConfig(2, 4, lr=1.0, betas=(0.0, 0.0), clip=0.5, log_every=1)
    trained = train(Constant(), steep, torch.zeros(5, 1), config, seeded(0), log=lambda **m: logs.append(m))
    assert [entry["grad_norm"] for entry in logs] == pytest.approx([1000.0, 1.0])
    # Without momentum each step has the size lr |g| / |g|, clipped or not: the sum of both is 2.
    assert float(trained.network.theta.detach()) == pytest.approx(-2.0, rel=1e-6)


def test_the_log_has_the_mean_loss_since_the_last_one() -> None:
    logs: list[dict[str, float]] = []
    config = TrainConfig(6, 4, lr=0.1, log_every=3)
    train(Constant(1.0), linear_loss, torch.zeros(5, 1), config, seeded(0), log=lambda **m: logs.append(m))
    # The losses are θ before each step: 1, 0.9, 0.8 | 0.7, 0.6, 0.5.
    assert [entry["step"] for entry in logs] == [3, 6]
    assert [entry["loss"] for entry in logs] == pytest.approx([0.9, 0.6], rel=1e-6)
    assert [entry["lr"] for entry in logs] == [0.1, 0.1]


def unet() -> UNet:
    return ddpmpp(
        8,
        1,
        model_channels=8,
        channel_mult=(1, 2),
        num_blocks=1,
        attn_resolutions=(4,),
        label_dim=3,
        dropout=0.2,
        generator=seeded(1),
    )


def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(tmp_path: Path) -> None:
    images = torch.randn(50, 1, 8, 8, generator=seeded(0))
    data = draw_from(images, class_labels=torch.arange(50) % 3)
    config = TrainConfig(9, 8, lr_rampup=24, clip=1.0, checkpoint_every=3)
    whole = train(unet(), denoising_loss, data, config, seeded(2))
    path = tmp_path / "state.safetensors"

    class Killed(Exception):
        pass

    calls = 0

    def dies_in_step_5(net: UNet, x0: Tensor, generator: torch.Generator, **cond: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise Killed
        return denoising_loss(net, x0, generator, **cond)

    with pytest.raises(Killed):
        train(unet(), dies_in_step_5, data, config, seeded(2), checkpoint=path)
    torch.manual_seed(999)  # neither the default stream nor a fresh generator may matter any more
    resumed = train(unet(), denoising_loss, data, config, seeded(77), checkpoint=path)
    for mine, theirs in ((resumed.network, whole.network), (resumed.ema, whole.ema)):
        for key, value in mine.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[key]), key
    # Without the resumption the same seed gives another network: the equality above is not a triviality.
    other = train(unet(), denoising_loss, data, config, seeded(77))
    assert not torch.equal(other.network.map_layer0.weight, whole.network.map_layer0.weight)


def test_a_finished_run_is_not_trained_again_and_a_longer_one_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    config = TrainConfig(4, 4, lr=0.1)
    train(Constant(), linear_loss, torch.zeros(5, 1), config, seeded(0), checkpoint=path)
    again = train(Constant(), linear_loss, torch.zeros(5, 1), config, seeded(0), checkpoint=path)
    assert float(again.network.theta.detach()) == pytest.approx(-0.4, rel=1e-6)
    longer = dataclasses.replace(config, steps=6)
    further = train(Constant(), linear_loss, torch.zeros(5, 1), longer, seeded(0), checkpoint=path)
    assert float(further.network.theta.detach()) == pytest.approx(-0.6, rel=1e-6)


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    config = TrainConfig(2, 4, lr=0.1)
    train(Constant(), linear_loss, torch.zeros(5, 1), config, seeded(0), checkpoint=path)
    with pytest.raises(ValueError, match=r"state\.safetensors was left by a run with lr=0\.1, not 0\.2"):
        train(Constant(), linear_loss, torch.zeros(5, 1), TrainConfig(2, 4, lr=0.2), seeded(0), checkpoint=path)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_non_finite_loss_stops_the_run_and_names_its_step(bad: float, tmp_path: Path) -> None:
    calls = 0

    def diverges(net: Constant, x0: Tensor, generator: torch.Generator, **cond: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        return net.theta.expand(len(x0)) * (bad if calls == 4 else 1.0)

    path = tmp_path / "state.safetensors"
    net = Constant(1.0)
    with pytest.raises(NonFiniteLoss, match=f"the loss is {bad} at step 3") as caught:
        train(net, diverges, torch.zeros(5, 1), TrainConfig(9, 4, lr=0.1), seeded(0), checkpoint=path)
    assert caught.value.step == 3
    assert float(net.theta.detach()) == pytest.approx(0.7, rel=1e-6)
    assert not path.exists()


def test_nothing_outside_is_drawn_from_or_disturbed() -> None:
    images = torch.randn(20, 1, 8, 8, generator=seeded(0))
    data = draw_from(images, class_labels=torch.arange(20) % 3)
    config = TrainConfig(2, 4)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = train(unet(), denoising_loss, data, config, seeded(2))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    second = train(unet(), denoising_loss, data, config, seeded(2))
    assert torch.equal(first.network.map_layer0.weight, second.network.map_layer0.weight)


def test_batches_are_uniform_and_keep_their_labels() -> None:
    x0 = torch.arange(10.0)[:, None]
    x, cond = draw_from(x0, label=torch.arange(10) * 7)(20_000, seeded(0))
    assert torch.equal(cond["label"], (x[:, 0] * 7).long())
    counts = torch.bincount(x[:, 0].long(), minlength=10)
    # Each count is binomial with σ = √(20 000 · 0.09) = 42.
    assert (counts - 2000).abs().max() < 4.5 * 42
    with pytest.raises(ValueError, match="label has 3 entries; the data has 10"):
        draw_from(x0, label=torch.arange(3))


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("steps", 0, "positive"),
        ("batch_size", -1, "positive"),
        ("lr", 0.0, "positive"),
        ("ema_halflife", -1.0, "negative"),
    ],
)
def test_impossible_configurations_are_named(field: str, value: float, allowed: str) -> None:
    arguments: dict[str, Any] = {"steps": 1, "batch_size": 1, field: value}
    with pytest.raises(ValueError, match=f"{field} is {value}; it must .*{allowed}"):
        TrainConfig(**arguments)
