"""Do samples that the exact marginal velocity carries have the law p_t at every t (Theorem 1)?

For data from a mixture p_t and its velocity are known. Points are carried from p_0, and their law is compared with p_t
in two ways: by the log-density, which the divergence of the velocity changes along the way and which must arrive at
log p_t, and by the distance to fresh draws of p_t, beside that of two sets of fresh draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from statistics import fmean
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from common.diffusion.likelihood import exact_trace, integrate_divergence
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import PRESETS, Grid, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import per_seed
from common.harness.studies.panels import finish, panels
from common.harness.studies.study import Study
from common.metrics.distances import w2
from common.metrics.floor import floor
from common.training.stream import stream
from papers.flow_matching.marginal import MixtureField
from papers.flow_matching.solvers import Velocity, rk4
from papers.flow_matching.studies.looks import PATHS
from papers.flow_matching.studies.plane import EXACT_PATHS, SAMPLING, mixture

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

FIELDS = ("marginal", "conditional")
"""The velocity that carries: the marginal one, and as a control that towards one data point."""
SHOWN = 200
"""Points of a run that are kept for its figure."""


@dataclass(frozen=True)
class LawConfig:
    path: str
    times: tuple[float, ...] = (0.25, 0.5, 0.9)
    steps: int = 20
    """RK4 steps between two times."""
    n_samples: int = 200
    repeats: int = 4
    """Samples whose distances are averaged, and of the floor as many."""
    n_densities: int = 16

    def __post_init__(self) -> None:
        one_of(EXACT_PATHS, self, "path")
        at_least(2, self, "steps", "n_samples", "repeats", "n_densities")
        if not all(0 < t <= EXACT_PATHS[self.path].last for t in self.times):
            raise ValueError(f"times are {self.times}; each must lie above 0, and not beyond the path's last time")


@experiment(
    LawConfig,
    {preset: Grid([LawConfig(path) for path in EXACT_PATHS], 3 if preset == "quick" else 10) for preset in PRESETS},
    {"field": FIELDS, "t": float, "w2": float, "floor": float, "n": int, "density_error": float},
)
def carried(config: LawConfig, seed: int, run: Run) -> list[Row]:
    """Points carried from p_0: how far from p_t they are, and how far their log-density is from log p_t."""
    generator, path, law = stream(seed, SAMPLING), EXACT_PATHS[config.path], mixture()
    field = MixtureField(path, law)
    start = torch.zeros((), dtype=torch.float64)
    n = config.n_samples
    x_0 = field.sample(config.repeats * n, start, generator)
    target = law.sample(1, generator)
    velocities: dict[str, Velocity] = {
        "marginal": field.velocity,
        "conditional": lambda x, t: path.conditional_velocity(x, target.expand_as(x), t),
    }
    carried_by = dict.fromkeys(velocities, x_0)
    rows: list[Row] = []
    shown: dict[str, Tensor] = {}
    for before, t in pairwise((0.0, *config.times)):
        time = torch.tensor(t, dtype=torch.float64)
        draws = field.sample(config.repeats * n, time, generator)
        least = floor(w2, partial(_draw, field, time), n, generator, config.repeats).mean
        for name, velocity in velocities.items():
            x = rk4(velocity, carried_by[name], torch.linspace(before, t, config.steps + 1, dtype=torch.float64))
            far = fmean(w2(a, b) for a, b in zip(x.split(n), draws.split(n), strict=True))
            error = density_error(field, velocity, draws[: config.n_densities], time)
            rows.append({"field": name, "t": t, "w2": far, "floor": least, "n": n, "density_error": error})
            carried_by[name] = x
            shown[f"{name}_{t:g}"] = x
        shown[f"drawn_{t:g}"] = draws
    run.save_arrays(**{name: x[:SHOWN].float().numpy() for name, x in shown.items()})
    return rows


def _draw(field: MixtureField, t: Tensor, n: int, generator: Generator) -> Tensor:
    return field.sample(n, t, generator)


def density_error(field: MixtureField, velocity: Velocity, x: Tensor, t: Tensor) -> float:
    """Mean |log p − log p_t| over points x ~ p_t, in nats; p is the law that `velocity` carries p_0 to.

    Followed back to t = 0, log p(x) = log p_0(x(0)) − ∫_0^t div u ds.
    """
    x_0, minus_integral = integrate_divergence(lambda x, s: exact_trace(velocity, x, s), x, float(t), 0.0, 1e-5)
    carried = field.log_prob(x_0, torch.zeros_like(t)) + minus_integral
    return float((carried - field.log_prob(x, t)).abs().mean())


def _largest(path: str) -> Quantity:
    return Quantity(
        f"log-density, {PATHS[path].name}",
        carried,
        per_seed(
            lambda rows: float(rows["density_error"].max(skipna=False)), ("density_error",), field="marginal", path=path
        ),
        Criterion(upper=1e-3, reason="an identity, up to the tolerance 1e-5 of the solver along the way"),
        expected=0.0,
        metric="mean |log p − log p_t| in nats, at the worst of three times",
        zero=1e-4,
    )


def _ratio(path: str) -> Quantity:
    def ratio(rows: pd.DataFrame) -> float:
        return float((rows["w2"] / rows["floor"]).mean(skipna=False))

    return Quantity(
        f"distance over its floor, {PATHS[path].name}",
        carried,
        per_seed(ratio, ("w2", "floor"), field="marginal", path=path),
        Criterion(0.8, 1.25, "a factor of 1.25 either way of 1, of equal laws: what three seeds can tell"),
        expected=1.0,
        metric="W₂ of carried points to fresh draws, over that of two sets of fresh draws, mean of three times",
        unit="×",
    )


CLAIMS = (
    Claim(
        "marginal-law",
        "The marginal velocity, an average of the conditional ones, generates the marginal probability path.",
        "Section 3.1, Theorem 1",
        (*(_largest(path) for path in EXACT_PATHS), *(_ratio(path) for path in EXACT_PATHS)),
        presets=PRESETS,
        kind="theorem",
        excludes="the conditional velocity towards one data point in the place of the marginal one",
        deviation="Data are eight Gaussians. Points are carried from draws of the exact p_0, by RK4; "
        "the diffusion paths start from noise up to a trace of the data.",
    ),
)


def draw_laws(results: Results) -> MatplotlibFigure:
    import numpy as np

    figure, axes = panels("flow_matching", 3, 2, width=8, height=9.5)
    for (left, right), (path, look) in zip(axes, PATHS.items(), strict=True):
        ((config, arrays),) = results.arrays(carried, path=path, seed=0)
        for panel, name, title in (
            (left, "marginal", "marginal velocity"),
            (right, "conditional", "towards one point"),
        ):
            for place, t in enumerate(config["times"]):
                drawn, x = arrays[f"drawn_{t:g}"], arrays[f"{name}_{t:g}"]
                scale = 2.2 * np.abs(drawn).max()
                for points, colour in ((drawn, "0.75"), (x, look.colour)):
                    panel.scatter(
                        points[:, 0] / scale + place, points[:, 1] / scale, s=5, lw=0, color=colour, rasterized=True
                    )
            panel.set(title=f"{look.name}, {title}", ylim=(-0.55, 0.55), xlim=(-0.55, len(config["times"]) - 0.45))
            panel.set_xticks(range(len(config["times"])), [f"t = {t:g}" for t in config["times"]])
            panel.set(yticks=[], aspect="equal")
    return finish(figure)


FIGURES = (
    Figure(
        "marginal-law",
        "Points carried by the marginal velocity and by the velocity towards one data point, over fresh draws of the "
        "marginal path in grey, at three times, for the OT, VP and VE paths.",
        "Each group of points has its own scale. Left: what the marginal velocity carries covers the draws of p_t at "
        "every time. Right: what is carried towards one data point leaves them for this point.",
        (carried,),
        draw_laws,
    ),
)

STUDY = Study(
    "The law of the marginal path",
    "Do points that the exact marginal velocity carries have the law p_t at every time, on each path?",
    (carried,),
    CLAIMS,
    FIGURES,
)
