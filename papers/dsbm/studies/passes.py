"""What a pass between Gaussians is measured by: its marginals against the Schrödinger bridge's, and its pairs and its
drift against those of the exact iterate."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import repeat
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from papers.dsbm.bridge import brownian_bridge
from papers.dsbm.divergence import kl_of_samples
from papers.dsbm.gaussian import GaussianBridge, imf, independent_bridge, ipf, schrodinger_bridge
from papers.dsbm.process import Drift, simulate
from papers.dsbm.studies.methods import STEPS, Learned
from papers.dsbm.studies.pairs import SIGMA, Ends

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


def exact_iterates_of(method: str, ends: Ends) -> Iterator[GaussianBridge]:
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


KL_METRIC = "mean KL × 10³, diagonal fit"
ESTIMATOR = (
    " The paper's estimator is not public. Here a Gaussian with diagonal covariance is fitted to 10 000 test points at "
    "each of 21 times; with the full covariance the fit alone costs more than the published values at d = 50."
)


def last_pass(table: pd.DataFrame) -> pd.DataFrame:
    """The rows of `gaussian` that were measured when a method was done."""
    return table[table["final"].astype(bool)]


_OF_ENDS = ("correlation", "var_0", "var_1", "mean_0", "mean_1")
COUPLING_COLUMNS = dict.fromkeys((*_OF_ENDS, *(f"exact_{name}" for name in _OF_ENDS)), float)


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


def marginals_of(path: Tensor, bridge: GaussianBridge) -> dict[str, np.ndarray]:
    """Mean and variance of a coordinate at each time of `path` (21, n, D), beside the bridge's, and 64 paths of one."""
    times = torch.linspace(0, 1, len(path), dtype=torch.float64)
    return {
        "t": times.numpy(),
        "fitted_mean": path.double().mean((1, 2)).numpy(),
        "fitted_var": path.double().var(1).mean(1).numpy(),
        "exact_mean": torch.stack([bridge.mean(t).mean() for t in times.tolist()]).numpy(),
        "exact_var": torch.stack([bridge.cov(t).diagonal().mean() for t in times.tolist()]).numpy(),
        "paths": path[:, :64, 0].float().numpy(),
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
