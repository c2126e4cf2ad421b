"""Augmentation: transformations that are exact on a pixel grid, labels that say what was done, and how often it is."""

from dataclasses import fields, replace
from math import pi

import pytest
import torch
from scipy import stats

from papers.edm.augment import LABELS, Transform, augment, sample_transform

B = 6
# Along each axis torch's cubic (a = −3/4) misreads a slope by up to 0.048 pixels, and a curvature f'' by up to f''/16.
# A Gaussian of width 4 has |f_x| + |f_y| <= √2 e^{−1/2}/4 and |f_xx| + |f_yy| <= 2/16.
BICUBIC = 2**0.5 * 0.048 * 0.152 + 2 / 16 / 16


def identity(n=B):
    return Transform(*(torch.zeros(n) for _ in fields(Transform)))


def only(n=B, **parameters):
    return replace(identity(n), **{name: torch.full((n,), float(value)) for name, value in parameters.items()})


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def images():
    return torch.randn(B, 2, 8, 8, generator=generator())


def blobs(dx=0.0, dy=0.0, wide=1.0, high=1.0, size=64):
    """A smooth image, in pixels from the centre with y down: a Gaussian at (dx, dy), of widths 4 wide and 4 high."""
    y, x = torch.meshgrid(*[torch.arange(size) - (size - 1) / 2] * 2, indexing="ij")
    return torch.exp(-(((x - dx) / wide) ** 2 + ((y - dy) / high) ** 2) / 32)[None, None]


def test_the_identity_changes_no_bit_and_has_label_zero(images):
    assert torch.equal(identity()(images), images)
    assert torch.equal(identity().labels(), torch.zeros(B, LABELS))
    augmented, labels = augment(images, generator(), p=0.0)
    assert torch.equal(augmented, images)
    assert not labels.any()


def test_flips_are_exact_and_their_own_inverse(images):
    assert torch.equal(only(x_flip=1)(images), images.flip(3))
    assert torch.equal(only(y_flip=1)(images), images.flip(2))
    both = only(x_flip=1, y_flip=1)
    assert torch.equal(both(images), images.rot90(2, (2, 3)))
    assert torch.equal(both(both(images)), images)


def test_quarter_turns_are_counter_clockwise_and_exact(images):
    # Bicubic weights at whole pixels are 0 and 1 up to the rounding of the grid, some 1e-7 × 8 pixels.
    for turns in (1, 2, 3):
        torch.testing.assert_close(only(angle=turns * pi / 2)(images), images.rot90(turns, (2, 3)), rtol=0, atol=1e-5)
    half = only(angle=pi)
    torch.testing.assert_close(half(half(images)), images, rtol=0, atol=1e-5)


def test_shifts_are_in_eighths_of_the_image_to_the_right_and_down(images):
    wide = torch.randn(B, 1, 8, 16, generator=generator(1))
    torch.testing.assert_close(only(x_shift=1)(wide)[..., 2:], wide[..., :-2], rtol=0, atol=1e-5)
    torch.testing.assert_close(only(y_shift=-3)(wide)[..., :-3, :], wide[..., 3:, :], rtol=0, atol=1e-5)
    # What comes in from beyond the border is its mirror image.
    torch.testing.assert_close(only(x_shift=2)(images)[..., :2], images[..., :2].flip(3), rtol=0, atol=1e-5)


def test_a_doubling_takes_five_units_of_scale():
    torch.testing.assert_close(only(1, scale=5)(blobs()), blobs(wide=2, high=2), rtol=0, atol=BICUBIC)
    shrunk, centre = only(1, scale=-5)(blobs(4, -2, 1.5, 1.5)), slice(16, 48)  # around it are mirror images
    torch.testing.assert_close(
        shrunk[..., centre, centre], blobs(2, -1, 0.75, 0.75)[..., centre, centre], rtol=0, atol=BICUBIC
    )


def test_anisotropy_stretches_along_its_axis_and_keeps_the_area():
    stretched = only(1, aniso=2.5)(blobs())
    torch.testing.assert_close(stretched, blobs(wide=2**0.5, high=0.5**0.5), rtol=0, atol=BICUBIC)
    upright = only(1, aniso=2.5, aniso_angle=pi / 2)(blobs())
    torch.testing.assert_close(upright, stretched.mT, rtol=0, atol=1e-5)
    # Along the diagonal from bottom left to top right, seen with y down: it joins (−, +) and (+, −).
    diagonal = only(1, aniso=2.5, aniso_angle=pi / 4)(blobs())[0, 0]
    assert diagonal[36, 27] > 1.2 * diagonal[27, 27]
    torch.testing.assert_close(only(1, aniso=-2.5)(blobs()), upright, rtol=0, atol=1e-5)


def test_parts_compose_in_order_scale_rotation_anisotropy_shift():
    """Seen through quarter turns and whole-pixel shifts, which are exact, on an image that is 0 at its border."""
    image = blobs(2, -3, 0.5, 0.7)
    image = torch.where(image > 1e-4, image, 0)
    turned = only(1, angle=pi / 2)
    for last in ({"scale": 0.7}, {"aniso": 1.3, "aniso_angle": 0.4}):
        shifted = only(1, **last, x_shift=1)(image)
        torch.testing.assert_close(shifted, only(1, x_shift=1)(only(1, **last)(image)), rtol=0, atol=1e-5)
    torch.testing.assert_close(
        only(1, angle=pi / 2, x_shift=1, y_shift=-1)(image),
        image.rot90(1, (2, 3)).roll((8, -8), (3, 2)),
        rtol=0,
        atol=1e-4,
    )
    stretch = {"aniso": 1.3, "aniso_angle": 0.4}
    torch.testing.assert_close(
        only(1, angle=pi / 2, **stretch)(image), only(1, **stretch)(turned(image)), rtol=0, atol=1e-5
    )
    # Isotropic scale commutes with rotation and anisotropy, so only its place before the shift can be seen.
    at_once = only(1, scale=0.7, angle=pi / 2, **stretch, y_shift=1).matrix(32, 32)
    in_turn = only(1, y_shift=1).matrix(32, 32) @ only(1, scale=0.7, angle=pi / 2, **stretch).matrix(32, 32)
    torch.testing.assert_close(at_once, in_turn)


def test_labels_are_the_parameters():
    t = sample_transform(200, generator(), p=1.0)
    labels = t.labels()
    assert labels.shape == (200, LABELS)
    for column, name in ((0, "x_flip"), (1, "y_flip"), (2, "scale"), (7, "x_shift"), (8, "y_shift")):
        assert torch.equal(labels[:, column], getattr(t, name))
    torch.testing.assert_close(torch.atan2(labels[:, 4], labels[:, 3] + 1), t.angle)
    direction = torch.polar(t.aniso.abs(), t.aniso_angle + pi * (t.aniso < 0))
    torch.testing.assert_close(torch.complex(labels[:, 5], labels[:, 6]), direction, rtol=1e-5, atol=1e-5)


def test_each_image_gets_its_own_transformation():
    t = sample_transform(50, generator(), p=0.5)
    images = torch.randn(50, 1, 8, 8, generator=generator(1))
    together = t(images)
    for i in (0, 7, 31):
        alone = Transform(*(getattr(t, f.name)[i : i + 1] for f in fields(Transform)))
        torch.testing.assert_close(alone(images[i : i + 1])[0], together[i], rtol=0, atol=1e-6)
    same = t.labels().eq(0).all(dim=1)
    assert 0 < same.sum() < 50
    assert torch.equal(together[same], images[same])
    assert not torch.isclose(together[~same], images[~same]).flatten(1).all(dim=1).any()


def test_frequencies_and_laws():
    n, p = 200_000, 0.12
    t = sample_transform(n, generator(), p)

    def frequency(flags, expected):
        assert flags.float().mean().item() == pytest.approx(expected, abs=5 * (expected * (1 - expected) / n) ** 0.5)

    frequency(t.x_flip, 0.5)
    frequency(t.y_flip, p / 2)
    for drawn in (t.scale, t.angle, t.aniso, t.x_shift):
        frequency(drawn != 0, p)
    frequency((t.scale != 0) & (t.angle != 0), p**2)
    frequency(t.aniso_angle != 0, 0.5)
    assert torch.equal(t.x_shift != 0, t.y_shift != 0)
    for drawn, law in (
        (t.scale, stats.norm),
        (t.aniso, stats.norm),
        (t.x_shift, stats.norm),
        (t.y_shift, stats.norm),
        (t.angle, stats.uniform(-pi, 2 * pi)),
        (t.aniso_angle, stats.uniform(-pi, 2 * pi)),
    ):
        assert stats.kstest(drawn[drawn != 0].numpy(), law.cdf).pvalue > 1e-4


def test_augment_returns_what_it_did_and_leaves_its_input(images):
    before = images.clone()
    augmented, labels = augment(images, generator(4), p=0.8)
    assert torch.equal(images, before)
    t = sample_transform(B, generator(4), p=0.8)
    assert torch.equal(augmented, t(images))
    assert torch.equal(labels, t.labels())
    for p in (-0.1, 1.1):
        with pytest.raises(ValueError, match="p must lie between 0 and 1"):
            augment(images, generator(), p)
