"""Configurations at another scale: hyperparameters keep their proportions, batches are what the letter asks for."""

from dataclasses import replace

import torch

from common.nets.small_unet import IMAGES, RESOLUTION, small_unet
from common.training.stream import stream
from papers.edm.configs import VP_CONFIGS
from papers.edm.studies.images import INITIAL
from papers.edm.studies.networks import at_scale, batches, denoiser_of
from papers.edm.studies.training import training
from tests.papers.edm.made import TINY


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_hyperparameters_keep_their_proportions() -> None:
    a, b = (at_scale(replace(TINY, letter=letter, images=128_000)) for letter in "AB")
    assert (b.batch_size, b.steps, b.lr, b.clip) == (64, 2000, 1e-3, None)
    assert (a.batch_size, a.steps, a.lr, a.clip) == (16, 8000, 2e-4, 1.0)
    assert b.lr_rampup == 128_000 // 20  # 10 of 200 million images
    assert a.lr_rampup == int(128_000 * 0.64 / 200)
    for config in (a, b):
        assert config.ema_rampup == 0.05
        assert config.ema_halflife is not None
        assert config.ema_halflife > 0.05 * 128_000, "the ramp-up is what decides at this length"


def test_batches_are_mirrored_augmented_and_labelled_only_where_asked() -> None:
    x0 = torch.arange(9.0).reshape(1, 1, 3, 3)
    plain, cond = batches(x0, VP_CONFIGS["B"], mirrored=False)(400, generator())
    assert (plain == x0).all()
    assert not cond
    mirrored, _ = batches(x0, VP_CONFIGS["B"], mirrored=True)(400, generator())
    is_mirrored = (mirrored == x0.flip(3)).flatten(1).all(1)
    assert ((mirrored == x0).flatten(1).all(1) ^ is_mirrored).all()
    assert 160 < int(is_mirrored.sum()) < 240  # four standard deviations about 200
    augmented, cond = batches(x0, VP_CONFIGS["F"], mirrored=True)(400, generator())
    untouched = (cond["augment_labels"] == 0).all(1)
    assert (augmented[untouched] == x0).all()
    assert 0 < int(untouched.sum()) < 400


def test_the_network_on_mnist_is_the_one_of_all_papers() -> None:
    """Whoever changes `small_unet` alone would compare another week's networks with these."""
    (config,) = (config for config in training.presets["small"].configs if config.letter == "E")
    ours, shared = denoiser_of(config, (1, 16, 16), 3).net, small_unet(generator=stream(3, INITIAL))
    assert str(ours) == str(shared)
    for name, value in ours.state_dict().items():
        assert torch.equal(value, shared.state_dict()[name]), name
    x = torch.randn(2, 1, RESOLUTION, RESOLUTION, generator=generator())
    torch.manual_seed(0)
    expected = ours(x, torch.tensor(0.3))
    torch.manual_seed(0)
    assert torch.equal(shared(x, torch.tensor(0.3)), expected)  # in training: the same dropout
    assert config.images == IMAGES
