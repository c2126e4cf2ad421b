"""Flow matching on the OT path with pairs of noise and data that a coupling makes (Tong et al. 2023, 2302.00482)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Generator, Tensor

from common.training.loop import Batch
from common.training.members import Generators, uniform
from common.transport.coupling import Coupling, Pairs
from papers.flow_matching.objective import Net, cfm_loss
from papers.flow_matching.path import OT
from papers.flow_matching.studies.plane import mixture


def pooled(couple: Coupling, n_pairs: int) -> Callable[[int, Generator], Batch]:
    """Batches from a pool of pairs of noise and data, which each generator draws for itself when it is first met."""
    pools: dict[Generator, Pairs] = {}

    def sample(n: int, generator: Generator) -> Batch:
        if generator not in pools:
            x_0 = torch.randn(n_pairs, 2, generator=generator)
            pools[generator] = couple(x_0, mixture().sample(n_pairs, generator).float(), generator)
        x_0, x_1 = pools[generator]
        rows = torch.randint(len(x_0), (n,), generator=generator)
        return x_1[rows], {"x_0": x_0[rows]}

    return sample


def paired_loss(net: Net, x_1: Tensor, generator: Generators, x_0: Tensor) -> Tensor:
    """Conditional flow matching on the OT path, for pairs that are given."""
    t = uniform(x_1.shape[:-1], generator, dtype=torch.float64, device=x_1.device)
    return cfm_loss(net, x_0, x_1, t, path=OT())
