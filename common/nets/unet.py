"""The U-Nets DDPM++ and NCSN++ (Song et al. 2021, arXiv 2011.13456) as EDM uses them (2206.00364, Appendix F, Table 7).

`ddpmpp(32, 3, label_dim=10, augment_dim=9)` is the published class-conditional CIFAR-10 network, key for key.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.nets.embedding import FourierEmbedding, PositionalEmbedding, one_hot, per_sample
from common.nets.init import linear
from common.nets.norm import GroupNorm
from common.nets.unet_block import SQRT_HALF, Conv, Filter, ResidualDown, UNetBlock


class UNet(nn.Module):
    """F_θ(x, c_noise): an encoder and a decoder over L = len(channel_mult) resolutions, joined by skip connections.

    resolution          H = W of x; divisible by 2^(L-1), else ValueError
    model_channels      channels at multiplier 1; channel_mult gives the multiplier of each resolution, finest first
    num_blocks          residual blocks per resolution of the encoder (the decoder has one more)
    attn_resolutions    resolutions where every encoder block and the last decoder block attend; the middle always does
    label_dim           number of classes, 0 for none;  augment_dim: length of the augmentation label, 0 for none
    embedding           features of c_noise: (B,) -> (B, K);  K its number of features
    residual_encoder    whether a pyramid of the input is added in at every resolution (NCSN++)
    generator           the source of the initial weights; None means torch's default generator

    Convolution weights and activations lie in `channels_last`, where CPU convolutions are about twice as fast.
    """

    def __init__(
        self,
        resolution: int,
        in_channels: int,
        out_channels: int,
        *,
        embedding: nn.Module,
        noise_channels: int,
        model_channels: int = 128,
        channel_mult: Sequence[int] = (2, 2, 2),
        channel_mult_emb: int = 4,
        num_blocks: int = 4,
        attn_resolutions: Sequence[int] = (16,),
        dropout: float = 0.13,
        label_dim: int = 0,
        augment_dim: int = 0,
        resample_filter: Filter = (1, 1),
        residual_encoder: bool = False,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        levels = len(channel_mult)
        if levels < 1 or resolution < 1 or resolution % 2 ** (levels - 1):
            raise ValueError(
                f"resolution {resolution} cannot be halved {levels - 1} times; "
                f"{levels} multipliers need a multiple of {2 ** max(levels - 1, 0)}"
            )
        self.resolution, self.in_channels, self.out_channels = resolution, in_channels, out_channels
        self.label_dim, self.augment_dim = label_dim, augment_dim
        emb_channels = model_channels * channel_mult_emb

        def block(n_in: int, n_out: int, **kwargs: bool) -> UNetBlock:
            return UNetBlock(
                n_in,
                n_out,
                emb_channels,
                dropout=dropout,
                resample_filter=resample_filter,
                generator=generator,
                **kwargs,
            )

        self.map_noise = embedding
        self.map_label = linear(label_dim, noise_channels, generator) if label_dim else None
        self.map_augment = linear(augment_dim, noise_channels, generator, bias=False) if augment_dim else None
        self.map_layer0 = linear(noise_channels, emb_channels, generator)
        self.map_layer1 = linear(emb_channels, emb_channels, generator)

        self.enc = nn.ModuleDict()
        widths: list[int] = []  # of the skip connections, in the order in which the decoder takes them off the end
        channels, pyramid_channels = model_channels, in_channels
        for level, mult in enumerate(channel_mult):
            res = resolution >> level
            if level == 0:
                self.enc[f"{res}x{res}_conv"] = Conv(in_channels, channels, 3, generator=generator)
            else:
                self.enc[f"{res}x{res}_down"] = block(channels, channels, down=True)
                if residual_encoder:
                    self.enc[f"{res}x{res}_aux_residual"] = ResidualDown(
                        pyramid_channels, channels, 3, down=True, resample_filter=resample_filter, generator=generator
                    )
                    pyramid_channels = channels
            widths.append(channels)
            for i in range(num_blocks):
                self.enc[f"{res}x{res}_block{i}"] = block(
                    channels, model_channels * mult, attention=res in attn_resolutions
                )
                channels = model_channels * mult
                widths.append(channels)

        self.dec = nn.ModuleDict()
        for level, mult in reversed(list(enumerate(channel_mult))):
            res = resolution >> level
            if level == levels - 1:
                self.dec[f"{res}x{res}_in0"] = block(channels, channels, attention=True)
                self.dec[f"{res}x{res}_in1"] = block(channels, channels)
            else:
                self.dec[f"{res}x{res}_up"] = block(channels, channels, up=True)
            for i in range(num_blocks + 1):
                attends = i == num_blocks and res in attn_resolutions
                self.dec[f"{res}x{res}_block{i}"] = block(
                    channels + widths.pop(), model_channels * mult, attention=attends
                )
                channels = model_channels * mult
        self.dec[f"{resolution}x{resolution}_aux_norm"] = GroupNorm(channels)
        self.dec[f"{resolution}x{resolution}_aux_conv"] = Conv(
            channels, out_channels, 3, gain=1e-5, generator=generator
        )
        self.to(memory_format=torch.channels_last)

    def forward(
        self,
        x: Tensor,
        c_noise: Tensor,
        class_labels: Tensor | None = None,
        augment_labels: Tensor | None = None,
    ) -> Tensor:
        """x: (B, C, H, W); c_noise: () or (B,); class_labels: (B,) whole numbers or (B, K); augment_labels: (B, A).

        Returns (B, C_out, H, W). None for class_labels is the label "no class", and for augment_labels "not augmented".
        Raises ValueError where a shape does not match.
        """
        expected = (self.in_channels, self.resolution, self.resolution)
        if x.shape[1:] != expected:
            raise ValueError(f"x has shape {tuple(x.shape)}; this network takes (B, {', '.join(map(str, expected))})")
        emb = self.embed(x, c_noise, class_labels, augment_labels)
        x = pyramid = x.contiguous(memory_format=torch.channels_last)
        skips: list[Tensor] = []
        for layer in self.enc.values():
            if isinstance(layer, ResidualDown):
                x = skips[-1] = pyramid = torch.add(layer(pyramid, SQRT_HALF), x, alpha=SQRT_HALF)
            else:
                x = layer(x, emb) if isinstance(layer, UNetBlock) else layer(x)
                skips.append(x)
        for layer in self.dec.values():
            if isinstance(layer, UNetBlock):
                # A block that is wider at its input than the path below takes a skip connection in.
                if layer.in_channels != x.shape[1]:
                    x = torch.cat([x, skips.pop()], dim=1)
                x = layer(x, emb)
            else:
                x = F.silu(layer(x)) if isinstance(layer, GroupNorm) else layer(x)
        return x

    def embed(self, x: Tensor, c_noise: Tensor, class_labels: Tensor | None, augment_labels: Tensor | None) -> Tensor:
        """silu(map_layer1(silu(map_layer0(emb(c_noise) + W_label √K label + W_augment a)))): (B, E)."""
        emb = self.map_noise(per_sample(c_noise, x))
        if self.map_label is not None:
            # √K gives a one-hot label unit mean square, like the features that it is added to.
            emb = emb + self.map_label(one_hot(class_labels, self.label_dim, x) * math.sqrt(self.label_dim))
        elif class_labels is not None:
            raise ValueError("class_labels given to a network without classes (label_dim=0)")
        if augment_labels is not None:
            if self.map_augment is None:
                raise ValueError("augment_labels given to a network without augmentation (augment_dim=0)")
            emb = emb + self.map_augment(augment_labels.to(x.dtype))
        return F.silu(self.map_layer1(F.silu(self.map_layer0(emb))))


def ddpmpp(
    resolution: int, in_channels: int, out_channels: int | None = None, *, model_channels: int = 128, **kwargs: Any
) -> UNet:
    """DDPM++: positional features, box resampling, plain encoder (EDM's "VP" architecture). `kwargs` as for `UNet`."""
    return UNet(
        resolution,
        in_channels,
        in_channels if out_channels is None else out_channels,
        model_channels=model_channels,
        embedding=PositionalEmbedding(model_channels),
        noise_channels=model_channels,
        **kwargs,
    )


def ncsnpp(
    resolution: int,
    in_channels: int,
    out_channels: int | None = None,
    *,
    model_channels: int = 128,
    generator: torch.Generator | None = None,
    **kwargs: Any,
) -> UNet:
    """NCSN++: Fourier features, [1, 3, 3, 1] resampling, residual encoder (EDM's "VE" architecture).

    `kwargs` as for `UNet`.
    """
    return UNet(
        resolution,
        in_channels,
        in_channels if out_channels is None else out_channels,
        model_channels=model_channels,
        embedding=FourierEmbedding(2 * model_channels, generator=generator),
        noise_channels=2 * model_channels,
        resample_filter=(1, 3, 3, 1),
        residual_encoder=True,
        generator=generator,
        **kwargs,
    )
