"""Section 6: between N(−a 1, I) and N(a 1, I), where the Schrödinger bridge and every iterate are known."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise, repeat

import torch
from torch import Generator, Tensor

from common.harness.studies.experiment import Experiment, Grid, Row, Run, at_least, one_of, positive
from common.training.stream import stream
from papers.dsbm.bridge import brownian_bridge
from papers.dsbm.divergence import kl_of_samples
from papers.dsbm.gaussian import GaussianBridge, imf, independent_bridge, ipf, schrodinger_bridge, unit_gaussians
from papers.dsbm.imf import IMFConfig
from papers.dsbm.methods import METHODS, ONE_PASS, Learned, learn
from papers.dsbm.process import Drift, simulate

A = 0.1
SIGMA = 1.0
STEPS = 20
"""Of a simulation, so that P_t is compared at 21 times."""
N = 10_000
"""Points of each side to train on, and as many to test."""
TRAIN, TEST = range(2)
"""What the independent random streams of a run are for."""

AVERAGED = 12_800.0
"""Half-life of the average of the weights, in rows (100 steps), where the training is long enough to have one so long.
The paper's networks for points have no average; with a tenth of their steps and ten times their learning rate the last
iterate would be mostly noise."""


@dataclass(frozen=True)
class GaussianConfig:
    """One method in one dimension. The paper: 40 passes of 10 000 steps, lr 1e-4, a cache renewed every 78 steps.

    A method of one pass makes as many steps as each of the others' two networks does in all, but for the first pass,
    which is twice as long.
    """

    method: str
    dim: int
    passes: int
    inner_steps: int
    lr: float = 1e-3
    refresh_every: int = 500
    """Optimiser steps that 10 000 simulated pairs serve."""
    averaged: float | None = AVERAGED
    """Half-life of the average of the weights within a pass, in rows; None for none."""

    def __post_init__(self) -> None:
        one_of(METHODS, self, "method")
        at_least(1, self, "dim", "passes", "inner_steps", "refresh_every")
        positive(self, "lr")


def samples(ends: tuple[Tensor, Tensor, Tensor, Tensor], n: int, generator: Generator) -> tuple[Tensor, Tensor]:
    """n points of either side, (n, D) float32, unpaired."""
    x_0, x_1 = independent_bridge(*ends, SIGMA).sample(n, generator)
    return x_0.float(), x_1.float()


def exact_iterates_of(method: str, ends: tuple[Tensor, Tensor, Tensor, Tensor]) -> Iterator[GaussianBridge]:
    """What `method` has after 0, 1, 2, … passes in exact arithmetic: IPF's iterates, IMF's, or the bridge itself."""
    if method in ("DSB", "DSBM-IPF"):
        return ipf(*ends, SIGMA)
    if method in ("DSBM-IMF", "IMF-b"):
        return imf(independent_bridge(*ends, SIGMA))
    return repeat(schrodinger_bridge(*ends, SIGMA))


def path_of(learned: Learned, x_0: Tensor, x_1: Tensor, generator: Generator) -> Tensor:
    """(21, n, D) from t = 0 to t = 1: the process of the pass, or the ODE of a method that has no process."""
    if learned.drift is None:
        assert learned.flow is not None
        return simulate(learned.flow, x_0, 0.0, STEPS, keep_path=True)
    start = x_0 if learned.direction == "f" else x_1
    path = simulate(learned.drift, start, SIGMA, STEPS, generator, learned.direction, keep_path=True)
    return path if learned.direction == "f" else path.flip(0)


def mean_kl(path: Tensor, bridge: GaussianBridge, diagonal: bool) -> float:
    """Mean over the times of `path` (21, n, D) of KL(P_t | SB_t), in units of 10⁻³ nats."""
    times = torch.linspace(0, 1, len(path), dtype=torch.float64).tolist()
    each = [kl_of_samples(x, bridge.mean(t), bridge.cov(t), diagonal) for x, t in zip(path, times, strict=True)]
    return 1e3 * sum(each) / len(each)


def coupling_row(path: Tensor, exact: GaussianBridge) -> dict[str, float]:
    """Covariance between the ends, their variances and means, over all coordinates, beside the exact iterate's."""
    x_0, x_1 = path[0].double(), path[-1].double()
    cross = ((x_0 - x_0.mean(0)) * (x_1 - x_1.mean(0))).sum(0) / (len(x_0) - 1)
    return {
        "correlation": float(cross.mean()),
        "var_0": float(x_0.var(0).mean()),
        "var_1": float(x_1.var(0).mean()),
        "mean_0": float(x_0.mean()),
        "mean_1": float(x_1.mean()),
        "exact_correlation": float(exact.cross.diagonal().mean()),
        "exact_var_0": float(exact.cov_0.diagonal().mean()),
        "exact_var_1": float(exact.cov_1.diagonal().mean()),
        "exact_mean_0": float(exact.mean_0.mean()),
        "exact_mean_1": float(exact.mean_1.mean()),
    }


def drift_error(learned: Drift, exact: GaussianBridge, forward: bool, generator: Generator, n: int = 1000) -> float:
    """√(E‖v − v*‖² / E‖v*‖²) over the marginals of the exact process at t = 0.05, 0.15, …, 0.95."""
    x_0, x_1 = exact.sample(n, generator)
    error, total = 0.0, 0.0
    for t in torch.arange(0.05, 1, 0.1, dtype=torch.float64):
        eps = torch.randn(x_0.shape, generator=generator, dtype=x_0.dtype)
        x_t = brownian_bridge(x_0, x_1, t, exact.sigma, eps)
        wanted = exact.forward_drift(x_t, t) if forward else exact.backward_drift(x_t, t)
        with torch.no_grad():
            error += float((learned(x_t.float(), t.float()).double() - wanted).square().sum())
        total += float(wanted.square().sum())
    return (error / total) ** 0.5


def gaussian(config: GaussianConfig, seed: int, run: Run) -> list[Row]:
    """Train one method; after every pass its marginals against the Schrödinger bridge's, and its coupling against the
    exact iterate's."""
    ends = unit_gaussians(config.dim, A)
    bridge = schrodinger_bridge(*ends, SIGMA)
    train, test = stream(seed, TRAIN), stream(seed, TEST)
    x_0, x_1 = samples(ends, N, train)
    test_0, test_1 = samples(ends, N, test)
    passes = 1 if config.method in ONE_PASS else config.passes
    imf_config = IMFConfig(
        SIGMA,
        STEPS,
        passes,
        config.inner_steps * config.passes // 2 if passes == 1 else config.inner_steps,
        None if passes == 1 else 2 * config.inner_steps,
        lr=config.lr,
        cache=N,
        refresh_every=config.refresh_every,
        ema_halflife=config.averaged,
    )
    rows: list[Row] = []
    # A pass learns the Markovian projection of the iterate before, and its coupling is the next iterate.
    iterates = pairwise(exact_iterates_of(config.method, ends))
    for learned, (before, exact) in zip(learn(config.method, x_0, x_1, imf_config, train), iterates, strict=False):
        path = path_of(learned, test_0, test_1, test)
        row: dict[str, float | int | str | bool] = {
            "pass_number": learned.number,
            "direction": learned.direction,
            "kl_diagonal": mean_kl(path, bridge, diagonal=True),
            "kl_full": mean_kl(path, bridge, diagonal=False),
            "final": learned.number == passes,
            **coupling_row(path, exact),
        }
        if learned.drift is not None:
            row["drift_error"] = drift_error(learned.drift, before, learned.direction == "f", test)
        run.log(**{key: value for key, value in row.items() if isinstance(value, float)})
        rows.append(row)
    times = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64).tolist()
    run.save_arrays(
        t=torch.tensor(times).numpy(),
        fitted_mean=path.double().mean((1, 2)).numpy(),
        fitted_var=path.double().var(1).mean(1).numpy(),
        exact_mean=torch.stack([bridge.mean(t).mean() for t in times]).numpy(),
        exact_var=torch.stack([bridge.cov(t).diagonal().mean() for t in times]).numpy(),
        paths=path[:, :64, 0].float().numpy(),
    )
    return rows


@dataclass(frozen=True)
class FloorConfig:
    """What the estimator says of samples that have no training error."""

    dim: int

    def __post_init__(self) -> None:
        at_least(1, self, "dim")


def gaussian_floor(config: FloorConfig, seed: int, run: Run) -> list[Row]:
    """Mean KL of exact samples of the bridge (the bias of the fit), and of its exact drift in 20 steps of Euler's."""
    ends, generator = unit_gaussians(config.dim, A), stream(seed, TEST)
    bridge = schrodinger_bridge(*ends, SIGMA)
    x_0, x_1 = bridge.sample(N, generator)
    times = torch.linspace(0, 1, STEPS + 1, dtype=torch.float64)
    eps = torch.randn(len(times), *x_0.shape, generator=generator, dtype=x_0.dtype)
    exact = torch.stack([brownian_bridge(x_0, x_1, t, SIGMA, e) for t, e in zip(times, eps, strict=True)])
    euler = simulate(bridge.forward_drift, x_0, SIGMA, STEPS, generator, keep_path=True)
    return [
        {
            "floor_diagonal": mean_kl(exact, bridge, diagonal=True),
            "floor_full": mean_kl(exact, bridge, diagonal=False),
            "euler_diagonal": mean_kl(euler, bridge, diagonal=True),
            "euler_full": mean_kl(euler, bridge, diagonal=False),
        }
    ]


GAUSSIAN_METHODS = ("DSB", "SB-CFM", "DSBM-IPF", "DSBM-IMF")


SCALED = GaussianConfig("DSBM-IMF", 5, passes=10, inner_steps=1000)
PUBLISHED = GaussianConfig("DSBM-IMF", 5, passes=40, inner_steps=10_000, lr=1e-4, refresh_every=78, averaged=None)


def _grid(base: GaussianConfig, *dims: int) -> list[GaussianConfig]:
    return [replace(base, method=method, dim=dim) for dim in dims for method in GAUSSIAN_METHODS]


GAUSSIAN_EXPERIMENTS = (
    Experiment(
        gaussian,
        GaussianConfig,
        {
            "quick": Grid([replace(SCALED, method=method, passes=4) for method in GAUSSIAN_METHODS[1:]], 3),
            "small": Grid(_grid(SCALED, 5, 20, 50), 5),
            "gpu": Grid(_grid(PUBLISHED, 5, 20, 50), 5),
        },
    ),
    Experiment(
        gaussian_floor,
        FloorConfig,
        {
            "quick": Grid([FloorConfig(5)], 3),
            "small": Grid([FloorConfig(dim) for dim in (5, 20, 50)], 5),
            "gpu": Grid([FloorConfig(dim) for dim in (5, 20, 50)], 5),
        },
    ),
)
