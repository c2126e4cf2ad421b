"""Make the runs of a plan: here, one after another, or as Ray tasks on this machine or a cluster."""

from __future__ import annotations

import json
import shlex
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Protocol

from common.harness.runs.execute import Done, Failure, Origin, execute, log_tail
from common.harness.runs.looks import damage
from common.harness.runs.plan import RunSpec, plain
from common.harness.runs.progress import Progress, watch
from common.harness.runs.provenance import git_state
from common.harness.runs.store import Store
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
    """How many tasks at once."""

    def submit(self, batch: Sequence[RunSpec]) -> None:
        """Take runs that are made as one task, and whose needs are finished."""

    def next(self) -> list[Done | Failure]:
        """Wait until one of the submitted batches is over."""


class SerialPool:
    """Runs in this process, for debugging and for a single run."""

    slots = 1

    def __init__(self, store: Store, origin: Origin) -> None:
        self._store, self._origin = store, origin
        self._queue: deque[Sequence[RunSpec]] = deque()

    def submit(self, batch: Sequence[RunSpec]) -> None:
        """Keep the batch for `next`."""
        self._queue.append(batch)

    def next(self) -> list[Done | Failure]:
        """Make the batch that was submitted first."""
        batch = self._queue.popleft()
        try:
            return execute(batch, self._store, self._origin)
        except SystemExit as leaving:
            partials = {spec: self._store.partial(spec) for spec in batch}
            return [Failure(spec, f"SystemExit: {leaving}", at, log_tail(at)) for spec, at in partials.items()]


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
    """Submit each batch when its needs are over, a bounded number ahead of the pool, and take in what ends.

    A run that needs a failed one is not made; those that it would have been made with are.
    """
    batches = _batches(todo)
    place = {spec.address: number for number, batch in enumerate(batches) for spec in batch}
    needs = {
        number: {place[need.address] for spec in batch for need in spec.needs.values() if need.address in place}
        for number, batch in enumerate(batches)
    }
    order = TopologicalSorter(needs)
    order.prepare()
    display.slots = pool.slots
    ready = deque(order.get_ready())
    flying = 0
    lost: set[str] = set()

    def take_in(results: Sequence[Done | Failure]) -> None:
        for result in results:
            _record(result, display, outcome)
            if isinstance(result, Failure):
                lost.add(result.spec.address)

    while ready or flying:
        while ready and flying < (2 * pool.slots if pool.slots > 1 else 1):
            number = ready.popleft()
            unmet = {spec: need for spec in batches[number] for need in spec.needs.values() if need.address in lost}
            take_in([Failure(spec, f"not run: needs {need}, which failed") for spec, need in unmet.items()])
            if makeable := [spec for spec in batches[number] if spec not in unmet]:
                display.started(makeable)
                pool.submit(makeable)
                flying += 1
            else:
                order.done(number)
                ready.extend(order.get_ready())
        if flying:
            results = pool.next()
            flying -= 1
            take_in(results)
            order.done(place[results[0].spec.address])
            ready.extend(order.get_ready())


def _batches(todo: Sequence[RunSpec]) -> list[list[RunSpec]]:
    """The runs as they are made: seeds of one config together, as many as their experiment takes; others alone."""
    batches: list[list[RunSpec]] = []
    filling: dict[tuple[str, ...], list[RunSpec]] = {}
    for spec in todo:
        alike = (spec.slug, spec.experiment, spec.device, json.dumps(plain(spec.config))) if spec.together > 1 else ()
        batch = filling.get(alike, [])
        if not batch or len(batch) >= spec.together:
            batch = []
            batches.append(batch)
            if alike:
                filling[alike] = batch
        batch.append(spec)
    return batches


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
    broken_off = found.pop("interrupted", [])
    for spec in broken_off:
        found.setdefault("interrupted" if store.resumable(spec) else "of older code", []).append(spec)
    for state, text in (
        ("stale", "{} made by older code found, making them again (--accept-stale takes them)"),
        ("finished", "{} made with other libraries found, making them again"),
        ("interrupted", "interrupted {} found, resuming"),
        ("of older code", "interrupted {} of older code found, starting afresh"),
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
