"""The experiments with training: the ablation A to F, and stochastic sampling with a network that it leaves (Sections
4, 5).

The configurations are those of `configs.py` at another scale. Warm-ups are taken relative to the length of the training
(200 million images in the paper). The average of the weights has a half-life of 5 % of the images seen: at these
lengths that ramp-up is what decides, and A, which had none, gets it too. The networks have no class labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from math import inf, prod

import torch
from torch import Tensor, nn

from common.data.images import Images, cifar10, digits, mnist
from common.diffusion.solvers import CountedDenoiser, Denoiser
from common.harness.experiment import Experiment, Grid, Need, Resources, Row, Run
from common.metrics.features import digit_features
from common.metrics.floor import floor, resampled
from common.metrics.frechet import digits_reference, fd_digits, fd_mnist, mnist_reference, moments
from common.nets.embedding import PositionalEmbedding
from common.nets.mlp import MLP
from common.nets.unet import ddpmpp
from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.loop import Batch, Sampler, TrainConfig, draw_from, train
from papers.edm.augment import LABELS, augment
from papers.edm.configs import VP_CONFIGS, TrainingConfig
from papers.edm.experiments_sampling import COMPONENT_STD, SIGMA_DATA, Standard, around, noise_at
from papers.edm.fid import fid_cifar10
from papers.edm.loss import edm_loss, loss_per_noise_level
from papers.edm.precond import Preconditioned
from papers.edm.sampler import CIFAR10_VP_CHURN, NO_CHURN, Churn, edm_sampler
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
    """Resolutions of the U-Net; 0 for a perceptron."""
    blocks: int = 1
    n_samples: int = 1000
    checkpoint_every: int = 0
    """In steps; 0 for never."""


class Perceptron(nn.Module):
    """An `MLP` on flattened images, told of c_noise as DDPM++ is: under VP c_noise runs to 999, far beyond what Fourier
    features of unit scale can resolve. x: (B, *shape)."""

    def __init__(self, shape: tuple[int, ...], hidden: int, generator: torch.Generator) -> None:
        super().__init__()
        self.mlp = MLP(prod(shape), hidden=hidden, features=32, generator=generator)
        self.mlp.embed = PositionalEmbedding(32)  # type: ignore[assignment]

    def forward(self, x: Tensor, c_noise: Tensor) -> Tensor:
        return self.mlp(x.flatten(1), c_noise).reshape(x.shape)


def images_of(dataset: str, resolution: int) -> Images:
    """The training images of a data set, in [-1, 1]."""
    if dataset == "digits":
        return digits()
    if dataset == "mnist":
        return mnist("train", resolution)
    if dataset == "cifar10":
        return cifar10("train")
    raise ValueError(f"no data set {dataset!r}; there are 'digits', 'mnist' and 'cifar10'")


def scaling_of(images: Images, dataset: str) -> Standard:
    """CIFAR-10 stays in [-1, 1], where its standard deviation is about 0.5; the others are standardised to it."""
    return Standard(0.0, SIGMA_DATA) if dataset == "cifar10" else Standard.of(images.x0)


def denoiser_of(config: AblationConfig, shape: tuple[int, ...], seed: int) -> Preconditioned:
    """The untrained denoiser of a configuration, for images of `shape` (C, H, W)."""
    spec, generator = VP_CONFIGS[config.letter], torch.Generator().manual_seed(seed)
    net: nn.Module
    if config.levels == 0:
        net = Perceptron(shape, config.width, generator)
    else:
        net = ddpmpp(
            config.resolution,
            shape[0],
            model_channels=config.width,
            channel_mult=spec.channel_mult[: config.levels],
            num_blocks=config.blocks,
            attn_resolutions=(16,),
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
        ema_rampup=EMA_RAMPUP,
        clip=spec.grad_clip,
        checkpoint_every=config.checkpoint_every,
    )


@torch.no_grad()
def generate(
    denoiser: Denoiser,
    n: int,
    shape: tuple[int, ...],
    steps: int,
    generator: torch.Generator,
    churn: Churn = NO_CHURN,
    chunk: int = 512,
) -> Tensor:
    """n samples (n, *shape) by Algorithm 2 on the default time steps, on the generator's device."""
    sigmas = edm_sigmas(steps)
    sizes = [min(chunk, n - start) for start in range(0, n, chunk)]
    noise = (noise_at(sigmas[0], size, shape, generator) for size in sizes)
    return torch.cat([edm_sampler(denoiser, x, sigmas, churn, generator) for x in noise])


def quality(dataset: str, images: Tensor) -> float:
    """The Frechet distance to the data set, of images (n, C, H, W) in [-1, 1]: fd_digits, fd_mnist or FID."""
    return {"digits": fd_digits, "mnist": fd_mnist, "cifar10": fid_cifar10}[dataset](images.float())


def quality_floor(config: AblationConfig, images: Images, generator: torch.Generator) -> float:
    """What `quality` says of as many training images, drawn with replacement."""
    if config.dataset == "cifar10":
        chosen = torch.randint(len(images), (config.n_samples,), generator=generator)
        return fid_cifar10(images.x0[chosen])
    metric, reference = {
        "digits": (fd_digits, digits_reference),
        "mnist": (fd_mnist, partial(mnist_reference, config.resolution)),
    }[config.dataset]
    return floor(metric, resampled(images.x0), config.n_samples, generator, repeats=4, reference=reference()).mean


def training(config: AblationConfig, seed: int, run: Run) -> list[Row]:
    """Train one configuration; its Frechet distance at 35 NFE (18 steps of Heun's method), and its loss by noise
    level."""
    spec, images = VP_CONFIGS[config.letter], images_of(config.dataset, config.resolution)
    standard, shape = scaling_of(images, config.dataset), tuple(images.x0.shape[1:])
    x0 = standard.encode(images.x0).to(run.device)
    generator = torch.Generator(run.device).manual_seed(seed)
    denoiser = denoiser_of(config, shape, seed).to(run.device)

    sigmas = torch.logspace(-2.5, 1.9, 12, dtype=torch.float64)

    def loss_levels(network: Denoiser) -> Tensor:
        held = torch.Generator(run.device).manual_seed(0)
        return loss_per_noise_level(network, x0[:: max(1, len(x0) // 256)], sigmas.to(run.device), held).mean(1).cpu()

    initial = loss_levels(denoiser)
    loss = partial(edm_loss, noise=spec.noise, weight=spec.weight)
    sampler = batches(x0, spec, mirrored=config.dataset == "cifar10")
    checkpoint = run.folder / "training.safetensors" if config.checkpoint_every else None
    trained = train(denoiser, loss, sampler, at_scale(config), generator, log=run.log, checkpoint=checkpoint)
    save_checkpoint(run.folder / "ema.safetensors", trained.ema.state_dict(), {"letter": config.letter})

    counted = CountedDenoiser(trained.ema)
    noise = torch.Generator(run.device).manual_seed(seed)
    samples = standard.decode(generate(counted, config.n_samples, shape, 18, noise)).cpu()
    run.save_arrays(
        sigma=sigmas.numpy(),
        loss_initial=initial.numpy(),
        loss_final=loss_levels(trained.ema).numpy(),
        samples=samples[:32].float().numpy(),
    )
    reference = quality_floor(config, images, torch.Generator().manual_seed(seed))
    return [{"fd": quality(config.dataset, samples), "n": config.n_samples, "floor": reference}]


CHURNS: Mapping[str, Churn] = {"none": NO_CHURN, "moderate": CIFAR10_VP_CHURN, "excessive": Churn(S_churn=inf)}
"""Moderate is the published setting for CIFAR-10 (VP); excessive all that Algorithm 2 allows, at every noise level."""


@dataclass(frozen=True)
class ChurnConfig:
    denoiser: str
    """'network', the one of configuration E, or 'exact'."""
    dataset: str
    n_samples: int
    steps: int = 80
    """More than 72, below which Algorithm 2 would cut the published S_churn of 30."""
    n_points: int = 300
    """Digits that the exact denoiser knows."""


def churn(config: ChurnConfig, seed: int, run: Run) -> list[Row]:
    """The Frechet distance of Algorithm 2 by the amount of churn, all at one number of steps."""
    generator = torch.Generator(run.device).manual_seed(seed)
    if config.denoiser == "network":
        trained = TRAINED[config.dataset]
        images = images_of(config.dataset, trained.resolution)
        standard, shape = scaling_of(images, config.dataset), tuple(images.x0.shape[1:])
        network = denoiser_of(trained, shape, seed)
        network.load_state_dict(load_checkpoint(run.needs["network"] / "ema.safetensors")[0])
        denoiser: Denoiser = network.to(run.device).eval()
        distance = partial(quality, config.dataset)
        lowest = quality_floor(
            replace(trained, n_samples=config.n_samples), images, torch.Generator().manual_seed(seed)
        )
    else:
        images = digits()
        standard, shape = scaling_of(images, "digits"), tuple(images.x0.shape[1:])
        cpu = torch.Generator().manual_seed(seed)
        points = standard.encode(images.x0)[torch.randperm(len(images), generator=cpu)[: config.n_points]]

        def draw(n: int, source: torch.Generator) -> Tensor:
            centres = points[torch.randint(len(points), (n,), generator=source)]
            return standard.decode(centres + COMPONENT_STD * torch.randn(n, *shape, generator=source))

        reference = moments(digit_features(draw(10_000, cpu)))
        denoiser, distance = around(points.to(run.device)), partial(fd_digits, reference=reference)
        lowest = floor(fd_digits, draw, config.n_samples, cpu, repeats=4, reference=reference).mean
    rows: list[Row] = []
    for amount, setting in CHURNS.items():
        counted = CountedDenoiser(denoiser)
        chunk = config.n_samples if config.dataset == "digits" else 512
        samples = generate(counted, config.n_samples, shape, config.steps, generator, setting, chunk)
        fd = distance(standard.decode(samples).cpu())
        rows.append({"amount": amount, "fd": fd, "n": config.n_samples, "floor": lowest})
    return rows


def _needs(config: ChurnConfig, seed: int) -> Mapping[str, Need]:
    return {"network": Need("training", TRAINED[config.dataset], seed)} if config.denoiser == "network" else {}


_QUICK = AblationConfig("E", "digits", 8, images=1500 * 128, batch=128, width=256, n_samples=1797)
_SMALL = AblationConfig("E", "mnist", 14, images=2000 * 64, batch=64, width=8, levels=2, checkpoint_every=500)
_GPU = (
    AblationConfig(
        "E", "mnist", 28, 20_000_000, batch=512, width=64, levels=3, blocks=2, n_samples=10_000, checkpoint_every=2000
    ),
    AblationConfig(
        "E",
        "cifar10",
        32,
        200_000_000,
        batch=512,
        width=128,
        levels=4,
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
            "gpu": Grid([config for base in _GPU for config in _letters(base, "ABCDEF")], 1),
        },
        resources={"gpu": Resources(cpus=4, gpus=1.0)},
    ),
    Experiment(
        churn,
        ChurnConfig,
        {
            "quick": Grid([ChurnConfig("network", "digits", 500), ChurnConfig("exact", "digits", 1000)], 4),
            "small": Grid([ChurnConfig("network", "mnist", 500), ChurnConfig("exact", "digits", 1000)], 3),
        },
        needs=_needs,
    ),
)
