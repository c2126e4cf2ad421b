"""The teachers on images, and their trajectories, which are solved once, stored, and read by all students.

On digits the teacher is the exact denoiser of the training images, so that whatever a student lacks is its own. On
MNIST it is a U-Net, trained here by EDM's loss.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from common.diffusion.denoising_loss import EDMWeight, edm_loss
from common.diffusion.oracle import EmpiricalDenoiser
from common.diffusion.precond import Preconditioned
from common.diffusion.solvers import CountedDenoiser, Denoiser
from common.harness.studies.experiment import Grid, Need, Resources, Row, Run, at_least, experiment, one_of, positive
from common.nets import small_unet
from common.nets.unet import UNet, ddpmpp
from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.loop import TrainConfig, train
from common.training.stream import stream
from papers.ctm.studies.images import DATASETS, INITIAL, PATHS, TRAINED, TRAINING, images_of, look_at, precond_of
from papers.ctm.teacher import Stored
from papers.ctm.times import CIFAR10_GRID

GRID = CIFAR10_GRID
EMA_HALFLIFE, EMA_RAMPUP = 500_000.0, 0.05
"""Half-life of the average of a teacher's weights, in images, and at most as a share of the images seen."""
WEIGHTS, STATES = "ema.safetensors", "paths.safetensors"


@dataclass(frozen=True)
class TeacherConfig:
    """A U-Net and its training by EDM's loss; with no `images` the exact denoiser, which has none."""

    dataset: str
    resolution: int
    images: int = 0
    """Length of the training."""
    batch: int = small_unet.BATCH
    width: int = small_unet.WIDTH
    """Channels at multiplier 1."""
    levels: int = small_unet.LEVELS
    blocks: int = small_unet.BLOCKS
    lr: float = 2e-3
    checkpoint_every: int = 0
    """In steps; 0 for never."""

    def __post_init__(self) -> None:
        one_of(DATASETS, self, "dataset")
        at_least(1, self, "resolution", "batch", "width", "levels", "blocks")
        at_least(0, self, "images", "checkpoint_every")
        positive(self, "lr")

    @property
    def exact(self) -> bool:
        return self.images == 0

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image."""
        return 1, self.resolution, self.resolution


TEACHERS: Mapping[str, TeacherConfig] = {
    "exact": TeacherConfig("digits", 8),
    "unet": TeacherConfig("mnist", small_unet.RESOLUTION, images=60_000, checkpoint_every=200),
    "large unet": TeacherConfig(
        "mnist", 32, images=5_000_000, batch=512, width=64, levels=3, blocks=2, lr=5e-4, checkpoint_every=1000
    ),
}


def unet(config: TeacherConfig, generator: torch.Generator | None = None, second_time: int = 0) -> UNet:
    """A U-Net without its training; with room for `second_time` features of a second time, a student's."""
    return ddpmpp(
        config.resolution,
        1,
        1,
        model_channels=config.width,
        channel_mult=(2,) * config.levels,
        num_blocks=config.blocks,
        attn_resolutions=(config.resolution // 2,),
        dropout=0.0,
        augment_dim=second_time,
        generator=generator,
    )


@experiment(
    TeacherConfig,
    {"small": Grid([TEACHERS["unet"]], 1), "gpu": Grid([TEACHERS["large unet"]], 1)},
    {"loss": float},
    resources={"gpu": Resources(cpus=4, gpus=1.0)},
    prepare=lambda config: look_at(config.dataset, config.resolution),
    tolerance=TRAINED,
)
def teacher_training(config: TeacherConfig, seed: int, run: Run) -> list[Row]:
    """Train a teacher: the loss of its average, and its weights."""
    precond = precond_of(config.dataset, config.resolution)
    x0 = images_of(config.dataset, config.resolution).x0.to(run.device)
    loss = partial(edm_loss, weight=EDMWeight(precond.sigma_data))
    checkpoint = run.folder / "training.safetensors" if config.checkpoint_every else None
    trained = train(
        Preconditioned(unet(config, stream(seed, INITIAL)), precond).to(run.device),
        loss,
        x0,
        TrainConfig(
            steps=config.images // config.batch,
            batch_size=config.batch,
            lr=config.lr,
            lr_rampup=config.images // 20,
            ema_halflife=EMA_HALFLIFE,
            ema_rampup=EMA_RAMPUP,
            checkpoint_every=config.checkpoint_every,
        ),
        stream(seed, TRAINING, run.device),
        log=run.log,
        checkpoint=checkpoint,
    )
    save_checkpoint(run.folder / WEIGHTS, trained.ema.net.state_dict(), {})
    with torch.no_grad():
        held = float(loss(trained.ema, x0[:1000], stream(0, TRAINING, run.device)).mean())
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return [{"loss": held}]


def taught(name: str) -> Mapping[str, Need]:
    """The run that trained a teacher; none where it is exact."""
    config = TEACHERS[name]
    return {} if config.exact else {"teacher": Need(teacher_training, config, 0)}


def teacher_weights(needs: Mapping[str, Path]) -> Mapping[str, Tensor]:
    """The weights of a trained teacher, from the runs that a run needed."""
    return load_checkpoint(needs["teacher"] / WEIGHTS)[0]


def teacher_of(name: str, needs: Mapping[str, Path], device: str) -> Denoiser:
    """A teacher's denoiser of images (B, 1, H, W)."""
    config = TEACHERS[name]
    if config.exact:
        return EmpiricalDenoiser(images_of(config.dataset, config.resolution).x0.to(device))
    net = unet(config)
    net.load_state_dict(teacher_weights(needs))
    return Preconditioned(net.to(device).eval().requires_grad_(False), precond_of(config.dataset, config.resolution))


@dataclass(frozen=True)
class PathsConfig:
    """Trajectories of a teacher, as many from each time of the grid."""

    teacher: str
    """One of `TEACHERS`."""
    count: int

    def __post_init__(self) -> None:
        one_of(TEACHERS, self, "teacher")
        at_least(1, self, "count")


COUNTS: Mapping[str, int] = {"exact": 1000, "unet": 400, "large unet": 5000}
CHUNK = 500
"""Trajectories that a teacher carries at once."""


@experiment(
    PathsConfig,
    {
        "small": Grid([PathsConfig(name, COUNTS[name]) for name in ("exact", "unet")], 1),
        "gpu": Grid([PathsConfig("large unet", COUNTS["large unet"])], 1),
    },
    {"evaluations": int, "spread": float},
    resources={"gpu": Resources(cpus=4, gpus=1.0)},
    needs=lambda config, seed: taught(config.teacher),
    prepare=lambda config: look_at(TEACHERS[config.teacher].dataset, TEACHERS[config.teacher].resolution),
    tolerance=TRAINED,
)
def teacher_paths(config: PathsConfig, seed: int, run: Run) -> list[Row]:
    """Solve and store them: evaluations of the denoiser on one image, and the standard deviation of where they end."""
    made = TEACHERS[config.teacher]
    denoiser = CountedDenoiser(teacher_of(config.teacher, run.needs, run.device))
    data, generator = images_of(made.dataset, made.resolution).x0.to(run.device), stream(seed, PATHS, run.device)
    parts, evaluations = [], 0
    for n in [min(CHUNK, config.count - done) for done in range(0, config.count, CHUNK)]:
        rows = torch.randint(len(data), (GRID.N - 1, n), generator=generator, device=generator.device)
        denoiser.nfe = 0
        parts.append(Stored.make(denoiser, data[rows], GRID, generator).states)
        evaluations += denoiser.nfe * n
    states = [torch.cat(own) for own in zip(*parts, strict=True)]
    save_checkpoint(run.folder / STATES, {str(i): own for i, own in enumerate(states)}, {})
    return [{"evaluations": evaluations, "spread": float(torch.cat([own[:, -1] for own in states]).std())}]


def paths_of(name: str) -> Need:
    return Need(teacher_paths, PathsConfig(name, COUNTS[name]), 0)


def stored(folder: Path, device: str) -> Stored:
    """Stored trajectories, from the folder of their run."""
    states = load_checkpoint(folder / STATES)[0]
    return Stored(tuple(states[str(i)].to(device) for i in range(len(states))))
