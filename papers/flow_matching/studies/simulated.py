"""What flows were trained by before: the likelihood through a solver, differentiable, with evaluations counted."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from common.diffusion.likelihood import gaussian_log_prior
from papers.flow_matching.objective import Net
from papers.flow_matching.solvers import rk4_step


class Evaluations:
    """Counts the evaluations of whatever network goes through it, each on a whole batch."""

    def __init__(self) -> None:
        self.count = 0

    def of(self, net: Net) -> Net:
        def call(x: Tensor, t: Tensor) -> Tensor:
            self.count += 1
            return net(x, t)

        return call


def log_likelihood(net: Net, x_1: Tensor, steps: int) -> Tensor:
    """log p_1(x_1) of the flow of `net`, by so many RK4 steps back from t = 1, with the exact divergence.

    Differentiable in the weights, which `papers.flow_matching.likelihood` is not. x_1: (S, B, D); returns (S, B).
    """
    D = x_1.shape[-1]

    def field(state: Tensor, t: Tensor) -> Tensor:
        """The velocity, and minus its divergence, at (x, change of log-density): (S, B, D + 1) each."""
        with torch.enable_grad():
            x = state[..., :D]
            x = x if x.requires_grad else x.detach().requires_grad_()
            v = net(x, t.to(x))
            diagonal = [torch.autograd.grad(v[..., i].sum(), x, create_graph=True)[0][..., i] for i in range(D)]
        return torch.cat([v, -torch.stack(diagonal).sum(0)[..., None]], -1)

    state = torch.cat([x_1, torch.zeros_like(x_1[..., :1])], -1)
    times = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    for t, t_next in pairwise(times):
        state = rk4_step(field, state, t, t_next - t)
    x_0 = state[..., :D]
    # The integral from 1 to 0 of minus the divergence is that from 0 to 1 of the divergence.
    return gaussian_log_prior(x_0.flatten(0, 1), 1.0).reshape(x_0.shape[:-1]) - state[..., D]
