"""Distances between two samples x (N, ...) and y (M, ...): (sliced) W2 by POT, energy distance by scipy's distances of
points, MMD by geomloss.

All are plug-in values of the two empirical distributions, so they are biased upwards in small samples: compare with
`common.metrics.floor`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from math import fsum, sqrt

import torch
from torch import Generator, Tensor


def as_points(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both samples as float64 (N, D) and (M, D) on the CPU.

    Raises:
        ValueError: the points of x and y differ in shape, a sample is empty, or a value is not finite.
    """
    if x.ndim < 1 or y.ndim < 1 or x.shape[1:] != y.shape[1:]:
        raise ValueError(f"samples {tuple(x.shape)} and {tuple(y.shape)} do not match; allowed: (N, *D) and (M, *D)")
    if len(x) == 0 or len(y) == 0:
        raise ValueError("a sample is empty; a distance needs at least one point on each side")
    x, y = (points.detach().double().cpu().reshape(len(points), -1) for points in (x, y))
    if not (torch.isfinite(x).all() and torch.isfinite(y).all()):
        raise ValueError("a sample contains NaN or infinity: no distance is defined")
    return x, y


def w2(x: Tensor, y: Tensor) -> float:
    """2-Wasserstein distance of the empirical distributions, exact:

        W2² = min over couplings P of sum_ij P_ij |x_i - y_j|²

    (Peyré & Cuturi 2019, Computational Optimal Transport, arXiv:1803.00567). POT takes about N³: 1 s at
    2000 points.
    """
    import ot

    x, y = as_points(x, y)
    cost = torch.cdist(x, y).square().numpy()
    uniform_x, uniform_y = (torch.full((len(points),), 1 / len(points), dtype=torch.float64) for points in (x, y))
    return sqrt(max(0.0, float(ot.emd2(uniform_x.numpy(), uniform_y.numpy(), cost, numItermax=10_000_000))))


def sliced_w2(x: Tensor, y: Tensor, generator: Generator, projections: int = 256) -> float:
    """Sliced 2-Wasserstein distance: the root mean square of the 1-D W2 along random directions theta on the sphere,

        SW2² = E_theta W2²(<theta, x>, <theta, y>)

    (Bonneel et al. 2015, J. Math. Imaging Vis. 51). A shift by v gives |v| / sqrt(D) in expectation over theta.
    """
    import ot

    x, y = as_points(x, y)
    if projections < 1:
        raise ValueError(f"projections is {projections}; allowed: 1 or more")
    theta = torch.randn(x.shape[1], projections, generator=generator, dtype=x.dtype)
    theta = theta / theta.norm(dim=0)
    squared = ot.wasserstein_1d((x @ theta).numpy(), (y @ theta).numpy(), p=2)
    return sqrt(float(squared.mean()))


def energy_distance(x: Tensor, y: Tensor) -> float:
    """Energy distance, as a distance (the root), of the empirical distributions:

        D² = 2 E|X - Y| - E|X - X'| - E|Y - Y'|

    (Székely & Rizzo 2013, J. Stat. Plan. Inference 143), all means over all pairs, i = j included, which count 0. Sums
    are rounded once, so that two samples of the same points, in any order, are 0 apart. About 1 s at 2000 points, with
    memory for one block of pairs.
    """
    x, y = as_points(x, y)
    between, within_x, within_y = (_mean_distance(a, b) for a, b in ((x, y), (x, x), (y, y)))
    return sqrt(max(0.0, 2 * between - within_x - within_y))


def _mean_distance(x: Tensor, y: Tensor) -> float:
    return fsum(chain.from_iterable(_distances(x, y))) / (len(x) * len(y))


def _distances(x: Tensor, y: Tensor, block: int = 2**20) -> Iterator[list[float]]:
    """|x_i - y_j| for all pairs, by differences: not by |x|² + |y|² - 2 x·y, which is no 0 where points are equal."""
    from scipy.spatial.distance import cdist

    for rows in x.split(max(1, block // len(y))):
        yield cdist(rows.numpy(), y.numpy()).ravel().tolist()


def median_distance(y: Tensor) -> float:
    """Median of the distances between different points of y: the usual bandwidth of a Gaussian kernel."""
    y, _ = as_points(y, y)
    return float(torch.nn.functional.pdist(y).median())


def mmd(x: Tensor, y: Tensor, bandwidth: float | None = None) -> float:
    """Maximum mean discrepancy, as a distance (the root), with the Gaussian kernel k(a, b) = exp(-|a - b|² / (2 h²)):

        MMD² = E k(X, X') + E k(Y, Y') - 2 E k(X, Y)

    (Gretton et al. 2012, JMLR 13, eq. 5: the biased estimate, all pairs, i = j included).

    Args:
        bandwidth: h, in the units of the data; by default the median distance within y, so that all samples that are
            compared with one reference y meet the same kernel.
    """
    from geomloss import SamplesLoss

    x, y = as_points(x, y)
    h = median_distance(y) if bandwidth is None else bandwidth
    if not h > 0:
        raise ValueError(f"bandwidth is {h}; allowed: a number above 0")
    # geomloss returns MMD²/2.
    return sqrt(max(0.0, 2 * float(SamplesLoss("gaussian", blur=h, backend="tensorized")(x, y))))
