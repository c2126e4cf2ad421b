"""The same-distribution floor: what a metric says of two samples that are drawn from one distribution.

A distance between finite samples is not zero when the distributions are equal. A value near its floor means "not told
apart with this n", and a difference below the floor's spread means nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

import torch
from torch import Generator, Tensor

Sampler = Callable[[int, Generator], Tensor]


@dataclass(frozen=True)
class Floor:
    """A metric's values between samples of one distribution: n points in each sample, one value per repeat."""

    n: int
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return fmean(self.values)

    @property
    def std(self) -> float:
        """Standard deviation over repeats (not of their mean)."""
        return stdev(self.values)


def resampled(data: Tensor) -> Sampler:
    """Draws with replacement from data (N, ...): the distribution that a perfect memoriser of the data samples from."""

    def draw(n: int, generator: Generator) -> Tensor:
        return data[torch.randint(len(data), (n,), generator=generator)]

    return draw


def _pair(source: Sampler | Tensor, n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    if not isinstance(source, Tensor):
        return source(n, generator), source(n, generator)
    if 2 * n > len(source):
        raise ValueError(f"n is {n}; two disjoint samples of {len(source)} points allow 1 to {len(source) // 2}")
    chosen = torch.randperm(len(source), generator=generator)[: 2 * n]
    return source[chosen[:n]], source[chosen[n:]]


def floor(
    metric: Callable[[Tensor, Any], float],
    source: Sampler | Tensor,
    n: int,
    generator: Generator,
    repeats: int = 10,
    reference: Any = None,
) -> Floor:
    """Values of `metric(x, y)` over repeats, with x and y drawn from the same distribution.

    Args:
        metric: two samples to one number (`w2`, `fd_digits`, `lambda x, y: manifold(x, y).coverage`, ...).
        source: `sampler(n, generator) -> (n, ...)`, such as a toy or `resampled(data)`; or data (N, ...), of which each
            repeat takes two random disjoint samples of n.
        n: points in each sample.
        reference: what takes the place of y in every repeat, when the value to be judged was measured against a fixed
            reference too (`digits_reference()`, `mnist_reference(28)`).

    Raises:
        ValueError: fewer than 2 repeats, or data with fewer than 2n points.
    """
    if repeats < 2:
        raise ValueError(f"repeats is {repeats}; a spread needs 2 or more")
    values = []
    for _ in range(repeats):
        x, y = _pair(source, n, generator)
        values.append(float(metric(x, y if reference is None else reference)))
    return Floor(n, tuple(values))
