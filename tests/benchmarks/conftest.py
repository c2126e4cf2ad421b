"""What tests of cost share: others' work on the machine slows one side down for a while, so a measurement gets a second
and a third look."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

TRIES = 3
Measure = Callable[[], Mapping[str, float]]
"""() -> what each thing costs, in units of the loop written bare."""


@pytest.fixture
def assert_within() -> Callable[[Measure, float], None]:
    """`assert_within(measure, allowed)`: each cost is at most `allowed` in one try of three."""

    def check(measure: Measure, allowed: float) -> None:
        beyond: dict[str, list[float]] = {}
        for number in range(TRIES):
            costs = measure()
            beyond = {
                name: [*beyond.get(name, []), cost]
                for name, cost in costs.items()
                if cost > allowed and (number == 0 or name in beyond)
            }
            if not beyond:
                return
        pytest.fail(f"times the bare loop: {beyond}")

    return check
