"""Several seeds as one network: random numbers of which every member draws its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor


def normal(
    shape: Sequence[int],
    generator: Generator | tuple[Generator, ...],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Standard normal numbers of `shape`. With a tuple of S generators, slice s of shape[0] = S comes from its s-th.

    Raises ValueError where shape[0] is not the number of generators.
    """
    return _draw(torch.randn, shape, generator, dtype, device)


def uniform(
    shape: Sequence[int],
    generator: Generator | tuple[Generator, ...],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """Uniform numbers in [0, 1), drawn as by `normal`."""
    return _draw(torch.rand, shape, generator, dtype, device)


def _draw(
    draw: Callable[..., Tensor],
    shape: Sequence[int],
    generator: Generator | tuple[Generator, ...],
    dtype: torch.dtype,
    device: torch.device | str | None,
) -> Tensor:
    if isinstance(generator, Generator):
        return draw(*shape, generator=generator, dtype=dtype, device=device)
    if not shape or shape[0] != len(generator):
        raise ValueError(f"shape is {tuple(shape)}; its first entry must be the number of generators, {len(generator)}")
    return torch.stack([draw(*shape[1:], generator=each, dtype=dtype, device=device) for each in generator])
