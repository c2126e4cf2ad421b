"""One jump is thirty times as fast as the teacher's 35 evaluations, and a step costs little besides its evaluations."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

spec = importlib.util.spec_from_file_location("ctm_benchmark", Path(__file__).with_name("ctm.py"))
assert spec is not None
assert spec.loader is not None
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)


def test_one_takes_one_evaluation_and_the_other_thirty_five() -> None:
    net = bench.student().eval()
    counted = 0

    def count(*_: object) -> None:
        nonlocal counted
        counted += 1

    net.net.register_forward_pre_hook(count)
    bench.one_jump(net)()
    assert counted == 1
    bench.teacher(net)()
    assert counted == 1 + bench.NFE


def test_the_report_keeps_the_promise() -> None:
    report = json.loads((bench.REPORT / "ctm.json").read_text())
    assert report["faster"] >= bench.FASTER
    assert all(over <= bench.ALLOWED for over in report["step_over_evaluations"].values())


@pytest.mark.slow
def test_it_is_so_here(assert_within: Callable[..., None]) -> None:
    def measure() -> dict[str, float]:
        result = bench.benchmark(rounds=3)
        over = {f"step{name}": value / bench.ALLOWED for name, value in result["step_over_evaluations"].items()}
        return {"one jump": bench.FASTER / result["faster"], **over}

    assert_within(measure, 1.0)
