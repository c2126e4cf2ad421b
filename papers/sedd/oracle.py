"""Exact ratios of a Markov source, for sequences of any length: a SEDD model with no network.

Noise acts on each position alone, so x_t is what a hidden Markov model emits whose hidden chain is x0. The
forward-backward recursion gives p(x0^i | x_t) for all positions at once, and with it the ratios.
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from papers.sedd.cross_entropy import LogPosterior, log_score_from
from papers.sedd.graph import Graph, LogScore


class Source(Protocol):
    """A Markov chain over tokens; `common.data.markov.MarkovSource` is one."""

    @property
    def start(self) -> Tensor:
        """(N,) law of the first token."""

    @property
    def transition(self) -> Tensor:
        """(N, N), rows sum to 1: from the row's token to the column's."""


def markov_log_posterior(source: Source, graph: Graph) -> LogPosterior:
    """log p(x0^i | x_t) of the source under the graph's noise, (B, L, N) float64.

        p(x0^i = a | x_t) ∝ f_i(a) b_i(a),   f_i = (f_{i−1} A) ⊙ e_i,   b_i = A (e_{i+1} ⊙ b_{i+1})

    with e_i(a) = p(x_t^i | x0^i = a). One pass each way over positions, the batch at once.
    The function returned raises ValueError for an x_t that the source cannot lead to.
    """
    A, start = source.transition.double(), source.start.double()
    if A.shape != (graph.N, graph.N):
        raise ValueError(f"the source has {len(A)} tokens, and the graph {graph.N}")

    def log_posterior(x_t: Tensor, sigma: Tensor) -> Tensor:
        e = graph.likelihood(x_t, sigma)[..., : graph.N]
        A_, L = A.to(e.device), x_t.shape[1]
        f = [_unit(start.to(e.device) * e[:, 0])]
        for i in range(1, L):
            f.append(_unit(f[-1] @ A_ * e[:, i]))
        b = [torch.ones_like(e[:, 0])]
        for i in range(L - 1, 0, -1):
            b.append(_unit((e[:, i] * b[-1]) @ A_.T))
        posterior = _unit(torch.stack(f, dim=1) * torch.stack(b[::-1], dim=1))
        if not bool(posterior.isfinite().all()):
            raise ValueError("x_t has probability 0 under the source")
        return posterior.log()

    return log_posterior


def markov_log_score(source: Source, graph: Graph) -> LogScore:
    """The exact log-ratios of the source: a `log_score` for every loss, bound and sampler here."""
    return log_score_from(markov_log_posterior(source, graph), graph)


def _unit(v: Tensor) -> Tensor:
    """Rows that sum to 1: long products neither underflow nor overflow."""
    return v / v.sum(dim=-1, keepdim=True)
