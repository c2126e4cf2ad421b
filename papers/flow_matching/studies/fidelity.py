"""How near images are to others: PSNR and SSIM image by image, and a Frechet distance of the sets by their pixels."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from common.metrics.frechet import frechet_distance, moments

RANGE = 2.0
"""Of images in [-1, 1]."""


def psnr(images: Tensor, truth: Tensor) -> Tensor:
    """Peak signal-to-noise ratio 10 log_10(range²/MSE) of each image in [-1, 1], in dB; (B, C, H, W) -> (B,)."""
    return 10 * torch.log10(RANGE**2 / (images - truth).square().flatten(1).mean(1))


def ssim(images: Tensor, truth: Tensor) -> Tensor:
    """Structural similarity (Wang et al. 2004; a Gaussian window of 1.5 pixels) of images in [-1, 1]: the mean, ().

    It is made for grey levels from 0 up: black is 0, here as there.
    """
    grey = ((images + 1) / RANGE, (truth + 1) / RANGE)
    return structural_similarity_index_measure(*grey, data_range=1.0, sigma=1.5)  # type: ignore[return-value]


def fd_pixels(images: Tensor, data: Tensor) -> float:
    """Frechet distance on the pixels themselves, of images to all of `data`: it sees blur, as a loss of variance."""
    one, other = (moments(some.flatten(1).double().cpu()) for some in (images, data))
    return frechet_distance(one.mean, one.cov, other.mean, other.cov)
