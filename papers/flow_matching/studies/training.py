"""Training the networks on images: one for each objective and seed, which all studies of images share.

The paper's hyperparameters are alike for all objectives (Appendix E, Table 3), but for more iterations of some
baselines. Here they are alike without exception, and all see the same first weights, images, noise and times.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from common.harness.studies.experiment import Grid, Need, Resources, Row, Run, experiment
from common.training.checkpoint import load_checkpoint, save_checkpoint
from common.training.loop import TrainConfig, train
from common.training.members import Members
from common.training.stream import stream
from papers.flow_matching.likelihood import dequantise
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.solvers import Velocity
from papers.flow_matching.studies.images import DATASETS, TRAINING, batches, look_at
from papers.flow_matching.studies.networks import NetworkConfig, network, untrained

EMA_HALFLIFE, EMA_RAMPUP = 500_000.0, 0.05
"""Half-life of the average of the weights, in images, and at most as a share of the images seen."""
WARM_UP = 0.05
"""Share of the training in which the learning rate rises to its value."""
QUICK = ("fm-ot", "fm-vp", "score")
"""The methods that `quick` trains."""


def train_config(config: NetworkConfig, steps: int) -> TrainConfig:
    """The hyperparameters, the same for all objectives, of a training as far as `steps`."""
    return TrainConfig(
        steps=steps,
        batch_size=config.batch,
        lr=config.lr,
        lr_rampup=int(WARM_UP * config.images),
        ema_halflife=EMA_HALFLIFE,
        ema_rampup=EMA_RAMPUP,
        clip=1.0,
        checkpoint_every=config.checkpoint_every,
    )


def average_file(folder: Path, look: int) -> Path:
    """Where a training leaves the average of its weights at a look, 1 to `looks`."""
    return folder / f"ema-{look}.safetensors"


def trained_velocity(config: NetworkConfig, folder: Path, device: str, look: int | None = None) -> Velocity:
    """The velocity of a trained network, from the folder of its run, at the last look or an earlier one."""
    net = untrained(config, 0)
    net.load_state_dict(load_checkpoint(average_file(folder, look or config.looks))[0])
    return OBJECTIVES[config.objective].velocity(net.to(device).eval().requires_grad_(False))


def held_out(config: NetworkConfig, net: nn.Module, device: str) -> float:
    """The mean loss of a network on test images, at noise and times that are the same for all seeds."""
    generator = torch.Generator(device).manual_seed(0)
    data = DATASETS[config.dataset]
    x_1 = dequantise(data.load("test", config.resolution)[:1000].to(device), generator, data.levels)
    with torch.no_grad():
        return float(OBJECTIVES[config.objective].loss(net, x_1, generator).mean())


def _training_images(config: NetworkConfig, device: str) -> Tensor:
    return DATASETS[config.dataset].load("train", config.resolution).to(device)


@experiment(
    NetworkConfig,
    {"quick": Grid([network("perceptron", name) for name in QUICK], 4)},
    {"seen": int, "loss": float},
    prepare=lambda config: look_at(config.dataset, config.resolution),
    together=8,
    tolerance=0.05,  # rounding grows in training
)
def digit_training(config: NetworkConfig, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> list[list[Row]]:
    """Train perceptrons for one objective, all seeds at once: the loss of the average on test images at each look."""
    device, levels = runs[0].device, DATASETS[config.dataset].levels
    net = Members([untrained(config, seed) for seed in seeds]).to(device)
    data = batches(_training_images(config, device), levels)
    checkpoint = runs[0].folder / "training.safetensors"
    rows: list[list[Row]] = [[] for _ in seeds]
    for look, steps in enumerate(config.kept_after, 1):
        trained = train(
            net,
            OBJECTIVES[config.objective].loss,
            data,
            train_config(config, steps),
            tuple(stream(seed, TRAINING, device) for seed in seeds),
            log=tuple(run.log for run in runs),
            checkpoint=checkpoint,
        )
        for s, run in enumerate(runs):
            average = trained.ema.member(s)
            save_checkpoint(average_file(run.folder, look), average.state_dict(), {})
            rows[s].append({"seen": steps * config.batch, "loss": held_out(config, average, device)})
    checkpoint.unlink()
    return rows


@experiment(
    NetworkConfig,
    {
        "small": Grid([network("unet", name) for name in OBJECTIVES], 5),
        "gpu": Grid([network("large unet", name) for name in OBJECTIVES], 8),
    },
    {"seen": int, "loss": float},
    resources={"gpu": Resources(cpus=4, gpus=1.0)},
    prepare=lambda config: look_at(config.dataset, config.resolution),
    tolerance=0.05,  # rounding grows in training
)
def training(config: NetworkConfig, seed: int, run: Run) -> list[Row]:
    """Train a U-Net for one objective: the loss of the average on test images at each look."""
    data = batches(_training_images(config, run.device), DATASETS[config.dataset].levels)
    checkpoint = run.folder / "training.safetensors"
    net = untrained(config, seed).to(run.device)
    average = untrained(config, seed).to(run.device)
    rows: list[Row] = []
    for look, steps in enumerate(config.kept_after, 1):
        kept = average_file(run.folder, look)
        if not kept.exists():  # else a run that was killed after this look goes on
            loss = OBJECTIVES[config.objective].loss
            generator = stream(seed, TRAINING, run.device)
            how = train_config(config, steps)
            trained = train(net, loss, data, how, generator, log=run.log, checkpoint=checkpoint)
            save_checkpoint(kept, trained.ema.state_dict(), {})
        average.load_state_dict(load_checkpoint(kept)[0])
        rows.append({"seen": steps * config.batch, "loss": held_out(config, average, run.device)})
    checkpoint.unlink(missing_ok=True)
    return rows


def trained(name: str, objective: str, seed: int) -> Need:
    """The training of one of `NETWORKS` for an objective."""
    config = network(name, objective)
    return Need(digit_training if config.levels == 0 else training, config, seed)
