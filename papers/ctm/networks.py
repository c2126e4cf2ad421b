"""Networks F(x, c_t, c_s) that are told of two times: where a jump starts and where it ends.

Both times come as c = ¼ ln t, as EDM's networks have them. (The official code writes 250 ln t; its CIFAR-10 network
turns that back into ¼ ln t, and its ImageNet network embeds it as DDPM does, whose unit of time is a thousandth.)
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import prod
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from common.nets.embedding import FourierEmbedding, per_sample
from common.nets.init import linear
from common.nets.mlp import affine
from common.nets.small_unet import small_unet
from common.nets.unet import UNet
from common.nets.unet_block import Conv

NEW = ("unet.map_augment.weight", "embed_s.freqs")
"""What a U-Net of two times has and one of a single time has not."""


class TwoTimePerceptron(nn.Module):
    """F = MLP([x, φ(c_t), φ(c_s)]) + gain(φ(c_t), φ(c_s)) · x, for points and for small images.

    shape           of one sample: (2,) in the plane, (1, 8, 8) for digits
    hidden          units in each of the `hidden_layers` SiLU layers
    features        Fourier features φ of each time, of frequencies N(0, scale²)

    The gain per element is a way past the hidden layers for the noise in x. Both parts start near zero, so that a
    preconditioned denoiser starts near c_skip x. Weights may be stacks of S networks' (`common.training.members`).
    """

    takes_stacked_weights: ClassVar[bool] = True

    def __init__(
        self,
        shape: tuple[int, ...],
        *,
        hidden: int = 128,
        hidden_layers: int = 3,
        features: int = 32,
        scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        if hidden_layers < 1 or hidden < 1:
            raise ValueError(f"hidden_layers is {hidden_layers} and hidden {hidden}; at least 1 of each is needed")
        if features < 2:
            raise ValueError(f"features is {features}; a sine and a cosine of each time are needed")
        self.shape = tuple(shape)
        elements, times = prod(self.shape), 2 * (features // 2 * 2)
        self.embed = FourierEmbedding(features, scale, generator)
        widths = [elements + times] + [hidden] * hidden_layers
        self.hidden = nn.ModuleList(linear(n_in, n_out, generator) for n_in, n_out in pairwise(widths))
        self.gain = linear(times, elements, generator, gain=1e-5)
        self.last = linear(hidden, elements, generator, gain=1e-5)

    def forward(self, x: Tensor, c_t: Tensor, c_s: Tensor) -> Tensor:
        """x: (B, *shape); c_t, c_s: () or (B,) -> (B, *shape). Stacked: (S, B, *shape), and (), (B,) or (S, B).

        Raises ValueError where x has samples of another shape.
        """
        batch = x.ndim - len(self.shape)
        if batch < 1 or x.shape[batch:] != self.shape:
            raise ValueError(f"x has shape {tuple(x.shape)}; this network takes (B, {', '.join(map(str, self.shape))})")
        flat = x.flatten(batch)
        times = torch.cat([self.embed(per_sample(c, flat, batch)) for c in (c_t, c_s)], dim=-1)
        h = torch.cat([flat, times], dim=-1)
        for layer in self.hidden:
            h = F.silu(affine(layer, h))
        return (affine(self.last, h) + affine(self.gain, times) * flat).reshape(x.shape)


class TwoTimeUNet(nn.Module):
    """A U-Net told of c_s where EDM's is told of its augmentation: W φ(c_s) is added to the features of c_t.

    With W = 0 it is the U-Net of one time; so a student can start as its teacher.
    """

    def __init__(self, unet: UNet, generator: torch.Generator | None = None) -> None:
        super().__init__()
        if unet.augment_dim < 2:
            raise ValueError(f"augment_dim is {unet.augment_dim}; the second time needs at least 2 features")
        self.unet = unet
        self.embed_s = FourierEmbedding(unet.augment_dim, 1.0, generator)

    @property
    def last(self) -> Conv:
        last = self.unet.dec[f"{self.unet.resolution}x{self.unet.resolution}_aux_conv"]
        assert isinstance(last, Conv)
        return last

    def forward(self, x: Tensor, c_t: Tensor, c_s: Tensor, class_labels: Tensor | None = None) -> Tensor:
        """x: (B, C, H, W); c_t, c_s: () or (B,); class_labels as for `UNet` -> (B, C_out, H, W)."""
        features = self.embed_s(per_sample(c_s, x))
        return self.unet(x, c_t, class_labels, augment_labels=features)

    def start_from(self, teacher: Mapping[str, Tensor]) -> None:
        """Take the weights of `teacher`, the state of a U-Net of one time, and W = 0: F(x, c_t, c_s) is then the
        teacher's F(x, c_t) for every s. The official code too starts its students so.

        Raises ValueError where the teacher is of another architecture.
        """
        own = self.state_dict()
        state = {f"unet.{name}": value for name, value in teacher.items() if name != "map_augment.weight"}
        expected = {name: value.shape for name, value in own.items() if name not in NEW}
        if {name: value.shape for name, value in state.items()} != expected:
            odd = sorted(set(state) ^ set(expected)) or [n for n in state if state[n].shape != expected[n]]
            raise ValueError(f"the teacher is of another architecture than the student: see {odd[0]}")
        self.load_state_dict(state | {NEW[0]: torch.zeros_like(own[NEW[0]]), NEW[1]: own[NEW[1]]})


def small_two_time_unet(
    features: int = 16, *, dropout: float = 0.0, generator: torch.Generator | None = None, **others: Any
) -> TwoTimeUNet:
    """The `small_unet` of all papers on MNIST at 16×16, told of a second time by `features`; `others` as there.

    Without dropout: estimate and target would differ by it.
    """
    return TwoTimeUNet(small_unet(augment_dim=features, dropout=dropout, generator=generator, **others), generator)
