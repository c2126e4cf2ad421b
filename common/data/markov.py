"""Markov sources: languages whose entropy is known exactly, so that a bound on it can be judged. In nats, float64."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class MarkovSource:
    """A stationary Markov chain of order 1: p(x_1) = π(x_1), p(x_{i+1} | x_i) = P(x_i, x_{i+1}), with π P = π.

    Attributes:
        transition: P, float64 (V, V); rows sum to 1. Raises ValueError where they do not, or where some token does not
            come back from every other: then π is not unique, or not positive.
    """

    transition: Tensor

    def __post_init__(self) -> None:
        P = self.transition
        if P.ndim != 2 or P.shape[0] != P.shape[1] or P.dtype != torch.float64:
            raise ValueError(f"transition is {P.dtype} of shape {tuple(P.shape)}; it must be float64 and square")
        # A sum of V rounded numbers that make up 1.
        if P.min() < 0 or (P.sum(1) - 1).abs().max() > len(P) * torch.finfo(P.dtype).eps:
            raise ValueError("transition's rows must be probabilities: not negative, and with sum 1")
        reach = (P + torch.eye(len(P), dtype=P.dtype) > 0).double()
        for _ in range(len(P).bit_length()):  # paths of up to 2^k steps
            reach = (reach @ reach > 0).double()
        if reach.min() == 0:
            raise ValueError("transition is reducible: some token never comes after some other")

    @property
    def vocab(self) -> int:
        """V, the number of tokens."""
        return len(self.transition)

    @cached_property
    def start(self) -> Tensor:
        """The stationary law π, float64 (V,): the solution of π (I - P + 1 1ᵀ) = 1ᵀ."""
        ones = torch.ones_like(self.transition)
        return torch.linalg.solve((torch.eye(self.vocab, dtype=ones.dtype) - self.transition + ones).T, ones[0])

    @cached_property
    def entropy_rate(self) -> float:
        """h = -Σ_i π_i Σ_j P_ij log P_ij, in nats per token."""
        return float(self.start @ torch.special.entr(self.transition).sum(1))

    def entropy(self, length: int) -> float:
        """H(x_1 .. x_L) = H(π) + (L - 1) h, in nats per sequence (chain rule)."""
        if length < 1:
            raise ValueError(f"length is {length}; a sequence has at least 1 token")
        return float(torch.special.entr(self.start).sum()) + (length - 1) * self.entropy_rate

    def log_prob(self, tokens: Tensor) -> Tensor:
        """log p(x_1 .. x_L), in nats; tokens: (..., L) whole numbers -> float64 (...,)."""
        first, log_step = self.start.log(), self.transition.log()
        return first[tokens[..., 0]] + log_step[tokens[..., :-1], tokens[..., 1:]].sum(-1)

    def sample(self, n: int, length: int, generator: torch.Generator) -> Tensor:
        """n independent sequences x_1 .. x_L, by inverting the distribution function -> int64 (n, L)."""
        if n < 1 or length < 1:
            raise ValueError(f"n and length are {n} and {length}; both must be at least 1")
        first, step = _distribution(self.start), _distribution(self.transition)
        u = torch.rand(length, n, 1, generator=generator, dtype=torch.float64)
        tokens = torch.empty(length, n, dtype=torch.int64)
        tokens[0] = torch.searchsorted(first, u[0, :, 0], right=True)
        for i in range(1, length):
            tokens[i] = torch.searchsorted(step[tokens[i - 1]], u[i], right=True)[:, 0]
        return tokens.T.contiguous()


def _distribution(p: Tensor) -> Tensor:
    """Cumulative sums that end in exactly 1, so that no u < 1 lies above the last."""
    sums = p.cumsum(-1)
    return sums / sums[..., -1:]


def random_source(vocab: int, generator: torch.Generator, sharpness: float = 2.0) -> MarkovSource:
    """P_ij ∝ exp(sharpness · z_ij), z_ij ~ N(0, 1): every step possible, a few of them likely.

    sharpness 0 is the uniform law of entropy log V; the entropy rate falls towards 0 as it grows.
    """
    if vocab < 2:
        raise ValueError(f"vocab is {vocab}; a source has at least 2 tokens")
    z = torch.randn(vocab, vocab, generator=generator, dtype=torch.float64)
    return MarkovSource((sharpness * z).softmax(1))
