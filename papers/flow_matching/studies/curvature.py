"""How straight are the trajectories that a solver follows, and what makes them straighter (beyond the paper)?

The paper's conditional OT trajectories are straight lines at constant speed. A solver follows the marginal velocity,
whose trajectories are not. Their curvature is measured on exact fields of a mixture, on the OT and on the VP path. Then
networks are trained on the OT path with pairs of noise and data by optimal transport within mini-batches (Tong et al.
2023, arXiv 2302.00482), in the place of independent pairs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import PRESETS, Grid, Row, Run, at_least, experiment, one_of
from common.harness.studies.measures import paired_ratio, value_at
from common.harness.studies.study import Study
from common.training.loop import Batch
from common.training.members import Generators, uniform
from common.training.stream import stream
from common.transport.coupling import Coupling, Pairs, independent, minibatch_ot
from papers.flow_matching.objective import Net, cfm_loss, in_own_dtype
from papers.flow_matching.path import OT
from papers.flow_matching.solvers import euler, grid, midpoint
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

COMPARED = ("ot", "vp")
PAIRING = 3
"""What one more stream of a seed is for: the data points of conditional trajectories."""
SHOWN = 60
"""Trajectories of a run that are kept for its figure."""


@dataclass(frozen=True)
class TrajectoryConfig:
    path: str
    steps: int = 128
    """Midpoint steps."""
    n_samples: int = 256

    def __post_init__(self) -> None:
        one_of(COMPARED, self, "path")
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
    {preset: Grid([TrajectoryConfig(path) for path in COMPARED], 3 if preset == "quick" else 8) for preset in PRESETS},
    {"trajectories": ("conditional", "marginal"), "curvature": float},
    together=8,
)
def trajectories(config: TrajectoryConfig, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> list[list[Row]]:
    """How curved conditional trajectories are, and marginal ones from the same noise."""
    path, law = EXACT_PATHS[config.path], mixture()
    t, x_0 = grid(path, config.steps), noise(config.n_samples, seeds)
    x_1 = torch.stack([law.sample(config.n_samples, stream(seed, PAIRING)) for seed in seeds])
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
        "quick": Grid(_paired((1, 256)), 3),
        "small": Grid(_paired((1, 4, 16, 64, 256), steps=3000, hidden=128, pool=32_768), 5),
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
    "Exact fields of eight Gaussians, on the diffusion path up to t = 0.999. Curvature is the variance of dx/dt along t "
    "over the squared mean of dx/dt: 0 for a straight line at constant speed, so that it counts changes of speed too. "
)

CLAIMS = (
    Claim(
        "curvature",
        "Conditional OT trajectories are straight. The marginal ones are not, and yet straighter than those of the "
        "diffusion path.",
        "beyond Section 4.1, Figure 3",
        (
            Quantity(
                "conditional OT",
                trajectories,
                value_at("curvature", path="ot", trajectories="conditional"),
                Criterion(upper=1e-9, reason="a straight line at constant speed, up to rounding"),
                expected=0.0,
                metric=METRIC,
                zero=1e-9,
            ),
            Quantity(
                "marginal OT",
                trajectories,
                value_at("curvature", path="ot", trajectories="marginal"),
                Criterion(0.05, reason="a variance of a twentieth of the squared mean: seen by the eye"),
                metric=METRIC,
            ),
            Quantity(
                "marginal VP over marginal OT",
                trajectories,
                paired_ratio("curvature", first={"path": "vp"}, second={"path": "ot"}, trajectories="marginal"),
                Criterion(2.0, reason="a clear gap, not a tie"),
                metric=METRIC,
                unit="×",
                scale="log",
            ),
        ),
        presets=PRESETS,
        kind="ours",
        excludes="the diffusion path in the place of the OT path; conditional trajectories in the place of marginal ones",
        deviation=EXACT,
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
        deviation="Networks on eight Gaussians; training and network were settled by a pilot on seeds from 100 on.",
    ),
)
FIGURES = ()
STUDY = Study(
    "Straight trajectories",
    "How straight are the trajectories that a solver follows, and what makes them straighter?",
    (trajectories, pairing),
    CLAIMS,
    FIGURES,
)
