"""The languages that models are trained on and judged by: Markov sources of known entropy, and text by character."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from common.data.markov import MarkovSource, random_source
from common.data.text import LETTERS, Text, text8, tinyshakespeare, tinyshakespeare27
from common.training.loop import Batch, Sampler
from common.training.stream import stream
from papers.sedd.exact import sequences
from papers.sedd.loss import Bound

INITIAL, TRAINING, TEST, SOURCE, SAMPLING = range(5, 10)
"""What the independent random streams of a run are for. 0 to 4 were the pilots', which settled settings: no number that
is reported has seen them."""


@dataclass(frozen=True)
class Language:
    """What a model is trained on: `batches` of (B, L) tokens, below `vocab`; and `test` (n, L), never seen in training.

    `source` is the true law, where it is known; `decode` shows tokens (L,) as text.
    """

    vocab: int
    batches: Sampler
    test: Tensor
    decode: Callable[[Tensor], str]
    source: MarkovSource | None = None


MARKOV_TOKENS = 8
LANGUAGE_SEED = 0
"""Of the source that networks are trained on."""
TEXTS: Mapping[str, Callable[..., Text]] = {
    "tinyshakespeare": tinyshakespeare,
    "tinyshakespeare27": tinyshakespeare27,
    "text8": text8,
}
LANGUAGES = ("markov", *TEXTS)


def language(name: str, length: int, n_test: int, seed: int, device: str = "cpu") -> Language:
    """A language in sequences of `length`. It is the same for all seeds, which differ in training and in draws."""
    if name == "markov":
        return markov_language(markov_source(LANGUAGE_SEED), length, n_test, seed, device)
    train, test = TEXTS[name]("train"), TEXTS[name]("test").windows(length)
    every = max(1, len(test) // n_test)
    on_device = Text(train.alphabet, train.tokens.to(device))

    def batches(n: int, generator: torch.Generator) -> Batch:
        return on_device.chunks(n, length, generator), {}

    return Language(train.vocab, batches, test[::every][:n_test].to(device), train.decode)


def markov_source(seed: int) -> MarkovSource:
    """A Markov source, another for every seed."""
    return random_source(MARKOV_TOKENS, stream(seed, SOURCE))


def markov_language(source: MarkovSource, length: int, n_test: int, seed: int, device: str = "cpu") -> Language:
    """A Markov source as a language: no training sequence is met twice but by chance."""

    def batches(n: int, generator: torch.Generator) -> Batch:
        # The source draws on the CPU; the seed of its stream is all that it takes from the device's.
        drawn = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        return source.sample(n, length, torch.Generator().manual_seed(drawn)).to(device), {}

    letters = Text(LETTERS[1 : source.vocab + 1], torch.zeros(0, dtype=torch.uint8))
    test = source.sample(n_test, length, stream(seed, TEST)).to(device)
    return Language(source.vocab, batches, test, letters.decode, source)


def markov_law(source: MarkovSource, length: int) -> Tensor:
    """p_0 of all sequences of a source with few tokens, (N,)*length."""
    return source.log_prob(sequences(source.vocab, length)).exp().reshape((source.vocab,) * length)


@cache
def look_at(name: str) -> None:
    """Download or check what a language takes, once, before anything runs."""
    if name in TEXTS:
        TEXTS[name]("test")


def above_entropy(bound: Bound, log_prob: Tensor) -> dict[str, float]:
    """How far a bound lies above −log p(x_0), sequence by sequence: mean and standard error, nats per sequence."""
    excess = bound.total.cpu() + log_prob.cpu()
    error = float(excess.std() / len(excess) ** 0.5)
    return {"excess": float(excess.mean()), "standard_error": error, "z": float(excess.mean()) / error}


def token_entropy(tokens: Tensor, vocab: int) -> float:
    """Entropy of the tokens of (n, L) taken together, as literature reports it beside perplexity. nats."""
    return _entropy(tokens.flatten(), vocab)


def next_token_entropy(tokens: Tensor, vocab: int) -> float:
    """H(x_i, x_{i+1}) − H(x_i) of all neighbours in (n, L): a Markov source's entropy rate, as counts have it. nats."""
    first, second = tokens[:, :-1].flatten(), tokens[:, 1:].flatten()
    return _entropy(first * vocab + second, vocab**2) - _entropy(first, vocab)


def next_token_entropy_over(data: Tensor, tokens: Tensor, vocab: int) -> float:
    """`next_token_entropy` of tokens (n, L) over that of as many sequences from `data` (m, L), spread evenly over it.

    Counts of n neighbours are low by about (pairs − tokens)/2n nats, 1 % of a text's entropy in ten thousand letters.
    With equal sizes both are, and equal laws have the ratio 1; m ≠ n would not.
    """
    n = min(len(tokens), len(data))
    of_data = next_token_entropy(data[torch.arange(n) * len(data) // n], vocab)
    return next_token_entropy(tokens[:n], vocab) / of_data


def _entropy(values: Tensor, size: int) -> float:
    p = torch.bincount(values, minlength=size).double() / len(values)
    return float(torch.special.entr(p).sum())
