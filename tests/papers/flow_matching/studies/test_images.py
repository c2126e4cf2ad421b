"""Images on their grey levels, and the networks that are trained on them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from common.data.images import Images, digits
from common.metrics.frechet import fd_digits
from common.nets.small_unet import small_unet
from common.training.members import Members
from papers.flow_matching.studies import images as study
from papers.flow_matching.studies.images import DATASETS, batches, look_at
from papers.flow_matching.studies.networks import NETWORKS, NetworkConfig, network, noise, untrained


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_digits_lie_on_their_levels_and_splits_are_what_they_say() -> None:
    for split, n in (("train", 1442), ("test", 355)):
        found = DATASETS["digits"].load(split, 8)  # type: ignore[arg-type]
        assert torch.equal(found, digits(split).x0)  # type: ignore[arg-type]
        assert len(found) == n
        whole = (found + 1) * 8
        assert torch.equal(whole, whole.round())


def test_resized_images_are_rounded_to_the_levels_of_a_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    x0 = torch.rand(20, 1, 16, 16, generator=generator()) * 2 - 1
    asked: list[Any] = []

    def mnist(*which: Any) -> Images:
        asked.append(which)
        return Images(x0, torch.zeros(20).long())

    monkeypatch.setattr(study, "mnist", mnist)
    found = DATASETS["mnist"].load("test", 16)
    assert asked == [("test", 16)]
    byte = (found.double() + 1) * 127.5
    torch.testing.assert_close(byte, byte.round(), rtol=0, atol=1e-4)
    # No value moved by more than half a level, but for rounding.
    assert float((found - x0).abs().max()) < 1 / 255 + 1e-6


def test_batches_spread_evenly_over_the_bins_of_images_drawn_with_replacement() -> None:
    images = torch.tensor([-1.0, 0.0, 0.5]).reshape(3, 1, 1, 1).expand(3, 1, 4, 4)
    x_1, cond = batches(images, 17)(3000, generator())
    assert cond == {}
    nearest = (x_1[:, 0, 0, 0] * 8).round() / 8
    for value in (-1.0, 0.0, 0.5):
        chosen = nearest == value
        # A third of 3000: standard deviation 26.
        assert abs(int(chosen.sum()) - 1000) < 4 * 26
        place = ((x_1[chosen] - value) * 8).flatten()
        assert float(place.abs().max()) <= 0.5
        # Uniform on [-½, ½]: mean 0, variance 1/12, of 16000 values.
        assert abs(float(place.mean())) < 4 * (1 / 12 / len(place)) ** 0.5
        assert float(place.var()) == pytest.approx(1 / 12, rel=0.03)


def test_samples_are_judged_on_their_levels_and_the_floor_is_that_of_training_images() -> None:
    data, some = DATASETS["digits"], digits("train").x0[:200]
    moved = some + 0.05 * (2 * torch.rand(some.shape, generator=generator()) - 1)
    assert data.fd(moved.double()) == pytest.approx(fd_digits(some), rel=1e-6)
    floor = data.floor(8, 400, generator())
    # fd_digits says: about 330/n for draws of the reference.
    assert floor == pytest.approx(330 / 400, rel=0.4)


def test_a_resolution_that_a_set_has_not_is_refused() -> None:
    look_at.cache_clear()
    with pytest.raises(ValueError, match="digits has the resolution 8, not 16"):
        look_at("digits", 16)


def test_the_unet_of_small_is_the_one_of_all_weeks() -> None:
    ours = untrained(network("unet", "fm-ot"), 0).net.state_dict()
    common = small_unet(dropout=0.0).state_dict()
    assert {key: value.shape for key, value in ours.items()} == {key: value.shape for key, value in common.items()}


@pytest.mark.parametrize("name", ["perceptron", "unet"])
def test_networks_start_alike_for_all_objectives_and_differ_by_seed(name: str) -> None:
    first, alike, other = (
        untrained(network(name, objective), seed) for objective, seed in (("fm-ot", 0), ("ddpm", 0), ("fm-ot", 1))
    )
    for a, b in zip(first.parameters(), alike.parameters(), strict=True):
        assert torch.equal(a, b)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_a_network_is_told_of_the_time_on_the_scale_of_its_config() -> None:
    config = network("perceptron", "fm-ot")
    told: list[torch.Tensor] = []
    net = untrained(config, 0)
    net.net.register_forward_pre_hook(lambda module, inputs: told.append(inputs[1]))
    x, t = noise(config, 3, generator()).float(), torch.tensor([0.0, 0.5, 1.0])
    net(x, t)
    torch.testing.assert_close(told[0], t * config.time_scale)
    members = Members([untrained(config, seed) for seed in range(2)])
    assert members.stacked.takes_stacked_weights
    assert not untrained(network("unet", "fm-ot"), 0).takes_stacked_weights
    torch.testing.assert_close(members(x.expand(2, *x.shape), t)[0], net(x, t))


def test_the_average_is_kept_at_equal_distances_and_last_at_the_end() -> None:
    config = NetworkConfig("fm-ot", "digits", 8, images=10 * 64 + 3, batch=64, width=8, looks=4)
    assert config.kept_after == (2, 5, 7, 10)
    for each in NETWORKS.values():
        assert each.kept_after[-1] == each.images // each.batch
        assert len(each.kept_after) == each.looks


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objective": "edm"}, "objective is one of fm-ot, fm-vp, score, scoreflow, ddpm, not 'edm'"),
        ({"dataset": "cats"}, "dataset is one of digits, mnist, not 'cats'"),
        ({"images": 0}, "images is at least 1, not 0"),
        ({"lr": 0.0}, "lr is 0.0; it must be positive"),
        ({"time_scale": -1.0}, "time_scale is -1.0; it must be positive"),
        ({"looks": 9, "images": 512}, "looks is 9; a training of 8 steps has no more"),
    ],
)
def test_a_bad_network_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(NETWORKS["perceptron"], **fields)
