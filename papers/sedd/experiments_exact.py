"""The bound without a network: exact scores, and scores that are wrong by a known amount (Section 3)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from common.harness.studies.experiment import Experiment, Grid, Row, Run, at_least
from papers.sedd.cross_entropy import masked_cross_entropy
from papers.sedd.exact import base_law, diffusion_term, entropy, exact_log_score, kl, marginal, transition_matrix
from papers.sedd.graph import Absorbing, Graph, LogScore, Uniform
from papers.sedd.languages import SAMPLING, TEST, markov_source, stream
from papers.sedd.loss import Bound, dwdse_loss, likelihood_bound, uniform_times
from papers.sedd.noise import BOUND_NOISE, LogLinear
from papers.sedd.oracle import markov_log_score

GRAPHS: Mapping[str, type[Graph]] = {"uniform": Uniform, "absorb": Absorbing}


def seeds(configs: Sequence[Any], quick: int, more: int) -> dict[str, Grid]:
    """The same work in every preset: `quick` seeds of it, and `more` where there is an hour."""
    return {"quick": Grid(configs, quick), "small": Grid(configs, more), "gpu": Grid(configs, more)}


def wrong_by(log_score: LogScore, amount: float, graph: Graph, generator: torch.Generator) -> LogScore:
    """log s + amount · z, with z ~ N(0, 1) fixed for each pair of the token at a position and the token it becomes."""
    z = torch.randn(graph.dim, graph.dim, generator=generator, dtype=torch.float64)

    def wrong(x_t: Tensor, sigma: Tensor) -> Tensor:
        return log_score(x_t, sigma) + amount * z[x_t]

    return wrong


@dataclass(frozen=True)
class ExactBoundConfig:
    """A law without structure on `vocab`^`length` sequences."""

    vocab: int = 3
    length: int = 4
    errors: tuple[float, ...] = (0.0, 0.3)
    """Standard deviation of the error of log s."""
    nodes: int = 24

    def __post_init__(self) -> None:
        at_least(2, self, "vocab", "nodes")
        at_least(1, self, "length")
        at_least(0, self, "errors")


def random_law(vocab: int, length: int, generator: torch.Generator) -> Tensor:
    """p ∝ e^{1.5 z} with z ~ N(0, 1) for each sequence: (vocab,)*length."""
    z = torch.randn((vocab,) * length, generator=generator, dtype=torch.float64)
    return (1.5 * z).flatten().softmax(0).reshape(z.shape)


def information(p0: Tensor, graph: Graph, sigma: float) -> float:
    """I(x_0; x_T): what the data says of the sequence at total noise sigma, nats."""
    p_T = marginal(p0, graph, sigma)
    columns = transition_matrix(graph, p0.ndim, sigma)
    x0 = torch.cartesian_prod(*[torch.arange(n) for n in p0.shape]).reshape(-1, p0.ndim)
    place = graph.dim ** torch.arange(p0.ndim - 1, -1, -1)
    each = [kl(columns[:, int(start)], p_T.flatten()) for start in (x0 * place).sum(1)]
    return float(p0.flatten() @ torch.tensor(each, dtype=torch.float64))


def exact_bound(config: ExactBoundConfig, seed: int, run: Run) -> list[Row]:
    """The bound of Theorem 3.6 by quadrature and sums over all sequences, beside H(p_0) and KL(p_T ‖ p_base)."""
    generator, noise = stream(seed, TEST), LogLinear()
    p0 = random_law(config.vocab, config.length, generator)
    sigma_T = float(noise.sigma(torch.ones((), dtype=torch.float64)))
    rows: list[Row] = []
    for name, make in GRAPHS.items():
        graph = make(config.vocab)
        log_score, left = exact_log_score(p0, graph), information(p0, graph, sigma_T)
        for error in config.errors:
            scores = wrong_by(log_score, error, graph, generator) if error else log_score
            diffusion = diffusion_term(scores, p0, graph, noise, config.nodes)
            row: dict[str, float | str] = {
                "graph": name,
                "error": error,
                "entropy": entropy(p0),
                "diffusion": diffusion,
                "information": left,
                "prior": config.length * float(graph.prior_kl(sigma_T)),
                "relative_gap": (diffusion + left) / entropy(p0) - 1,
            }
            if name == "uniform":
                row["prior_of_data"] = kl(marginal(p0, graph, sigma_T), base_law(graph, config.length))
            rows.append(row)
    return rows


@dataclass(frozen=True)
class SampledBoundConfig:
    """The Markov source of the seed, in sequences of `length`."""

    length: int = 32
    n: int = 512
    n_times: int = 32
    errors: tuple[float, ...] = (0.0, 0.1, 0.3)

    def __post_init__(self) -> None:
        at_least(1, self, "length", "n_times")
        at_least(2, self, "n")
        at_least(0, self, "errors")


def above_entropy(bound: Bound, log_prob: Tensor) -> dict[str, float]:
    """How far a bound lies above −log p(x_0), sequence by sequence: mean and standard error, nats per sequence."""
    excess = bound.total.cpu() + log_prob.cpu()
    error = float(excess.std() / len(excess) ** 0.5)
    return {"excess": float(excess.mean()), "standard_error": error, "z": float(excess.mean()) / error}


def sampled_bound(config: SampledBoundConfig, seed: int, run: Run) -> list[Row]:
    """The Monte Carlo bound of exact and wrong scores beside the source's entropy."""
    source, test, draws = markov_source(seed), stream(seed, TEST), stream(seed, SAMPLING)
    x0 = source.sample(config.n, config.length, test)
    rows: list[Row] = []
    for name, make in GRAPHS.items():
        graph = make(source.vocab)
        exact = markov_log_score(source, graph)
        for error in config.errors:
            scores = wrong_by(exact, error, graph, test) if error else exact
            bound = likelihood_bound(scores, x0, graph, BOUND_NOISE[name], draws, config.n_times)
            found = above_entropy(bound, source.log_prob(x0))
            relative = found["excess"] / source.entropy(config.length)
            rows.append({"graph": name, "error": error, **found, "over_entropy": 1 + relative})
    return rows


@dataclass(frozen=True)
class MaskedIdentityConfig:
    """Random guesses p_θ(x_0 | x_t), each as good as another: `n` sequences with a noise level each."""

    vocab: int = 27
    length: int = 64
    n: int = 256

    def __post_init__(self) -> None:
        at_least(2, self, "vocab")
        at_least(1, self, "length", "n")


def masked_identity(config: MaskedIdentityConfig, seed: int, run: Run) -> list[Row]:
    """Score entropy at s = r p_θ beside masked cross-entropy, on the same x_t: values, and gradients in the guess."""
    generator, graph, noise = stream(seed, TEST), Absorbing(config.vocab), LogLinear()
    x0 = torch.randint(config.vocab, (config.n, config.length), generator=generator)
    t = uniform_times(config.n, generator)
    logits = 3 * torch.randn(config.n, config.length, config.vocab, generator=generator, dtype=torch.float64)
    logits.requires_grad_(True)

    def log_posterior(x_t: Tensor, sigma: Tensor) -> Tensor:
        known = torch.where(x_t[..., None] == torch.arange(config.vocab), 0.0, -torch.inf).double()
        return torch.where(x_t[..., None] == graph.mask, logits.log_softmax(dim=-1), known)

    def log_score(x_t: Tensor, sigma: Tensor) -> Tensor:
        return graph.log_score_of(log_posterior(x_t, sigma), x_t, sigma)

    entropy_loss = dwdse_loss(log_score, x0, t, graph, noise, stream(seed, SAMPLING))
    cross_entropy = masked_cross_entropy(log_posterior, x0, t, graph, noise, stream(seed, SAMPLING))
    (of_entropy,) = torch.autograd.grad(entropy_loss.sum(), logits, retain_graph=True)
    (of_cross,) = torch.autograd.grad(cross_entropy.sum(), logits)
    return [
        {
            "loss_difference": float((entropy_loss - cross_entropy).norm().detach() / cross_entropy.norm().detach()),
            "gradient_difference": float((of_entropy - of_cross).norm() / of_cross.norm()),
        }
    ]


EXACT_EXPERIMENTS = (
    Experiment(exact_bound, ExactBoundConfig, seeds([ExactBoundConfig()], 3, 8)),
    Experiment(sampled_bound, SampledBoundConfig, seeds([SampledBoundConfig()], 5, 12)),
    Experiment(masked_identity, MaskedIdentityConfig, seeds([MaskedIdentityConfig()], 3, 3)),
)
