"""What the tests of DSBM share."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from common.training.stream import stream
from papers.dsbm.imf import IMFConfig, network
from papers.dsbm.process import Drift
from papers.dsbm.studies.methods import Learned, NewNetwork


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def doubled(drift: Drift) -> Drift:
    """An exact drift of float64 points, for the float32 points of an experiment."""
    return lambda x, t: drift(x.double(), t).to(x.dtype)


def is_stream(generator: torch.Generator, seed: int, purpose: int) -> bool:
    """Whether `generator` began as the stream of this seed and purpose."""
    return generator.initial_seed() == stream(seed, purpose).initial_seed()


class Recorder:
    """In the place of `learn`: keeps what it was handed, and has learned one fixed thing."""

    def __init__(self, *learned: Learned) -> None:
        self.learned = learned
        self.method = ""
        self.x_0 = self.x_1 = torch.empty(0)
        self.config = IMFConfig()
        self.generator = torch.Generator()
        self.net: NewNetwork = network

    def __call__(
        self,
        method: str,
        x_0: Tensor,
        x_1: Tensor,
        config: IMFConfig,
        generator: torch.Generator,
        net: NewNetwork = network,
    ) -> Iterator[Learned]:
        self.method, self.x_0, self.x_1, self.config = method, x_0, x_1, config
        self.generator, self.net = generator, net
        yield from self.learned

    def has(self, points: Tensor) -> bool:
        """Whether `points` are among those that it was handed; of others a few meet one in float32."""
        trained = torch.cat([self.x_0, self.x_1])[:, 0].double()
        return bool(torch.isin(points[:, 0].double(), trained).double().mean() > 0.5)
