"""What the tests of DSBM share."""

import torch

from papers.dsbm.process import Drift


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def doubled(drift: Drift) -> Drift:
    """An exact drift of float64 points, for the float32 points of an experiment."""
    return lambda x, t: drift(x.double(), t).to(x.dtype)
