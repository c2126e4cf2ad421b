"""From a network's outputs to log-ratios, to a posterior, or to ratios that may be negative (Appendix C.2).

The backbone is any `net(x_t (B, L), sigma (B,)) -> (B, L, S)`, `common.nets.dit.TokenTransformer` for one.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor, nn

from papers.sedd.graph import Graph, per_sample


class RatioNetwork(nn.Module):
    """log s_θ: the outputs, with 0 at x_t itself, and for the absorbing graph less log(e^σ − 1) and log N.

    A network that returns 0 then has the ratios r/N of a uniform p_θ(x0 | x_t): it starts with the right size at every
    noise level. sigma comes in float64 and goes to the network in float32.
    """

    def __init__(self, net: nn.Module, graph: Graph) -> None:
        super().__init__()
        self.net, self.graph = net, graph

    def forward(self, x_t: Tensor, sigma: Tensor) -> Tensor:
        out = self.net(x_t, sigma.float())
        if self.graph.mask is not None:
            out = out - (torch.expm1(per_sample(sigma, out)).log() + log(self.graph.N)).to(out)
        return out.scatter(-1, x_t[..., None], 0.0)


class PosteriorNetwork(nn.Module):
    """log p_θ(x0^i | x_t) (B, L, N): log-softmax of the first N outputs; a token that is not masked is taken as it is.

    Without a mask in the graph no token can be taken as it is.
    """

    def __init__(self, net: nn.Module, graph: Graph) -> None:
        super().__init__()
        self.net, self.graph = net, graph

    def forward(self, x_t: Tensor, sigma: Tensor) -> Tensor:
        log_p = self.net(x_t, sigma.float())[..., : self.graph.N].log_softmax(dim=-1)
        if self.graph.mask is None:
            return log_p
        tokens = torch.arange(self.graph.N, device=x_t.device)
        known = torch.where(x_t[..., None] == tokens, 0.0, -torch.inf).to(log_p)
        return torch.where(x_t[..., None] == self.graph.mask, log_p, known)


class PlainRatioNetwork(nn.Module):
    """s_θ itself, which may be negative: (1/N + output)/(e^σ̄ − 1), so that it starts where `RatioNetwork` does.

    For concrete score matching, whose loss keeps no ratio positive.
    """

    def __init__(self, net: nn.Module, graph: Graph) -> None:
        super().__init__()
        self.net, self.graph = net, graph

    def forward(self, x_t: Tensor, sigma: Tensor) -> Tensor:
        out = self.net(x_t, sigma.float())
        return (1 / self.graph.N + out) / torch.expm1(per_sample(sigma, out)).to(out)
