"""Samplers with exact scores: all that is wrong in a sample is then the sampler's doing (Section 4)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from math import prod

import torch
from torch import Tensor
from torch.nn import functional as F

from common.data.markov import MarkovSource, random_source
from common.harness.studies.experiment import Experiment, Row, Run, at_least, one_of
from papers.sedd.categorical import categorical
from papers.sedd.exact import base_law, entropy, kl, sampler_law, sequences, total_variation
from papers.sedd.experiments_exact import GRAPHS, seeds
from papers.sedd.graph import Absorbing, Graph
from papers.sedd.languages import (
    SAMPLING,
    SOURCE,
    TEST,
    markov_source,
    next_token_entropy,
    stream,
    token_entropy,
)
from papers.sedd.noise import Geometric, LogLinear, Noise
from papers.sedd.oracle import markov_log_score
from papers.sedd.sampler import Step, euler_step, reverse_times, sample, tweedie_step

NOISES: Mapping[str, Noise] = {"loglinear": LogLinear(), "geometric": Geometric()}
STEPS: Mapping[str, Step] = {"euler": euler_step, "tweedie": tweedie_step}


def markov_law(source: MarkovSource, length: int) -> Tensor:
    """p_0 of all sequences, (N,)*length."""
    return source.log_prob(sequences(source.vocab, length)).exp().reshape((source.vocab,) * length)


@dataclass(frozen=True)
class SamplerErrorConfig:
    """A Markov source on `vocab` tokens, in sequences short enough to enumerate."""

    graph: str
    noise: str
    vocab: int = 3
    length: int = 4
    steps: tuple[int, ...] = (8, 16, 32)

    def __post_init__(self) -> None:
        one_of(GRAPHS, self, "graph")
        one_of(NOISES, self, "noise")
        at_least(2, self, "vocab")
        at_least(1, self, "length", "steps")


def sampler_error(config: SamplerErrorConfig, seed: int, run: Run) -> list[Row]:
    """The exact law of what either sampler returns, no draw made, against the source's; both on the same scores."""
    source = random_source(config.vocab, stream(seed, SOURCE), sharpness=1.0)
    graph, noise = GRAPHS[config.graph](config.vocab), NOISES[config.noise]
    p0, start = markov_law(source, config.length), base_law(graph, config.length)
    log_score = markov_log_score(source, graph)
    rows: list[Row] = []
    for n, (name, step) in product(config.steps, STEPS.items()):
        law = sampler_law(log_score, start, graph, noise, reverse_times(n), step)
        rows.append(
            {
                "sampler": name,
                "n_steps": n,
                "kl": kl(p0, law),
                "tv": total_variation(p0, law),
                "entropy_ratio": entropy(law) / entropy(p0),
            }
        )
    return rows


@dataclass(frozen=True)
class QualityConfig:
    """One sampler on the Markov source of the seed."""

    graph: str
    sampler: str
    length: int = 32
    n: int = 2048
    steps: tuple[int, ...] = (2, 4, 8, 16)

    def __post_init__(self) -> None:
        one_of(GRAPHS, self, "graph")
        one_of(STEPS, self, "sampler")
        at_least(2, self, "length", "n")
        at_least(1, self, "steps")


def quality(config: QualityConfig, seed: int, run: Run) -> list[Row]:
    """Likelihood under the true source of samples by exact scores, and the samples' entropy beside the data's."""
    source, draws = markov_source(seed), stream(seed, SAMPLING)
    graph, noise, V = GRAPHS[config.graph](source.vocab), LogLinear(), source.vocab
    log_score = markov_log_score(source, graph)
    # The source is stationary: each token has the law `start`.
    of_token = entropy(source.start)
    rows: list[Row] = []
    for n in config.steps:
        x = graph.sample_base((config.n, config.length), draws)
        x0 = sample(log_score, x, graph, noise, reverse_times(n), STEPS[config.sampler], draws)
        rows.append(
            {
                "n_steps": n,
                "nll": -float(source.log_prob(x0).mean()) / config.length,
                "entropy": source.entropy(config.length) / config.length,
                "token_entropy_ratio": token_entropy(x0, V) / of_token,
                "next_token_entropy_ratio": next_token_entropy(x0, V) / source.entropy_rate,
            }
        )
    return rows


PATTERNS: Mapping[str, tuple[bool, ...]] = {
    "beginning": (True, True, False, False),
    "end": (False, False, True, True),
    "both ends": (True, False, False, True),
    "every second": (True, False, True, False),
}
"""Which of four positions are given."""


@dataclass(frozen=True)
class InfillingConfig:
    """A Markov source in sequences of four tokens, of which two are given."""

    graph: str
    vocab: int = 3
    steps: tuple[int, ...] = (8, 32, 128)

    def __post_init__(self) -> None:
        one_of(GRAPHS, self, "graph")
        at_least(2, self, "vocab")
        at_least(1, self, "steps")


def start_given(p0: Tensor, graph: Graph, given: tuple[bool, ...]) -> Tensor:
    """Where infilling starts: the true law of the given positions, and p_base at the others. (S,)*L."""
    free = tuple(i for i, known in enumerate(given) if not known)
    context = p0.sum(dim=free, keepdim=True)
    padding = [(0, graph.dim - graph.N) if known else (0, 0) for known in reversed(given)]
    context = F.pad(context, [end for pair in padding for end in pair])
    columns = (graph.base().reshape([-1 if i == j else 1 for j in range(p0.ndim)]) for i in free)
    return prod(columns, start=context)


def infilling(config: InfillingConfig, seed: int, run: Run) -> list[Row]:
    """Total variation between the law of what is filled in and the true conditional law, a mean over all contexts."""
    source = random_source(config.vocab, stream(seed, SOURCE), sharpness=1.0)
    graph = GRAPHS[config.graph](config.vocab)
    log_score = markov_log_score(source, graph)
    p0 = markov_law(source, 4)
    rows: list[Row] = []
    for n, (pattern, known) in product(config.steps, PATTERNS.items()):
        given, start = torch.tensor(known), start_given(p0, graph, known)
        law = sampler_law(log_score, start, graph, LogLinear(), reverse_times(n), tweedie_step, given)
        # Both have the true law of the context: the distance of the joint laws is the mean of the conditional ones.
        rows.append({"n_steps": n, "pattern": pattern, "tv": total_variation(law, p0)})
    return rows


@dataclass(frozen=True)
class LongInfillingConfig:
    """`blank` tokens in the middle of sequences of the seed's Markov source."""

    length: int = 16
    blank: int = 3
    contexts: int = 1
    n: int = 1024
    """Draws for each context."""
    n_steps: int = 64
    repeats: int = 8
    """Same-size draws from the true law, for the floor."""

    def __post_init__(self) -> None:
        at_least(1, self, "blank", "contexts", "n", "n_steps", "repeats")
        at_least(self.blank + 2, self, "length")


def long_infilling(config: LongInfillingConfig, seed: int, run: Run) -> list[Row]:
    """Drawn fillings against the true conditional law, beside what as many true draws differ by."""
    source, draws = markov_source(seed), stream(seed, SAMPLING)
    graph, V = Absorbing(source.vocab), source.vocab
    log_score = markov_log_score(source, graph)
    first = (config.length - config.blank) // 2
    free = slice(first, first + config.blank)
    given = torch.ones(config.length, dtype=torch.bool)
    given[free] = False
    fillings = torch.cartesian_prod(*[torch.arange(V)] * config.blank).reshape(-1, config.blank)
    place = V ** torch.arange(config.blank - 1, -1, -1)
    tv, floor = [], []
    for sentence in source.sample(config.contexts, config.length, stream(seed, TEST)):
        whole = sentence.repeat(len(fillings), 1)
        whole[:, free] = fillings
        true = source.log_prob(whole).softmax(0)
        x = sentence.repeat(config.n, 1)
        x[:, free] = graph.mask
        x0 = sample(log_score, x, graph, LogLinear(), reverse_times(config.n_steps), tweedie_step, draws, given)
        tv.append(_distance((x0[:, free] * place).sum(1), true))
        floor += [_distance(categorical(true.expand(config.n, -1), draws), true) for _ in range(config.repeats)]
    return [{"tv": sum(tv) / len(tv), "floor": sum(floor) / len(floor)}]


def _distance(drawn: Tensor, true: Tensor) -> float:
    return total_variation(torch.bincount(drawn, minlength=len(true)).double() / len(drawn), true)


_ERRORS = [SamplerErrorConfig(graph, noise) for graph, noise in product(GRAPHS, NOISES)]
_QUALITY = [QualityConfig("absorb", "tweedie"), QualityConfig("uniform", "tweedie"), QualityConfig("uniform", "euler")]
_INFILLING = [InfillingConfig(graph) for graph in GRAPHS]

SAMPLING_EXPERIMENTS = (
    Experiment(sampler_error, SamplerErrorConfig, seeds(_ERRORS, 6, 16)),
    Experiment(quality, QualityConfig, seeds(_QUALITY, 6, 16)),
    Experiment(infilling, InfillingConfig, seeds(_INFILLING, 3, 8)),
    Experiment(long_infilling, LongInfillingConfig, seeds([LongInfillingConfig()], 5, 12)),
)
