"""What 20 steps alone do to exact drifts, against draws; the measure of a pass's free end."""

from __future__ import annotations

from itertools import islice, pairwise

import pandas as pd
import pytest
import torch

from papers.dsbm.gaussian import imf, independent_bridge, ipf, unit_gaussians
from papers.dsbm.process import simulate
from papers.dsbm.studies.iterates import EulerConfig, exact_euler, generated_variance, shift_of_mean
from papers.dsbm.studies.pairs import SIGMA, A
from tests.papers.dsbm.cases import generator
from tests.papers.fake_run import FakeRun


def test_discretisation_alone_is_what_simulated_exact_drifts_do(run: FakeRun) -> None:
    """By draws, with 100 000 points of one dimension; and with fine steps the exact iterates again."""
    ends, n = unit_gaussians(1, A), 100_000

    def rows(steps: int) -> dict[tuple[object, object], tuple[float, float, float]]:
        found = exact_euler(EulerConfig(passes=3, steps=steps), 0, run)
        columns = ("correlation", "var_free", "mean_free")
        return {(r["method"], r["pass_number"]): tuple(float(r[c]) for c in columns) for r in found}  # type: ignore[misc]

    coarse, fine = rows(20), rows(400)
    iterates = {"ipf": ipf(*ends, SIGMA), "imf": imf(independent_bridge(*ends, SIGMA))}
    for method, found in iterates.items():
        for number, (before, exact) in enumerate(islice(pairwise(found), 3), 1):
            backward = number % 2 == 1
            drift = before.backward_drift if backward else before.forward_drift
            start = torch.randn(n, 1, generator=generator(number), dtype=torch.float64) + (A if backward else -A)
            end = simulate(drift, start, SIGMA, 20, generator(7), "b" if backward else "f", rows=n)
            correlation, variance, mean = coarse[method, number]
            joint = torch.cat([start, end], dim=1).T.cov()
            assert float(joint[0, 1]) == pytest.approx(correlation, abs=5 * 1.5 / n**0.5)
            assert float(joint[1, 1]) == pytest.approx(variance, abs=5 * (2 / n) ** 0.5 * variance)
            assert float(end.mean()) == pytest.approx(mean, abs=5 * 1.1 / n**0.5)
            free = (exact.cov_0, exact.mean_0) if backward else (exact.cov_1, exact.mean_1)
            wanted = (float(exact.cross), float(free[0]), float(free[1]))
            assert fine[method, number] == pytest.approx(wanted, abs=2e-3)


def test_the_generated_end_is_where_a_pass_arrives() -> None:
    rows = [
        {"seed": 0, "pass_number": n, "direction": d, "var_0": 10 + n, "var_1": 20 + n} for n, d in ((1, "b"), (2, "f"))
    ]
    table = pd.DataFrame(rows)
    assert generated_variance(1)(table)[0] == 11
    assert generated_variance(2)(table)[0] == 22


def test_the_shift_of_the_mean_is_from_pi_0_to_pi_1() -> None:
    table = pd.DataFrame([{"seed": 0, "pass_number": 1, "mean_0": -1.0, "mean_1": 3.0}])
    assert shift_of_mean(1)(table)[0] == 4
