"""How straight are the trajectories that a solver follows, and what makes them straighter (beyond the paper)?

The paper's conditional OT trajectories are straight lines at constant speed. A solver follows the marginal velocity,
whose trajectories are not. Their curvature is measured on exact fields, on the OT and on the VP path, of two laws: a
mixture in the plane, and digits. Then networks are trained on the OT path with pairs of noise and data by optimal
transport within mini-batches (Tong et al. 2023, arXiv 2302.00482), in the place of independent pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from common.data.images import digits
from common.diffusion.oracle import EmpiricalDenoiser
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import PRESETS, Grid, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import paired_ratio, value_at
from common.harness.studies.panels import COLOURS, finish, panels, where
from common.harness.studies.statistics import student_t
from common.harness.studies.study import Study
from common.metrics.floor import Sampler, resampled
from common.training.loop import Batch
from common.training.members import Generators, uniform
from common.training.stream import stream
from common.transport.coupling import Coupling, Pairs, independent, minibatch_ot
from papers.flow_matching.marginal import Oracle
from papers.flow_matching.objective import Net, cfm_loss, in_own_dtype
from papers.flow_matching.path import OT
from papers.flow_matching.solvers import euler, grid, midpoint
from papers.flow_matching.studies.looks import PATHS, Look, ticks
from papers.flow_matching.studies.plane import (
    EXACT_PATHS,
    TRAINED,
    NetConfig,
    exact_velocity,
    learn,
    mixture,
    noise,
    rmse,
)

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure as MatplotlibFigure

COMPARED = ("ot", "vp")
LAWS: dict[str, Look] = {
    "mixture": Look("mixture (2-D)", COLOURS[7], "o"),
    "digits": Look("digits (64-D)", "black", "s"),
}
N_DIGITS = 300
"""The first digits of scikit-learn, in [-1, 1]: the second law is uniform on them."""
PAIRING = 3
"""What one more stream of a seed is for: the data points of conditional trajectories."""
SHOWN = 60
"""Trajectories of a run that are kept for its figure."""


@dataclass(frozen=True)
class TrajectoryConfig:
    path: str
    law: str
    steps: int = 128
    """Midpoint steps."""
    n_samples: int = 128

    def __post_init__(self) -> None:
        one_of(COMPARED, self, "path")
        one_of(LAWS, self, "law")
        at_least(2, self, "steps", "n_samples")


def curvature_of(t: Tensor, x: Tensor) -> Tensor:
    """E ∫ |x'(t) − v|² dt / E T |v|² with v = (x(T) − x(0))/T: 0 for straight lines at constant speed, and only there.

    For the polygon through the points it is T E Σ_k |Δx_k|²/Δt_k / E |x(T) − x(0)|² − 1; t: (K,), x: (K, ..., B, D).
    Returns (...).
    """
    energy = (x.diff(dim=0).square().sum((-2, -1)) / t.diff().reshape(-1, *[1] * (x.ndim - 3))).sum(0)
    return energy * (t[-1] - t[0]) / (x[-1] - x[0]).square().sum((-2, -1)) - 1


@experiment(
    TrajectoryConfig,
    {
        preset: Grid([TrajectoryConfig(path, law) for path in COMPARED for law in LAWS], 3 if preset == "quick" else 8)
        for preset in PRESETS
    },
    {"trajectories": ("conditional", "marginal"), "curvature": float},
    together=8,
)
def trajectories(config: TrajectoryConfig, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> list[list[Row]]:
    """How curved conditional trajectories are, and marginal ones from the same noise."""
    path = EXACT_PATHS[config.path]
    law, draw = _law(config.law)
    x_1 = torch.stack([draw(config.n_samples, stream(seed, PAIRING)) for seed in seeds])
    t, x_0 = grid(path, config.steps), noise(config.n_samples, seeds, dim=x_1.shape[-1])
    marginal: list[Tensor] = []
    midpoint(exact_velocity(path, law), x_0, t, marginal.append)
    states = {
        "conditional": torch.stack([path.sample(x_0, x_1, each) for each in t]),
        "marginal": torch.stack(marginal),
    }
    for s, run in enumerate(runs):
        run.save_arrays(**{name: x[:, s, :SHOWN].float().numpy() for name, x in states.items()})
    curvatures = {name: curvature_of(t, x) for name, x in states.items()}
    return [
        [{"trajectories": name, "curvature": float(values[s])} for name, values in curvatures.items()]
        for s in range(len(seeds))
    ]


def _law(name: str) -> tuple[Oracle, Sampler]:
    """A law with its exact denoiser, and how it is sampled."""
    if name == "mixture":
        return mixture(), mixture().sample
    points = digits().x0[:N_DIGITS].flatten(1).double()
    return EmpiricalDenoiser(points), resampled(points)


@dataclass(frozen=True)
class PairedConfig(NetConfig):
    """A network trained on pairs by optimal transport within mini-batches of `among`; 1 is independent pairs."""

    among: int = 1
    steps: int = 1000
    pool: int = 8192
    """Pairs that a seed trains on."""
    converged_steps: int = 100
    n_samples: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        at_least(1, self, "among", "converged_steps", "n_samples")
        at_least(self.among, self, "pool")


def pooled(couple: Coupling, n_pairs: int) -> Callable[[int, Generator], Batch]:
    """Batches from a pool of pairs of noise and data, which each generator draws for itself when it is first met."""
    pools: dict[Generator, Pairs] = {}

    def sample(n: int, generator: Generator) -> Batch:
        if generator not in pools:
            x_0 = torch.randn(n_pairs, 2, generator=generator)
            pools[generator] = couple(x_0, mixture().sample(n_pairs, generator).float(), generator)
        x_0, x_1 = pools[generator]
        rows = torch.randint(len(x_0), (n,), generator=generator)
        return x_1[rows], {"x_0": x_0[rows]}

    return sample


def paired_loss(net: Net, x_1: Tensor, generator: Generators, x_0: Tensor) -> Tensor:
    """Conditional flow matching on the OT path, for pairs that are given."""
    t = uniform(x_1.shape[:-1], generator, dtype=torch.float64, device=x_1.device)
    return cfm_loss(net, x_0, x_1, t, path=OT())


def _paired(among: tuple[int, ...], **fields: int) -> list[PairedConfig]:
    return [PairedConfig(among=each, **fields) for each in among]


@experiment(
    PairedConfig,
    {
        "quick": Grid(_paired((1, 256), steps=500, pool=4096, converged_steps=50), 3),
        "small": Grid(_paired((1, 4, 16, 64, 256), steps=2000, hidden=128, pool=32_768), 5),
        "gpu": Grid(_paired((1, 4, 16, 64, 256), steps=10_000, hidden=256, batch=1024, pool=131_072), 5),
    },
    {"curvature": float, "euler_error": float},
    together=8,
    tolerance=TRAINED,
)
def pairing(config: PairedConfig, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> list[list[Row]]:
    """How curved the trajectories of a network are, and the error of Euler's method in four steps."""
    couple = independent if config.among == 1 else minibatch_ot(config.among)
    members = learn(paired_loss, pooled(couple, config.pool), config, seeds, runs)
    velocity, x_0 = in_own_dtype(members), noise(config.n_samples, seeds, runs[0].device)
    t, states = grid(OT(), config.converged_steps), list[Tensor]()
    exact = midpoint(velocity, x_0, t, states.append)
    x = torch.stack(states)
    for s, run in enumerate(runs):
        run.save_arrays(trajectories=x[:, s, :SHOWN].float().cpu().numpy())
    curved, error = curvature_of(t.to(x.device), x), rmse(euler(velocity, x_0, grid(OT(), 4)), exact)
    return [[{"curvature": float(curved[s]), "euler_error": float(error[s])}] for s in range(len(seeds))]


METRIC = "variance of dx/dt along t over its squared mean"
EXACT = (
    "Exact fields, on the diffusion path up to t = 0.999. Curvature is the variance of dx/dt along t over the squared "
    "mean of dx/dt: 0 for a straight line at constant speed, so that it counts changes of speed too. "
)


def _straight(law: str) -> Quantity:
    return Quantity(
        f"conditional OT, {LAWS[law].name}",
        trajectories,
        value_at("curvature", path="ot", trajectories="conditional", law=law),
        Criterion(upper=1e-9, reason="a straight line at constant speed, up to rounding"),
        expected=0.0,
        metric=METRIC,
        zero=1e-9,
    )


def _bent(law: str) -> Quantity:
    return Quantity(
        f"marginal OT, {LAWS[law].name}",
        trajectories,
        value_at("curvature", path="ot", trajectories="marginal", law=law),
        Criterion(0.05, reason="a variance of a twentieth of the squared mean: seen by the eye"),
        metric=METRIC,
    )


CLAIMS = (
    Claim(
        "curvature",
        "Conditional OT trajectories are straight. The marginal ones, which a solver follows, are not.",
        "beyond Section 4.1, Figure 3",
        (*(_straight(law) for law in LAWS), *(_bent(law) for law in LAWS)),
        presets=PRESETS,
        kind="ours",
        excludes="conditional trajectories in the place of marginal ones, and those of the diffusion path in the place "
        "of the conditional OT ones",
        deviation=EXACT,
    ),
    Claim(
        "straighter",
        "Of digits the marginal OT trajectories are straighter than those of the diffusion path.",
        "beyond Section 4.1, Figure 3",
        (
            Quantity(
                "VP over OT, digits",
                trajectories,
                paired_ratio(
                    "curvature", first={"path": "vp"}, second={"path": "ot"}, trajectories="marginal", law="digits"
                ),
                Criterion(2.0, reason="a clear gap, not a tie"),
                metric=METRIC + ", marginal trajectories",
                unit="×",
                scale="log",
            ),
        ),
        presets=PRESETS,
        kind="ours",
        excludes="the diffusion path in the place of the OT path",
        deviation=EXACT + "Of the mixture, which is as wide as the noise and in the plane, they are not: the two are "
        "equally curved there, as a pilot on seeds from 100 on showed.",
    ),
    Claim(
        "mini-batch-ot",
        "Pairs of noise and data by optimal transport within mini-batches straighten the marginal trajectories of the "
        "OT path.",
        "beyond the paper; Tong et al. 2023",
        (
            Quantity(
                "independent pairs over pairs among 256",
                pairing,
                paired_ratio("curvature", first={"among": 1}, second={"among": 256}),
                Criterion(2.0, reason="a clear gap, not a tie"),
                metric=METRIC + ", of the networks' trajectories",
                unit="×",
                scale="log",
            ),
        ),
        presets=PRESETS,
        kind="ours",
        excludes="independent pairs",
        deviation="Networks on eight Gaussians; network and training were settled by a pilot on seeds from 100 on.",
    ),
)


def draw_trajectories(results: Results) -> MatplotlibFigure:
    figure, axes = panels("flow_matching", 2, 2, width=8, height=8)
    largest = max(results.table(pairing)["among"])
    drawn: list[tuple[str, str, np.ndarray]] = []
    for path, look in PATHS.items():
        for _, arrays in results.arrays(trajectories, path=path, law="mixture", seed=0):
            drawn.append((f"{look.name}, exact field", look.colour, arrays["marginal"]))
            if path == "ot":
                drawn.insert(0, (f"{look.name}, conditional", look.colour, arrays["conditional"]))
    ((_, arrays),) = results.arrays(pairing, among=largest, seed=0)
    drawn.append((f"OT, network, pairs among {largest}", COLOURS[2], arrays["trajectories"]))
    for panel, (title, colour, x) in zip(axes.flat, drawn, strict=True):
        panel.plot(x[::4, :, 0], x[::4, :, 1], color=colour, lw=0.8, alpha=0.7)
        panel.scatter(x[-1, :, 0], x[-1, :, 1], s=12, color="0.2", zorder=3, rasterized=True)
        panel.set(title=title, xlim=(-3, 3), ylim=(-3, 3), xlabel="x₁", ylabel="x₂", aspect="equal")
    return finish(figure)


def draw_curvature(results: Results) -> MatplotlibFigure:
    figure, axes = panels("flow_matching", columns=2, width=8, height=3.8)
    left, right = axes[0]
    table = where(results.table(trajectories), trajectories="marginal")
    for place, law in enumerate(LAWS):
        for path, shift in (("ot", -0.12), ("vp", 0.12)):
            estimate = student_t(list(where(table, law=law, path=path)["curvature"]), "log")
            kind = PATHS[path]
            left.plot([place + shift] * 2, [estimate.low, estimate.high], color=kind.colour, lw=2.5)
            left.plot(
                place + shift, estimate.mean, ls="", color=kind.colour, marker=kind.marker,
                label=kind.name if place == 0 else None,
            )  # fmt: skip
    left.set(yscale="log", ylabel="curvature", xlabel="exact fields", xlim=(-0.5, len(LAWS) - 0.5))
    left.set_xticks(range(len(LAWS)), [look.name for look in LAWS.values()])
    left.legend(frameon=False, fontsize="small")
    means = results.table(pairing).groupby("among")["curvature"]
    right.plot(means.mean().index, means.mean(), **PATHS["ot"].line())
    right.fill_between(means.mean().index, means.min(), means.max(), color=PATHS["ot"].colour, alpha=0.2, lw=0)
    ticks(right, means.mean().index, yscale="log", xlabel="pairs by optimal transport among")
    return finish(figure)


FIGURES = (
    Figure(
        "trajectories",
        "Trajectories in the plane from noise to eight Gaussians: conditional OT, marginal OT, marginal VP, and those "
        "of a network trained with pairs by optimal transport.",
        "The first panel has straight lines from noise to data points; they cross. Trajectories of one velocity cannot "
        "cross: the marginal ones begin towards the middle of the data, and turn. With pairs by optimal transport in "
        "the place of independent ones few lines cross, and the marginal trajectories are nearly straight too.",
        (trajectories, pairing),
        draw_trajectories,
    ),
    Figure(
        "curvature",
        "Left: curvature of marginal trajectories on the OT and VP path, of a mixture and of digits. Right: curvature "
        "of networks' trajectories against the number of points that pairs are chosen among.",
        "Left: of digits, OT trajectories are far straighter than those of VP; of the mixture in the plane they are "
        "not. Bars are 95 % intervals over seeds, and smaller than the markers where none is seen. Right: the more "
        "points optimal transport pairs at once, the straighter; 1 stands for independent pairs. The band is the range "
        "over seeds.",
        (trajectories, pairing),
        draw_curvature,
    ),
)

STUDY = Study(
    "Straight trajectories",
    "How straight are the trajectories that a solver follows, and what makes them straighter?",
    (trajectories, pairing),
    CLAIMS,
    FIGURES,
)
