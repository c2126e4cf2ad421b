"""Does the picture appear earlier on the way with the OT path than with diffusion (Section 6.2, Figure 6)?

Figure 6 shows states x_t of both models from the same noise: with OT the noise goes "roughly linearly", with diffusion
only towards the end. Here readers (`readers`) say which digit they see in x_t/m(t), and the time is taken from which on
they see the class that they see at the end.

The states are those of the exact fields, which need no training, and of trained networks. With exact fields both paths
take the same picture at the same signal-to-noise ratio, so that what differs is the clock. The second claim shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from common.data.images import Images, digits, mnist
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import (
    Experiment,
    Grid,
    Resources,
    Row,
    Run,
    Values,
    at_least,
    experiment,
    one_of,
)
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend
from common.harness.studies.measures import paired_difference
from common.harness.studies.panels import finish, panels
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.flow_matching.marginal import EmpiricalField
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.solvers import Velocity
from papers.flow_matching.studies.images import SAMPLING, look_at
from papers.flow_matching.studies.looks import METHODS
from papers.flow_matching.studies.networks import NETWORKS, network, noise
from papers.flow_matching.studies.readers import READERS, on_the_clock_of_ot, read_along, settled
from papers.flow_matching.studies.training import trained, trained_velocity

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

PATHS = ("fm-ot", "fm-vp")
SHOWN = 11
"""Pictures of one trajectory in the figure."""


@dataclass(frozen=True)
class ClassTimeConfig:
    """States on a grid of `steps` equal steps of the midpoint method, from `n_samples` draws of noise."""

    steps: int = 64
    n_samples: int = 64

    def __post_init__(self) -> None:
        at_least(SHOWN, self, "steps")
        at_least(1, self, "n_samples")


@dataclass(frozen=True)
class NetworkClassTimeConfig(ClassTimeConfig):
    """The same with trained networks."""

    network: str = "unet"
    """One of `NETWORKS` on MNIST."""
    n_images: int = 10_000
    """Training images that are the law of the posterior."""

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of([name for name, config in NETWORKS.items() if config.dataset == "mnist"], self, "network")
        at_least(1, self, "n_images")


def report(
    velocities: Mapping[str, Velocity], x_0: Tensor, config: ClassTimeConfig, images: Images, run: Run
) -> list[Row]:
    """Rows and arrays of one run: each path from the same noise."""
    rows: list[Row] = []
    arrays: dict[str, np.ndarray] = {}
    shown = torch.linspace(0, config.steps, SHOWN).round().long()
    for name, velocity in velocities.items():
        path = OBJECTIVES[name].path
        times, states, read = read_along(velocity, path, x_0, config.steps, images)
        arrays[f"states_{name}"] = states[shown, :3, 0].float().numpy()
        for reader, probabilities in read.items():
            t = times[settled(probabilities)]
            on_ot = float(on_the_clock_of_ot(path, t).mean())
            rows.append({"objective": name, "reader": reader, "time": float(t.mean()), "time_on_ot": on_ot})
            arrays[f"settled_{reader}_{name}"] = t.numpy()
    run.save_arrays(**arrays)
    return rows


COLUMNS: Mapping[str, Values] = {"objective": PATHS, "reader": READERS, "time": float, "time_on_ot": float}


@experiment(
    ClassTimeConfig,
    {"quick": Grid([ClassTimeConfig(48, 16)], 3), "small": Grid([ClassTimeConfig(96, 64)], 5)},
    COLUMNS,
)
def class_time(config: ClassTimeConfig, seed: int, run: Run) -> list[Row]:
    """When the class is read in states of the exact fields of scikit-learn's digits."""
    images = digits()
    velocities = {name: EmpiricalField(OBJECTIVES[name].path, images.x0).velocity for name in PATHS}
    shape = (config.n_samples, *images.x0.shape[1:])
    x_0 = torch.randn(shape, generator=stream(seed, SAMPLING), dtype=torch.float64)
    return report(velocities, x_0, config, images, run)


@experiment(
    NetworkClassTimeConfig,
    {
        "small": Grid([NetworkClassTimeConfig()], 5),
        "gpu": Grid([NetworkClassTimeConfig(128, 256, "large unet", 60_000)], 3),
    },
    COLUMNS,
    resources={"gpu": Resources(cpus=4, gpus=1.0)},
    needs=lambda config, seed: {name: trained(config.network, name, seed) for name in PATHS},
    prepare=lambda config: look_at("mnist", NETWORKS[config.network].resolution),
    tolerance=0.05,  # of trained networks
)
def class_time_networks(config: NetworkClassTimeConfig, seed: int, run: Run) -> list[Row]:
    """When the class is read in states of the networks of Table 1."""
    configs = {name: network(config.network, name) for name in PATHS}
    images = mnist("train", configs["fm-ot"].resolution)
    law = Images(images.x0[: config.n_images], images.labels[: config.n_images])
    velocities = {name: trained_velocity(configs[name], run.needs[name], run.device) for name in PATHS}
    x_0 = noise(configs["fm-ot"], config.n_samples, stream(seed, SAMPLING, run.device))
    return report(velocities, x_0, config, law, run)


EARLIER = Criterion(
    0.1,
    reason="a tenth of the whole time; the clocks of the paths differ by 0.24 where signal and noise are equal "
    "(t = 0.5 and 0.74), and by 0.11 to 0.27 where their ratio is 0.1 to 5",
)
SAME = Criterion(
    -0.03, 0.03, "an eighth of the 0.24 by which the clocks differ; the grid of times is 0.02 wide at most"
)
READING = (
    "Digits in place of ImageNet. The paper shows states to the eye. Here a class is read once a reader gives the "
    "final class a probability of 0.5 or more, in that state and in all after it. (The first pilot had 0.9. Then the "
    "classifier reads MNIST so late that the clocks differ by 0.1 only.)"
)
SOURCE = "Section 6.2, Figure 6"
CONTROL = "both paths on one clock: at equal signal-to-noise ratio they are read together (class-time-clock)"


def _times(column: str, of: Experiment, criterion: Criterion, name: str, metric: str) -> tuple[Quantity, ...]:
    """By reader, how much later than OT the diffusion path is read."""
    return tuple(
        Quantity(
            f"{name}, VP less OT, {reader}",
            of,
            paired_difference(column, {"objective": "fm-vp"}, {"objective": "fm-ot"}, reader=reader),
            criterion,
            metric=f"{metric}, mean over samples",
        )
        for reader in READERS
    )


STATEMENT = "The model with the OT path starts to generate the image sooner than the one with the diffusion path."
OWN = "time from which the final class has a probability of 0.5"
CLAIMS = (
    Claim(
        "class-time",
        STATEMENT,
        SOURCE,
        _times("time", class_time, EARLIER, "time of reading", OWN),
        excludes=CONTROL,
        deviation=READING + " Exact fields of scikit-learn's digits.",
    ),
    Claim(
        "class-time-networks",
        "Trained networks, too, start to generate the image sooner with the OT path than with the diffusion path.",
        SOURCE,
        _times("time", class_time_networks, EARLIER, "time of reading", OWN),
        presets=("small", "gpu"),
        excludes=CONTROL,
        deviation=READING + " Networks trained on MNIST, those of Table 1.",
    ),
    Claim(
        "class-time-clock",
        "It is the clock that differs: at equal signal-to-noise ratio both paths are read at the same time.",
        "beside Figure 6",
        _times("time_on_ot", class_time, SAME, "time of reading on the clock of OT", "time at which OT has that noise"),
        kind="ours",
        excludes="each path on its own clock (class-time)",
        deviation=READING + " Exact fields of scikit-learn's digits.",
    ),
)


DASHES = {"posterior": "-", "classifier": "--"}


def draw_pictures(results: Results) -> MatplotlibFigure:
    return _pictures(results, class_time)


def draw_reading(results: Results) -> MatplotlibFigure:
    return _reading(results, class_time)


def draw_network_pictures(results: Results) -> MatplotlibFigure:
    return _pictures(results, class_time_networks)


def draw_network_reading(results: Results) -> MatplotlibFigure:
    return _reading(results, class_time_networks)


def _pictures(results: Results, of: Experiment) -> MatplotlibFigure:
    """States of three trajectories by path; time goes to the right."""
    arrays = results.arrays(of)[0][1]
    figure, axes = panels("flow_matching", rows=2, width=7.5, height=5.2)
    for panel, name in zip(axes[:, 0], PATHS, strict=True):
        states = arrays[f"states_{name}"]
        T, n, H, W = states.shape
        framed = np.pad(states, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-1)
        sheet = framed.transpose(1, 2, 0, 3).reshape(n * (H + 1), T * (W + 1))
        panel.imshow(sheet, cmap="gray_r", vmin=-1, vmax=1, interpolation="nearest")
        panel.set(title=f"{METHODS[name].name}, by time t", yticks=[])
        panel.set_xticks((np.arange(T) + 0.5) * (W + 1) - 1, [f"{t:.1f}" for t in np.linspace(0, 1, T)])
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
    return finish(figure, despine=False)


def _reading(results: Results, of: Experiment) -> MatplotlibFigure:
    """The share of samples whose class is read, against time: on the clock of each path, and on that of OT."""
    runs = [arrays for _, arrays in results.arrays(of)]
    figure, axes = panels("flow_matching", columns=2, width=7.5, height=3.6)
    own, one = axes[0]
    for name in PATHS:
        for reader, dash in DASHES.items():
            times = np.sort(np.concatenate([run[f"settled_{reader}_{name}"] for run in runs]))
            share = np.arange(1, len(times) + 1) / len(times)
            colour, label = METHODS[name].colour, f"{METHODS[name].name}, {reader}"
            own.step(times, share, where="post", color=colour, ls=dash, label=label)
            on_ot = on_the_clock_of_ot(OBJECTIVES[name].path, torch.from_numpy(times)).numpy()
            one.step(on_ot, share, where="post", color=colour, ls=dash, label=label)
    own.set(xlabel="time t of each path", ylabel="share of samples read", xlim=(0, 1), ylim=(0, 1))
    one.set(xlabel="t at which OT has this noise", xlim=(0, 1), ylim=(0, 1))
    legend(figure, 2)
    return finish(figure)


FIGURES = (
    Figure(
        "appearance",
        "States of three trajectories from the same noise at eleven times, with the OT path above and the diffusion "
        "path below.",
        "Exact fields, from the same noise: states x_t as they are. With OT the digits can be seen from about the "
        "middle on; with the diffusion path there is little but noise until three quarters of the time. Both end at "
        "the same digits.",
        (class_time,),
        draw_pictures,
    ),
    Figure(
        "class-read",
        "Share of samples whose class is read, against time, on each path's own clock and on the clock of OT.",
        "Left: by either reader the class is known earlier with OT. Right: the same on one clock, by the ratio of "
        "signal to noise; there the two paths fall together. Once there is something to read, the posterior "
        "knows the class before the classifier, which has seen no noise in its training.",
        (class_time,),
        draw_reading,
    ),
    Figure(
        "appearance-networks",
        "States of three trajectories of trained networks from the same noise at eleven times, with the OT path above "
        "and the diffusion path below.",
        "The same with networks trained on MNIST: with OT the digits show through the noise earlier. The two networks "
        "need not end at the same digit.",
        (class_time_networks,),
        draw_network_pictures,
    ),
    Figure(
        "class-read-networks",
        "Share of samples of trained networks whose class is read, against time, on each path's own clock and on the "
        "clock of OT.",
        "Left: by either reader the class is known earlier with OT. Right: on one clock, by the ratio of signal to "
        "noise, most of the distance is gone.",
        (class_time_networks,),
        draw_network_reading,
    ),
)

STUDY = Study(
    "When the picture appears",
    "Does the picture appear earlier on the way with the OT path than with the diffusion path?",
    (class_time, class_time_networks),
    CLAIMS,
    FIGURES,
)
