"""A solver's own work is at most a twentieth of one evaluation of a U-Net."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from papers.seeds.brownian import fresh
from papers.seeds.exponential import DataPrediction
from papers.seeds.runge_kutta import run
from papers.seeds.seeds import seeds_3

spec = importlib.util.spec_from_file_location("seeds_benchmark", Path(__file__).with_name("seeds.py"))
assert spec is not None
assert spec.loader is not None
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)

OURS = ("SEEDS-1", "SEEDS-2", "SEEDS-3", "SEEDS-3, noise prediction", "SDE-DPM-Solver++ 2M")


def test_all_take_as_many_evaluations() -> None:
    counted = 0

    def denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        nonlocal counted
        counted += 1
        return x

    noise, generator = bench.images()
    run(seeds_3(DataPrediction(bench.EDM()), bench.levels(bench.NFE // 3)), denoiser, noise, fresh(generator))
    assert counted == bench.NFE


def test_the_report_keeps_the_promise() -> None:
    report = json.loads((bench.REPORT / "seeds.json").read_text())
    assert {*OURS} < {*report["share"]}
    assert all(report["share"][name] <= bench.ALLOWED for name in OURS)


@pytest.mark.slow
def test_a_solver_s_own_work_is_a_twentieth_of_an_evaluation(assert_within: Callable[..., None]) -> None:
    def measure() -> dict[str, float]:
        share = bench.benchmark(rounds=3)["share"]
        return {name: share[name] for name in OURS}

    assert_within(measure, bench.ALLOWED)
