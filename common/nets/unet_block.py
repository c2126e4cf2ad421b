"""The residual block of the DDPM++ and NCSN++ U-Nets (Song et al. 2021; EDM, Appendix F.1 and Table 7), and its layers.

Names of parameters and buffers are those of the official EDM checkpoints, which `UNet` can therefore hold.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.nets.init import linear, xavier_
from common.nets.norm import GroupNorm

Filter = Sequence[int]
SQRT_HALF = math.sqrt(0.5)


class Conv(nn.Module):
    """A convolution, after resampling by two where asked: y = conv(resample(x)) + bias.

    `up` and `down` filter with the separable `resample_filter`, normalised to unit sum, zero beyond the border: [1, 1]
    is the box (average pooling; nearest neighbour), [1, 3, 3, 1] the smoother one of NCSN++. x: (B, C, H, W).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int,
        *,
        up: bool = False,
        down: bool = False,
        resample_filter: Filter = (1, 1),
        gain: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.up, self.down = up, down
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(out_channels))
        xavier_(self, gain, generator)
        self.resample_filter: Tensor | None
        taps = torch.tensor(resample_filter, dtype=torch.float32)
        self.register_buffer(
            "resample_filter", torch.outer(taps, taps)[None, None] / taps.sum() ** 2 if up or down else None
        )
        self.is_box = tuple(resample_filter) == (1, 1)

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        """scale · conv(resample(x)), with the scale on the few weights rather than on the many activations."""
        weight, bias = (self.weight, self.bias) if scale == 1.0 else (scale * self.weight, scale * self.bias)
        if self.up and self.is_box and weight.shape[-1] == 3:
            # Repeating pixels and then a 3x3 kernel w is one transposed convolution with w spread over a 2x2 box:
            # 4/9 of the work.
            spread = F.avg_pool2d(weight.flip(2, 3).transpose(0, 1), 2, stride=1, padding=1, divisor_override=1)
            return F.conv_transpose2d(x, spread, bias, stride=2, padding=1)
        if self.up and self.is_box and weight.shape[-1] == 1:
            # A pointwise map commutes with the repetition of pixels, and is a quarter of the work before it.
            return self.resample(F.conv2d(x, weight, bias))
        return F.conv2d(self.resample(x), weight, bias, padding=weight.shape[-1] // 2)

    def resample(self, x: Tensor) -> Tensor:
        """x at half or twice the resolution; x itself where neither is asked for."""
        if self.resample_filter is None:
            return x
        # The box filter as pooling and repetition: equal to the depthwise convolution, and many times faster on a CPU.
        if self.is_box:
            return F.avg_pool2d(x, 2) if self.down else F.interpolate(x, scale_factor=2, mode="nearest")
        taps = self.resample_filter.expand(x.shape[1], -1, -1, -1)
        padding = (taps.shape[-1] - 1) // 2
        if self.down:
            return F.conv2d(x, taps, stride=2, padding=padding, groups=x.shape[1])
        return F.conv_transpose2d(x, 4 * taps, stride=2, padding=padding, groups=x.shape[1])


class ResidualDown(Conv):
    """NCSN++'s step of the residual input pyramid: y = resample(conv(x)) + bias, at half the resolution.

    The convolution comes first, and is evaluated beyond the border as far as the filter reaches: zeros are beyond the
    border of x, and not, as in `Conv`, beyond that of the filter's input.
    """

    def forward(self, x: Tensor, scale: float = 1.0) -> Tensor:
        assert self.resample_filter is not None
        reach = (self.resample_filter.shape[-1] - 1) // 2
        y = F.conv2d(x, scale * self.weight, padding=self.weight.shape[-1] // 2 + reach)
        taps = self.resample_filter.expand(y.shape[1], -1, -1, -1)
        return F.conv2d(y, taps, scale * self.bias, stride=2, groups=y.shape[1])


class UNetBlock(nn.Module):
    """y = (skip(x) + h) / √2,  h = conv1(dropout(silu(norm1(conv0(silu(norm0(x))) + affine(emb)))));  with attention,
    z = (y + proj(softmax(q kᵀ / √C) v)) / √2,  (q, k, v) = qkv(norm2(y)).

    The division by √2 keeps the variance of a sum of two (nearly) independent terms. conv1 and proj start at 1e-5 of
    their usual size: a fresh block is its skip connection. x: (B, C_in, H, W), emb: (B, E) -> (B, C_out, H', W').
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        emb_channels: int,
        *,
        up: bool = False,
        down: bool = False,
        attention: bool = False,
        dropout: float = 0.0,
        resample_filter: Filter = (1, 1),
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.out_channels = in_channels, out_channels
        self.attention, self.dropout = attention, dropout

        def conv(n_in: int, n_out: int, kernel: int, gain: float = 1.0, resample: bool = False) -> Conv:
            return Conv(
                n_in,
                n_out,
                kernel,
                up=up and resample,
                down=down and resample,
                resample_filter=resample_filter,
                gain=gain,
                generator=generator,
            )

        self.norm0 = GroupNorm(in_channels)
        self.conv0 = conv(in_channels, out_channels, 3, resample=True)
        self.affine = linear(emb_channels, out_channels, generator)
        self.norm1 = GroupNorm(out_channels)
        self.conv1 = conv(out_channels, out_channels, 3, gain=1e-5)
        needs_skip = in_channels != out_channels or up or down
        self.skip = conv(in_channels, out_channels, 1, resample=True) if needs_skip else None
        if attention:
            self.norm2 = GroupNorm(out_channels)
            self.qkv = conv(out_channels, 3 * out_channels, 1, gain=math.sqrt(0.2))
            self.proj = conv(out_channels, out_channels, 1, gain=1e-5)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        h = self.conv0(F.silu(self.norm0(x)))
        h = F.silu(self.norm1(h, self.affine(emb)))
        h = self.conv1(F.dropout(h, self.dropout, self.training), SQRT_HALF)
        x = torch.add(h, x, alpha=SQRT_HALF) if self.skip is None else h + self.skip(x, SQRT_HALF)
        return (x + self.attend(x)) * SQRT_HALF if self.attention else x

    def attend(self, x: Tensor) -> Tensor:
        """proj(softmax(q kᵀ / √C) v) over the H·W positions, one head. x: (B, C, H, W) -> (B, C, H, W)."""
        B, C, H, W = x.shape
        tokens = self.norm2(x).permute(0, 2, 3, 1).reshape(B, H * W, C)
        # Checkpoints interleave q, k and v channel by channel; sorted here, each is one contiguous slab.
        weight = self.qkv.weight.view(C, 3, C).transpose(0, 1).reshape(3 * C, C)
        bias = self.qkv.bias.view(C, 3).t().reshape(3 * C)
        q, k, v = F.linear(tokens, weight, bias).chunk(3, dim=-1)
        mixed = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        out = F.linear(mixed, self.proj.weight.view(C, C), self.proj.bias)
        return out.view(B, H, W, C).permute(0, 3, 1, 2)
