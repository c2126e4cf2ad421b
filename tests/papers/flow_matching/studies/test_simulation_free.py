"""Simulation-free training: gradients of blocks, a likelihood that can be trained, and what is counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from common.harness.studies.claims import judge
from common.training.stream import stream
from papers.flow_matching.likelihood import log_likelihood as independent_log_likelihood
from papers.flow_matching.studies import simulation_free as study
from papers.flow_matching.studies.looks import METHODS, TARGETS, WAYS
from papers.flow_matching.studies.plane import NetConfig, mixture, networks
from papers.flow_matching.studies.simulation_free import (
    BLOCK,
    CLAIMS,
    EQUAL,
    FIGURES,
    SMOOTH,
    Evaluations,
    GradientConfig,
    LikelihoodConfig,
    block_gradients,
    gradients,
    log_likelihood,
    ways,
)
from tests.papers.fake_run import FakeRun
from tests.papers.flow_matching.cases import randn
from tests.papers.made import made
from tests.papers.planted import MadeUp, Plant, Row, lines, table, verdict, wobble

OF = {claim.id: claim for claim in CLAIMS}
TINY = NetConfig(hidden=6, layers=2)


def test_gradients_of_blocks_are_those_of_one_block_after_the_other() -> None:
    net = networks(TINY, (5,)).member(0).double()
    x, target, t = randn(3 * BLOCK, 2), randn(3 * BLOCK, 2, seed=1), torch.rand(3 * BLOCK, dtype=torch.float64)
    found = block_gradients(net, x, t, target)
    net.requires_grad_(True)
    for k, own in enumerate(found):
        rows = slice(k * BLOCK, (k + 1) * BLOCK)
        loss = (net(x[rows], t[rows]) - target[rows]).square().sum() / BLOCK
        one_by_one = torch.autograd.grad(loss, list(net.parameters()))
        torch.testing.assert_close(own, torch.cat([each.flatten() for each in one_by_one]), rtol=1e-9, atol=1e-12)


@pytest.fixture(scope="module")
def gradient_rows(tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    return made(gradients, GradientConfig(), (1,), (FakeRun(tmp_path_factory.mktemp("runs") / "run"),))[0]


def test_cfm_differs_from_fm_by_noise_and_wrong_targets_by_something_that_stays(gradient_rows: list[Row]) -> None:
    """The claim, and what it excludes: on the rows of one seed."""
    n = np.array([row["n"] for row in gradient_rows if row["target"] == "cfm"])
    assert (n[0], n[-1] / n[0]) == (BLOCK, 100)
    for target in TARGETS:
        difference = np.array([row["difference"] for row in gradient_rows if row["target"] == target])
        slope = np.polyfit(np.log(n), np.log(difference), 1)[0]
        assert (-0.55 < slope < -0.45) == (target == "cfm"), target
        assert target == "cfm" or difference[-1] > 1.5 * difference[0] / 10


def test_conditioning_adds_variance(gradient_rows: list[Row]) -> None:
    ratios = {row["variance_ratio"] for row in gradient_rows if row["target"] == "cfm"}
    assert len(ratios) == 1
    assert ratios.pop() > 1


def test_the_likelihood_is_that_of_an_adaptive_solver() -> None:
    members = networks(TINY, (2, 9)).double()
    x = randn(2, 11, 2)
    found = log_likelihood(members, x, 40)
    for s in range(2):
        exact = independent_log_likelihood(members.member(s), x[s], tolerance=1e-8)
        torch.testing.assert_close(found[s].detach(), exact, rtol=0, atol=1e-5)


def test_the_likelihood_has_the_gradient_of_its_differences() -> None:
    members = networks(TINY, (2,)).double()
    weight = next(members.parameters())
    x = randn(1, 4, 2)
    (slope,) = torch.autograd.grad(log_likelihood(members, x, 3).sum(), weight)
    step = 1e-5 * randn(*weight.shape, seed=3)
    ends = []
    for sign in (1, -1):
        with torch.no_grad():
            weight.add_(sign * step)
        ends.append(float(log_likelihood(members, x, 3).sum().detach()))
        with torch.no_grad():
            weight.sub_(sign * step)
    assert float((slope * step).sum()) == pytest.approx((ends[0] - ends[1]) / 2, rel=1e-5)


def test_evaluations_are_counted_by_calls() -> None:
    made, members = Evaluations(), networks(TINY, (2,)).double()
    log_likelihood(made.of(members), randn(1, 4, 2), 3)
    assert made.count == 12


@pytest.mark.parametrize(("way", "per_step"), [("cfm", 1), ("likelihood", 12)])
def test_a_way_counts_its_own_evaluations_and_is_judged_on_test_points(way: str, per_step: int, tmp_path: Path) -> None:
    config = LikelihoodConfig(way=way, stages=(2, 5), solver_steps=3, n_test=50, hidden=4, layers=1, batch=8)
    runs = tuple(FakeRun(tmp_path / str(s)) for s in range(2))
    both = made(ways, config, (4, 6), runs)
    for rows in both:
        assert [row["train_steps"] for row in rows] == [2, 5]
        assert [row["evaluations"] for row in rows] == [2 * per_step, 5 * per_step]
    ((_, alone),) = made(ways, config, (6,), runs[1:])
    assert alone["excess_nll"] == pytest.approx(both[1][1]["excess_nll"], rel=1e-3)
    assert both[0][1]["excess_nll"] != pytest.approx(both[1][1]["excess_nll"], rel=1e-3)


def test_the_excess_is_above_the_law_s_own_on_the_test_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is the law has none."""
    law = mixture(SMOOTH)
    seen: list[Tensor] = []

    def exact(net: object, x_1: Tensor, steps: int) -> Tensor:
        seen.append(x_1)
        return law.log_prob(x_1.flatten(0, 1)).unflatten(0, x_1.shape[:2])

    monkeypatch.setattr(study, "log_likelihood", exact)
    config = LikelihoodConfig(stages=(1,), n_test=50, hidden=4, layers=1, batch=8)
    ((row,),) = made(ways, config, (4,), (FakeRun(tmp_path / "run"),))
    assert row["excess_nll"] == pytest.approx(0, abs=1e-6)
    draws = law.sample(50, stream(4, study.SAMPLING)).float()
    torch.testing.assert_close(seen[0][0], draws, rtol=0, atol=0)


def difference(slope: float, stays: float = 0.0) -> Plant:
    def plant(row: Row) -> dict[str, float]:
        if row["target"] != "cfm":
            return {}
        noise = 3.0 * (row["n"] / 100) ** slope
        return {"difference": float(np.hypot(noise, stays)) * wobble(row), "variance_ratio": 3 * wobble(row)}

    return plant


def gradient_keys(config: GradientConfig) -> list[Row]:
    return [{"target": target, "n": k * BLOCK} for target in TARGETS for k in config.averaged]


def way_keys(config: LikelihoodConfig) -> list[Row]:
    per_step = {"cfm": 1, "likelihood": 4 * config.solver_steps}[config.way]
    return [{"train_steps": n, "evaluations": n * per_step} for n in config.stages]


def reached(at: dict[str, float]) -> Plant:
    """A straight line in logarithms, at the level after so many evaluations."""
    return lambda row: {"excess_nll": EQUAL * at[row["way"]] / row["evaluations"] * wobble(row)}


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
def test_theorem_2_holds_for_noise_and_fails_where_something_stays(preset: str) -> None:
    noise, stays = (table(gradients, preset, gradient_keys, difference(-0.5, each)) for each in (0.0, 1.0))
    assert verdict(OF["theorem-2"], (gradients, noise)) == "holds"
    assert verdict(OF["theorem-2"], (gradients, stays)) == "fails"
    assert verdict(OF["added-variance"], (gradients, noise)) == "holds"
    less = noise.assign(variance_ratio=0.9 + 0.01 * noise["seed"])
    assert verdict(OF["added-variance"], (gradients, less)) == "fails"


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
def test_simulation_free_holds_for_a_saving_and_fails_for_likelihood_in_its_place(preset: str) -> None:
    saving = table(ways, preset, way_keys, reached({"cfm": 120.0, "likelihood": 800.0}))
    assert verdict(OF["simulation-free"], (ways, saving)) == "holds"
    none = table(ways, preset, way_keys, reached({"cfm": 190.0, "likelihood": 340.0}))
    assert verdict(OF["simulation-free"], (ways, none)) == "fails"
    solved = saving.assign(evaluations=saving["evaluations"].where(saving["way"] != "cfm", 16 * saving["evaluations"]))
    assert verdict(OF["simulation-free"], (ways, solved)) == "fails"
    one = saving.assign(evaluations=saving["evaluations"].where(saving["way"] == "cfm", saving["train_steps"]))
    judged = judge(OF["simulation-free"], {"ways": one}).measurements
    assert [each.verdict for each in judged[:2]] == ["holds", "fails"]


def test_the_figure_has_the_means_of_each_target_and_way() -> None:
    tables = {gradients: table(gradients, "small", gradient_keys), ways: table(ways, "small", way_keys)}
    left, right = FIGURES[0].draw(MadeUp(tables)).axes
    for target, look in TARGETS.items():
        rows = tables[gradients][tables[gradients]["target"] == target]
        (curve,) = lines(left, look.name)
        np.testing.assert_allclose(curve, rows.groupby("n")["difference"].mean().reset_index().to_numpy())
    for way, look in WAYS.items():
        rows = tables[ways][tables[ways]["way"] == way]
        (curve,) = lines(right, look.name)
        np.testing.assert_allclose(curve, rows.groupby("evaluations")["excess_nll"].mean().reset_index().to_numpy())
    assert TARGETS["cfm"].colour == METHODS["fm-ot"].colour


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GradientConfig(blocks=75), "blocks is 75"),
        (lambda: GradientConfig(blocks=50), "blocks is 50"),
        (lambda: LikelihoodConfig(way="score"), "way is one of"),
        (lambda: LikelihoodConfig(stages=(4, 4)), "stages"),
        (lambda: LikelihoodConfig(solver_steps=0), "solver_steps"),
    ],
)
def test_settings_out_of_range_are_named(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
