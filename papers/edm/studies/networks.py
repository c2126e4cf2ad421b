"""The training configurations A to F of `configs.py` at another scale.

Warm-ups are taken relative to the length of the training (200 million images in the paper). Below that length the
average of the weights has a half-life of 5 % of the images seen, that is, its ramp-up decides; A, which had none, then
gets it too. The networks have no class labels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from common.diffusion.precond import Preconditioned
from common.harness.studies.experiment import at_least, one_of
from common.nets.perceptron import Perceptron
from common.nets.unet import ddpmpp
from common.training.loop import Batch, Sampler, TrainConfig, draw_from
from common.training.stream import stream
from papers.edm.augment import LABELS, augment
from papers.edm.configs import VP_CONFIGS, TrainingConfig
from papers.edm.studies.images import DATASETS, INITIAL

PAPER_MIMG = 200.0
"""Length of the paper's CIFAR-10 training, in million images."""
EMA_RAMPUP = 0.05


@dataclass(frozen=True)
class AblationConfig:
    """One configuration of Table 2 at one scale."""

    letter: str
    dataset: str
    """'digits', 'mnist' or 'cifar10'."""
    resolution: int
    images: int
    """Length of the training."""
    batch: int
    """Images per step from B on; a quarter of it in A, as in the paper."""
    width: int
    """Channels of the U-Net at multiplier 1, or hidden units of the perceptron."""
    levels: int = 0
    """Resolutions of the U-Net from C on, one less than in A and B, as in the paper; 0 for a perceptron."""
    blocks: int = 1
    n_samples: int = 1000
    checkpoint_every: int = 0
    """In steps; 0 for never."""

    def __post_init__(self) -> None:
        one_of(VP_CONFIGS, self, "letter")
        one_of(DATASETS, self, "dataset")
        at_least(1, self, "resolution", "images", "batch", "width", "blocks", "n_samples")
        at_least(0, self, "levels", "checkpoint_every")


def denoiser_of(config: AblationConfig, shape: tuple[int, ...], seed: int) -> Preconditioned:
    """The untrained denoiser of a configuration, for images of `shape` (C, H, W).

    Of the paper's resolutions the coarsest are left out, as many in every configuration, until C has `levels`.
    """
    spec, generator = VP_CONFIGS[config.letter], stream(seed, INITIAL)
    net: nn.Module
    if config.levels == 0:
        net = Perceptron(shape, config.width, generator)
    else:
        left_out = len(VP_CONFIGS["C"].channel_mult) - config.levels
        net = ddpmpp(
            config.resolution,
            shape[0],
            model_channels=config.width,
            channel_mult=spec.channel_mult[: len(spec.channel_mult) - left_out],
            num_blocks=config.blocks,
            attn_resolutions=(config.resolution // 2,),
            dropout=spec.dropout,
            augment_dim=LABELS if spec.augment_p else 0,
            generator=generator,
        )
    return Preconditioned(net, spec.precond)


def batches(x0: Tensor, spec: TrainingConfig, mirrored: bool) -> Sampler:
    """Batches of x0 (n, C, H, W): mirrored ones among them if `mirrored`, augmented and labelled so if `spec` says
    so."""
    draw = draw_from(x0)

    def sample(n: int, generator: torch.Generator) -> Batch:
        batch, cond = draw(n, generator)
        if mirrored and spec.x_flip:
            flipped = torch.rand(n, 1, 1, 1, generator=generator, device=generator.device) < 0.5
            batch = torch.where(flipped, batch.flip(3), batch)
        if spec.augment_p:
            batch, labels = augment(batch, generator, spec.augment_p)
            cond = {"augment_labels": labels}
        return batch, cond

    return sample


def at_scale(config: AblationConfig) -> TrainConfig:
    """The hyperparameters of `config.letter`, for a training of `config.images` images."""
    spec = VP_CONFIGS[config.letter]
    batch = max(1, config.batch * spec.batch // VP_CONFIGS["B"].batch)
    return TrainConfig(
        steps=config.images // batch,
        batch_size=batch,
        lr=spec.lr,
        lr_rampup=int(config.images * spec.lr_rampup_mimg / PAPER_MIMG),
        ema_halflife=spec.ema_halflife_mimg * 1e6,
        ema_rampup=spec.ema_rampup_ratio if config.images >= PAPER_MIMG * 1e6 else EMA_RAMPUP,
        clip=spec.grad_clip,
        checkpoint_every=config.checkpoint_every,
    )
