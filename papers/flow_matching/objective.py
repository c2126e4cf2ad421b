"""What a network regresses on, and the velocity that it is then sampled through (Section 3.2, Appendix E.1).

    objective    path   the network is     per-sample loss                          sampled through
    fm-ot        OT     the velocity v     ‖v − (σ' x_0 + m' x_1)‖²                 v
    fm-vp        VP     the velocity v     the same                                 v
    score        VP     the score s        σ² ‖s + x_0/σ‖²                          ½ β(1 − t) [x + s]
    scoreflow    VP     the score s        β(1 − t) ‖s + x_0/σ‖²                    ½ β(1 − t) [x + s]
    ddpm         VP     the noise ε        ‖ε − x_0‖²                               ½ β(1 − t) [x − ε/σ]

All at x = σ_t x_0 + m(t) x_1 with t ~ U[0, last], x_0 ~ N(0, I) and x_1 from the data. ‖·‖² is averaged over the
elements of a sample: the paper sums them, and Adam does not see the difference. As in the paper the score network's
output is the score itself. (Written as s = −ε/σ, `score` would be `ddpm` to the letter, and its row of Table 1 the
same.)

A network is called `net(x, t, **cond)`. One `generator` draws for one network; a tuple of S draws for S networks at
once, x_1: (S, B, *D), each for its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from common.training.members import Generators, normal, uniform
from papers.flow_matching.marginal import MarginalField
from papers.flow_matching.path import OT, VP, ConditionalPath, like
from papers.flow_matching.solvers import Velocity

Net = Callable[..., Tensor]
"""net(x, t, **cond) -> shaped like x; x: (B, *D) and t: () or (B,), or (S, B, *D) and () or (S, B)."""
Loss = Callable[..., Tensor]
"""loss(net, x_0, x_1, t, **cond) -> per-sample values, of the shape of t."""


@dataclass(frozen=True)
class Objective:
    """A loss on a path, and what makes a velocity of the network that it trains."""

    name: str
    path: ConditionalPath
    loss_at: Loss
    """loss_at(net, x_0, x_1, t, **cond) -> (B,) or (S, B), at given noise and times."""
    flow: Callable[[Net], Velocity]

    def loss(self, net: Net, x_1: Tensor, generator: Generators, /, **cond: Tensor) -> Tensor:
        """Per-sample loss (B,), or (S, B), at noise and times drawn from `generator`; x_1: data. `train` takes it."""
        return self.loss_at(net, *draw(x_1, generator, self.path.last), **cond)

    def velocity(self, net: Net) -> Velocity:
        """The field that a trained network is sampled through; the network runs in its own dtype."""
        return self.flow(in_own_dtype(net))


def draw(x_1: Tensor, generator: Generators, last: float) -> tuple[Tensor, Tensor, Tensor]:
    """(x_0, x_1, t) for data x_1: x_0 ~ N(0, I), and t ~ U[0, last] in float64, one for each sample."""
    leading = x_1.shape[: 2 if isinstance(generator, tuple) else 1]
    x_0 = normal(x_1.shape, generator, dtype=x_1.dtype, device=x_1.device)
    return x_0, x_1, last * uniform(leading, generator, dtype=torch.float64, device=x_1.device)


def fm_loss(net: Net, field: MarginalField, x: Tensor, t: Tensor) -> Tensor:
    """‖v(x, t) − u_t(x)‖² against the exact marginal field, for x ~ p_t (eq. 5); x: (B, *D), t: (B,). Returns (B,)."""
    return _mean_square(net(x, t.to(x)) - field.velocity(x, t), t)


def cfm_loss(net: Net, x_0: Tensor, x_1: Tensor, t: Tensor, *, path: ConditionalPath, **cond: Tensor) -> Tensor:
    """‖v(x, t) − (σ'_t x_0 + m'(t) x_1)‖² at x = ψ_t(x_0) (eq. 9 and 14). Theorem 2: the gradient of `fm_loss`."""
    x = path.sample(x_0, x_1, t)
    return _mean_square(net(x, t.to(x), **cond) - path.target(x_0, x_1, t), t)


def score_matching_loss(
    net: Net, x_0: Tensor, x_1: Tensor, t: Tensor, *, path: VP, weight: Callable[[Tensor], Tensor], **cond: Tensor
) -> Tensor:
    """λ(t) ‖s(x, t) − ∇ log p_t(x | x_1)‖² = λ(t) ‖s(x, t) + x_0/σ_t‖² at x = ψ_t(x_0); λ is `weight`."""
    x = path.sample(x_0, x_1, t)
    return weight(t).to(x) * _mean_square(net(x, t.to(x), **cond) + x_0 / like(path.sigma(t), x), t)


def ddpm_loss(net: Net, x_0: Tensor, x_1: Tensor, t: Tensor, *, path: VP, **cond: Tensor) -> Tensor:
    """‖ε(x, t) − x_0‖² at x = ψ_t(x_0) (Ho et al. 2020, eq. 14)."""
    x = path.sample(x_0, x_1, t)
    return _mean_square(net(x, t.to(x), **cond) - x_0, t)


def _mean_square(error: Tensor, t: Tensor) -> Tensor:
    """Mean over the elements of a sample: error (B, *D) or (S, B, *D), to the shape of t."""
    return error.square().flatten(t.ndim).mean(-1)


def in_own_dtype(net: Net) -> Net:
    """`net` called in the dtype of its parameters, with the result in that of x: solvers hold x and t in float64."""
    if not isinstance(net, nn.Module):
        return net
    dtype = next(net.parameters()).dtype

    def call(x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        return net(x.to(dtype), t.to(dtype), **cond).to(x)

    return call


def flow_matching(name: str, path: ConditionalPath) -> Objective:
    """Flow matching on any path: the network is the velocity."""
    return Objective(name, path, _bind(cfm_loss, path=path), lambda net: net)


def score_matching(name: str, path: VP, weight: Callable[[Tensor], Tensor]) -> Objective:
    """Score matching: the network is the score, weighted by λ(t) = `weight`."""

    def flow(net: Net) -> Velocity:
        return lambda x, t: path.probability_flow(x, net(x, t), t)

    return Objective(name, path, _bind(score_matching_loss, path=path, weight=weight), flow)


def ddpm(name: str, path: VP) -> Objective:
    """DDPM's simple loss: the network is the noise ε, its score −ε/σ."""

    def flow(net: Net) -> Velocity:
        return lambda x, t: path.probability_flow(x, -net(x, t) / like(path.sigma(t), x), t)

    return Objective(name, path, _bind(ddpm_loss, path=path), flow)


def _bind(loss: Loss, **bound: Any) -> Loss:
    def at(net: Net, x_0: Tensor, x_1: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        return loss(net, x_0, x_1, t, **bound, **cond)

    return at


_VP = VP()

OBJECTIVES = MappingProxyType(
    {
        each.name: each
        for each in (
            flow_matching("fm-ot", OT()),
            flow_matching("fm-vp", _VP),
            score_matching("score", _VP, lambda t: _VP.sigma(t).square()),
            score_matching("scoreflow", _VP, _VP.beta),
            ddpm("ddpm", _VP),
        )
    }
)
"""The five rows of Table 1, by name."""
