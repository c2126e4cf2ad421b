"""DSB's regression: the iterates of IPF, the previous drift where a step arrived, and the reversed reference."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from papers.dsbm.bridge import Direction, Regression
from papers.dsbm.dsb import StepNetwork, mean_matching, reversal_regression, zero_drift
from papers.dsbm.imf import IMFConfig, Pass, alternate, network
from papers.dsbm.process import simulate
from tests.papers.dsbm.alternation import DATA_0, DATA_1, QUICK, Exact, assert_ipf, moments, nets, seeded


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


def test_a_step_network_gives_the_shift_of_one_step() -> None:
    net = network(50, seeded(0))
    x, t = torch.randn(4, 50, generator=seeded(1)), torch.rand(4, generator=seeded(2))
    torch.testing.assert_close(StepNetwork(net, 20)(x, t), 20 * net(x, t))


def test_directions_must_alternate() -> None:
    config = IMFConfig(inner_steps=1, batch=16, cache=100)
    with pytest.raises(ValueError, match="directions must alternate"):
        list(islice(alternate(DATA_0, DATA_1, nets(), mean_matching(config), config, seeded(0), directions=["b"]), 2))
