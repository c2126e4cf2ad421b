"""The networks that are trained on images: EDM's preconditioning and loss, at the usual noise levels or at few of them.

EDM's preconditioning is v-prediction on the path that keeps the variance, up to a sign: with data of standard deviation
σ_d and x = x0 + σ ε, its input is x/√(σ² + σ_d²) = α x0/σ_d + σ' ε with α² + σ'² = 1, and its target is −v there. Its
weight is the one that leaves v's squared error unweighted (`tests/papers/seeds/studies/test_networks.py`). So a network
is trained by `common.diffusion.objective`, several seeds at once where it can.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import log

import torch
from torch import Tensor, nn

from common.data.sets import SIGMA_DATA
from common.diffusion.objective import NormalLogSnr, Objective
from common.diffusion.path import Cosine
from common.diffusion.solvers import Denoiser
from common.harness.studies.experiment import at_least, one_of, positive
from common.nets import small_unet
from common.nets.mlp import MLP
from common.nets.unet import ddpmpp
from common.training.loop import TrainConfig
from common.training.stream import stream
from papers.seeds.studies.images import DATASETS, INITIAL

PATH = Cosine()
NOISE: Mapping[str, tuple[float, float]] = {"usual": (-1.2, 1.2), "starved": (-2.4, 0.7)}
"""P_mean and P_std of ln σ in training: EDM's own, and levels that leave high noise out: 0.1 % of it have σ > 0.8."""
EMA_HALFLIFE, EMA_RAMPUP = 500_000.0, 0.05
"""Half-life of the average of the weights, in images, and at most as a share of the images seen."""


@dataclass(frozen=True)
class NetworkConfig:
    """One network and its training."""

    noise: str
    """One of `NOISE`."""
    dataset: str
    resolution: int
    images: int
    """Length of the training."""
    batch: int
    width: int
    """Channels of the U-Net at multiplier 1, or hidden units of the perceptron."""
    levels: int = 0
    """Resolutions of the U-Net; 0 for a perceptron."""
    blocks: int = 1
    lr: float = 2e-3
    checkpoint_every: int = 0
    """In steps; 0 for never."""

    def __post_init__(self) -> None:
        one_of(NOISE, self, "noise")
        one_of(DATASETS, self, "dataset")
        at_least(1, self, "resolution", "images", "batch", "width", "blocks")
        at_least(0, self, "levels", "checkpoint_every")
        positive(self, "lr")
        at_least(self.batch, self, "images")

    @property
    def shape(self) -> tuple[int, ...]:
        """Of what the network takes: an image, or for a perceptron its pixels in a row."""
        return (1, self.resolution, self.resolution) if self.levels else (self.resolution**2,)

    @property
    def training(self) -> TrainConfig:
        return TrainConfig(
            steps=self.images // self.batch,
            batch_size=self.batch,
            lr=self.lr,
            lr_rampup=self.images // 20,
            ema_halflife=EMA_HALFLIFE,
            ema_rampup=EMA_RAMPUP,
            checkpoint_every=self.checkpoint_every,
        )


class OfNoise(nn.Module):
    """A network that is told of c_noise = ¼ ln σ (Karras et al. 2022, table 1), called `net(z, t)`."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    @property
    def takes_stacked_weights(self) -> bool:
        """Whether `Members` runs several at once."""
        return bool(getattr(self.net, "takes_stacked_weights", False))

    def forward(self, z: Tensor, t: Tensor) -> Tensor:
        return self.net(z, (log(SIGMA_DATA) - PATH.log_snr(t) / 2) / 4)


def untrained(config: NetworkConfig, seed: int) -> OfNoise:
    """The network of a configuration as it starts."""
    generator = stream(seed, INITIAL)
    if config.levels == 0:
        return OfNoise(MLP(config.shape[0], hidden=config.width, generator=generator))
    return OfNoise(
        ddpmpp(
            config.resolution,
            1,
            1,
            model_channels=config.width,
            channel_mult=(2,) * config.levels,
            num_blocks=config.blocks,
            attn_resolutions=(config.resolution // 2,),
            dropout=0.0,
            generator=generator,
        )
    )


def objective(noise: str) -> Objective:
    """EDM's loss on data over σ_d: v on the cosine path, ln σ ~ N(P_mean, P_std²), that is λ = 2 ln(σ_d/σ)."""
    mean, std = NOISE[noise]
    return Objective(f"edm, {noise}", PATH, "v", NormalLogSnr(2 * (log(SIGMA_DATA) - mean), 2 * std))


def training_data(config: NetworkConfig, device: str) -> Tensor:
    """The training images over σ_d, float32 (N, *shape): in [-1, 1] as EDM's are, so that their mean, which is to be
    learned at high noise, is not 0."""
    images = DATASETS[config.dataset].load(config.resolution).x0
    return (images / SIGMA_DATA).reshape(-1, *config.shape).to(device)


def denoiser(net: nn.Module) -> Denoiser:
    """E[x0 | x0 + σ ε = x] of one network: float64 outside, float32 inside."""

    def call(x: Tensor, sigma: Tensor) -> Tensor:
        sigma = torch.as_tensor(sigma, dtype=torch.float64, device=x.device)
        t = PATH.t_from_log_snr(2 * (log(SIGMA_DATA) - sigma.log()))
        z = x / torch.hypot(sigma, torch.full_like(sigma, SIGMA_DATA))
        v = net(z.float(), t.float()).to(x)
        return SIGMA_DATA * PATH.convert(v, z, t, "v", "x0")

    return call


UNET = {"width": small_unet.WIDTH, "levels": small_unet.LEVELS, "blocks": small_unet.BLOCKS}
"""That of all weeks on MNIST at 16×16."""
