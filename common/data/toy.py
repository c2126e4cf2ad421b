"""2-D toy distributions: vectorised, seeded by the generator that is passed in, standardised in closed form.

Each function draws (N, 2) points of z = (y - mean) / scale, where y is the textbook curve or mixture given in its
docstring, `mean` its exact mean, and `scale`² the exact mean of the variances of its two coordinates. So every toy has
mean 0 and mean coordinate variance 1 (`sigma_data` = 1), its shape is not distorted, and no number is estimated from a
sample. `noise` is the standard deviation of isotropic Gaussian noise in the units of y.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import pi, sqrt
from types import MappingProxyType

import torch
from torch import Generator, Tensor

EIGHT_GAUSSIANS_STD = 0.1
"""Standard deviation of each of the eight components, where the circle of their means has radius 1."""
MOONS_MEAN = (0.5, 0.25)
MOONS_VARIANCES = 3 / 4 + 9 / 16 - 1 / pi
S_CURVE_VARIANCES = 1 / 2 + 3 / 2 + 4 / (3 * pi)
"""Of the textbook curves: the mean, and the sum of the variances of both coordinates before the noise."""


def _uniform(n: int, low: float, high: float, generator: Generator) -> Tensor:
    if n < 1:
        raise ValueError(f"n is {n}; a sample has at least 1 point")
    return low + (high - low) * torch.rand(n, generator=generator, dtype=torch.float64)


def scale(variances: float, noise: float) -> float:
    """What a toy is divided by: √(variances/2 + noise²), `variances` being the sum of both before the noise."""
    return sqrt(variances / 2 + noise**2)


def _standardised(
    y: Tensor, mean: tuple[float, float], variances: float, noise: float, generator: Generator, dtype: torch.dtype
) -> Tensor:
    """Add noise, take off `mean`, divide by the scale."""
    if noise < 0:
        raise ValueError(f"noise is {noise}; a standard deviation is 0 or more")
    y = y + noise * torch.randn(y.shape, generator=generator, dtype=y.dtype)
    return ((y - torch.tensor(mean, dtype=y.dtype)) / scale(variances, noise)).to(dtype)


def swiss_roll(n: int, generator: Generator, noise: float = 0.3, dtype: torch.dtype = torch.float32) -> Tensor:
    """y = t (cos t, sin t) with t ~ U(3π/2, 9π/2), so that the radius is uniform (a roll seen from its end)."""
    a, b = 1.5 * pi, 4.5 * pi
    t = _uniform(n, a, b, generator)
    mean = (2.0, 2 / (3 * pi))
    variances = (a * a + a * b + b * b) / 3 - mean[0] ** 2 - mean[1] ** 2
    return _standardised(t[:, None] * torch.stack([t.cos(), t.sin()], 1), mean, variances, noise, generator, dtype)


def moons(n: int, generator: Generator, noise: float = 0.05, dtype: torch.dtype = torch.float32) -> Tensor:
    """y = (cos t, sin t) or (1 - cos t, 1/2 - sin t), each with probability 1/2, t ~ U(0, π): two half circles."""
    t = _uniform(n, 0, pi, generator)
    lower = torch.rand(n, generator=generator) < 0.5
    x, y = t.cos(), t.sin()
    points = torch.stack([torch.where(lower, 1 - x, x), torch.where(lower, 0.5 - y, y)], 1)
    return _standardised(points, MOONS_MEAN, MOONS_VARIANCES, noise, generator, dtype)


def checkerboard(n: int, generator: Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Uniform on the eight unit squares [i, i+1) × [j, j+1) of [-2, 2)² with i + j even: density 1/8 there."""
    x = _uniform(n, -2, 2, generator)
    # Within each column the two allowed squares begin at -2 and 0 (even column) or at -1 and 1 (odd column).
    start = x.floor() % 2 - 2 + 2 * torch.randint(2, (n,), generator=generator)
    y = start + torch.rand(n, generator=generator, dtype=x.dtype)
    return _standardised(torch.stack([x, y], 1), (0.0, 0.0), 8 / 3, 0.0, generator, dtype)


def rings(n: int, generator: Generator, noise: float = 0.05, dtype: torch.dtype = torch.float32) -> Tensor:
    """y on one of four circles of radius 1, 2, 3, 4 about 0, each with probability 1/4, at a uniform angle."""
    radius = torch.randint(1, 5, (n,), generator=generator).double()
    angle = _uniform(n, 0, 2 * pi, generator)
    points = radius[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return _standardised(points, (0.0, 0.0), (1 + 4 + 9 + 16) / 4, noise, generator, dtype)


def eight_gaussians_mixture() -> tuple[Tensor, float]:
    """Means (8, 2), float64, and the one standard deviation of `eight_gaussians` as it is drawn (standardised).

    The density is the mean over k of N(means_k, std² I).
    """
    size = scale(1.0, EIGHT_GAUSSIANS_STD)
    angle = torch.arange(8, dtype=torch.float64) * (pi / 4)
    return torch.stack([angle.cos(), angle.sin()], 1) / size, EIGHT_GAUSSIANS_STD / size


def eight_gaussians(n: int, generator: Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """Eight Gaussians of standard deviation 0.1, equally likely, with means on the unit circle at multiples of π/4."""
    if n < 1:
        raise ValueError(f"n is {n}; a sample has at least 1 point")
    means, std = eight_gaussians_mixture()
    component = torch.randint(8, (n,), generator=generator)
    return (means[component] + std * torch.randn(n, 2, generator=generator, dtype=means.dtype)).to(dtype)


def s_curve(n: int, generator: Generator, noise: float = 0.05, dtype: torch.dtype = torch.float32) -> Tensor:
    """y = (sin t, sign(t) (cos t - 1)) with t ~ U(-3π/2, 3π/2): two three-quarter circles that make an S."""
    t = _uniform(n, -1.5 * pi, 1.5 * pi, generator)
    points = torch.stack([t.sin(), t.sign() * (t.cos() - 1)], 1)
    return _standardised(points, (0.0, 0.0), S_CURVE_VARIANCES, noise, generator, dtype)


TOYS: Mapping[str, Callable[[int, Generator], Tensor]] = MappingProxyType(
    {
        "swiss_roll": swiss_roll,
        "moons": moons,
        "checkerboard": checkerboard,
        "rings": rings,
        "eight_gaussians": eight_gaussians,
        "s_curve": s_curve,
    }
)
"""Every toy by its name, for tables and figures that go over all of them."""
