"""What the harness itself costs: processor time per run, and how planning and looking grow with the number of runs.

    python tests/benchmarks/harness_cost.py [runs]

The experiment does nothing, so all that is measured is the harness: planning, fingerprint, folders, hashes, progress.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from common.harness.runs.launch import launch
from common.harness.runs.plan import RunSpec, plan
from common.harness.runs.store import Store
from common.harness.studies.experiment import Experiment, Grid, Row, Run, experiment


@dataclass(frozen=True)
class Nothing:
    n: int = 0


@experiment(Nothing, {"quick": Grid((Nothing(),))}, {"x": float})
def nothing(config: Nothing, seed: int, run: Run) -> Sequence[Row]:
    return [{"x": 1.0}]


@dataclass(frozen=True)
class Card:
    """As much of a paper as a plan looks at."""

    slug: str = "nothing"
    claims: tuple[Any, ...] = ()

    @property
    def experiments(self) -> dict[str, Experiment]:
        return {"nothing": nothing}


def planned(runs: int) -> list[RunSpec]:
    """A plan of so many runs."""
    card: Any = Card()
    return plan(card, "quick", seeds=range(runs))


def cpu(work: Callable[[], object]) -> float:
    """Seconds of processor time that `work` takes in this process."""
    start = time.process_time()
    work()
    return time.process_time() - start


def per_run(runs: int) -> dict[str, float]:
    """Milliseconds of processor time per run: to make it, to find it finished, and to read its rows."""
    with tempfile.TemporaryDirectory() as folder:
        specs, store = planned(runs), Store(folder)
        launch(specs[:2], store, progress=False)  # what is done once per process
        made = cpu(lambda: launch(specs, store, progress=False))
        again = Store(folder)
        found = cpu(lambda: launch(specs, again, progress=False))
        read = cpu(lambda: again.table(specs))
    return {name: 1e3 * seconds / runs for name, seconds in (("made", made), ("found", found), ("read", read))}


def planning(runs: int) -> float:
    """Seconds of processor time to plan so many runs and to see that none is there."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        return cpu(lambda: [store.state(spec) for spec in planned(runs)])


if __name__ == "__main__":
    many = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    costs = per_run(many)
    print(json.dumps({"runs": many, **{f"{name}_ms": round(cost, 3) for name, cost in costs.items()}}))
    print(json.dumps({"planning_s": {n: round(planning(n), 3) for n in (many, 4 * many)}}))
