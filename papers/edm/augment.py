"""Non-leaky augmentation (Section 5, Appendix F.2): transform the training images, and tell the network how.

A network that is given the transformation as `augment_labels` learns the transformed images as a conditional
distribution. With all labels 0, as when sampling, it makes images of the untransformed data, so nothing leaks.

Deviation: the official code resamples at twice the resolution, between two low-pass filters. Here it is one bicubic
interpolation, under which untouched images, flips, quarter turns and whole-pixel shifts are exact. Beyond its border an
image is mirrored at the border (the official code mirrors it at the centres of the border pixels).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor
from torch.nn import functional as F

LABELS = 9
"""Width of the label vector."""


@dataclass(frozen=True)
class Transform:
    """One geometric transformation per image, as (B,) tensors of standardised parameters; 0 is the identity.

    In this order: flips, then scale, rotation, anisotropic scale and translation. x runs to the right and y down.
    """

    x_flip: Tensor
    """0 or 1."""
    y_flip: Tensor
    """0 or 1."""
    scale: Tensor
    """The image grows by 2^(0.2 scale)."""
    angle: Tensor
    """Radians, counter-clockwise as seen."""
    aniso: Tensor
    """Grows by 2^(0.2 aniso) along the axis `aniso_angle`, and shrinks by as much across it."""
    aniso_angle: Tensor
    """Radians, counter-clockwise from x as seen."""
    x_shift: Tensor
    """To the right, in eighths of the width."""
    y_shift: Tensor
    """Down, in eighths of the height."""

    def labels(self) -> Tensor:
        """(B, 9): flips, scale, (cos − 1, sin) of the angle, anisotropy as a vector, shifts; the identity is 0."""
        columns = (
            *(self.x_flip, self.y_flip, self.scale),
            *(self.angle.cos() - 1, self.angle.sin()),
            *(self.aniso * self.aniso_angle.cos(), self.aniso * self.aniso_angle.sin()),
            *(self.x_shift, self.y_shift),
        )
        return torch.stack(columns, dim=1)

    def matrix(self, height: int, width: int) -> Tensor:
        """(B, 3, 3): where scale, rotation, anisotropy and shift take (x, y, 1), in pixels from the centre."""
        one = torch.ones_like(self.scale)
        grow, stretch = 2 ** (0.2 * self.scale), 2 ** (0.2 * self.aniso)
        axis = _rotate(self.aniso_angle)
        shift = _affine(one, 0 * one, self.x_shift * width / 8, 0 * one, one, self.y_shift * height / 8)
        return shift @ axis @ _scale(stretch, 1 / stretch) @ axis.mT @ _rotate(self.angle) @ _scale(grow, grow)

    def __call__(self, images: Tensor) -> Tensor:
        """images (B, C, H, W), transformed. Those with nothing to do but flips keep their pixels' exact values."""
        flip_x, flip_y = (flag.bool()[:, None, None, None] for flag in (self.x_flip, self.y_flip))
        images = torch.where(flip_x, images.flip(3), images)
        images = torch.where(flip_y, images.flip(2), images)
        moved = torch.stack([self.scale, self.angle, self.aniso, self.x_shift, self.y_shift]).ne(0).any(dim=0)
        if moved.any():
            H, W = images.shape[2:]
            images[moved] = _warp(images[moved], self.matrix(H, W)[moved])
        return images


def sample_transform(n: int, generator: torch.Generator, p: float = 0.12) -> Transform:
    """n transformations, on the generator's device.

    As for CIFAR-10 in the paper, every image is mirrored in x with probability 1/2 (this takes the place of flips in
    the data set), and each of the others is drawn with probability p: a mirror in y (then 1/2), scale ~ N(0, 1),
    angle ~ U(−π, π), aniso ~ N(0, 1) along the x axis or, as likely, along any axis, shifts ~ N(0, 1).

    Raises ValueError unless 0 <= p <= 1.
    """
    if not 0 <= p <= 1:
        raise ValueError(f"p must lie between 0 and 1, not {p}")

    def gate(probability: float) -> Tensor:
        return (torch.rand(n, generator=generator, device=generator.device) < probability).float()

    def normal() -> Tensor:
        return torch.randn(n, generator=generator, device=generator.device)

    def turn() -> Tensor:
        return (2 * torch.rand(n, generator=generator, device=generator.device) - 1) * pi

    shifted = gate(p)
    return Transform(
        x_flip=gate(0.5) * float(p > 0),
        y_flip=gate(p / 2),
        scale=gate(p) * normal(),
        angle=gate(p) * turn(),
        aniso=gate(p) * normal(),
        aniso_angle=gate(0.5) * turn(),
        x_shift=shifted * normal(),
        y_shift=shifted * normal(),
    )


def augment(images: Tensor, generator: torch.Generator, p: float = 0.12) -> tuple[Tensor, Tensor]:
    """images (B, C, H, W) to transformed images (B, C, H, W) and their labels (B, 9). p = 0 changes nothing."""
    transform = sample_transform(len(images), generator, p)
    return transform(images), transform.labels().to(images.dtype)


def _affine(*rows: Tensor) -> Tensor:
    """(B, 3, 3) from the six entries, each (B,), of the first two rows."""
    one = torch.ones_like(rows[0])
    return torch.stack([*rows, 0 * one, 0 * one, one], dim=1).reshape(-1, 3, 3)


def _scale(x: Tensor, y: Tensor) -> Tensor:
    return _affine(x, 0 * x, 0 * x, 0 * x, y, 0 * x)


def _rotate(angle: Tensor) -> Tensor:
    """Counter-clockwise as seen, which with y down is clockwise in the coordinates."""
    cos, sin = angle.cos(), angle.sin()
    return _affine(cos, sin, 0 * cos, -sin, cos, 0 * cos)


def _warp(images: Tensor, matrix: Tensor) -> Tensor:
    """images (B, C, H, W) with what is at a point p moved to `matrix` p; matrix: (B, 3, 3), pixels from the centre."""
    H, W = images.shape[2:]
    to_pixels = torch.diag(matrix.new_tensor([W / 2, H / 2, 1]))
    # An output pixel asks where its content comes from, in coordinates that run from −1 to 1 over the image.
    theta = to_pixels.inverse() @ matrix.inverse() @ to_pixels
    grid = F.affine_grid(theta[:, :2].to(images.dtype), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bicubic", padding_mode="reflection", align_corners=False)
