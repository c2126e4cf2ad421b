"""The models of Section 5 that denoise: what the outputs of each are, its loss and its bound."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from papers.sedd.cross_entropy import d3pm_bound, d3pm_loss
from papers.sedd.graph import Absorbing, Graph, LogScore, Uniform, per_sample
from papers.sedd.loss import Bound, concrete_score_matching_loss, dwdse_loss, likelihood_bound, stratified_times
from papers.sedd.network import PosteriorNetwork, RatioNetwork
from papers.sedd.noise import BOUND_NOISE, Geometric, LogLinear, Noise

D3PM_STEPS = 1000
LEAST_RATIO = 1e-3
"""What a ratio that is not positive counts as in a bound, in units of r = 1/(e^σ̄ − 1): otherwise it is infinite."""


class PlainRatioNetwork(nn.Module):
    """s_θ itself, which may be negative: (1/N + output)/(e^σ̄ − 1), so that it starts where `RatioNetwork` does."""

    def __init__(self, net: nn.Module, graph: Graph) -> None:
        super().__init__()
        self.net, self.graph = net, graph

    def forward(self, x_t: Tensor, sigma: Tensor) -> Tensor:
        out = self.net(x_t, sigma.float())
        return (1 / self.graph.N + out) / torch.expm1(per_sample(sigma, out)).to(out)


def clamped(score: LogScore) -> LogScore:
    """log max(s, LEAST_RATIO · r)."""

    def log_score(x_t: Tensor, sigma: Tensor) -> Tensor:
        s = score(x_t, sigma)
        return torch.maximum(s, (LEAST_RATIO / torch.expm1(per_sample(sigma, s))).to(s)).log()

    return log_score


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


LOG_LINEAR, GEOMETRIC = LogLinear(), Geometric()
DIFFUSIONS: Mapping[str, Diffusion] = {
    "sedd-absorb": Diffusion(Absorbing, LOG_LINEAR, RatioNetwork, ratio_loss, ratio_bound),
    "sedd-uniform": Diffusion(Uniform, GEOMETRIC, RatioNetwork, ratio_loss, ratio_bound),
    "d3pm-absorb": Diffusion(Absorbing, LOG_LINEAR, PosteriorNetwork, posterior_loss, posterior_bound),
    "d3pm-uniform": Diffusion(Uniform, LOG_LINEAR, PosteriorNetwork, posterior_loss, posterior_bound),
    "csm-absorb": Diffusion(Absorbing, LOG_LINEAR, PlainRatioNetwork, plain_ratio_loss, plain_ratio_bound),
}
"""SEDD's noise as the official code has it: log-linear for masks, geometric for the uniform graph, on which the loss
along log-linear noise has an infinite variance."""
MODELS = ("ar", *DIFFUSIONS)
