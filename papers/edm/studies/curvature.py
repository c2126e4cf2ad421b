"""Are trajectories straighter with σ(t) = t and s(t) = 1 than under the VP and VE schedules (Section 3, Figure 3)?

Exact trajectories are the same curves under any schedule, but for their clock and their scale. Each schedule draws them
over its own time, and how far velocities stray from their mean is measured over one range of noise levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from common.diffusion.schedule import EDM, VE, VP, edm_sigmas
from common.diffusion.solvers import heun
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import paired_ratio
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from papers.edm.studies.comparison import student_interval
from papers.edm.studies.laws import EXACT, FIELDS, exact_denoiser, noise_at
from papers.edm.studies.methods import LAWS, SCHEDULES

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure


def _vp_scale(sigma: Tensor) -> Tensor:
    return 1 / (1 + sigma**2).sqrt()


CURVES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "vp": (VP.sigma_inv, _vp_scale),
    "ve": (VE.sigma_inv, torch.ones_like),
    "cosine": (lambda sigma: sigma.atan() * (2 / math.pi), _vp_scale),
    "edm": (EDM.sigma_inv, torch.ones_like),
}
"""t and s as functions of σ: x(t) = s(t) (x0 + σ(t) ε). 'cosine' is the forward process of iDDPM, σ(t) = tan(πt/2)."""

RANGES = (80.0, 5.0)
"""The highest noise levels that schedules are compared up to."""


@dataclass(frozen=True)
class CurvatureConfig:
    field: str
    sigma_min: float = 0.02
    sigma_max: float = 80.0
    steps: int = 512
    n_samples: int = 64
    n_points: int = 300

    def __post_init__(self) -> None:
        one_of(FIELDS, self, "field")
        at_least(1, self, "steps", "n_samples", "n_points")
        if not 0 < self.sigma_min < self.sigma_max:
            raise ValueError(f"0 < sigma_min < sigma_max is needed, not {self.sigma_min} and {self.sigma_max}")


_CONFIGS = [CurvatureConfig(field, sigma_max=top) for field in FIELDS for top in RANGES]


def curvature_of(t: Tensor, x: Tensor) -> float:
    """E ∫ |x'(t) - v|² dt / E T |v|² with v = (x(T) - x(0)) / T: how far velocities stray from their means over time.

    It is 0 for straight lines at constant speed only, and the same in any unit of t and of x. For the polygon through
    the points it is E Σ_k |Δx_k|² / Δt_k · T / E |x(T) - x(0)|² - 1. t: (K,), x: (K, B, D).
    """
    energy = (x.diff(dim=0).square().sum((1, 2)) / t.diff()).sum()
    return float(energy * (t[-1] - t[0]) / (x[-1] - x[0]).square().sum() - 1)


@experiment(
    CurvatureConfig,
    {"quick": Grid([replace(config, steps=256) for config in _CONFIGS], 3), "small": Grid(_CONFIGS, 10)},
    {"schedule": CURVES, "curvature": float},
)
def curvature(config: CurvatureConfig, seed: int, run: Run) -> list[Row]:
    """Exact trajectories as four schedules draw them over time, and how curved they are, over one range of noise
    levels."""
    generator = torch.Generator().manual_seed(seed)
    denoiser, shape = exact_denoiser(config.field, config.n_points, generator)
    sigmas = edm_sigmas(config.steps, config.sigma_min, config.sigma_max)
    states: list[Tensor] = []
    heun(denoiser, noise_at(sigmas[0], config.n_samples, shape, generator), sigmas, callback=states.append)
    x, sigmas = torch.stack(states[:-1]).flatten(2), sigmas[:-1]
    rows: list[Row] = []
    arrays = {"sigma": sigmas.numpy(), "unscaled": x[:, :, :2].numpy()}
    for schedule, (time, scale) in CURVES.items():
        t, scaled = time(sigmas), scale(sigmas)[:, None, None] * x
        rows.append({"schedule": schedule, "curvature": curvature_of(t, scaled)})
        arrays |= {f"t_{schedule}": t.numpy(), f"x_{schedule}": scaled[:, :, 0].numpy()}
    run.save_arrays(**arrays)
    return rows


_STRAIGHTER = Criterion(2.0, reason="a clear gap, not a tie: at least twice the curvature of EDM's trajectories")

CLAIMS = (
    Claim(
        "linear",
        "With sigma(t) = t and s(t) = 1 the trajectories of the ODE are straighter than those of the VP and VE "
        "schedules.",
        "Section 3, Figure 3",
        tuple(
            Quantity(
                f"curvature up to sigma {sigma_max:g}, {SCHEDULES[schedule].name} over {SCHEDULES['edm'].name}",
                curvature,
                paired_ratio(
                    "curvature",
                    first={"schedule": schedule},
                    second={"schedule": "edm"},
                    field="digits",
                    sigma_max=sigma_max,
                ),
                _STRAIGHTER,
                metric="variance of dx/dt over its squared mean, digits",
                unit="×",
                scale="log",
            )
            for sigma_max, schedule in product(RANGES, ("vp", "ve"))
        ),
        excludes="the VP schedule in the place of EDM's",
        deviation=EXACT
        + " Curvature is the variance of dx/dt along t over the squared mean of dx/dt: 0 for a straight line at "
        "constant speed, so that it counts changes of speed, which cost a solver as much as bends. All schedules are "
        "compared over the same noise levels: from 0.02 to 80, where the long way at high noise, straight under EDM, "
        "decides, and from 0.02 to 5, about the data. The second range was added after a review had seen the first's "
        "numbers. `quick` has 256 steps in place of 512, so that it takes a minute.",
    ),
)


def draw_trajectories(results: Results) -> MatplotlibFigure:
    _, arrays = results.arrays(curvature, field="mixture", sigma_max=80.0)[0]
    figure, axes = panels("edm", rows=3, columns=2, width=7.5, height=9)
    plane, *clocks, rest = axes.flat
    # Every fourth state draws the same lines in a quarter of the file.
    x = arrays["unscaled"][:, :40]
    plane.plot(x[::4, :, 0], x[::4, :, 1], color="0.6", lw=0.8)
    plane.scatter(x[-1, :, 0], x[-1, :, 1], s=14, color="0.2", zorder=3, rasterized=True)
    plane.set(xlim=(-2, 2), ylim=(-2, 2), xlabel="x₁", ylabel="x₂", title="in the plane", aspect="equal")
    for panel, schedule in zip(clocks, CURVES, strict=True):
        t, curves = arrays[f"t_{schedule}"], arrays[f"x_{schedule}"][:, :24]
        panel.plot(_thinned(t), _thinned(curves), color=SCHEDULES[schedule].colour, lw=0.9)
        panel.set(title=SCHEDULES[schedule].name, xlabel="t", ylabel="s(t) x₁")
    rest.axis("off")
    return finish(figure)


def _thinned(states: np.ndarray) -> np.ndarray:
    """Every fourth state, and the last 64: a clock may pass all of them in a sliver of time."""
    return np.concatenate([states[:-64:4], states[-64:]])


def draw_curvature(results: Results) -> MatplotlibFigure:
    table = where(results.table(curvature), sigma_max=80.0)
    figure, axes = panels("edm", width=7.5)
    panel = axes[0, 0]
    order = ("ve", "vp", "cosine", "edm")
    for shift, (field, law) in zip((-0.12, 0.12), LAWS.items(), strict=True):
        for place, schedule in enumerate(order):
            values = where(table, field=field, schedule=schedule)["curvature"]
            low, high = student_interval(values)
            panel.plot([low, high], [place + shift] * 2, color=law.colour, lw=2.5, solid_capstyle="butt")
            label = law.name if place == 0 else None
            panel.plot(values.mean(), place + shift, ls="", marker=law.marker, color=law.colour, label=label)
    panel.set(xscale="log", xlabel="curvature: variance of dx/dt over its squared mean", ylim=(3.5, -0.5))
    panel.set_yticks(range(len(order)), [SCHEDULES[schedule].name for schedule in order])
    panel.legend(frameon=False, loc="upper left")
    panel.grid(axis="x", color="0.9")
    return finish(figure)


FIGURES = (
    Figure(
        "trajectories",
        "Exact sampling trajectories of a two-dimensional mixture: in the plane, with their ends at σ = 0.02 as dots, "
        "and one coordinate over time under the VP, VE, cosine and EDM schedules.",
        "The solutions are the same in all panels; only the clock and the scale differ. Under EDM (σ = t, s = 1) they "
        "are straight until close to t = 0. Under VP and the cosine schedule they bend all the way. Under VE they turn "
        "within a sliver of time.",
        (curvature,),
        draw_trajectories,
    ),
    Figure(
        "curvature",
        "Curvature of exact trajectories under four schedules, for the two-dimensional mixture and for digits, on a "
        "logarithmic axis.",
        "Further left is straighter. Noise levels are from 0.02 to 80. Bars are 95 % intervals over seeds; where none "
        "is seen, it is smaller than its marker.",
        (curvature,),
        draw_curvature,
    ),
)

STUDY = Study(
    "Straight trajectories",
    "Are the trajectories of the ODE straighter with sigma(t) = t and s(t) = 1 than under the VP and VE schedules?",
    (curvature,),
    CLAIMS,
    FIGURES,
)
