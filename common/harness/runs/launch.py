"""Make the runs of a plan: here, one after another, or as Ray tasks on this machine or a cluster."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Protocol

from common.harness.runs.execute import Done, Failure, Origin, execute, log_tail
from common.harness.runs.plan import RunSpec
from common.harness.runs.progress import Progress, watch
from common.harness.runs.provenance import git_state
from common.harness.runs.store import Store, damage
from common.harness.studies.errors import UsageError


@dataclass(frozen=True)
class Outcome:
    """What became of the runs. `failed` has those that raised, and those that were not made because a need failed."""

    finished: list[RunSpec] = field(default_factory=list)
    reused: list[RunSpec] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


class Pool(Protocol):
    """Where runs are made."""

    slots: int
    """How many at once."""

    def submit(self, spec: RunSpec) -> None:
        """Take a run whose needs are finished."""

    def next(self) -> Done | Failure:
        """Wait until one of the submitted runs is over."""


class SerialPool:
    """Runs in this process, for debugging and for a single run."""

    slots = 1

    def __init__(self, store: Store, origin: Origin) -> None:
        self._store, self._origin = store, origin
        self._queue: list[RunSpec] = []

    def submit(self, spec: RunSpec) -> None:
        """Keep the run for `next`."""
        self._queue.append(spec)

    def next(self) -> Done | Failure:
        """Make the run that was submitted first."""
        spec = self._queue.pop(0)
        try:
            return execute(spec, self._store, self._origin)
        except SystemExit as leaving:
            partial = self._store.partial(spec)
            return Failure(spec, f"SystemExit: {leaving}", partial, log_tail(partial))


def launch(
    specs: Sequence[RunSpec],
    store: Store,
    *,
    workers: int = 0,
    address: str | None = None,
    progress: bool = True,
    command: str | None = None,
) -> Outcome:
    """Make those of `specs` that are not finished; `specs` includes what they need (as `plan` gives them).

    `workers` is 0 for this process, else the number of CPUs that Ray may fill on this machine; `address` is that of a
    Ray cluster ('auto' or 'host:port') whose machines see this working tree and the store under the same paths. A run
    that raises fails alone. Raises UsageError, before anything is written, where the runs cannot be made as asked, and
    passes KeyboardInterrupt on after saying what is kept.
    """
    if workers < 0:
        raise UsageError(f"--workers is 0 (this process) or more, not {workers}")
    if address is not None:
        from common.harness.runs.cluster import reachable

        address = reachable(address)
    todo, reused = _split(specs, store)
    origin = Origin(command or shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]), git_state())
    outcome = Outcome(reused=reused)
    with watch(todo, len(reused), progress) as display:
        _say_what_was_found(todo, store, display)
        if not todo:
            return outcome
        try:
            with _pool(todo, store, origin, workers, address) as pool:
                store.prepare()
                _drive(todo, pool, display, outcome)
        except KeyboardInterrupt:
            display.note(
                f"interrupted: {display.summary()}; nothing finished is lost, and the same command goes on from here"
            )
            raise
    return outcome


def _drive(todo: Sequence[RunSpec], pool: Pool, display: Progress, outcome: Outcome) -> None:
    """Submit each run when its needs are finished, a bounded number ahead of the pool, and take in what ends."""
    specs = {spec.address: spec for spec in todo}
    order = TopologicalSorter(
        {
            address: [need.address for need in spec.needs.values() if need.address in specs]
            for address, spec in specs.items()
        }
    )
    order.prepare()
    display.slots = pool.slots
    ready = list(order.get_ready())
    flying = 0
    while ready or flying:
        while ready and flying < (2 * pool.slots if pool.slots > 1 else 1):
            spec = specs[ready.pop(0)]
            display.started(spec)
            pool.submit(spec)
            flying += 1
        result = pool.next()
        flying -= 1
        _record(result, display, outcome)
        if isinstance(result, Done):
            order.done(result.spec.address)
            ready += order.get_ready()
    over = {each.address for each in outcome.finished + outcome.reused} | {each.spec.address for each in outcome.failed}
    for spec in todo:  # needs come first, so a failure reaches all that build on it
        if spec.address not in over:
            unmet = {failure.spec.address for failure in outcome.failed}
            need = next(need for need in spec.needs.values() if need.address in unmet)
            _record(Failure(spec, f"not run: needs {need}, which failed"), display, outcome)


def _record(result: Done | Failure, display: Progress, outcome: Outcome) -> None:
    if isinstance(result, Failure):
        outcome.failed.append(result)
    else:
        (outcome.reused if result.reused else outcome.finished).append(result.spec)
    display.ended(result)


def _split(specs: Sequence[RunSpec], store: Store) -> tuple[list[RunSpec], list[RunSpec]]:
    """Runs to make and finished ones. A need that is gone is not made again for a run that is finished."""
    todo, finished = [], []
    wanted = {spec.address for spec in specs if spec.asked}
    for spec in reversed(specs):
        if store.finished(spec):
            finished.append(spec)
        elif spec.address in wanted:
            todo.append(spec)
            wanted |= {need.address for need in spec.needs.values()}
    return todo[::-1], finished[::-1]


def _say_what_was_found(todo: Sequence[RunSpec], store: Store, display: Progress) -> None:
    found: dict[str, list[RunSpec]] = {}
    for spec in todo:
        found.setdefault(store.state(spec), []).append(spec)
    for spec in found.get("damaged", []):
        folder = store.folder(spec)
        display.note(f"damaged run found, making it again: {folder}: {damage(folder)}")
    for state, text in (
        ("interrupted", "interrupted {} found, resuming"),
        ("failed", "failed {} found, starting afresh"),
        ("running", "{} under way in another process, waiting for them"),
    ):
        if state in found:
            display.note(f"{len(found[state])} {text.format('run' if len(found[state]) == 1 else 'runs')}")


@contextmanager
def _pool(todo: Sequence[RunSpec], store: Store, origin: Origin, workers: int, address: str | None) -> Iterator[Pool]:
    if workers == 0 and address is None:
        yield SerialPool(store, origin)
        return
    from common.harness.runs.cluster import ray_pool

    with ray_pool(todo, store, origin, workers, address) as pool:
        yield pool
