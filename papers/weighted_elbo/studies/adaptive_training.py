"""Does the adaptive noise schedule train faster (Section 3.1 and Section 3.2)?

The weighting and with it the loss in the mean are the same, and so are first weights and images: what differs is where
the noise levels of the training lie. At equal distances the loss is taken on test images, at levels that are the same
for all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from common.diffusion.objective import NoiseLevels, UniformLogSnr, between
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend
from common.harness.studies.measures import Measure, first_reached, per_seed, pick
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from common.training.loop import Loss, train
from common.training.members import Members
from common.training.stream import stream
from papers.weighted_elbo.studies.images import DATASETS, LIKELIHOOD, LOG_SNR_MIN, TRAINING, look_at
from papers.weighted_elbo.studies.looks import SCHEDULES
from papers.weighted_elbo.studies.networks import (
    PATH,
    NetworkConfig,
    WithLevels,
    adaptive_loss,
    at_levels,
    untrained,
)
from papers.weighted_elbo.studies.training import training_images

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

COMPARED = ("adaptive", "cosine", "linear")
"""The fixed schedules are uniform in time: on the cosine path, and on one whose λ is linear in t."""
REPEATS = 8
"""Draws of noise and level for each test image."""


@dataclass(frozen=True)
class ScheduleConfig(NetworkConfig):
    """A training with levels drawn by one schedule."""

    schedule: str = "adaptive"
    looks: int = 10
    """How many times the loss is taken, at equal distances; the last is the end."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(COMPARED, self, "schedule")
        at_least(1, self, "looks")
        at_least(self.looks * self.batch, self, "images")


BASE = ScheduleConfig("sigmoid", "digits", 8, 1500 * 128, 128, 256, lr=3e-3)


def fixed_levels(config: ScheduleConfig) -> NoiseLevels:
    """Those of the fixed schedules."""
    ends = LOG_SNR_MIN, config.log_snr_max
    return between(PATH, *ends) if config.schedule == "cosine" else UniformLogSnr(*ends)


def loss_of(config: ScheduleConfig) -> Loss:
    """The loss of the weighting at levels by the schedule."""
    if config.schedule == "adaptive":
        return adaptive_loss(config.weighting)
    levels = fixed_levels(config)
    return lambda net, x0, generator: at_levels(config.weighting, levels, net, x0, generator)[0]


@experiment(
    ScheduleConfig,
    {"small": Grid([replace(BASE, schedule=name) for name in COMPARED], 10)},
    {"step": int, "loss": float},
    prepare=lambda config: look_at(config.dataset, config.resolution),
    together=10,
    tolerance=0.05,  # rounding grows in training
)
def adaptive_training(config: ScheduleConfig, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> list[list[Row]]:
    """Perceptrons on digits: the loss of the average of the weights on test images, by step."""
    device, checkpoint = runs[0].device, runs[0].folder / "training.safetensors"
    checkpoint.unlink(missing_ok=True)  # the rows of earlier looks went with a training that was cut off
    net = Members([untrained(config, seed) for seed in seeds]).to(device)
    generators = tuple(stream(seed, TRAINING, device) for seed in seeds)
    data, loss, rows = training_images(config, device), loss_of(config), list[list[Row]]([] for _ in seeds)
    for look in range(1, config.looks + 1):
        steps = config.training.steps * look // config.looks
        how, logs = replace(config.training, steps=steps), tuple(run.log for run in runs)
        trained = train(net, loss, data, how, generators, log=logs, checkpoint=checkpoint)
        for s in range(len(seeds)):
            rows[s].append({"step": steps, "loss": held_out(config, trained.ema.member(s), device)})
    checkpoint.unlink()
    return rows


@torch.no_grad()
def held_out(config: NetworkConfig, net: WithLevels, device: str) -> float:
    """The loss of the weighting on test images: levels are uniform over λ, and all is the same for all networks."""
    data, generator = DATASETS[config.dataset], stream(0, LIKELIHOOD, device)
    whole = data.load("test", config.resolution)[: config.n_images].to(device)
    x0 = data.numbers(config.resolution).encode(whole).float().repeat(REPEATS, 1, 1, 1)
    levels = UniformLogSnr(LOG_SNR_MIN, config.log_snr_max)
    return float(at_levels(config.weighting, levels, net, x0, generator)[0].mean())


def share_of_steps(fixed: str) -> Measure:
    """Steps after which the adaptive schedule has the loss that a fixed one ends with, over all of the latter's."""

    def share(rows: pd.DataFrame) -> float:
        adaptive, other = (pick(rows, {"schedule": name}) for name in ("adaptive", fixed))
        end, loss = max(zip(other["step"], other["loss"], strict=True))
        return first_reached([*adaptive["step"]], [*adaptive["loss"]], loss) / end

    return per_seed(share, ("schedule", "step", "loss"), tuple({"schedule": name} for name in ("adaptive", fixed)))


CLAIMS = (
    Claim(
        "adaptive-training",
        "Training with the adaptive noise schedule reaches the same loss in no more steps.",
        "Section 3.2",
        tuple(
            Quantity(
                f"steps, adaptive over {SCHEDULES[fixed].name}",
                adaptive_training,
                share_of_steps(fixed),
                Criterion(upper=1.0, reason="no more steps"),
                metric="steps to the loss on test images that the fixed schedule ends with, over all of its steps",
                unit="×",
                scale="log",
            )
            for fixed in COMPARED[1:]
        ),
        presets=("small",),
        excludes="a schedule that needs more steps than a fixed one",
        deviation="A perceptron on 8×8 digits with the sigmoid weighting, k = 2. The paper finds equal FID, and faster "
        "training in about half of its runs.",
    ),
)


def draw_loss(results: Results) -> MatplotlibFigure:
    table = results.table(adaptive_training)
    figure, axes = panels("weighted_elbo", 1, 1, width=7.0, height=4.2)
    panel = axes[0, 0]
    for name in COMPARED:
        by_step = where(table, schedule=name).groupby("step")["loss"]
        mean, look = by_step.mean(), SCHEDULES[name]
        panel.plot(mean.index, mean, **look.line())
        panel.fill_between(mean.index, by_step.min(), by_step.max(), color=look.colour, alpha=0.2, lw=0)
    panel.set(xlabel="training steps", ylabel="loss on test images", xscale="log", yscale="log")
    legend(figure, columns=3)
    return finish(figure)


FIGURES = (
    Figure(
        "adaptive-training",
        "The loss on test images against training steps, with the adaptive and two fixed noise schedules.",
        "Means over seeds, with their range. The loss is that of the weighting, at levels that are the same for all.",
        (adaptive_training,),
        draw_loss,
    ),
)

STUDY = Study(
    "Training with the adaptive schedule",
    "Does training reach the same loss in fewer steps where noise levels are drawn where the loss is?",
    (adaptive_training,),
    CLAIMS,
    FIGURES,
)
