"""The two small classifiers whose penultimate features `fd_digits` and `fd_mnist` compare.

They are trained by `python -m common.metrics.train_features digits|mnist`, and committed with their test accuracy in
`weights/`. Features are divided by one constant per network, so that their variance over the training set, averaged
over the 64 dimensions, is 1: a Frechet distance of 1 is a shift of the mean by one such unit.
Everything here runs on the CPU in float32, wherever the images lie.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WEIGHTS = Path(__file__).parent / "weights"
FEATURES = 64
_CHUNK = 500  # fixed, so that the same image meets the same kernels in every call


class Classifier(nn.Module):
    """Three 3×3 convolutions and two linear layers with SiLU between: 10 logits from (B, 1, side, side) in [-1, 1].

    `features` are what the last linear layer reads, (B, 64), divided by `scale`.
    """

    scale: Tensor

    def __init__(self, side: int, widths: tuple[int, int, int], strides: tuple[int, int, int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for c_in, c_out, stride in zip((1, *widths), widths, strides, strict=False):
            layers += [nn.Conv2d(c_in, c_out, 3, stride, padding=1), nn.SiLU()]
            side = -(-side // stride)
        self.body = nn.Sequential(*layers, nn.Flatten(), nn.Linear(widths[-1] * side**2, FEATURES), nn.SiLU())
        self.head = nn.Linear(FEATURES, 10)
        self.register_buffer("scale", torch.ones(()))

    def features(self, x0: Tensor) -> Tensor:
        return self.body(x0) / self.scale

    def forward(self, x0: Tensor) -> Tensor:
        return self.head(self.body(x0))


def empty_classifier(name: str) -> Classifier:
    """The network of 'digits' (8×8) or 'mnist' (28×28) without values: no random number is drawn."""
    with torch.device("meta"):
        if name == "digits":
            return Classifier(8, (32, 64, 64), (1, 2, 2))
        if name == "mnist":
            return Classifier(28, (16, 32, 64), (2, 2, 2))
    raise ValueError(f"no classifier {name!r}; there are 'digits' and 'mnist'")


@lru_cache(maxsize=2)
def load_classifier(name: str) -> Classifier:
    """The committed classifier 'digits' or 'mnist', on the CPU, in evaluation mode, without gradients."""
    from safetensors.torch import load_file

    net = empty_classifier(name)
    tensors = load_file(WEIGHTS / f"{name}.safetensors")
    net.load_state_dict({key: tensors[key] for key in net.state_dict()}, assign=True)
    return net.eval().requires_grad_(False)


def weights_metadata(name: str) -> Mapping[str, str]:
    """What the safetensors file of a classifier says of itself: test accuracy, seed, epochs, command."""
    from safetensors import safe_open

    with safe_open(WEIGHTS / f"{name}.safetensors", "pt") as file:
        return dict(file.metadata())


def as_mnist(x0: Tensor) -> Tensor:
    """MNIST-like images at any resolution of `common.data.images.resize_mnist`, brought to (B, 1, 28, 28).

    7 and 14 are enlarged bilinearly (align_corners=False); 8 and 16 are enlarged so to 32; 32 loses its border of two.
    """
    side = x0.shape[-1]
    if x0.ndim != 4 or x0.shape[1] != 1 or x0.shape[2] != side or side not in (7, 8, 14, 16, 28, 32):
        raise ValueError(f"images have shape {tuple(x0.shape)}; allowed: (N, 1, R, R) with R in 7, 8, 14, 16, 28, 32")
    full = 28 if 28 % side == 0 else 32
    if side < full:
        x0 = F.interpolate(x0, size=(full, full), mode="bilinear", align_corners=False)
    return x0[..., 2:-2, 2:-2] if full == 32 else x0


def _features(net: Classifier, images: Tensor) -> Tensor:
    if not torch.isfinite(images).all():
        raise ValueError("images contain NaN or infinity: no Frechet distance is defined")
    # As an image file would: what lies outside the range of the data cannot be shown.
    chunks = images.detach().float().cpu().clamp(-1, 1).split(_CHUNK)
    with torch.no_grad():
        return torch.cat([net.features(chunk) for chunk in chunks]).double()


def digit_features(x0: Tensor) -> Tensor:
    """Features, float64 (N, 64), of (N, 1, 8, 8) images in [-1, 1]; values outside are clamped."""
    if x0.shape[1:] != (1, 8, 8):
        raise ValueError(f"images have shape {tuple(x0.shape)}; allowed: (N, 1, 8, 8)")
    return _features(load_classifier("digits"), x0)


def mnist_features(x0: Tensor) -> Tensor:
    """Features, float64 (N, 64), of (N, 1, R, R) images in [-1, 1], resized by `as_mnist`; others are clamped."""
    return _features(load_classifier("mnist"), as_mnist(x0.detach().float().cpu()))
