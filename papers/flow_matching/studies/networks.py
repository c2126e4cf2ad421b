"""The networks that are trained on images, one architecture for all objectives as in the paper (Section 6), and how.

The paper has the U-Net of Dhariwal & Nichol. Here it is the small DDPM++ U-Net of all weeks, and for the digits the
perceptron.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import torch
from torch import Tensor, nn

from common.harness.studies.experiment import at_least, one_of, positive
from common.nets.perceptron import Perceptron
from common.nets.small_unet import BATCH, BLOCKS, LEVELS, RESOLUTION, WIDTH
from common.nets.unet import ddpmpp
from common.training.stream import stream
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.studies.images import DATASETS, INITIAL


@dataclass(frozen=True)
class NetworkConfig:
    """One network and its training."""

    objective: str
    """One of the five of Table 1."""
    dataset: str
    """'digits' or 'mnist'."""
    resolution: int
    images: int
    """Length of the training."""
    batch: int
    width: int
    """Channels of the U-Net at multiplier 1, or hidden units of the perceptron."""
    levels: int = 0
    """Resolutions of the U-Net; 0 for a perceptron."""
    blocks: int = 1
    time_scale: float = 100.0
    """What t in [0, 1] is multiplied by before features of wavelength 2π and more are made of it. With the 1000 steps
    of DDPM the fastest of them leaves ripples in the velocity that cost dopri5 most of its evaluations (pilot)."""
    lr: float = 2e-3
    looks: int = 4
    """How many times the average of the weights is kept, at equal distances; the last is the end."""
    checkpoint_every: int = 0
    """In steps; 0 for never."""

    def __post_init__(self) -> None:
        one_of(OBJECTIVES, self, "objective")
        one_of(DATASETS, self, "dataset")
        at_least(1, self, "resolution", "images", "batch", "width", "blocks", "looks")
        at_least(0, self, "levels", "checkpoint_every")
        positive(self, "lr", "time_scale")
        if self.images // self.batch < self.looks:
            raise ValueError(f"looks is {self.looks}; a training of {self.images // self.batch} steps has no more")

    @property
    def kept_after(self) -> tuple[int, ...]:
        """The steps after which the average is kept."""
        steps = self.images // self.batch
        return tuple(steps * (look + 1) // self.looks for look in range(self.looks))


NETWORKS: Mapping[str, NetworkConfig] = MappingProxyType(
    {
        "perceptron": NetworkConfig("fm-ot", "digits", 8, 200 * 64, 64, width=256, time_scale=30.0, lr=3e-3),
        "unet": NetworkConfig("fm-ot", "mnist", RESOLUTION, 24_000, BATCH, WIDTH, LEVELS, BLOCKS, checkpoint_every=100),
        "large unet": NetworkConfig(
            "fm-ot", "mnist", 32, 10_000_000, 512, 64, levels=3, blocks=2, lr=5e-4, checkpoint_every=1000
        ),
    }
)
"""The networks of `quick`, `small` and `gpu`, each trained once for each objective."""


def network(name: str, objective: str) -> NetworkConfig:
    """One of `NETWORKS`, for an objective."""
    return replace(NETWORKS[name], objective=objective)


class InTime(nn.Module):
    """net(x, scale t): a network whose features are made for hundreds of steps, as a function of t in [0, 1]."""

    def __init__(self, net: nn.Module, scale: float) -> None:
        super().__init__()
        self.net, self.scale = net, scale

    @property
    def takes_stacked_weights(self) -> bool:
        """Whether `Members` runs several at once."""
        return bool(getattr(self.net, "takes_stacked_weights", False))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(x, self.scale * t)


def untrained(config: NetworkConfig, seed: int, shown: int = 0) -> InTime:
    """The network of a configuration as it starts; a U-Net may be shown further channels beside x."""
    generator, side = stream(seed, INITIAL), config.resolution
    if config.levels == 0:
        return InTime(Perceptron((1, side, side), config.width, generator), config.time_scale)
    unet = ddpmpp(
        side,
        1 + shown,
        1,
        model_channels=config.width,
        channel_mult=(2,) * config.levels,
        num_blocks=config.blocks,
        attn_resolutions=(side // 2,),
        dropout=0.0,
        generator=generator,
    )
    return InTime(unet, config.time_scale)


def noise(config: NetworkConfig, n: int, generator: torch.Generator) -> Tensor:
    """n draws that sampling starts from, (n, 1, side, side) float64 on the generator's device: one seed, one noise for
    all objectives."""
    shape = (n, 1, config.resolution, config.resolution)
    return torch.randn(shape, generator=generator, dtype=torch.float64, device=generator.device)
