"""A step of SEDD's samplers costs one network call and at most a tenth more."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("sedd_benchmark", Path(__file__).with_name("sedd.py"))
assert spec is not None
assert spec.loader is not None
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)

# Stated before the measurement, in the issue that asked for the code.
ALLOWED = 1.1


@pytest.mark.parametrize("case", bench.CASES)
def test_a_sampler_makes_as_many_calls_as_the_bare_loop(case: str) -> None:
    graph, step = bench.CASES[case]
    _, whole, calls = bench.loops(graph(bench.N), step, (2, 8))
    whole()
    assert len(calls) == bench.STEPS + 1


def test_the_report_keeps_the_promise() -> None:
    report = json.loads((bench.REPORT / "sedd.json").read_text())
    assert {result["sampler"] for result in report["samplers"]} == set(bench.CASES)
    assert all(result["ratio"] <= ALLOWED for result in report["samplers"])


@pytest.mark.slow
def test_steps_are_within_a_tenth_of_the_network(assert_within: Callable[..., None]) -> None:
    assert_within(lambda: {r["sampler"]: r["ratio"] for r in bench.benchmark(rounds=6)["samplers"]}, ALLOWED)
