"""Everything without sampling, on spaces small enough to enumerate (such as N = 3, L = 4).

A law of sequences is a tensor p of shape (S,)*L, p[x¹, …, x^L], float64. Functions that act on all n = S^L sequences at
once take them in the order of `sequences(S, L)`, which is that of `p.flatten()`. Marginals come from the matrix
exponential of the whole chain (scipy), which knows nothing of the closed forms in `papers.sedd.graph`.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise

import numpy as np
import scipy.linalg
import torch
from torch import Tensor
from torch.nn import functional as F

from papers.sedd.graph import Graph, LogScore
from papers.sedd.noise import Noise
from papers.sedd.sampler import Step, denoise_probs

MOST = 4096


def sequences(S: int, L: int) -> Tensor:
    """All sequences, (S^L, L) long, the last position changing fastest. Raises ValueError for more than 4096."""
    if S**L > MOST:
        raise ValueError(f"{S}^{L} sequences are too many to enumerate; {MOST} are allowed")
    return torch.cartesian_prod(*[torch.arange(S)] * L).reshape(-1, L)


def sequence_rate_matrix(graph: Graph, L: int) -> Tensor:
    """The rate matrix of a whole sequence, Σ_i I ⊗ … ⊗ Q ⊗ … ⊗ I, (S^L, S^L): one position moves at a time."""
    Q, total = graph.rate_matrix(), torch.zeros(graph.dim**L, graph.dim**L, dtype=torch.float64)
    for i in range(L):
        before, after = (torch.eye(graph.dim**m, dtype=torch.float64) for m in (i, L - 1 - i))
        total += torch.kron(torch.kron(before, Q), after)
    return total


def transition_matrix(graph: Graph, L: int, sigma: float) -> Tensor:
    """e^{σQ} of whole sequences by scipy, (S^L, S^L); the column x is the law from x on."""
    return torch.from_numpy(scipy.linalg.expm(sigma * sequence_rate_matrix(graph, L).numpy()))


def over_states(p0: Tensor, graph: Graph) -> Tensor:
    """A law of tokens (N,)*L as a law of states (S,)*L. Raises ValueError unless p0 is positive and sums to 1."""
    if any(size != graph.N for size in p0.shape) or not (bool((p0 > 0).all()) and abs(float(p0.sum()) - 1) < 1e-9):
        raise ValueError(f"p0 must be a positive law of shape {(graph.N,) * p0.ndim}, not of {tuple(p0.shape)}")
    return F.pad(p0.double(), (0, graph.dim - graph.N) * p0.ndim)


def marginal(p0: Tensor, graph: Graph, sigma: float) -> Tensor:
    """p_t = e^{σQ} p_0, (S,)*L."""
    p = over_states(p0, graph)
    return (transition_matrix(graph, p.ndim, sigma) @ p.flatten()).reshape(p.shape)


def log_ratios(p: Tensor) -> Tensor:
    """log p(x with y at i) − log p(x): (S,)*L to (S^L, L, S)."""
    S, L = p.shape[0], p.ndim
    columns = [p.movedim(i, -1)[..., None, :].expand(*p.shape, S).movedim(-2, i) for i in range(L)]
    return (torch.stack(columns, dim=-2).log() - p.log()[..., None, None]).reshape(S**L, L, S)


def exact_log_score(p0: Tensor, graph: Graph) -> LogScore:
    """The exact `log_score` of p0 by enumeration. Noise levels met before are not computed again."""

    @lru_cache(maxsize=256)
    def at(sigma: float) -> Tensor:
        return log_ratios(marginal(p0, graph, sigma)).reshape(*(graph.dim,) * p0.ndim, p0.ndim, graph.dim)

    def log_score(x_t: Tensor, sigma: Tensor) -> Tensor:
        levels, which = sigma.unique(return_inverse=True)
        values = torch.stack([at(float(level)) for level in levels])
        return values[(which, *x_t.T)]

    return log_score


def reverse_rate_matrix(score: Tensor, graph: Graph) -> Tensor:
    """Q̄ (S^L, S^L) from ratios (S^L, L, S): Q̄(x', x) = s(x)_x' Q(x, x') (Equation 3), columns sum to 0."""
    n, L, S = score.shape
    x = sequences(S, L)
    rate = graph.reverse_rate(score, x)
    place = S ** torch.arange(L - 1, -1, -1)
    target = torch.arange(n)[:, None, None] + (torch.arange(S) - x[..., None]) * place[:, None]
    source = torch.arange(n)[:, None, None].expand_as(target)
    Q = torch.zeros(n, n, dtype=rate.dtype)
    return Q.index_put((target.flatten(), source.flatten()), rate.flatten(), accumulate=True)


def carry(p: Tensor, probs: Tensor, given: Tensor | None = None) -> Tensor:
    """A law (S,)*L one step on, Σ_x p(x) Π_i probs[x, i, x'^i], given positions clamped.

    probs: (S^L, L, S'), the law of every position from every x. Returns (S',)*L.
    """
    S, L = p.shape[0], p.ndim
    if given is not None:
        stay = F.one_hot(sequences(S, L), S)[..., : probs.shape[-1]].to(probs)
        probs = torch.where(given[:, None], stay, probs)
    kernel = probs[:, 0]
    for i in range(1, L):
        kernel = (kernel[:, :, None] * probs[:, i, None, :]).flatten(1)
    return (p.flatten() @ kernel).reshape((probs.shape[-1],) * L)


def sampler_law(
    log_score: LogScore, p: Tensor, graph: Graph, noise: Noise, times: Tensor, step: Step, given: Tensor | None = None
) -> Tensor:
    """The law of what `papers.sedd.sampler.sample` returns when x is drawn from p (S,)*L: (N,)*L, no draw made."""
    x = sequences(graph.dim, p.ndim)
    for t, t_next in pairwise(times):
        p = carry(p, step(log_score(x, noise.sigma(t).expand(len(x))), x, graph, noise, t, t_next), given)
    sigma = noise.sigma(times[-1])
    return carry(p, denoise_probs(log_score(x, sigma.expand(len(x))), x, graph, sigma), given)


def base_law(graph: Graph, L: int) -> Tensor:
    """p_base of a sequence, (S,)*L."""
    law = torch.ones((), dtype=torch.float64)
    for _ in range(L):
        law = law[..., None] * graph.base()
    return law


def diffusion_term(log_score: LogScore, p0: Tensor, graph: Graph, noise: Noise, nodes: int = 32) -> float:
    """E_{x0} ∫₀¹ of the denoising score entropy: the diffusion term of Theorem 3.6, by quadrature and sums. nats.

    As σ(t) dt = dσ̄ the schedule matters by its ends alone. Gauss-Legendre in u with σ̄ = σ̄(0) + (σ̄(1) − σ̄(0)) u⁴, for
    the uniform graph's integrand is like log σ̄ near 0.
    """
    L, weight = p0.ndim, over_states(p0, graph).flatten()
    x_t, x0 = sequences(graph.dim, L), sequences(graph.N, L)
    pairs_t, pairs_0 = x_t.repeat_interleave(len(x0), 0), x0.repeat(len(x_t), 1)
    data = weight.reshape((graph.dim,) * L)[(slice(0, graph.N),) * L].flatten()

    def integrand(sigma: Tensor) -> float:
        values = log_score(x_t, sigma.expand(len(x_t))).repeat_interleave(len(x0), 0)
        entropy = graph.score_entropy(values, pairs_t, pairs_0, sigma).sum(dim=1).reshape(len(x_t), len(x0))
        p = graph.transition(x0, sigma)[:, torch.arange(L), x_t].prod(dim=-1).T
        return float((p * torch.where(p > 0, entropy, 0.0)).sum(dim=0) @ data)

    first, last = noise.sigma(torch.tensor([0.0, 1.0], dtype=torch.float64))
    u, w = (torch.from_numpy(values) for values in np.polynomial.legendre.leggauss(nodes))
    u, w = (u + 1) / 2, w / 2
    values = torch.tensor([integrand(sigma) for sigma in first + (last - first) * u**4], dtype=torch.float64)
    return float((last - first) * (values @ (w * 4 * u**3)))


def entropy(p: Tensor) -> float:
    """H(p) = −Σ p log p, nats."""
    return -float(torch.special.xlogy(p, p).sum())


def kl(p: Tensor, q: Tensor) -> float:
    """KL(p ‖ q) = Σ p log(p/q), nats; infinite where q = 0 < p."""
    return float(torch.where(p > 0, p * (p / q).log(), 0.0).sum())


def total_variation(p: Tensor, q: Tensor) -> float:
    """Σ |p − q| / 2."""
    return float((p - q).abs().sum()) / 2
