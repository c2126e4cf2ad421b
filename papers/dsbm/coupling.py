"""The pairs that IPF starts from: the reference process itself. The others are in `common.transport.coupling`."""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from common.transport.coupling import Coupling, Pairs
from papers.dsbm.bridge import check_sigma


def reference(sigma: float) -> Coupling:
    """The reference process started at π_0: x_1 = x_0 + σ ε, whatever π_1 is (DSBM-IPF, DSB)."""
    check_sigma(sigma)

    def couple(x_0: Tensor, x_1: Tensor, generator: Generator) -> Pairs:
        return x_0, x_0 + sigma * torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype, device=x_0.device)

    return couple
