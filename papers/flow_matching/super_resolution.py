"""Conditional generation: an image from its version of low resolution (Section 6.3).

The network sees the low-resolution image, brought to full size by bicubic interpolation, as further channels beside x
(as SR3, Saharia et al. 2021, which the paper follows). Any objective then trains it as before.

    condition = upsample(x_low);    v(x, t; condition) = net([x, condition], t)

The regression that it is compared with is the same network without a noisy image: net([0, condition], 0) ≈ x_1.
Images are (B, C, H, W), or (S, B, C, H, W) for S networks at once.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from common.training.members import Generators
from papers.flow_matching.objective import Net, Objective


def downsample(images: Tensor, factor: int = 4) -> Tensor:
    """Bicubic with anti-aliasing, to 1/factor of height and width. Raises ValueError where these do not divide."""
    H, W = images.shape[-2:]
    if factor < 1 or H % factor or W % factor:
        raise ValueError(f"factor is {factor}; it must divide height and width, {H} and {W}")
    return _resize(images, H // factor, W // factor)


def upsample(low: Tensor, factor: int = 4) -> Tensor:
    """Bicubic, to `factor` times height and width."""
    return _resize(low, low.shape[-2] * factor, low.shape[-1] * factor)


def conditioned(net: Net, low: Tensor, factor: int = 4) -> Net:
    """The network with the condition bound: (x, t) -> net([x, upsample(low)], t), for as many x as there are `low`.

    Raises ValueError where x and the upsampled images do not match.
    """
    condition = upsample(low, factor)

    def call(x: Tensor, t: Tensor) -> Tensor:
        if x.shape[:-3] != condition.shape[:-3] or x.shape[-2:] != condition.shape[-2:]:
            raise ValueError(
                f"x has shape {tuple(x.shape)}; the low-resolution images are of shape {tuple(condition.shape)} at "
                f"factor {factor}, and must agree in all but the channels"
            )
        return net(torch.cat([x, condition.to(x)], dim=-3), t)

    return call


def conditional_loss(objective: Objective, net: Net, x_1: Tensor, generator: Generators, factor: int = 4) -> Tensor:
    """The objective's loss of the network that is shown `downsample(x_1)`; x_1: (B, C, H, W). Returns (B,)."""
    return objective.loss(conditioned(net, downsample(x_1, factor), factor), x_1, generator)


def regress(net: Net, low: Tensor, factor: int = 4) -> Tensor:
    """The image that the regression gives for `low`: net([0, upsample(low)], 0)."""
    H, W = low.shape[-2] * factor, low.shape[-1] * factor
    return conditioned(net, low, factor)(low.new_zeros(*low.shape[:-2], H, W), low.new_zeros(()))


def regression_loss(net: Net, x_1: Tensor, factor: int = 4) -> Tensor:
    """‖regress(downsample(x_1)) − x_1‖², averaged over the image: (B,), or (S, B). Its minimiser is E[x_1 | low]."""
    return (regress(net, downsample(x_1, factor), factor) - x_1).square().flatten(-3).mean(-1)


def _resize(images: Tensor, H: int, W: int) -> Tensor:
    flat = images.reshape(-1, *images.shape[-3:])
    # Upward `antialias` smooths nothing, but it chooses the kernel of PIL (a = −½), which keeps ramps as they are.
    resized = F.interpolate(flat, size=(H, W), mode="bicubic", antialias=True, align_corners=False)
    return resized.reshape(*images.shape[:-2], H, W)
