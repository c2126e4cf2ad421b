"""Markov chains over the states of one token: rates Q, transitions e^{σQ}, ratios, and score entropy (Section 3.3).

Each position of a sequence moves on its own, dp/dt = σ(t) Q p. In the paper's convention Q(y, x) is the rate from x to
y, so that columns sum to 0. Two graphs; on both a token is replaced at rate 1:

    Uniform(N)     to any of the N states, Q(y, x) = 1/N − δ_xy (Equation 15, with the 1/N of Appendix C.1)
    Absorbing(N)   to the mask, the state N, for good: dim = N + 1 (Equation 16)

Shapes: x_t and x0 are (B, L) long, log-ratios (B, L, S) with S = `dim`, sigma is a scalar or (B,). Everything that
depends on sigma alone is computed in float64.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor
from torch.nn import functional as F

LogScore = Callable[[Tensor, Tensor], Tensor]
"""`log_score(x_t: (B, L) long, sigma: (B,)) -> (B, L, S)`; sigma is the total noise σ̄(t), float64."""


def K(a: Tensor) -> Tensor:
    """K(a) = a (log a − 1), with K(0) = 0: makes score entropy 0 where s = r (Definition 3.1)."""
    return torch.special.xlogy(a, a) - a


def score_entropy(log_score: Tensor, ratio: Tensor, weight: Tensor) -> Tensor:
    """Definition 3.1: Σ_y w_y (s_y − r_y log s_y + K(r_y)) >= 0, and 0 only at s = r where w > 0.

    Each term is the Bregman divergence r log(r/s) − r + s of F(a) = a log a, which is r times the one of −log that the
    paper names. It is not symmetric. Arguments broadcast to (…, S), log_score = log s with
    −inf for s = 0; returns (…,).
    """
    # A ratio of 0 asks nothing of log s, which may be −inf there; a weight of 0 asks nothing of anything.
    log_term = torch.where(ratio > 0, ratio * log_score, 0.0)
    return torch.where(weight > 0, weight * (log_score.exp() - log_term + K(ratio)), 0.0).sum(dim=-1)


def per_sample(sigma: Tensor | float, like: Tensor) -> Tensor:
    """sigma, a scalar or (B,), as float64 that broadcasts against `like` (B, …). Raises ValueError for other shapes."""
    sigma = torch.as_tensor(sigma, dtype=torch.float64, device=like.device)
    if sigma.shape not in ((), (like.shape[0],)):
        raise ValueError(f"sigma must be a scalar or have shape ({like.shape[0]},), not {tuple(sigma.shape)}")
    return sigma.reshape(-1, *(1,) * (like.ndim - 1))


@dataclass(frozen=True)
class Graph(ABC):
    """The chain of one token. N: size of the vocabulary. Raises ValueError for N < 2."""

    N: int

    def __post_init__(self) -> None:
        if self.N < 2:
            raise ValueError(f"a vocabulary has at least 2 tokens, not {self.N}")

    @property
    @abstractmethod
    def dim(self) -> int:
        """S, the number of states."""

    @property
    @abstractmethod
    def mask(self) -> int | None:
        """The mask's state, if there is one."""

    @abstractmethod
    def rate_into(self, x_t: Tensor) -> Tensor:
        """Q(x_t, ·), (…, S) float64: the rates from every state into x_t; at x_t itself, minus the rate out of it."""

    @abstractmethod
    def evolve(self, v: Tensor, sigma: Tensor | float) -> Tensor:
        """e^{σQ} v over the last dimension of v (B, …, S), for σ of either sign, in closed form."""

    @abstractmethod
    def likelihood(self, x_t: Tensor, sigma: Tensor | float) -> Tensor:
        """e^{σQ}(x_t, ·): the probabilities p(x_t | y) for every y, (B, L, S), float64."""

    @abstractmethod
    def base(self) -> Tensor:
        """The law (S,) from which sampling starts, float64: where e^{σQ} leads for σ → ∞."""

    @abstractmethod
    def prior_kl(self, sigma: Tensor | float) -> Tensor:
        """KL(p_T|0(· | x0) ‖ p_base) of one position at total noise `sigma`, the same for every x0. nats, float64."""

    @abstractmethod
    def score_entropy(self, log_score: Tensor, x_t: Tensor, x0: Tensor, sigma: Tensor | float) -> Tensor:
        """Σ_{y≠x_t} Q(x_t, y) (s_y − r_y log s_y + K(r_y)) with r_y = p(y | x0)/p(x_t | x0) (Theorem 3.4), (B, L).

        The closed form per position; log_score (B, L, S), in whose dtype it is returned. Its entry at x_t is not read.
        """

    def rate_matrix(self) -> Tensor:
        """Q (S, S), float64; Q[y, x] is the rate from x to y."""
        return self.rate_into(torch.arange(self.dim))

    def transition(self, x0: Tensor, sigma: Tensor | float) -> Tensor:
        """p_{t|0}(· | x0), the column e^{σQ}(·, x0): (B, L, S), float64."""
        return self.evolve(F.one_hot(x0, self.dim).double(), sigma)

    def reverse_rate(self, score: Tensor, x_t: Tensor) -> Tensor:
        """Q̄(y, x_t) = s_y Q(x_t, y) for y ≠ x_t, minus their sum for y = x_t (Equation 3), per unit of σ. (B, L, S)."""
        rate = self.rate_into(x_t).to(score) * score
        rate = rate.scatter(-1, x_t[..., None], 0.0)
        return rate.scatter(-1, x_t[..., None], -rate.sum(dim=-1, keepdim=True))

    def ratio(self, x_t: Tensor, x0: Tensor, sigma: Tensor | float) -> Tensor:
        """p(y | x0) / p(x_t | x0) for every y: (B, L, S), float64. What s_y is regressed on."""
        p = self.transition(x0, sigma)
        return p / p.gather(-1, x_t[..., None])

    def log_score_of(self, log_posterior: Tensor, x_t: Tensor, sigma: Tensor | float) -> Tensor:
        """The log-ratios s_y = Σ_{x0} p(x0|x_t) p(y|x0)/p(x_t|x0), (B, L, S), of log p(x0^i | x_t), (B, L, N).

        On masked positions this is s = r p_θ with r = 1/(e^σ − 1), and on unmasked ones, which no edge leads into and
        whose ratios nothing reads, 0. The entry at x_t is log 1. In the posterior's dtype.
        """
        w = self.posterior_weight(log_posterior.exp(), x_t, sigma)
        return self.evolve(w, sigma).log().scatter(-1, x_t[..., None], 0.0)

    def posterior_weight(self, posterior: Tensor, x_t: Tensor, sigma: Tensor | float) -> Tensor:
        """p(x0 | x_t) / p(x_t | x0), (B, L, S), 0 for states that do not lead to x_t; posterior (B, L, N)."""
        likelihood = self.likelihood(x_t, sigma)[..., : self.N].to(posterior)
        w = posterior * torch.where(likelihood > 0, 1 / likelihood, 0.0)
        return F.pad(w, (0, self.dim - self.N))

    def sample(self, x0: Tensor, sigma: Tensor | float, generator: torch.Generator) -> Tensor:
        """x_t ~ p_{t|0}(· | x0), (B, L): a token has moved with probability 1 − e^−σ."""
        u = torch.rand(x0.shape, generator=generator, dtype=torch.float64, device=x0.device)
        return torch.where(u < -torch.expm1(-per_sample(sigma, x0)), self.sample_base(x0.shape, generator), x0)

    @abstractmethod
    def sample_base(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """Draws from `base()`, `shape`, on the generator's device."""


@dataclass(frozen=True)
class Uniform(Graph):
    """Every token is replaced, at rate 1, by one of all N drawn uniformly. e^{σQ} = e^−σ I + (1 − e^−σ) 11ᵀ/N."""

    @property
    def dim(self) -> int:
        return self.N

    @property
    def mask(self) -> None:
        return None

    def rate_into(self, x_t: Tensor) -> Tensor:
        return 1 / self.N - F.one_hot(x_t, self.N).double()

    def evolve(self, v: Tensor, sigma: Tensor | float) -> Tensor:
        sigma = per_sample(sigma, v)
        return (-sigma).exp().to(v) * v - torch.expm1(-sigma).to(v) * v.mean(dim=-1, keepdim=True)

    def likelihood(self, x_t: Tensor, sigma: Tensor | float) -> Tensor:
        return self.transition(x_t, sigma)  # Q is symmetric

    def base(self) -> Tensor:
        return torch.full((self.N,), 1 / self.N, dtype=torch.float64)

    def sample_base(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randint(self.N, shape, generator=generator, device=generator.device)

    def prior_kl(self, sigma: Tensor | float) -> Tensor:
        left = (-torch.as_tensor(sigma, dtype=torch.float64)).exp()
        N = self.N
        return (1 + (N - 1) * left) / N * ((N - 1) * left).log1p() + (N - 1) * (1 - left) / N * (-left).log1p()

    def score_entropy(self, log_score: Tensor, x_t: Tensor, x0: Tensor, sigma: Tensor | float) -> Tensor:
        # Where the token has stayed, all N − 1 ratios are rho; where it moved, x0 has 1/rho, and the N − 2 others 1.
        N, esigm1 = self.N, torch.expm1(per_sample(sigma, x_t))
        rho = esigm1 / (esigm1 + N)
        stayed = x_t == x0
        others = log_score.scatter(-1, x_t[..., None], -torch.inf)
        sum_s = others.exp().sum(dim=-1)
        sum_log_s = log_score.scatter(-1, x_t[..., None], 0.0).sum(dim=-1)
        log_s_x0 = log_score.gather(-1, x0[..., None]).squeeze(-1)
        cross = torch.where(stayed, rho.to(sum_s) * sum_log_s, sum_log_s + (1 / rho - 1).to(sum_s) * log_s_x0)
        constant = torch.where(stayed, (N - 1) * K(rho), K(1 / rho) - (N - 2)).to(sum_s)
        return (sum_s - cross + constant) / N


@dataclass(frozen=True)
class Absorbing(Graph):
    """Every token is masked at rate 1, and stays so. The mask is the last state, N."""

    @property
    def dim(self) -> int:
        return self.N + 1

    @property
    def mask(self) -> int:
        return self.N

    def rate_into(self, x_t: Tensor) -> Tensor:
        return (x_t[..., None] == self.mask).double() - F.one_hot(x_t, self.dim)

    def evolve(self, v: Tensor, sigma: Tensor | float) -> Tensor:
        sigma = per_sample(sigma, v)
        tokens, mask = v[..., : self.N], v[..., self.N :]
        moved = -torch.expm1(-sigma).to(v) * tokens.sum(dim=-1, keepdim=True)
        return torch.cat([(-sigma).exp().to(v) * tokens, mask + moved], dim=-1)

    def likelihood(self, x_t: Tensor, sigma: Tensor | float) -> Tensor:
        sigma = per_sample(sigma, x_t[..., None])
        masked = F.pad(-torch.expm1(-sigma).expand(*x_t.shape, self.N), (0, 1), value=1.0)
        return torch.where(x_t[..., None] == self.mask, masked, (-sigma).exp() * F.one_hot(x_t, self.dim))

    def log_score_of(self, log_posterior: Tensor, x_t: Tensor, sigma: Tensor | float) -> Tensor:
        # In logarithms, so that a small p_θ does not underflow and no gradient meets log 0.
        log_esigm1 = torch.expm1(per_sample(sigma, log_posterior)).log().to(log_posterior)
        log_s = torch.where(x_t[..., None] == self.mask, F.pad(log_posterior - log_esigm1, (0, 1)), -torch.inf)
        return log_s.scatter(-1, x_t[..., None], 0.0)

    def base(self) -> Tensor:
        return F.one_hot(torch.tensor(self.mask), self.dim).double()

    def sample_base(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.full(shape, self.mask, device=generator.device)

    def prior_kl(self, sigma: Tensor | float) -> Tensor:
        """e^−σ log N: against a base that is the mask but for the share e^−σ of a uniformly drawn token.

        Against the mask alone it is infinite, for some tokens are never masked by T. The paper, too, lets a little
        probability leak from its base for this reason, and samples without it (Appendix C.1).
        """
        return (-torch.as_tensor(sigma, dtype=torch.float64)).exp() * log(self.N)

    def score_entropy(self, log_score: Tensor, x_t: Tensor, x0: Tensor, sigma: Tensor | float) -> Tensor:
        # Only masked positions have an edge in; of the ratios only that of x0 is not 0.
        r = 1 / torch.expm1(per_sample(sigma, x_t))
        sum_s = log_score[..., : self.N].exp().sum(dim=-1)
        log_s_x0 = log_score.gather(-1, x0[..., None]).squeeze(-1)
        return torch.where(x_t == self.mask, sum_s - r.to(sum_s) * log_s_x0 + K(r).to(sum_s), 0.0)


GRAPHS: Mapping[str, type[Graph]] = {"uniform": Uniform, "absorb": Absorbing}
"""By the names that configs have."""
