"""The adaptive noise schedule: noise levels drawn where the loss is (Section 3.2).

For a weighting w any density p of the log-SNR gives the same loss in the mean,

    ½ ∫ w(λ) E‖ε̂ − ε‖² dλ = ½ E_{λ~p}[w(λ)/p(λ) ‖ε̂ − ε‖²],

and p decides how much the estimate scatters. The paper's choice flattens the loss over λ,

    p(λ) ∝ w(λ) E‖ε̂ − ε‖²,

with a running mean in each of about 100 bins of λ in the place of the expectation, and a cumulative distribution that
is linear in each bin, so that its inverse is at hand. The variance of one draw is ¼ ∫ w² E‖ε̂ − ε‖⁴ / p dλ less a
constant, which by the inequality of Cauchy and Schwarz is least for

    p(λ) ∝ w(λ) (E‖ε̂ − ε‖⁴)^½.

Where ‖ε̂ − ε‖² scatters little at a given λ, as on images, the two are nearly the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

import torch
from torch import Tensor, nn

from common.training.members import Generators, uniform

BINS = 100
"""Of the log-SNR."""


@dataclass(frozen=True)
class BinnedLevels:
    """A density of λ that is constant in each of K equal bins of [log_snr_min, log_snr_max].

    mass    share of each bin, (K,); for S members (S, K), each its own
    """

    log_snr_min: float
    log_snr_max: float
    mass: Tensor

    @property
    def width(self) -> float:
        """Of a bin."""
        return (self.log_snr_max - self.log_snr_min) / self.mass.shape[-1]

    def sample(self, shape: Sequence[int], generator: Generators, device: torch.device | str | None = None) -> Tensor:
        """λ of `shape`, float64, through the inverse of the distribution function, which is linear in each bin.

        For masses (S, K) the shape is (S, B), from S generators.
        """
        u = uniform(shape, generator, torch.float64, self.mass.device)
        above = self.mass.cumsum(-1)
        above = above / above[..., -1:]  # ends in 1 whatever the rounding
        index = torch.searchsorted(above, u, right=True).clamp(max=self.mass.shape[-1] - 1)
        mass = _at(self.mass, index)
        within = 1 - (_at(above, index) - u) / mass
        return (self.log_snr_min + (index + within.clamp(0, 1)) * self.width).to(device=device)

    def density(self, log_snr: Tensor) -> Tensor:
        """p(λ), shaped like λ; 0 outside of the range."""
        inside = (log_snr >= self.log_snr_min) & (log_snr <= self.log_snr_max)
        return inside * _at(self.mass, self.bin_of(log_snr)) / self.width

    def bin_of(self, log_snr: Tensor) -> Tensor:
        """The index of the bin that λ lies in, or of the nearest."""
        place = (log_snr - self.log_snr_min) / self.width
        return place.floor().long().clamp(0, self.mass.shape[-1] - 1)


def _at(values: Tensor, index: Tensor) -> Tensor:
    """values (K,) at indices of any shape; values (S, K) at indices (S, B)."""
    return values[index] if values.ndim == 1 else values.gather(-1, index)


def proportional_to(values: Tensor, log_snr_min: float, log_snr_max: float) -> BinnedLevels:
    """The density whose mass in each of K equal bins is proportional to `values`, (K,) or (S, K).

    Raises ValueError unless log_snr_min < log_snr_max and the values are positive and finite.
    """
    if not (isfinite(log_snr_min) and isfinite(log_snr_max) and log_snr_min < log_snr_max):
        raise ValueError(f"log_snr_min is {log_snr_min} and log_snr_max {log_snr_max}; they must be finite and rise")
    values = values.to(torch.float64)
    if not bool(((values > 0) & values.isfinite()).all()):
        raise ValueError("the values of some bins are not positive and finite; a density of λ needs them to be")
    return BinnedLevels(log_snr_min, log_snr_max, values / values.sum(-1, keepdim=True))


def bin_centres(log_snr_min: float, log_snr_max: float, bins: int = BINS) -> Tensor:
    """The middle λ of each of `bins` equal bins, (bins,) float64."""
    width = (log_snr_max - log_snr_min) / bins
    return log_snr_min + width * (torch.arange(bins, dtype=torch.float64) + 0.5)


def flattening(weight: Tensor, squared_error: Tensor) -> Tensor:
    """w E‖ε̂ − ε‖² in each bin, from draws (K, n): the paper's choice of p. `weight`: (K,). Returns (K,)."""
    return weight * squared_error.mean(-1)


def least_variance(weight: Tensor, squared_error: Tensor) -> Tensor:
    """w (E‖ε̂ − ε‖⁴)^½ in each bin, from draws (K, n): the p of least variance. `weight`: (K,). Returns (K,)."""
    return weight * squared_error.square().mean(-1).sqrt()


class AdaptiveLevels(nn.Module):
    """p(λ) ∝ a running mean of w ‖ε̂ − ε‖² in each bin, which training keeps up to date by `update`.

    rate    of the running mean, at each step in which a bin is drawn from; the first 1/rate of these count alike
    floor   share of the draws that are uniform, so that a bin that was thought to be empty is looked at again (ours)

    Until every bin has been drawn from, p is uniform. The state is buffers: as a part of a network it is stacked with
    it (`common.training.members`), saved with it, and taken up with it. Raises ValueError for settings out of range.
    """

    def __init__(
        self, log_snr_min: float, log_snr_max: float, bins: int = BINS, rate: float = 0.1, floor: float = 0.05
    ) -> None:
        super().__init__()
        if bins < 1:
            raise ValueError(f"bins is {bins}; at least 1 is needed")
        for name, value in (("rate", rate), ("floor", floor)):
            if not 0 < value <= 1:
                raise ValueError(f"{name} is {value}; it must be above 0 and at most 1")
        proportional_to(torch.ones(bins), log_snr_min, log_snr_max)  # refuses a bad range
        self.log_snr_min, self.log_snr_max, self.rate, self.floor = log_snr_min, log_snr_max, rate, floor
        self.register_buffer("expected", torch.ones(bins, dtype=torch.float64))
        self.register_buffer("draws", torch.zeros(bins, dtype=torch.float64))
        self.expected: Tensor
        self.draws: Tensor

    @property
    def levels(self) -> BinnedLevels:
        """The density as it stands."""
        seen = (self.draws > 0).all(-1, keepdim=True)
        values = torch.where(seen, self.expected.clamp(min=1e-300), torch.ones_like(self.expected))
        own = values / values.sum(-1, keepdim=True)
        return BinnedLevels(self.log_snr_min, self.log_snr_max, (1 - self.floor) * own + self.floor / own.shape[-1])

    def sample(self, shape: Sequence[int], generator: Generators, device: torch.device | str | None = None) -> Tensor:
        """As `BinnedLevels.sample`, of the density as it stands."""
        return self.levels.sample(shape, generator, device)

    def density(self, log_snr: Tensor) -> Tensor:
        """As `BinnedLevels.density`, of the density as it stands."""
        return self.levels.density(log_snr)

    @torch.no_grad()
    def update(self, log_snr: Tensor, loss: Tensor) -> None:
        """Take in w(λ) ‖ε̂ − ε‖² at the λ of a batch: both (B,), or (S, B) for S members."""
        index = self.levels.bin_of(log_snr)
        count = torch.zeros_like(self.draws).scatter_add_(-1, index, torch.ones_like(log_snr, dtype=torch.float64))
        total = torch.zeros_like(self.draws).scatter_add_(-1, index, loss.to(torch.float64))
        self.draws += count
        # The mean of the first draws, and from then on a mean that forgets.
        rate = torch.maximum(count / self.draws.clamp(min=1), torch.full_like(count, self.rate))
        mean = total / count.clamp(min=1)
        self.expected += torch.where(count > 0, rate * (mean - self.expected), torch.zeros_like(mean))
