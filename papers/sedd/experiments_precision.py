"""What the precision of the draws does to samples (not in the paper; Zheng et al. 2024, arXiv 2409.02908)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import ceil

import torch
from torch import Tensor

from common.harness.studies.experiment import Experiment, Row, Run, at_least, one_of
from papers.sedd.categorical import RESOLUTION, gumbel_categorical, gumbel_law, gumbel_probability
from papers.sedd.cross_entropy import log_score_from
from papers.sedd.exact import base_law, entropy, sampler_law
from papers.sedd.experiments_exact import seeds
from papers.sedd.graph import Absorbing
from papers.sedd.languages import SAMPLING, stream, token_entropy
from papers.sedd.noise import LogLinear
from papers.sedd.sampler import Step, reverse_times, sample, tweedie_step

DTYPES: Mapping[str, torch.dtype] = {str(dtype).removeprefix("torch."): dtype for dtype in RESOLUTION}


@dataclass(frozen=True)
class RaceConfig:
    """A favourite and `rare` other tokens of the same probability p, drawn until `trials` of them could have been."""

    dtype: str
    p_over_h: tuple[float, ...]
    """p in units of the precision's resolution h."""
    trials: float
    rare: int = 15

    def __post_init__(self) -> None:
        one_of(DTYPES, self, "dtype")
        at_least(1, self, "trials", "rare")
        if not all(p > 0 for p in self.p_over_h):
            raise ValueError(f"p_over_h is {self.p_over_h}; it must be positive")


def race(config: RaceConfig, seed: int, run: Run) -> list[Row]:
    """How often a rare token is drawn, over how often it should be, beside x/(e^x − 1) with x = h/p."""
    dtype, generator = DTYPES[config.dtype], stream(seed, SAMPLING, run.device)
    rows: list[Row] = []
    for ratio in config.p_over_h:
        p = ratio * RESOLUTION[dtype]
        probs = torch.full((config.rare + 1,), p, dtype=torch.float64, device=run.device)
        probs[0] = 1 - config.rare * p
        at_once = max(1, 2**21 // (config.rare + 1))
        draws = ceil(config.trials / config.rare / at_once)
        drawn = sum(
            int((gumbel_categorical(probs.expand(at_once, -1), generator, dtype) > 0).sum()) for _ in range(draws)
        )
        wanted = draws * at_once * config.rare * p
        derived = float(gumbel_probability(torch.tensor(p, dtype=torch.float64), dtype)) / p
        rows.append({"ratio": ratio, "drawn": drawn, "rate": drawn / wanted, "derived": derived})
    return rows


@dataclass(frozen=True)
class TruncationConfig:
    """Independent tokens of a law with a tail, sampled in more and more steps with the exact score."""

    dtype: str
    law: tuple[float, ...] = (0.5, 0.25, 0.15, 0.07, 0.03)
    steps: tuple[int, ...] = (48, 192)
    n: int = 20_000

    def __post_init__(self) -> None:
        one_of(DTYPES, self, "dtype")
        at_least(1, self, "steps", "n")
        if not (all(p > 0 for p in self.law) and abs(sum(self.law) - 1) < 1e-9):
            raise ValueError(f"law is {self.law}; it must be positive with sum 1")


def truncation(config: TruncationConfig, seed: int, run: Run) -> list[Row]:
    """Entropy of what the exponential race in one precision samples, beside the derived one and the law's own."""
    law = torch.tensor(config.law, dtype=torch.float64)
    graph, noise, generator = Absorbing(len(law)), LogLinear(), stream(seed, SAMPLING)
    dtype = DTYPES[config.dtype]

    def log_posterior(x_t: Tensor, sigma: Tensor) -> Tensor:
        known = torch.where(x_t[..., None] == torch.arange(len(law)), 0.0, -torch.inf).double()
        return torch.where(x_t[..., None] == graph.mask, law.log(), known)

    def raced(step: Step) -> Step:
        return lambda *args: gumbel_law(step(*args), dtype)

    log_score = log_score_from(log_posterior, graph)
    rows: list[Row] = []
    for n in config.steps:
        times = reverse_times(n)
        derived = sampler_law(log_score, base_law(graph, 1), graph, noise, times, raced(tweedie_step))
        x = graph.sample_base((config.n, 1), generator)
        race_in = partial(gumbel_categorical, dtype=dtype)
        x0 = sample(log_score, x, graph, noise, times, tweedie_step, generator, draw=race_in)
        rows.append(
            {
                "n_steps": n,
                "entropy": entropy(law),
                "derived_entropy": entropy(derived),
                "drawn_entropy": token_entropy(x0, len(law)),
            }
        )
    return rows


_RACES = [
    RaceConfig("float16", (0.25, 0.5, 1.0, 2.0, 4.0), trials=2**23),
    RaceConfig("float64", (2.0**42,), trials=2**22),
    # At half of float32's resolution a seed would draw eighteen, were it right; the derived rate is 0.31 of that.
    RaceConfig("float32", (0.5,), trials=6e8, rare=2047),
]
_TRUNCATION = [TruncationConfig(dtype) for dtype in ("float16", "float64")]

PRECISION_EXPERIMENTS = (
    Experiment(race, RaceConfig, seeds(_RACES, 5, 16)),
    Experiment(truncation, TruncationConfig, seeds(_TRUNCATION, 4, 10)),
)
