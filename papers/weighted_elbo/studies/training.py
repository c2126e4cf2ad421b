"""Training networks on images with one weighting each, and what is measured of them: the Frechet distance of samples,
and the bound of VDM on test images in bits per dimension.

Paired seeds share the first weights, the images and the noise that sampling starts from.
"""

from __future__ import annotations

from typing import Any

import torch

from common.harness.studies.experiment import Grid, Resources, Row, Run, experiment
from common.nets import small_unet
from common.training.loop import train
from common.training.members import Members
from common.training.stream import stream
from papers.weighted_elbo.studies.images import (
    DATASETS,
    FLOOR,
    LIKELIHOOD,
    LOG_SNR_MIN,
    SAMPLING,
    TRAINING,
    look_at,
)
from papers.weighted_elbo.studies.networks import (
    NetworkConfig,
    WithLevels,
    adaptive_loss,
    eps_net,
    generate,
    untrained,
)
from papers.weighted_elbo.vdm import LinearLogSnr, bound, spread_times

TRAINED = ("elbo", "v-cosine", "sigmoid", "edm-monotonic", "edm", "eps-cosine")
QUICK = ("edm-monotonic", "edm")
"""The weightings that `quick` trains."""
BINS = 21
"""Of λ, in which the error on test images is kept."""


def _perceptrons(weightings: tuple[str, ...], images: int, n_samples: int) -> list[NetworkConfig]:
    return [NetworkConfig(name, "digits", 8, images, 128, 256, lr=3e-3, n_samples=n_samples) for name in weightings]


def _unets(resolution: int, images: int, batch: int, **others: Any) -> list[NetworkConfig]:
    return [NetworkConfig(name, "mnist", resolution, images, batch, **others) for name in TRAINED]


COLUMNS = {"fd": float, "floor": float, "bpd": float, "prior": float, "reconstruction": float}


@experiment(
    NetworkConfig,
    {
        "quick": Grid(_perceptrons(QUICK, 400 * 128, 500), 4),
        "small": Grid(_perceptrons(TRAINED, 2000 * 128, 1000), 10),
    },
    COLUMNS,
    prepare=lambda config: look_at(config.dataset, config.resolution),
    together=10,
    tolerance=0.05,  # rounding grows in training
)
def digit_weightings(config: NetworkConfig, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> list[list[Row]]:
    """Perceptrons on digits, all seeds trained as one: what `judged` says of each."""
    device = runs[0].device
    net = Members([untrained(config, seed) for seed in seeds]).to(device)
    generators = tuple(stream(seed, TRAINING, device) for seed in seeds)
    loss = adaptive_loss(config.weighting)
    logs = tuple(run.log for run in runs)
    trained = train(net, loss, training_images(config, device), config.training, generators, log=logs)
    return [[judged(config, trained.ema.member(s), seeds[s], runs[s])] for s in range(len(seeds))]


@experiment(
    NetworkConfig,
    {
        "small": Grid(
            _unets(
                small_unet.RESOLUTION,
                40_000,
                small_unet.BATCH,
                width=small_unet.WIDTH,
                levels=small_unet.LEVELS,
                blocks=small_unet.BLOCKS,
                n_samples=1000,
                sample_steps=12,
                n_images=500,
            ),
            5,
        ),
        "gpu": Grid(
            _unets(
                32,
                5_000_000,
                512,
                width=64,
                levels=3,
                blocks=2,
                lr=5e-4,
                n_samples=10_000,
                n_images=2000,
                checkpoint_every=1000,
            ),
            3,
        ),
    },
    COLUMNS,
    resources={"gpu": Resources(cpus=4, gpus=1.0)},
    prepare=lambda config: look_at(config.dataset, config.resolution),
    tolerance=0.05,  # rounding grows in training
)
def image_weightings(config: NetworkConfig, seed: int, run: Run) -> list[Row]:
    """A U-Net on MNIST: what `judged` says of it."""
    checkpoint = run.folder / "training.safetensors" if config.checkpoint_every else None
    trained = train(
        untrained(config, seed).to(run.device),
        adaptive_loss(config.weighting),
        training_images(config, run.device),
        config.training,
        stream(seed, TRAINING, run.device),
        log=run.log,
        checkpoint=checkpoint,
    )
    rows = [judged(config, trained.ema, seed, run)]
    if checkpoint is not None:  # not before: a run that is cut off while it is judged would train again
        checkpoint.unlink(missing_ok=True)
    return rows


def training_images(config: NetworkConfig, device: str) -> torch.Tensor:
    """The training set as the diffusion sees it, float32 (N, 1, side, side)."""
    data = DATASETS[config.dataset]
    whole = data.load("train", config.resolution)
    return data.numbers(config.resolution).encode(whole).float().to(device)


@torch.no_grad()
def judged(config: NetworkConfig, net: WithLevels, seed: int, run: Run) -> Row:
    """Frechet distance, its floor, and bits per dimension with their parts. For figures the run keeps the error by λ on
    test images, the density of λ that training ended with, and samples."""
    data, D = DATASETS[config.dataset], config.resolution**2
    whole = data.load("test", config.resolution)[: config.n_images].to(run.device)
    # Images, times and noise are the same for all weightings and seeds.
    t = spread_times((len(whole),), stream(0, LIKELIHOOD)).to(run.device)
    schedule = LinearLogSnr(config.log_snr_max, LOG_SNR_MIN).to(run.device)
    numbers, generator = data.numbers(config.resolution), stream(0, LIKELIHOOD + 1, run.device)
    nats = bound(eps_net(net), whole, numbers, schedule, generator, times=lambda shape, own: t)
    bits = nats.bits(D)
    samples = generate(config, net, stream(seed, SAMPLING, run.device))
    log_snr, error = schedule(t), 2 * nats.diffusion / (-schedule.slope(t) * D)
    place = ((log_snr - LOG_SNR_MIN) / (config.log_snr_max - LOG_SNR_MIN) * BINS).long().clamp(0, BINS - 1)
    run.save_arrays(
        error=(torch.bincount(place, error, BINS) / torch.bincount(place, minlength=BINS)).cpu().numpy(),
        density=net.levels.levels.mass.cpu().numpy(),
        samples=data.as_images(samples[:32]).numpy(),
    )
    return {
        "fd": data.fd(samples),
        "floor": data.floor(config.resolution, config.n_samples, stream(seed, FLOOR)),
        "bpd": float(bits.total.mean()),
        "prior": float(bits.prior.mean()),
        "reconstruction": float(bits.reconstruction.mean()),
    }
