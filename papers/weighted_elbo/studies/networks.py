"""The networks that are trained on images, one for each weighting, alike in all but w.

All predict v on the cosine path, are told of λ, and are trained at noise levels that the adaptive schedule draws. So
what w asks of the network is all that differs, and not how well its loss is estimated. Gradients are not clipped: Adam
does not see the scale of a weighting, and clipping would.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.diffusion.objective import NoiseLevels, weighted
from common.diffusion.path import Cosine
from common.diffusion.solvers import Denoiser, heun
from common.harness.studies.experiment import at_least, one_of, positive
from common.nets.perceptron import Perceptron
from common.nets.unet import ddpmpp
from common.training.loop import TrainConfig
from common.training.members import Generators, Members, normal
from common.training.stream import stream
from papers.weighted_elbo.adaptive import AdaptiveLevels
from papers.weighted_elbo.studies.images import DATASETS, INITIAL, LOG_SNR_MIN
from papers.weighted_elbo.vdm import EpsNet
from papers.weighted_elbo.weighting import WEIGHTINGS

PATH = Cosine()
EMA_HALFLIFE, EMA_RAMPUP = 500_000.0, 0.05
"""Half-life of the average of the weights, in images, and at most as a share of the images seen."""
WARM_UP = 0.05
"""Share of the training in which the learning rate rises to its value."""


@dataclass(frozen=True)
class NetworkConfig:
    """One network and its training."""

    weighting: str
    """One of `WEIGHTINGS`."""
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
    lr: float = 2e-3
    n_samples: int = 1000
    """Samples whose Frechet distance is taken."""
    sample_steps: int = 18
    """Of Heun's method: 35 evaluations."""
    n_images: int = 355
    """Test images whose bits are taken."""
    checkpoint_every: int = 0
    """In steps; 0 for never."""

    def __post_init__(self) -> None:
        one_of(WEIGHTINGS, self, "weighting")
        one_of(DATASETS, self, "dataset")
        at_least(1, self, "resolution", "images", "batch", "width", "blocks", "n_images", "sample_steps")
        at_least(2, self, "n_samples")
        at_least(0, self, "levels", "checkpoint_every")
        positive(self, "lr")
        at_least(self.batch, self, "images")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image."""
        return (1, self.resolution, self.resolution)

    @property
    def log_snr_max(self) -> float:
        return DATASETS[self.dataset].log_snr_max

    @property
    def training(self) -> TrainConfig:
        """The hyperparameters, the same for all weightings."""
        return TrainConfig(
            steps=self.images // self.batch,
            batch_size=self.batch,
            lr=self.lr,
            lr_rampup=int(WARM_UP * self.images),
            ema_halflife=EMA_HALFLIFE,
            ema_rampup=EMA_RAMPUP,
            checkpoint_every=self.checkpoint_every,
        )


class WithLevels(nn.Module):
    """A network that is told of λ, called `net(x_t, t)`, and the adaptive noise levels that it is trained at."""

    def __init__(self, net: nn.Module, levels: AdaptiveLevels) -> None:
        super().__init__()
        self.net, self.levels = net, levels

    @property
    def takes_stacked_weights(self) -> bool:
        """Whether `Members` runs several at once."""
        return bool(getattr(self.net, "takes_stacked_weights", False))

    def forward(self, x_t: Tensor, t: Tensor) -> Tensor:
        return self.net(x_t, PATH.log_snr(t))


def untrained(config: NetworkConfig, seed: int) -> WithLevels:
    """The network of a configuration as it starts."""
    generator = stream(seed, INITIAL)
    net: nn.Module
    if config.levels == 0:
        net = Perceptron(config.shape, config.width, generator)
    else:
        net = ddpmpp(
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
    return WithLevels(net, AdaptiveLevels(LOG_SNR_MIN, config.log_snr_max))


Loss = Callable[[nn.Module, Tensor, Generators], Tensor]


def levels_of(net: nn.Module) -> AdaptiveLevels:
    """Of a network, or of several stacked."""
    own = net.stacked if isinstance(net, Members) else net
    assert isinstance(own, WithLevels)
    return own.levels


def adaptive_loss(weighting: str) -> Loss:
    """The loss of `WEIGHTINGS[weighting]` at λ from the network's own `AdaptiveLevels`, which take it in."""

    def loss(net: nn.Module, x0: Tensor, generator: Generators) -> Tensor:
        adaptive = levels_of(net)
        levels = adaptive.levels  # as they stand: the weight divides by the density that the draw is from
        values, log_snr = at_levels(weighting, levels, net, x0, generator)
        adaptive.update(log_snr, values.detach() * levels.density(log_snr))
        return values

    return loss


def at_levels(
    weighting: str, levels: NoiseLevels, net: nn.Module, x0: Tensor, generator: Generators
) -> tuple[Tensor, Tensor]:
    """w(λ)/p(λ) mean (ε̂ − ε)² per sample, and λ ~ p; x0: (B, *D) or (S, B, *D)."""
    objective = weighted(weighting, PATH, "v", levels, WEIGHTINGS[weighting])
    eps = normal(x0.shape, generator, x0.dtype, x0.device)
    log_snr = levels.sample(x0.shape[: 2 if isinstance(generator, tuple) else 1], generator, x0.device)
    return objective.loss_at(net, x0, eps, PATH.t_from_log_snr(log_snr)), log_snr


def eps_net(net: WithLevels) -> EpsNet:
    """ε̂ of one network that predicts v, for the bound: float64 outside, float32 inside."""

    def call(z: Tensor, log_snr: Tensor) -> Tensor:
        t = PATH.t_from_log_snr(log_snr)
        return PATH.convert(net(z.float(), t.float()).to(z), z, t, "v", "eps")

    return call


def denoiser(net: WithLevels) -> Denoiser:
    """E[x0 | x0 + σ ε = x] of one network that predicts v."""

    def call(x: Tensor, sigma: Tensor) -> Tensor:
        t = PATH.t_from_log_snr(-2 * sigma.log().expand(len(x)))
        z = x * PATH.alpha(t).reshape(-1, *[1] * (x.ndim - 1))
        return PATH.convert(net(z.float(), t.float()).to(z), z, t, "v", "x0")

    return call


def sigmas(config: NetworkConfig, steps: int, rho: float = 7.0) -> Tensor:
    """Noise levels σ/α within the trained range, even in σ^{1/ρ}, and 0 (Karras et al. 2022, eq. 5): (steps + 1,)."""
    low, high = (torch.exp(-torch.tensor(end / 2, dtype=torch.float64)) for end in (config.log_snr_max, LOG_SNR_MIN))
    ramp = torch.linspace(0, 1, steps, dtype=torch.float64)
    grid = (high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))) ** rho
    return torch.cat([grid, grid.new_zeros(1)])


CHUNK = 500
"""Samples that the solver carries at once."""


def generate(config: NetworkConfig, net: WithLevels, generator: torch.Generator) -> Tensor:
    """`n_samples` samples as whole numbers (n, *shape), from noise that is the same for all weightings of a seed."""
    grid, numbers = sigmas(config, config.sample_steps), DATASETS[config.dataset].numbers(config.resolution)
    noise = normal((config.n_samples, *config.shape), generator, torch.float64)
    parts = [heun(denoiser(net), float(grid[0]) * part, grid) for part in noise.split(CHUNK)]
    return (torch.cat(parts) * numbers.scale + numbers.offset).round().clamp(0, numbers.count - 1).long()
