"""The U-Net of all papers on MNIST at 16×16: small enough that a CPU core trains it in minutes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from common.nets.unet import UNet, ddpmpp

RESOLUTION, WIDTH, LEVELS, BLOCKS = 16, 8, 2, 1
"""H = W of the images, channels at multiplier 1, resolutions (16 and 8), and residual blocks at each."""
BATCH, IMAGES = 64, 1500 * 64
"""Images per step, and the length of a training in images: 370 a second on one core."""


def small_unet(
    in_channels: int = 1,
    out_channels: int | None = None,
    *,
    channel_mult: Sequence[int] = (2,) * LEVELS,
    dropout: float = 0.13,
    generator: torch.Generator | None = None,
    **others: Any,
) -> UNet:
    """DDPM++ as EDM's configurations C to E have it (Table 2), with the sizes above; it attends at 8×8.

    in_channels more than 1 for what is conditioned on as a channel (then give `out_channels`); `others` as for `UNet`.
    """
    return ddpmpp(
        RESOLUTION,
        in_channels,
        out_channels,
        model_channels=WIDTH,
        channel_mult=channel_mult,
        num_blocks=BLOCKS,
        attn_resolutions=(RESOLUTION // 2,),
        dropout=dropout,
        generator=generator,
        **others,
    )
