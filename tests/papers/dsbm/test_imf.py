"""The alternation: what a pass regresses on, the closed-form iterates of IMF and IPF, and the housekeeping."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Generator, Tensor, nn

from papers.dsbm.bridge import Direction, Regression
from papers.dsbm.coupling import independent, minibatch_sinkhorn, reference
from papers.dsbm.imf import (
    Cache,
    IMFConfig,
    Method,
    Pass,
    StepNetwork,
    alternate,
    flow_matching,
    matching,
    mean_matching,
    network,
    reversal_regression,
    squared_error,
    zero_drift,
)
from papers.dsbm.process import reversed_flow, simulate

torch.set_num_threads(1)


def seeded(seed: int) -> Generator:
    return torch.Generator().manual_seed(seed)


class Exact(nn.Module):
    """A given drift, as a network."""

    def __init__(self, drift: Any) -> None:
        super().__init__()
        self.drift = drift

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.drift(x, t)


class Affine(nn.Module):
    """v(x, t) = Σ_k T_k(2t − 1) (a_k x + b_k), Chebyshev polynomials T_k: holds every affine drift here to 1e-3.

    The same for all coordinates, so that a sample of (n, D) is as good as one of n D points of a line.
    """

    def __init__(self, terms: int = 6) -> None:
        super().__init__()
        self.terms = terms
        self.weight = nn.Parameter(torch.zeros(terms, 2))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        k = torch.arange(self.terms, dtype=x.dtype)
        angle = (2 * t.to(x.dtype).reshape(-1, 1) - 1).clamp(-1, 1).acos()
        a, b = ((k * angle).cos() @ self.weight).unbind(1)
        return a[:, None] * x + b[:, None]


A = 0.1
DIM = 10
# 20 000 rows of 10 coordinates: standard errors of covariances are 0.003.
DATA_0, DATA_1 = (m + torch.randn(20_000, DIM, generator=seeded(s)) for s, m in ((0, -A), (1, A)))
# 60 steps leave a third of the discretisation error of the paper's 20; averaged weights lose most of Adam's noise.
QUICK = IMFConfig(
    passes=3, steps=60, inner_steps=250, batch=1000, lr=0.05, cache=20_000, refresh_every=60, ema_halflife=50_000
)


def nets() -> dict[Direction, nn.Module]:
    return {"b": Affine(), "f": Affine()}


def moments(done: Pass, config: IMFConfig = QUICK) -> tuple[float, float, float]:
    """Of the end that this pass simulates: its covariance with the start, its variance and its mean."""
    start = DATA_0 if done.direction == "f" else DATA_1
    x_0, x_1 = done.couple(start, config, seeded(7))
    assert torch.equal(start, x_0 if done.direction == "f" else x_1)
    end = x_1 if done.direction == "f" else x_0
    covariance = ((end - end.mean(0)) * (start - start.mean(0))).mean()
    return float(covariance), float(end.var(0).mean()), float(end.mean())


def run(method: Method, config: IMFConfig = QUICK, **more: Any) -> list[tuple[float, float, float]]:
    return [moments(done, config) for done in alternate(DATA_0, DATA_1, nets(), method, config, seeded(2), **more)]


def test_imf_from_independent_pairs_follows_the_exact_iterates_and_keeps_both_marginals() -> None:
    """Covariances .546, .611, .617; 60 steps add 0.005 to the variance. The margins are those of the claims."""
    passes = run(matching(independent, QUICK))
    for (covariance, variance, mean), exact, sign in zip(passes, (0.5463, 0.6111, 0.6174), (-1, 1, -1), strict=True):
        assert covariance == pytest.approx(exact, abs=0.03)
        assert variance == pytest.approx(1.005, abs=0.05)
        assert mean == pytest.approx(sign * A, abs=0.03)


IPF = list(zip((1 / 2, 2 / 3, 3 / 5), (3 / 4, 10 / 9, 0.96), strict=True))
"""Covariances, and variances of the simulated end: backward, forward, backward."""


def assert_ipf(passes: list[tuple[float, float, float]]) -> None:
    for (covariance, variance, _), (exact, exact_variance) in zip(passes, IPF, strict=True):
        assert covariance == pytest.approx(exact, abs=0.05)
        assert variance == pytest.approx(exact_variance, abs=0.05)
    assert passes[0][1] == pytest.approx(0.75, abs=0.03)
    assert passes[0][2] == pytest.approx(0.0, abs=0.03)


def test_ipf_from_the_reference_follows_the_exact_iterates_and_keeps_one_marginal() -> None:
    assert_ipf(run(matching(reference(1.0), QUICK)))


def fitted(regression: Regression, steps: int) -> Exact:
    """The affine drift a x + b of each step by least squares: what a perfect training on mean matching leaves."""
    x_t, t, target = regression
    lines = {}
    for k in (t * steps).round().long().unique():
        here = (t * steps).round().long() == k
        x, y = x_t[here].flatten(), target[here].flatten()
        slope = float(((x - x.mean()) * y).mean() / x.var())
        lines[int(k)] = slope, float(y.mean() - slope * x.mean())

    def drift(x: Tensor, t: Tensor) -> Tensor:
        k = (t * steps).round().long().reshape(-1)
        table = torch.tensor([lines.get(i, (0.0, 0.0)) for i in range(steps + 1)])[k]
        return table[:, :1] * x + table[:, 1:]

    return Exact(drift)


def test_mean_matching_follows_the_iterates_of_ipf() -> None:
    """DSB without its training error: what is left are the 40 steps of the simulation."""
    config = replace(QUICK, steps=40)
    method, done, passes = mean_matching(config), None, []
    directions: tuple[Direction, ...] = ("b", "f", "b")
    drifts: dict[Direction, nn.Module] = {}
    for number, direction in enumerate(directions, 1):
        epoch = method(DATA_0, DATA_1, direction, done, seeded(number))
        drifts[direction] = fitted(epoch(seeded(10 + number)), config.steps)
        done = Pass(number, direction, drifts.get("f"), drifts.get("b"))
        passes.append(moments(done, config))
    assert_ipf(passes)


def test_rectified_flow_is_the_limit_without_noise() -> None:
    """One pass from independent pairs makes x_0 and x_1 a function of each other, whichever way."""
    config = replace(QUICK, sigma=0.0, passes=2, steps=120)
    for covariance, variance, mean in run(matching(independent, config), config, directions=["b"]):
        assert covariance == pytest.approx(1, abs=0.03)
        assert variance == pytest.approx(1, abs=0.05)
        assert mean == pytest.approx(-A, abs=0.03)


def test_flow_matching_on_sinkhorn_pairs_has_the_marginals_of_the_bridge() -> None:
    """The probability flow at σ = 1 carries π_0 to π_1 and back, from one network."""
    config = replace(QUICK, cache=5000, refresh_every=250)
    coupling = minibatch_sinkhorn(1.0, batch=100)
    velocity = flow_matching(DATA_0, DATA_1, Affine(), coupling, config, seeded(3))
    there = simulate(velocity, DATA_0, 0.0, 60)
    assert float(there.mean()) == pytest.approx(A, abs=0.03)
    assert float(there.var(0).mean()) == pytest.approx(1, abs=0.05)
    back = simulate(reversed_flow(velocity), DATA_1, 0.0, 60, direction="b")
    assert float(back.mean()) == pytest.approx(-A, abs=0.03)


def drifting(speed: float) -> Exact:
    return Exact(lambda x, t: torch.full_like(x, speed))


@pytest.mark.parametrize(("ran", "direction"), [("f", "b"), ("b", "f"), ("b", "b")])
def test_pairs_come_from_the_side_where_the_previous_process_starts(ran: Direction, direction: Direction) -> None:
    """With σ = 0 and a constant drift the ends can be read off the regression: x_t and the line between them."""
    config = IMFConfig(sigma=0.0, batch=2)
    x_0, x_1 = torch.tensor([[1.0], [2.0]]), torch.tensor([[10.0], [20.0]])
    previous = Pass(1, ran, drifting(5.0), drifting(-5.0))
    x_t, t, target = matching(independent, config)(x_0, x_1, direction, previous, seeded(0))(seeded(1))
    forward = target if direction == "f" else -target
    expected = (x_0, x_0 + 5) if ran == "f" else (x_1 - 5, x_1)
    torch.testing.assert_close(x_t - t[:, None] * forward, expected[0])
    torch.testing.assert_close(x_t + (1 - t[:, None]) * forward, expected[1])


@pytest.mark.parametrize("direction", ["f", "b"])
def test_mean_matching_looks_at_the_previous_drift_where_the_step_arrived(direction: Direction) -> None:
    """σ = 0 and v = t + x: [x + v(x, s) Δ − x' − v(x', s) Δ]/Δ = −(s + x'), asked of the network at x' and time s'.

    The paths start at 0 and differ in nothing, so that x' tells its step.
    """
    steps = 8
    path = simulate(
        lambda x, t: t.reshape(-1, 1) + x,
        torch.zeros(500, 1, dtype=torch.float64),
        0.0,
        steps,
        direction=direction,
        keep_path=True,
    )
    x_t, t, target = reversal_regression(lambda x, t: t.reshape(-1, 1) + x, path, direction, seeded(0))
    arrived = (x_t == path[:, 0, 0]).long().argmax(1)
    if direction == "f":
        # The first step, from x = 0 at s = 0, goes nowhere; x' = 0 is then both path[0] and path[1].
        arrived[x_t[:, 0] == 0] = 1
    after = arrived / steps if direction == "f" else 1 - arrived / steps
    torch.testing.assert_close(t, after.double())
    before = after - 1 / steps if direction == "f" else after + 1 / steps
    torch.testing.assert_close(target, -(before[:, None] + x_t))
    assert len(arrived.unique()) == steps


def test_mean_matching_reverses_the_reference_process_exactly() -> None:
    """From N(0, 1) by Brownian motion, E[(x − x')/Δ | x'] = −x'/(1 + s'): at every step, for Δ of any size."""
    path = simulate(zero_drift, torch.randn(200_000, 1, generator=seeded(0)), 1.0, 4, seeded(1), keep_path=True)
    x_t, t, target = reversal_regression(zero_drift, path, "f", seeded(2))
    for time in t.unique():
        x, y = x_t[t == time, 0], target[t == time, 0]
        slope, variance = float((x * y).mean() / x.square().mean()), float(x.square().mean())
        # Residuals have variance 4 at most.
        assert slope == pytest.approx(-1 / (1 + float(time)), abs=5 * math.sqrt(4 / variance / len(x)))


def test_a_pass_is_a_new_adam_on_the_weights_of_the_last() -> None:
    """Adam's first step moves every weight by lr whatever the gradient; its second does not. One step per pass."""

    class Shift(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(DIM))

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.shift.expand_as(x)

    for warm_start in (True, False):
        config = IMFConfig(passes=6, inner_steps=1, batch=16, lr=0.5, warm_start=warm_start, cache=100)
        both: dict[Direction, nn.Module] = {"b": Shift(), "f": Shift()}
        last = dict.fromkeys("bf", torch.zeros(DIM))
        shifts = []
        for done in alternate(DATA_0, DATA_1, both, matching(independent, config), config, seeded(0)):
            shift = done.drift.get_parameter("shift").detach()
            moved = shift - (last[done.direction] if warm_start else 0)
            torch.testing.assert_close(moved.abs(), torch.full((DIM,), 0.5))
            last[done.direction] = shift
            shifts.append((done, shift.clone()))
        assert any(float(shift.abs().max()) > 0.6 for _, shift in shifts) == warm_start
        # What a pass left is not touched by later ones.
        for done, shift in shifts:
            assert torch.equal(done.drift.get_parameter("shift"), shift)


def test_passes_alternate_and_know_the_latest_drift_of_each_direction() -> None:
    config = IMFConfig(passes=4, inner_steps=1, first_steps=2, batch=16, cache=100)
    passes = list(alternate(DATA_0, DATA_1, nets(), matching(independent, config), config, seeded(0)))
    assert [(done.number, done.direction) for done in passes] == [(1, "b"), (2, "f"), (3, "b"), (4, "f")]
    assert passes[0].forward is None
    assert passes[1].backward is passes[0].backward
    assert passes[2].forward is passes[1].forward
    assert passes[2].backward is passes[2].drift
    assert [config.training(n).steps for n in (1, 2, 3)] == [2, 1, 1]


def numbered() -> Iterator[Regression]:
    """Epochs of 5 rows, whose target tells the epoch and the row."""
    for epoch in range(100):
        rows = torch.arange(5.0)[:, None]
        yield rows, rows[:, 0], 10 * epoch + rows


def test_cache_serves_every_row_once_per_epoch_and_is_renewed_in_time() -> None:
    refreshed = []

    def refresh(generator: Generator) -> Any:
        epochs = numbered()
        refreshed.append(True)
        return lambda g: next(epochs)

    cache = Cache(refresh, refresh_every=3)
    served = [cache(2, seeded(0))[1]["target"][:, 0].tolist() for _ in range(7)]
    # Two batches of two to an epoch of five; the third batch is of a new epoch, the fourth of a new cache.
    assert served == [[0, 1], [2, 3], [10, 11], [0, 1], [2, 3], [10, 11], [0, 1]]
    assert len(refreshed) == 3


def test_loss_sums_over_coordinates() -> None:
    x, target = torch.zeros(2, 3), torch.tensor([[1.0, 2, 3], [0, 0, 1]])
    loss = squared_error(zero_drift, x, seeded(0), t=torch.zeros(2), target=target)
    assert loss.tolist() == [14, 1]


def test_networks_are_the_papers() -> None:
    net = network(50, seeded(0))
    weights = [tuple(p.shape) for name, p in net.named_parameters() if name.endswith("weight")]
    assert weights == [(256, 51), (256, 256), (50, 256)]
    x, t = torch.randn(4, 50, generator=seeded(1)), torch.rand(4, generator=seeded(2))
    assert not torch.allclose(net(x, t), net(x, 1 - t), atol=1e-4)
    torch.testing.assert_close(StepNetwork(net, 20)(x, t), 20 * net(x, t))


def test_an_average_of_the_weights_becomes_the_drift_where_asked_for() -> None:
    config = IMFConfig(passes=1, inner_steps=20, batch=100, lr=0.1, ema_halflife=1000, clip=1.0, cache=1000)
    both = nets()
    (done,) = alternate(DATA_0, DATA_1, both, matching(independent, config), config, seeded(0))
    assert not torch.allclose(done.drift.get_parameter("weight"), both["b"].get_parameter("weight"))


def test_same_seed_same_passes() -> None:
    config = IMFConfig(passes=2, inner_steps=3, batch=16, cache=100)
    first, again = [
        list(alternate(DATA_0, DATA_1, nets(), matching(independent, config), config, seeded(5)))[-1].drift
        for _ in range(2)
    ]
    assert torch.equal(first.get_parameter("weight"), again.get_parameter("weight"))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="passes is 0; it must be at least 1"):
        IMFConfig(passes=0)
    with pytest.raises(ValueError, match="cache is 10; it must hold a batch of 128"):
        IMFConfig(cache=10)
    with pytest.raises(ValueError, match="sigma is -1"):
        IMFConfig(sigma=-1)
    method = matching(independent, QUICK)
    with pytest.raises(ValueError, match=r"shapes \(20000, 10\) and \(100, 10\)"):
        next(alternate(DATA_0, DATA_1[:100], nets(), method, QUICK, seeded(0)))
    with pytest.raises(ValueError, match=r"allowed are one or more of \['b'\]"):
        next(alternate(DATA_0, DATA_1, {"b": Affine()}, method, QUICK, seeded(0)))
    config = IMFConfig(inner_steps=1, batch=16, cache=100)
    with pytest.raises(ValueError, match="directions must alternate"):
        list(islice(alternate(DATA_0, DATA_1, nets(), mean_matching(config), config, seeded(0), directions=["b"]), 2))
