"""The distance to the entropic plan: its floor, its criterion, and a tiny run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd
import pytest
import torch

from common.harness.runs.rows import check
from common.transport.coupling import independent
from papers.dsbm.dsb import zero_drift
from papers.dsbm.gaussian import schrodinger_bridge, unit_gaussians
from papers.dsbm.plan import entropic_plan, joint_w2
from papers.dsbm.studies import plan as study
from papers.dsbm.studies.methods import AVERAGED, TEST, TRAIN, Learned, N
from papers.dsbm.studies.pairs import samples
from papers.dsbm.studies.plan import PLAN_CLAIM, PlanConfig, Truth, compare, last_over, plan_distance, rms
from papers.dsbm.studies.tasks import TASKS, Task, plane_network
from tests.papers.dsbm.cases import Recorder, doubled, generator, is_stream
from tests.papers.fake_run import FakeRun


def test_the_true_plan_is_at_its_floor_and_another_coupling_is_not() -> None:
    ends, sigma, n = unit_gaussians(2, 1.0), 1.0, 600
    bridge = schrodinger_bridge(*ends, sigma)
    x_0, x_1 = samples(ends, n, generator())
    truth = Truth.of(x_0, x_1, sigma)
    config = PlanConfig("DSBM-IMF", sigma, n_test=n, repeats=8)
    right = compare(Learned(1, "f", doubled(bridge.forward_drift), None, None), truth, config, generator(1))
    sibling = Truth.of(x_0, samples(ends, n, generator(2))[1], sigma)
    exact_floor = rms(truth.mean() - sibling.mean())
    floor = rms(truth.mean() - sibling.drawn_mean(8, generator(3)))
    # The mean of eight ends has a standard error of √(Var(x_1 | x_0)/8), Var = 1 - .618² for either coordinate.
    noise = (2 * (1 - 0.618**2) / 8) ** 0.5
    assert floor == pytest.approx((exact_floor**2 + noise**2) ** 0.5, rel=0.1)
    assert right["map_error"] == pytest.approx(floor, rel=0.2)
    crossed = compare(Learned(1, "f", lambda x, t: -2 * x, None, None), truth, config, generator(1))
    assert crossed["map_error"] > 3 * right["map_error"]
    assert crossed["joint_w2"] > 2 * right["joint_w2"]


def test_plan_distance_has_a_row_for_every_pass(run: FakeRun) -> None:
    rows = plan_distance(PlanConfig("DSBM-IPF", 2.0, passes=2, inner_steps=5, n_test=60, repeats=2), 0, run)
    assert [(row["pass_number"], row["direction"]) for row in rows] == [(1, "b"), (2, "f")]
    check(rows, plan_distance.columns)


def test_a_run_trains_on_other_points_than_the_plans_and_compares_each_direction_with_its_own(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(Learned(1, "b", zero_drift, None, None), Learned(2, "f", zero_drift, None, None))
    truths: list[tuple[str, Truth, torch.Generator]] = []

    def compared(learned: Learned, truth: Truth, config: PlanConfig, g: torch.Generator) -> dict[str, float]:
        truths.append((learned.direction, truth, g))
        return {"joint_w2": 1.0 + learned.number, "map_error": 3.0 + learned.number}

    monkeypatch.setattr(study, "learn", recorder)
    monkeypatch.setattr(study, "compare", compared)
    config = PlanConfig("DSBM-IPF", 2.0, passes=5, inner_steps=6, lr=0.7, refresh_every=77, n_test=300)
    rows = plan_distance(config, 3, run)
    made = recorder.config
    assert (recorder.method, made.sigma, made.steps, made.passes, made.inner_steps) == ("DSBM-IPF", 2.0, 20, 5, 6)
    assert (made.lr, made.refresh_every, made.cache, made.ema_halflife) == (0.7, 77, N, AVERAGED)
    assert recorder.net is plane_network
    assert is_stream(recorder.generator, 3, TRAIN)
    # π_0, the eight Gaussians, is on a circle of radius 5; π_1 is N(0, I).
    assert float(recorder.x_0.norm(dim=1).median()) == pytest.approx(5, abs=0.2)
    assert float(recorder.x_1.std()) == pytest.approx(1, abs=0.05)
    (back, backward, g), (forth, forward, _) = truths
    assert (back, forth) == ("b", "f")
    assert is_stream(g, 3, TEST)
    assert torch.equal(backward.start, forward.end)
    assert torch.equal(backward.end, forward.start)
    assert float(forward.start.norm(dim=1).median()) == pytest.approx(5, abs=0.5)
    assert not recorder.has(forward.start)
    assert torch.allclose(forward.plan, entropic_plan(forward.start, forward.end, 2.0))
    assert [(row["joint_w2"], row["map_error"]) for row in rows] == [(2.0, 4.0), (3.0, 5.0)]
    # Each floor is of its row's direction: backward plans end in one of eight places, forward ones around 0.
    assert rows[0]["joint_floor"] != rows[1]["joint_floor"]
    assert float(rows[0]["map_floor"]) > 1.5 * float(rows[1]["map_floor"])


def test_the_exact_bridge_is_at_the_floor_of_the_plan_in_either_direction(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = unit_gaussians(2, 1.0)
    bridge = schrodinger_bridge(*ends, 1.0)

    def law(mean: float) -> Any:
        return lambda n, g: torch.randn(n, 2, generator=g) + mean

    def exact(*_: Any) -> Iterator[Learned]:
        yield Learned(1, "b", doubled(bridge.backward_drift), None, None)
        yield Learned(2, "f", doubled(bridge.forward_drift), None, None)

    monkeypatch.setitem(TASKS, "gaussians", Task(law(-1.0), law(1.0), 1.0))
    monkeypatch.setattr(study, "learn", exact)
    rows = plan_distance(PlanConfig("DSBM-IMF", 1.0, "gaussians", n_test=600), 0, run)
    assert [row["direction"] for row in rows] == ["b", "f"]
    # The mean of eight ends has a standard error of √(2 (1 - .618²)/8); the plans of 600 points add a fifth to it.
    noise = (2 * (1 - 0.618**2) / 8) ** 0.5
    for row in rows:
        assert noise < float(row["map_floor"]) < 1.3 * noise
        for name in ("joint", "map"):
            error = float(row["joint_w2" if name == "joint" else "map_error"])
            assert error == pytest.approx(float(row[f"{name}_floor"]), rel=0.2), name


def test_independent_pairs_do_not_meet_the_criterion_of_the_plan() -> None:
    """Where they come nearest to it: at the largest σ that is judged. As in the run, by 1000 points."""
    task, n, draws = TASKS["8gaussians"], 1000, generator()
    x_0, x_1, others = task.pi_0(n, draws), task.pi_1(n, draws), task.pi_1(n, draws)
    truth, sibling = (Truth.of(x_0, end, 2.0) for end in (x_1, others))
    (allowed,) = {quantity.criterion.upper for quantity in PLAN_CLAIM.quantities if "sigma 2" in quantity.name}
    floor = joint_w2(truth.pairs(draws), sibling.pairs(draws))
    assert joint_w2(torch.cat(independent(x_0, x_1, draws), 1), truth.pairs(draws)) > allowed * floor


def test_the_last_pass_is_compared_with_its_own_floor() -> None:
    rows = [
        {"seed": 0, "pass_number": n, "gap": gap, "floor": floor} for n, gap, floor in ((2, 6.0, 4.0), (1, 9.0, 1.0))
    ]
    assert last_over("gap", "floor")(pd.DataFrame(rows))[0] == 1.5
