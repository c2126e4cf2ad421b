"""The autoregressive baseline: cross-entropy, and sampling from the nucleus (Holtzman et al. 2020).

A causal network's position i sees tokens up to i and gives logits of the next. A sequence starts with the token N,
which stands for its beginning, where the diffusion models have their mask: their networks differ from this one by the
time modulation alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from papers.sedd.categorical import categorical

Causal = Callable[[Tensor], Tensor]
"""`logits(prefix: (B, n) long) -> (B, n, N)`."""


def autoregressive_loss(logits: Causal, x0: Tensor, N: int) -> Tensor:
    """−log p(x0) = −Σ_i log p(x0^i | x0^<i). Returns (B,) nats.

    x0: (B, L) tokens; N: the vocabulary's size, and the first token fed.
    """
    values = logits(F.pad(x0[:, :-1], (1, 0), value=N))
    return F.cross_entropy(values.mT, x0, reduction="none").sum(dim=1)


def nucleus(probs: Tensor, top_p: float) -> Tensor:
    """The fewest tokens whose probabilities reach top_p, renormalised: (…, N) to (…, N), the others 0.

    Raises ValueError unless 0 < top_p <= 1.
    """
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p must lie in (0, 1], not {top_p}")
    ordered, order = probs.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(dim=-1) - ordered
    # Rounding must cut no token off where all are wanted.
    kept = torch.where((before < top_p) | (top_p == 1), ordered, 0.0)
    kept = torch.zeros_like(probs).scatter(-1, order, kept)
    return kept / kept.sum(dim=-1, keepdim=True)


@torch.no_grad()
def sample_autoregressive(
    logits: Causal, prompt: Tensor, length: int, N: int, generator: torch.Generator, top_p: float = 1.0
) -> Tensor:
    """Tokens one after another, in float64, each from the nucleus of its law; top_p = 1 does not anneal.

    Args:
        prompt: (B, n) tokens to go on from, n >= 0.
        length: of the result, prompt and all.

    Returns (B, length); it takes length − n evaluations. Raises ValueError if the prompt is longer than that.
    """
    if prompt.shape[1] > length:
        raise ValueError(f"a prompt of {prompt.shape[1]} tokens does not fit a length of {length}")
    x = F.pad(prompt, (1, 0), value=N)
    for _ in range(length - prompt.shape[1]):
        probs = nucleus(logits(x)[:, -1].double().softmax(dim=-1), top_p)
        x = torch.cat([x, categorical(probs, generator)[:, None]], dim=1)
    return x[:, 1:]
