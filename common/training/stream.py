"""The random streams of a run."""

from __future__ import annotations

import numpy as np
import torch


def stream(seed: int, purpose: int, device: str = "cpu") -> torch.Generator:
    """The random stream of a run for one purpose. Streams of one seed are independent; configurations share them."""
    state = int(np.random.SeedSequence([seed, purpose]).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator(device).manual_seed(state)
