"""Where the noise of a solver comes from: fresh draws, or one Brownian path that many solvers and step sizes share.

A solver asks for the normals of the Itô integrals √2 ∫ e^{b(λ_1 − λ)} dW over [λ_0, λ_1], b = ±1. Over fresh noise they
are independent standard normals. On a given path W they are functionals of it, and those of a long step are sums over
its parts, each carried to the end:

    N_b(λ_0, λ_2) = e^{b(λ_2 − λ_1)} N_b(λ_0, λ_1) + N_b(λ_1, λ_2).

So a path is stored as both integrals N_{−1}, N_{+1} over each cell of a grid of λ, drawn from their joint law: with
cells of length h their variances are 1 − e^{−2h} and e^{2h} − 1, and their covariance is 2h, by Itô's isometry.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

Noise = Callable[[Tensor, float, float, float], Tensor]
"""`noise(x, start, end, rate) -> z` shaped like x: the integral over [start, end] in λ with b = rate, over its standard
deviation."""


def fresh(generator: Generator) -> Noise:
    """Independent normals at every call. `generator` is on the device of x."""

    def noise(x: Tensor, start: float, end: float, rate: float) -> Tensor:
        return torch.randn(x.shape, generator=generator, dtype=x.dtype, device=x.device)

    return noise


def no_noise(x: Tensor, start: float, end: float, rate: float) -> Tensor:
    """For solvers that add none. Raises ValueError where one asks for some."""
    raise ValueError("this solver adds noise; give it fresh(generator) or the noise of a BrownianPath")


RATES = (-1.0, 1.0)


@dataclass(frozen=True)
class BrownianPath:
    """One Brownian path for each element of a state: its two integrals over each cell of `grid`."""

    grid: Tensor
    """λ_0 < … < λ_M, (M + 1,) float64."""
    integrals: Tensor
    """(2, M, *shape) float64: N_{−1} and N_{+1} over each cell."""

    @staticmethod
    def draw(grid: Tensor | Sequence[float], shape: Sequence[int], generator: Generator) -> BrownianPath:
        """A path for states of `shape`. Raises ValueError where `grid` does not increase."""
        grid = torch.as_tensor(grid, dtype=torch.float64)
        if grid.ndim != 1 or len(grid) < 2 or not bool((grid.diff() > 0).all()):
            raise ValueError("the grid of a Brownian path must be at least two values of λ that increase")
        roots = torch.linalg.cholesky(_covariance(grid.diff()))
        normals = torch.randn(len(grid) - 1, 2, *shape, generator=generator, dtype=torch.float64)
        return BrownianPath(grid, torch.einsum("mij,mj...->im...", roots, normals))

    def refined(self, generator: Generator) -> BrownianPath:
        """The same path on a grid with every cell halved: what is new is drawn given what is known.

        Two halves drawn afresh are moved so that they add up to the cell: for a Gaussian pair (X, Y) with Y known,
        X + Cov(X, Y) Var(Y)⁻¹ (y − Y) has the law of X given Y = y.
        """
        h = self.grid.diff()
        middle = self.grid[:-1] + h / 2
        finer = torch.stack([self.grid[:-1], middle], dim=1).flatten()
        grid = torch.cat([finer, self.grid[-1:]])
        halves = BrownianPath.draw(grid, self.integrals.shape[2:], generator).integrals
        first, second = halves[:, 0::2], halves[:, 1::2]
        carry = torch.diag_embed(torch.exp(torch.outer(h / 2, torch.tensor(RATES, dtype=torch.float64))))
        missing = self.integrals - (torch.einsum("mij,jm...->im...", carry, first) + second)
        known = _covariance(h)
        of_first = torch.linalg.solve(known, carry @ _covariance(middle - self.grid[:-1])).mT
        of_second = torch.linalg.solve(known, _covariance(self.grid[1:] - middle)).mT
        first = first + torch.einsum("mij,jm...->im...", of_first, missing)
        # The second half is what is left, so that the halves add up to the cell exactly.
        second = second + torch.einsum("mij,jm...->im...", of_second, missing)
        return BrownianPath(grid, torch.stack([first, second], dim=2).flatten(1, 2))

    def noise(self) -> Noise:
        """The normals of this path, for solvers whose steps and stages lie on its grid.

        Raises ValueError for an interval whose ends are not on the grid, or a rate that is neither −1 nor 1.
        """
        nodes = self.grid.tolist()
        tolerance = 1e-4 * float(self.grid.diff().min())

        def index(value: float) -> int:
            place = int(torch.searchsorted(self.grid, value - tolerance))
            if place == len(nodes) or abs(nodes[place] - value) > tolerance:
                raise ValueError(f"λ = {value:g} is not on the grid of the Brownian path; draw it on a finer one")
            return place

        def noise(x: Tensor, start: float, end: float, rate: float) -> Tensor:
            if rate not in RATES:
                raise ValueError(f"rate is {rate}; a Brownian path has the integrals of the rates −1 and 1")
            i, j = index(start), index(end)
            carried = torch.exp(rate * (self.grid[j] - self.grid[i + 1 : j + 1]))
            total = torch.einsum("m,m...->...", carried, self.integrals[RATES.index(rate), i:j])
            variance = torch.expm1(2 * rate * (self.grid[j] - self.grid[i])) / rate
            return (total / variance.sqrt()).to(x)

        return noise


def _covariance(h: Tensor) -> Tensor:
    """Of (N_{−1}, N_{+1}) over cells of lengths h (M,): (M, 2, 2)."""
    return torch.stack(
        [torch.stack([-torch.expm1(-2 * h), 2 * h], -1), torch.stack([2 * h, torch.expm1(2 * h)], -1)], -2
    )
