"""The languages that models are trained on and judged by: Markov sources of known entropy, and text by character."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from common.data.markov import MarkovSource, random_source
from common.data.text import LETTERS, Text, normalise, text8, tinyshakespeare, tinyshakespeare27
from common.training.loop import Batch, Sampler
from common.training.stream import stream

INITIAL, TRAINING, TEST, SOURCE, SAMPLING = range(5, 10)
"""What the independent random streams of a run are for. 0 to 4 were the pilots', which settled settings: no number that
is reported has seen them."""

SONNET = """
Shall I compare thee to a summer's day? Thou art more lovely and more temperate: rough winds do shake the darling buds
of May, and summer's lease hath all too short a date; sometime too hot the eye of heaven shines, and often is his gold
complexion dimm'd; and every fair from fair sometime declines, by chance or nature's changing course untrimm'd; but thy
eternal summer shall not fade, nor lose possession of that fair thou ow'st; nor shall death brag thou wander'st in his
shade, when in eternal lines to time thou grow'st: so long as men can breathe or eyes can see, so long lives this, and
this gives life to thee.
"""


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


@cache
def letter_source(smoothing: float = 0.02) -> MarkovSource:
    """A first-order source over text8's 27 letters, of the pairs of letters in a sonnet; every pair is possible."""
    tokens = Text(LETTERS, torch.zeros(0, dtype=torch.uint8)).encode(normalise(SONNET) + " ")
    counts = torch.full((len(LETTERS), len(LETTERS)), smoothing, dtype=torch.float64)
    counts.index_put_((tokens[:-1], tokens[1:]), torch.ones(len(tokens) - 1, dtype=torch.float64), accumulate=True)
    return MarkovSource(counts / counts.sum(dim=1, keepdim=True))


@cache
def look_at(name: str) -> None:
    """Download or check what a language takes, once, before anything runs."""
    if name in TEXTS:
        TEXTS[name]("test")


def token_entropy(tokens: Tensor, vocab: int) -> float:
    """Entropy of the tokens of (n, L) taken together, as literature reports it beside perplexity. nats."""
    return _entropy(tokens.flatten(), vocab)


def next_token_entropy(tokens: Tensor, vocab: int) -> float:
    """H(x_i, x_{i+1}) − H(x_i) of all neighbours in (n, L): a Markov source's entropy rate, as counts have it. nats."""
    first, second = tokens[:, :-1].flatten(), tokens[:, 1:].flatten()
    return _entropy(first * vocab + second, vocab**2) - _entropy(first, vocab)


def _entropy(values: Tensor, size: int) -> float:
    p = torch.bincount(values, minlength=size).double() / len(values)
    return float(torch.special.entr(p).sum())
