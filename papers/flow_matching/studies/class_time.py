"""Does the picture appear earlier on the way with the OT path than with diffusion (Section 6.2, Figure 6)?

Figure 6 shows states x_t of both models from the same noise: with OT the noise goes "roughly linearly", with diffusion
only towards the end. Here a reader says which digit it sees in x_t/m(t), and the time is taken from which on it says
what it says at the end. There are two readers:

    posterior    the most probable class given the state, by the exact law: no reader can know more
    classifier   the digit classifier of `common/metrics`, that was trained on clean images

The states are those of the exact fields, which need no training, and of trained networks. With exact fields both paths
take the same picture at the same signal-to-noise ratio, so that what differs is the clock. The second claim shows it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from common.data.images import Images, digits
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Experiment, Grid, Row, Run, Values, at_least, experiment
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import paired_difference
from common.harness.studies.panels import finish, panels
from common.harness.studies.study import Study
from common.metrics.features import load_classifier
from common.training.stream import stream
from papers.flow_matching.marginal import SMALLEST_SCALE, EmpiricalField
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.path import OT, ConditionalPath
from papers.flow_matching.solvers import Velocity, grid, midpoint
from papers.flow_matching.studies.looks import METHODS, legend

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

PATHS = ("fm-ot", "fm-vp")
READERS = ("posterior", "classifier")
SURE = 0.9
"""The probability at which a reader has read a class. Less than that is a guess: the flow is deterministic, so that
even the noise at the start says something of the picture at the end."""
NOISE = 0
"""What the random stream of a run is for."""
SHOWN = 11
"""Pictures of one trajectory in the figure."""


@dataclass(frozen=True)
class ClassTimeConfig:
    """States on a grid of `steps` equal steps of the midpoint method, of `n_samples` draws of noise."""

    steps: int = 64
    n_samples: int = 64

    def __post_init__(self) -> None:
        at_least(2, self, "steps")
        at_least(1, self, "n_samples")


def class_posterior(x: Tensor, noise: Tensor, images: Images, chunk: int = 256) -> Tensor:
    """P(c | x) for x = x_1 + noise ε with x_1 one of `images`, each equally likely; x: (B, *D), noise: ().

    It is the sum of softmax_i(−‖x − y_i‖²/(2 noise²)) over the images y_i of class c. Returns (B, 10), float64.
    """
    mean = images.x0.double().flatten(1).mean(0)  # the differences of large numbers are taken about it
    data = images.x0.double().flatten(1) - mean
    of_class = torch.nn.functional.one_hot(images.labels, 10).double()
    found = []
    for z in (x.double().flatten(1) - mean).split(chunk):
        weights = torch.softmax(torch.addmm(-data.square().sum(1) / 2, z, data.T) / noise.double().square(), dim=1)
        found.append(weights @ of_class)
    return torch.cat(found)


def settled(probabilities: Tensor) -> Tensor:
    """Index of the state from which on the final class has a probability of at least `SURE`: (K, B, 10) -> (B,).

    The final class is the most probable one in the last state; where even that is not sure of it, the index is the
    last.
    """
    final = probabilities[-1].argmax(1)
    of_final = probabilities.gather(2, final.expand(len(probabilities), -1)[..., None])[..., 0]
    sure = (of_final >= SURE).long()
    sure[-1] = 1
    return sure.flip(0).cumprod(0).flip(0).argmax(0)


def on_the_clock_of_ot(path: ConditionalPath, t: Tensor) -> Tensor:
    """The time at which OT has the signal-to-noise ratio r = m(t)/σ_t that `path` has at t: r/(1 + (1 − σ_min) r)."""
    r = path.mean_scale(t) / path.sigma(t)
    return r / (1 + (1 - OT().sigma_min) * r)


def read_along(
    velocity: Velocity, path: ConditionalPath, x_0: Tensor, config: ClassTimeConfig, images: Images, classifier: str
) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
    """Times (K,), states (K, B, *D) and, by reader, the probability of each class (K, B, 10)."""
    times, states = grid(path, config.steps), list[Tensor]()
    midpoint(velocity, x_0, times, callback=states.append)
    net = load_classifier(classifier)
    reads: dict[str, list[Tensor]] = {reader: [] for reader in READERS}
    for t, x in zip(times, states, strict=True):
        m = path.mean_scale(t).clamp(min=SMALLEST_SCALE)
        picture = x / m
        reads["posterior"].append(class_posterior(picture, path.sigma(t) / m, images))
        reads["classifier"].append(net(picture.float().clamp(-1, 1)).softmax(1))
    return times, torch.stack(states), {reader: torch.stack(read) for reader, read in reads.items()}


def report(
    velocities: Mapping[str, Velocity], x_0: Tensor, config: ClassTimeConfig, images: Images, classifier: str, run: Run
) -> list[Row]:
    """Rows and arrays of one run: each path from the same noise."""
    rows: list[Row] = []
    arrays: dict[str, np.ndarray] = {}
    for name, velocity in velocities.items():
        path = OBJECTIVES[name].path
        times, states, reads = read_along(velocity, path, x_0, config, images, classifier)
        arrays[f"times_{name}"] = times.numpy()
        shown = torch.linspace(0, config.steps, SHOWN).round().long()
        arrays[f"states_{name}"] = states[shown, :4, 0].float().numpy()
        for reader, read in reads.items():
            index = settled(read)
            t = times[index]
            at_equal_noise = on_the_clock_of_ot(path, t)
            rows.append(
                {
                    "objective": name,
                    "reader": reader,
                    "time": float(t.mean()),
                    "time_on_ot": float(at_equal_noise.mean()),
                }
            )
            arrays[f"settled_{reader}_{name}"] = t.numpy()
    run.save_arrays(**arrays)
    return rows


COLUMNS: Mapping[str, Values] = {"objective": PATHS, "reader": READERS, "time": float, "time_on_ot": float}


@experiment(
    ClassTimeConfig,
    {"quick": Grid([ClassTimeConfig(n_samples=32)], 3), "small": Grid([ClassTimeConfig(128, 256)], 5)},
    COLUMNS,
)
def class_time(config: ClassTimeConfig, seed: int, run: Run) -> list[Row]:
    """When the class is read in states of the exact fields of scikit-learn's digits."""
    images = digits()
    velocities = {name: EmpiricalField(OBJECTIVES[name].path, images.x0).velocity for name in PATHS}
    noise = stream(seed, NOISE)
    x_0 = torch.randn(config.n_samples, *images.x0.shape[1:], generator=noise, dtype=torch.float64)
    return report(velocities, x_0, config, images, "digits", run)


def _later(column: str, reader: str, **others: Any) -> dict[str, Any]:
    """The arguments of a quantity: by how much VP's `column` is above OT's."""
    return {
        "measure": paired_difference(column, {"objective": "fm-vp"}, {"objective": "fm-ot"}, reader=reader),
        **others,
    }


EARLIER = Criterion(
    0.1,
    reason="a tenth of the whole time; the clocks of the paths differ by 0.24 where signal and noise are equal "
    "(t = 0.5 and 0.74), and by more before",
)
SAME = Criterion(-0.03, 0.03, "an eighth of the 0.24 by which the clocks differ; the grid of times is 0.016 wide")
READING = (
    "Digits in place of ImageNet. The paper shows states to the eye. Here a reader has read a class once it gives the "
    "final class a probability of 0.9 or more, in that state and in all after it."
)
SOURCE = "Section 6.2, Figure 6"
CONTROL = "both paths on one clock: at equal signal-to-noise ratio they are read together (class-time-clock)"
CLAIMS = (
    Claim(
        "class-time",
        "The model with the OT path starts to generate the image sooner than the one with the diffusion path.",
        SOURCE,
        tuple(
            Quantity(
                f"time of reading, VP less OT, {reader}",
                class_time,
                criterion=EARLIER,
                metric="time from which the final class has a probability of 0.9, mean over samples, exact fields",
                **_later("time", reader),
            )
            for reader in READERS
        ),
        excludes=CONTROL,
        deviation=READING + " Exact fields of scikit-learn's digits.",
    ),
    Claim(
        "class-time-clock",
        "It is the clock that differs: at equal signal-to-noise ratio both paths are read at the same time.",
        "beside Figure 6",
        tuple(
            Quantity(
                f"time of reading on the clock of OT, VP less OT, {reader}",
                class_time,
                criterion=SAME,
                metric="time at which OT has the signal-to-noise ratio of the reading, mean over samples, exact fields",
                **_later("time_on_ot", reader),
            )
            for reader in READERS
        ),
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


def _pictures(results: Results, of: Experiment) -> MatplotlibFigure:
    """States of three trajectories by path; time goes to the right."""
    arrays = results.arrays(of, seed=0)[0][1]
    figure, axes = panels("flow_matching", rows=2, width=7.5, height=5.2)
    for panel, name in zip(axes[:, 0], PATHS, strict=True):
        states = arrays[f"states_{name}"][:, :3]
        T, n, H, W = states.shape
        framed = np.pad(states, ((0, 0), (0, 0), (0, 1), (0, 1)), constant_values=-1)
        sheet = framed.transpose(1, 2, 0, 3).reshape(n * (H + 1), T * (W + 1))
        panel.imshow(sheet, cmap="gray_r", vmin=-1, vmax=1, interpolation="nearest")
        panel.set(title=METHODS[name].name, xlabel="time t", yticks=[])
        panel.set_xticks((np.arange(T) + 0.5) * (W + 1) - 1, [f"{t:.1f}" for t in np.linspace(0, 1, T)])
        panel.tick_params(length=0)
    return finish(figure)


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
        "signal to noise; there the two paths fall together. The posterior knows the class before the classifier, "
        "which has seen no noise in its training.",
        (class_time,),
        draw_reading,
    ),
)

STUDY = Study(
    "When the picture appears",
    "Does the picture appear earlier on the way with the OT path than with the diffusion path?",
    (class_time,),
    CLAIMS,
    FIGURES,
)
