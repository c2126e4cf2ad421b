"""The models of Section 5 on one transformer: what the outputs of each are, its loss and its bound, and its scale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from math import log
from pathlib import Path

import torch
from torch import Tensor, nn

from common.harness.studies.experiment import at_least, one_of
from common.nets.attention import head_width, rotary_phases
from common.nets.dit import TokenTransformer
from common.training.checkpoint import load_checkpoint
from common.training.loop import TrainConfig
from papers.sedd.autoregression import autoregressive_loss
from papers.sedd.cross_entropy import d3pm_bound, d3pm_loss
from papers.sedd.graph import Absorbing, Graph, LogScore, Uniform, per_sample
from papers.sedd.loss import (
    Bound,
    concrete_score_matching_loss,
    dwdse_loss,
    likelihood_bound,
    stratified_times,
    uniform_times,
)
from papers.sedd.network import PlainRatioNetwork, PosteriorNetwork, RatioNetwork
from papers.sedd.noise import BOUND_NOISE, Geometric, LogLinear, Noise
from papers.sedd.studies.languages import LANGUAGES

LOG_LINEAR, GEOMETRIC = LogLinear(), Geometric()
D3PM_STEPS = 1000
LEAST_RATIO = 1e-3
"""What a ratio that is not positive counts as in a bound, in units of r = 1/(e^σ̄ − 1): otherwise it is infinite."""


def clamped(score: LogScore) -> LogScore:
    """log max(s, LEAST_RATIO · r)."""

    def log_score(x_t: Tensor, sigma: Tensor) -> Tensor:
        s = score(x_t, sigma)
        return torch.maximum(s, (LEAST_RATIO / torch.expm1(per_sample(sigma, s))).to(s)).log()

    return log_score


@torch.no_grad()
def invalid_ratios(score: LogScore, x0: Tensor, graph: Graph, generator: torch.Generator) -> float:
    """The share of ratios on the graph's edges that are not positive, at t ~ U(0, 1]."""
    sigma = LOG_LINEAR.sigma(uniform_times(len(x0), generator))
    x_t = graph.sample(x0, sigma, generator)
    edges = graph.rate_into(x_t) > 0
    return float((score(x_t, sigma) <= 0)[edges].double().mean())


@dataclass(frozen=True)
class Diffusion:
    """A model that denoises: its chain, the noise it is trained along, what its outputs are, its loss and its bound."""

    graph: type[Graph]
    noise: Noise
    network: Callable[[nn.Module, Graph], nn.Module]
    loss: Callable[[nn.Module, Tensor, torch.Generator, Graph, Noise], Tensor]
    bound: Callable[[nn.Module, Tensor, torch.Generator, Graph, int], Bound]


def ratio_loss(net: nn.Module, x0: Tensor, generator: torch.Generator, graph: Graph, noise: Noise) -> Tensor:
    return dwdse_loss(net, x0, stratified_times(len(x0), generator), graph, noise, generator)


def plain_ratio_loss(net: nn.Module, x0: Tensor, generator: torch.Generator, graph: Graph, noise: Noise) -> Tensor:
    return concrete_score_matching_loss(net, x0, stratified_times(len(x0), generator), graph, noise, generator)


def posterior_loss(net: nn.Module, x0: Tensor, generator: torch.Generator, graph: Graph, noise: Noise) -> Tensor:
    """D3PM's, with steps k spread over 1 … 1000 as the times of the others are over (0, 1].

    Deviation: the auxiliary term is there on both graphs; Austin et al. (Section 5.1) have it for masks alone.
    """
    k = (stratified_times(len(x0), generator) * D3PM_STEPS).ceil().long().clamp(1, D3PM_STEPS)
    return d3pm_loss(net, x0, k, D3PM_STEPS, graph, noise, generator)


def ratio_bound(net: LogScore, x0: Tensor, generator: torch.Generator, graph: Graph, n_times: int) -> Bound:
    noise = BOUND_NOISE["uniform" if graph.mask is None else "absorb"]
    return likelihood_bound(net, x0, graph, noise, generator, n_times)


def plain_ratio_bound(net: LogScore, x0: Tensor, generator: torch.Generator, graph: Graph, n_times: int) -> Bound:
    return ratio_bound(clamped(net), x0, generator, graph, n_times)


def posterior_bound(net: LogScore, x0: Tensor, generator: torch.Generator, graph: Graph, n_times: int) -> Bound:
    """Of D3PM's own steps. Ratios of its posterior where it was never trained, below t = 1/1000, are nobody's claim."""
    return d3pm_bound(net, x0, D3PM_STEPS, graph, LOG_LINEAR, generator, n_times)


DIFFUSIONS: Mapping[str, Diffusion] = {
    "sedd-absorb": Diffusion(Absorbing, LOG_LINEAR, RatioNetwork, ratio_loss, ratio_bound),
    "sedd-uniform": Diffusion(Uniform, GEOMETRIC, RatioNetwork, ratio_loss, ratio_bound),
    "d3pm-absorb": Diffusion(Absorbing, LOG_LINEAR, PosteriorNetwork, posterior_loss, posterior_bound),
    "d3pm-uniform": Diffusion(Uniform, LOG_LINEAR, PosteriorNetwork, posterior_loss, posterior_bound),
    "csm-absorb": Diffusion(Absorbing, LOG_LINEAR, PlainRatioNetwork, plain_ratio_loss, plain_ratio_bound),
}
"""SEDD's noise is of the official code's kinds: log-linear for masks, geometric for the uniform graph, on which the
loss along log-linear noise has an infinite variance."""
MODELS = ("ar", *DIFFUSIONS)


@dataclass(frozen=True)
class TrainingConfig:
    """One model at one scale. The paper: 12 layers of 768, batch 512, learning rate 3e-4, warm-up, clipping at 1."""

    model: str
    language: str
    length: int
    width: int
    depth: int
    heads: int
    steps: int
    batch: int
    lr: float
    warmup: int
    """Steps over which the learning rate rises from 0."""
    dropout: float = 0.0
    ema_rampup: float | None = 0.05
    """The average of the weights has a half-life of 6931 steps (decay 0.9999), at most this share of those made."""
    n_test: int = 512
    n_times: int = 32
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        one_of(MODELS, self, "model")
        one_of(LANGUAGES, self, "language")
        at_least(1, self, "width", "depth", "heads", "steps", "batch", "n_times")
        at_least(2, self, "length", "n_test")
        at_least(0, self, "warmup", "dropout", "checkpoint_every")
        rotary_phases(1, head_width(self.width, self.heads))  # what the network would refuse, before anything runs


QUICK = TrainingConfig(
    "ar", "markov", 32, width=32, depth=2, heads=2, steps=100, batch=32, lr=6e-3, warmup=15, n_test=256, n_times=8
)
SMALL = TrainingConfig(
    "ar",
    "tinyshakespeare27",
    64,
    width=64,
    depth=4,
    heads=4,
    steps=2000,
    batch=16,
    lr=1e-3,
    warmup=100,
    n_test=410,
    n_times=16,
    checkpoint_every=500,
)
GPU = TrainingConfig(
    "ar",
    "text8",
    256,
    width=768,
    depth=12,
    heads=12,
    steps=1_000_000,
    batch=512,
    lr=3e-4,
    warmup=2000,
    dropout=0.1,
    ema_rampup=None,
    n_test=19_000,
    n_times=128,
    checkpoint_every=5000,
)
TRAINED: Mapping[str, TrainingConfig] = {config.language: config for config in (QUICK, SMALL, GPU)}
"""The scale at which each language's models are trained, whatever the model."""


def network(config: TrainingConfig, vocab: int, generator: torch.Generator) -> nn.Module:
    """The untrained model. All see the same tokens and have the same blocks; the autoregressive one knows no time."""
    blocks = partial(
        TokenTransformer,
        width=config.width,
        depth=config.depth,
        heads=config.heads,
        dropout=config.dropout,
        generator=generator,
    )
    if config.model == "ar":
        return blocks(vocab + 1, vocab, cond_features=0, causal=True)
    diffusion = DIFFUSIONS[config.model]
    graph = diffusion.graph(vocab)
    net = blocks(graph.dim, cond_features=min(128, config.width))
    return diffusion.network(net, graph)


def optimisation(config: TrainingConfig) -> TrainConfig:
    return TrainConfig(
        steps=config.steps,
        batch_size=config.batch,
        lr=config.lr,
        lr_rampup=config.warmup * config.batch,
        ema_halflife=log(0.5) / log(0.9999) * config.batch,
        ema_rampup=config.ema_rampup,
        clip=1.0,
        checkpoint_every=config.checkpoint_every,
    )


def loss_of(config: TrainingConfig, vocab: int) -> Callable[..., Tensor]:
    """Nats per sequence divided by its length, so that gradients are clipped alike at every length.

    Deviation: the official code clips the gradient of the sum, which is `length` times as large.
    """

    def loss(net: nn.Module, x0: Tensor, generator: torch.Generator) -> Tensor:
        if config.model == "ar":
            return autoregressive_loss(net, x0, vocab) / config.length
        diffusion = DIFFUSIONS[config.model]
        return diffusion.loss(net, x0, generator, diffusion.graph(vocab), diffusion.noise) / config.length

    return loss


def load(config: TrainingConfig, vocab: int, folder: Path, device: str) -> nn.Module:
    """The averaged network that `training` left in `folder`."""
    net = network(config, vocab, torch.Generator())
    net.load_state_dict(load_checkpoint(folder / "ema.safetensors")[0])
    return net.to(device).eval()
