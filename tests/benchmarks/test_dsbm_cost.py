"""A training step and a refresh of DSBM cost what the bare loops cost."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

spec = importlib.util.spec_from_file_location("dsbm_benchmark", Path(__file__).with_name("dsbm.py"))
assert spec is not None
assert spec.loader is not None
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)

# Stated before the measurement, in the issue that asked for the code.
ALLOWED = 1.1


def test_both_networks_have_the_same_work() -> None:
    ours, bare = bench.network(bench.DIM, torch.Generator().manual_seed(0)), bench.Bare()
    assert [p.shape for p in ours.parameters()] == [p.shape for p in bare.parameters()]


def test_the_report_keeps_the_promise() -> None:
    report = json.loads((bench.REPORT / "dsbm.json").read_text())
    assert report["training_step"]["ratio"] <= ALLOWED
    assert report["refresh"]["ratio"] <= ALLOWED


@pytest.mark.slow
def test_costs_are_within_a_tenth_of_the_bare_loops(assert_within: Callable[..., None]) -> None:
    def measure() -> dict[str, float]:
        result = bench.benchmark(rounds=5, steps=156)
        return {cost: result[cost]["ratio"] for cost in ("training_step", "refresh")}

    assert_within(measure, ALLOWED)
