"""The model of VDM's 2-D example: a perceptron with Fourier features of its inputs, and a noise schedule with learned
ends (google-research/vdm, `colab/2D_VDM_Example.ipynb`; 2107.00630, Appendix C)."""

from __future__ import annotations

from itertools import pairwise
from math import pi, sqrt
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.nets.init import linear
from common.nets.mlp import affine
from papers.weighted_elbo.vdm import LinearLogSnr, leading

LOG_SNR_MAX, LOG_SNR_MIN = 13.3, -5.0
"""The ends of the schedule at the start."""
OCTAVES = 8


class VariationalDiffusion(nn.Module):
    """ε̂(z, λ) and λ(t): two layers of `hidden` swish units on [h, sin 2^k 2π h, cos 2^k 2π h], k = 0 … 7, with
    h = [z, λ scaled to [−1, 1]], and the schedule from 13.3 to −5, whose ends are learned.

    The finest features tell neighbouring whole numbers of 8 bits apart. Weights start with variance 1/inputs, biases
    with 0. As `Members` all networks run at once, on z: (S, B, D) and λ: (S, B).
    """

    takes_stacked_weights: ClassVar[bool] = True

    def __init__(self, dim: int, hidden: int = 512, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if dim < 1 or hidden < 1:
            raise ValueError(f"dim is {dim} and hidden {hidden}; both are at least 1")
        self.schedule = LinearLogSnr(LOG_SNR_MAX, LOG_SNR_MIN)
        widths = [(dim + 1) * (1 + 2 * OCTAVES), hidden, hidden, dim]
        self.layers = nn.ModuleList(
            linear(n_in, n_out, generator, gain=sqrt((n_in + n_out) / (2 * n_in))) for n_in, n_out in pairwise(widths)
        )

    def forward(self, z: Tensor, log_snr: Tensor) -> Tensor:
        """ε̂, like z; z: (B, D) and log_snr: (B,), computed in the dtype of the weights."""
        dtype = next(self.layers.parameters()).dtype
        place = 2 * (LOG_SNR_MAX - log_snr) / (LOG_SNR_MAX - LOG_SNR_MIN) - 1
        h = torch.cat([z, leading(place, z)[..., :1]], -1).to(dtype)
        phase = (h[..., None] * (2 * pi * 2.0 ** torch.arange(OCTAVES, dtype=dtype, device=h.device))).flatten(-2)
        h = torch.cat([h, phase.sin(), phase.cos()], -1)
        *hidden, last = self.layers
        for layer in hidden:
            h = F.silu(affine(layer, h))
        return affine(last, h).to(z)
