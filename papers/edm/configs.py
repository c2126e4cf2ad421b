"""The training configurations A to F (Table 2; hyperparameters of Appendix F.3), each as what it changes in the last.

They stand at the paper's scale, CIFAR-10 at 32×32. What carries over to another scale is relative: in C, the coarsest
level dropped and the finest made twice as wide, and in A, a quarter of the batch and a fifth of the learning rate of B.
D and E change one thing each, so that C, D and E can be compared at any scale.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log

from common.diffusion.denoising_loss import (
    EDMWeight,
    LogNormalNoise,
    NoiseDistribution,
    VENoise,
    VPNoise,
    Weight,
    inverse_variance_weight,
)
from common.diffusion.precond import EDMPrecond, Precond, VEPrecond, VPPrecond


@dataclass(frozen=True)
class TrainingConfig:
    """One cell of Table 2. The optimiser is always Adam with betas (0.9, 0.999)."""

    name: str
    change: str
    precond: Precond
    noise: NoiseDistribution
    weight: Weight
    batch: int
    lr: float
    lr_rampup_mimg: float
    """Million images over which the learning rate rises linearly from 0."""
    grad_clip: float | None
    """Greatest norm of the gradient."""
    ema_halflife_mimg: float
    ema_rampup_ratio: float | None
    """Early in training the half-life is at most this share of the images seen."""
    dropout: float
    channel_mult: tuple[int, ...]
    """Of 128 channels, at 32×32 and at each half of it."""
    x_flip: bool
    """Mirrored copies in the data set, of which the network is not told."""
    augment_p: float
    """The p of `augment.augment`; 0 stands for no augmentation and no augmentation labels."""


def _halflife_mimg(decay: float, batch: int) -> float:
    """The half-life, in million images, of an average that keeps `decay` of itself at each step."""
    return batch * log(0.5) / log(decay) / 1e6


_VP_A = TrainingConfig(
    name="A",
    change="the baseline: DDPM++ as in Score SDE",
    precond=VPPrecond(),
    noise=VPNoise(),
    weight=inverse_variance_weight,
    batch=128,
    lr=2e-4,
    lr_rampup_mimg=5000 * 128 / 1e6,
    grad_clip=1.0,
    ema_halflife_mimg=_halflife_mimg(0.9999, batch=128),
    ema_rampup_ratio=None,
    dropout=0.10,
    channel_mult=(1, 2, 2, 2),
    x_flip=True,
    augment_p=0.0,
)
_VE_A = replace(
    _VP_A,
    change="the baseline: NCSN++ as in Score SDE",
    precond=VEPrecond(),
    noise=VENoise(),
    ema_halflife_mimg=_halflife_mimg(0.999, batch=128),
)


def _table_2(a: TrainingConfig) -> dict[str, TrainingConfig]:
    """A to F from A."""
    b = replace(
        a,
        name="B",
        change="basic hyperparameters",
        batch=512,
        lr=1e-3,
        lr_rampup_mimg=10.0,
        grad_clip=None,
        ema_halflife_mimg=0.5,
        ema_rampup_ratio=0.05,
        dropout=0.13,
    )
    c = replace(b, name="C", change="capacity moved to the finer resolutions", channel_mult=(2, 2, 2))
    d = replace(c, name="D", change="preconditioning", precond=EDMPrecond())
    e = replace(d, name="E", change="noise distribution and loss weight", noise=LogNormalNoise(), weight=EDMWeight())
    f = replace(e, name="F", change="non-leaky augmentation", x_flip=False, augment_p=0.12)
    return {config.name: config for config in (a, b, c, d, e, f)}


VP_CONFIGS = _table_2(_VP_A)
VE_CONFIGS = _table_2(_VE_A)
