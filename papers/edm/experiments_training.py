"""The ablation of training configurations A to F (Section 5).

The configurations are those of `configs.py` at another scale. Warm-ups are taken relative to the length of the training
(200 million images in the paper). Below that length the average of the weights has a half-life of 5 % of the images
seen, that is, its ramp-up decides; A, which had none, then gets it too. The networks have no class labels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib.util import find_spec
from math import prod

import torch
from torch import Tensor, nn

from common.data.images import Images, cifar10, digits, mnist
from common.diffusion.solvers import CountedDenoiser, Denoiser
from common.harness.studies.experiment import Experiment, Grid, Resources, Row, Run, at_least, one_of
from common.metrics.floor import floor, resampled
from common.metrics.frechet import digits_reference, fd_digits, fd_mnist, mnist_reference
from common.nets.embedding import PositionalEmbedding
from common.nets.init import linear
from common.nets.mlp import MLP
from common.nets.unet import ddpmpp
from common.training.checkpoint import save_checkpoint
from common.training.loop import Batch, Sampler, TrainConfig, draw_from, train
from common.training.stream import stream
from papers.edm.augment import LABELS, augment
from papers.edm.configs import VP_CONFIGS, TrainingConfig
from papers.edm.experiments_sampling import SIGMA_DATA, Standard, noise_at
from papers.edm.fid import fid_cifar10
from papers.edm.loss import edm_loss, loss_per_noise_level
from papers.edm.precond import Preconditioned
from papers.edm.sampler import NO_CHURN, Churn, edm_sampler
from papers.edm.schedule import edm_sigmas

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
        one_of(METRICS, self, "dataset")
        at_least(1, self, "resolution", "images", "batch", "width", "blocks", "n_samples")
        at_least(0, self, "levels", "checkpoint_every")


class Perceptron(nn.Module):
    """MLP(x, c_noise) + g(c_noise) x on flattened images, with a gain g per pixel: what is left of a U-Net's skip
    connections, along which the noise in x reaches the output. x: (B, *shape).

    It is told of c_noise as DDPM++ is, for under VP c_noise runs to 999, far beyond what Fourier features of unit scale
    can resolve.
    """

    FEATURES = 32

    def __init__(self, shape: tuple[int, ...], hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.embed = PositionalEmbedding(self.FEATURES)
        self.mlp = MLP(prod(shape), hidden=hidden, features=self.FEATURES, generator=generator)
        self.mlp.embed = self.embed  # type: ignore[assignment]  # declared as Fourier features; called alike
        self.gain = linear(self.FEATURES, prod(shape), generator, gain=1e-5)

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        flat = x.flatten(1)
        return (self.mlp(flat, c_noise) + self.gain(self.embed(c_noise)) * flat).reshape(x.shape)


INITIAL, TRAINING, SAMPLING, FLOOR = range(4)
"""What the independent random streams of a run are for."""


SIDES: Mapping[str, int] = {"digits": 8, "cifar10": 32}
"""Of the data sets that have one resolution only."""


def images_of(dataset: str, resolution: int) -> Images:
    """The training images of a data set, in [-1, 1]."""
    if dataset == "digits":
        return digits()
    if dataset == "mnist":
        return mnist("train", resolution)
    if dataset == "cifar10":
        return cifar10("train")
    raise ValueError(f"no data set {dataset!r}; there are 'digits', 'mnist' and 'cifar10'")


@cache
def look_at(dataset: str, resolution: int) -> None:
    """Download or check what a data set takes, once, before anything runs. Raises ValueError for a resolution that it
    has not."""
    if dataset in SIDES and resolution != SIDES[dataset]:
        raise ValueError(f"{dataset} has the resolution {SIDES[dataset]}, not {resolution}")
    images_of(dataset, resolution)
    if dataset == "cifar10" and find_spec("torch_fidelity") is None:
        raise FileNotFoundError("torch-fidelity is not installed, which has the FID; `pip install -e .[gpu]`")


def scaling_of(images: Images, dataset: str) -> Standard:
    """CIFAR-10 stays in [-1, 1], where its standard deviation is about 0.5; the others are standardised to it."""
    return Standard(0.0, SIGMA_DATA) if dataset == "cifar10" else Standard.of(images.x0)


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


def generate(
    denoiser: Denoiser,
    n: int,
    shape: tuple[int, ...],
    steps: int,
    generator: torch.Generator,
    churn: Churn = NO_CHURN,
    chunk: int = 512,
) -> tuple[Tensor, int]:
    """n samples (n, *shape) by Algorithm 2 on the default time steps, on the generator's device, and their NFE.

    The generator gives the noise that sampling starts from before any other: equal seeds start alike, however churned.
    """
    sigmas, counted = edm_sigmas(steps), CountedDenoiser(denoiser)
    parts = noise_at(sigmas[0], n, shape, generator).split(chunk)
    samples = torch.cat([edm_sampler(counted, x, sigmas, churn, generator) for x in parts])
    return samples, counted.nfe // len(parts)


METRICS: Mapping[str, Callable[..., float]] = {"digits": fd_digits, "mnist": fd_mnist, "cifar10": fid_cifar10}
"""The Frechet distance to each data set, of images (n, C, H, W) in [-1, 1]."""


def distance_floor(config: AblationConfig, images: Images, n: int, generator: torch.Generator) -> float:
    """What the metric says of n training images, drawn with replacement."""
    metric = METRICS[config.dataset]
    if config.dataset == "cifar10":
        return metric(resampled(images.x0)(n, generator))
    reference = digits_reference() if config.dataset == "digits" else mnist_reference(config.resolution)
    return floor(metric, resampled(images.x0), n, generator, repeats=4, reference=reference).mean


def training(config: AblationConfig, seed: int, run: Run) -> list[Row]:
    """Train one configuration; its Frechet distance at 35 NFE (18 steps of Heun's method), and its loss by noise
    level."""
    spec, images = VP_CONFIGS[config.letter], images_of(config.dataset, config.resolution)
    standard, shape = scaling_of(images, config.dataset), tuple(images.x0.shape[1:])
    x0 = standard.encode(images.x0).to(run.device)
    denoiser = denoiser_of(config, shape, seed).to(run.device)

    sigmas = torch.logspace(-2.5, 1.9, 12, dtype=torch.float64)

    def loss_levels(network: Denoiser) -> Tensor:
        held = torch.Generator(run.device).manual_seed(0)
        return loss_per_noise_level(network, x0[:: max(1, len(x0) // 256)], sigmas.to(run.device), held).mean(1).cpu()

    initial = loss_levels(denoiser)
    loss = partial(edm_loss, noise=spec.noise, weight=spec.weight)
    sampler = batches(x0, spec, mirrored=config.dataset == "cifar10")
    checkpoint = run.folder / "training.safetensors" if config.checkpoint_every else None
    generator = stream(seed, TRAINING, run.device)
    trained = train(denoiser, loss, sampler, at_scale(config), generator, log=run.log, checkpoint=checkpoint)
    save_checkpoint(run.folder / "ema.safetensors", trained.ema.state_dict(), {"letter": config.letter})

    sampled, nfe = generate(trained.ema, config.n_samples, shape, 18, stream(seed, SAMPLING, run.device))
    samples = standard.decode(sampled).cpu()
    run.save_arrays(
        sigma=sigmas.numpy(),
        loss_initial=initial.numpy(),
        loss_final=loss_levels(trained.ema).numpy(),
        samples=samples[:32].float().numpy(),
    )
    lowest = distance_floor(config, images, config.n_samples, stream(seed, FLOOR))
    return [{"fd": METRICS[config.dataset](samples), "n": config.n_samples, "floor": lowest, "nfe": nfe}]


_QUICK = AblationConfig("E", "digits", 8, images=1000 * 128, batch=128, width=256, n_samples=1797)
_SMALL = AblationConfig("E", "mnist", 16, images=1500 * 64, batch=64, width=8, levels=2, checkpoint_every=500)
_GPU = (
    AblationConfig(
        "E", "mnist", 32, 20_000_000, batch=512, width=64, levels=3, blocks=2, n_samples=10_000, checkpoint_every=2000
    ),
    AblationConfig(
        "E",
        "cifar10",
        32,
        200_000_000,
        batch=512,
        width=128,
        levels=3,
        blocks=4,
        n_samples=50_000,
        checkpoint_every=2000,
    ),
)
TRAINED: Mapping[str, AblationConfig] = {"digits": _QUICK, "mnist": _SMALL}


def _letters(base: AblationConfig, letters: str) -> list[AblationConfig]:
    return [replace(base, letter=letter) for letter in letters]


TRAINING_EXPERIMENTS = (
    Experiment(
        training,
        AblationConfig,
        {
            "quick": Grid(_letters(_QUICK, "CDE"), 4),
            "small": Grid(_letters(_SMALL, "ABCDEF"), 3),
            "gpu": Grid([config for base in _GPU for config in _letters(base, "ABCDEF")], 3),
        },
        resources={"gpu": Resources(cpus=4, gpus=1.0)},
        prepare=lambda config: look_at(config.dataset, config.resolution),
    ),
)
