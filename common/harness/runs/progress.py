"""What the user sees while runs are made: a live display on a terminal, one line per event elsewhere."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, TextIO

from common.harness.runs.execute import Done, Failure
from common.harness.runs.plan import RunSpec
from common.harness.runs.terminal import wrapped
from common.harness.studies.wording import duration

if TYPE_CHECKING:
    from rich.table import Table


class Progress:
    """Counts runs and writes one line per event to `stream` (standard error by default)."""

    def __init__(self, specs: Sequence[RunSpec], reused: int, stream: TextIO | None = None) -> None:
        # Taken now: while a run is made in this process, sys.stderr is the run's log.
        self.stream = stream or sys.stderr
        self.total, self.reused, self.slots = len(specs) + reused, reused, 1
        self.done = self.failed = 0
        self._waiting = Counter((spec.slug, spec.experiment) for spec in specs)
        self._times: dict[tuple[str, str], tuple[int, float]] = {}
        """By experiment: how many runs are done, and their seconds in all. Sums, for a bar is drawn often."""
        self._running: dict[str, dict[str, RunSpec]] = {}
        """What was handed on and is not over: for each task its runs by address, under the address of the first."""
        self._begun: set[str] = set()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def note(self, text: str) -> None:
        """One line that is no run's event, wrapped where it is too long."""
        self.quote(wrapped(text))

    def quote(self, text: str) -> None:
        """Lines of a log, as they are."""
        print(text, file=self.stream, flush=True)

    def started(self, batch: Sequence[RunSpec]) -> None:
        """Runs that are made as one are under way, or wait for a free worker."""
        self._running[batch[0].address] = {spec.address: spec for spec in batch}
        self._say_what_begins()

    def ended(self, result: Done | Failure) -> None:
        """A run is finished, has failed, or will not be made."""
        spec = result.spec
        self._take_off(spec)
        self._waiting[spec.slug, spec.experiment] -= 1
        if isinstance(result, Failure):
            self.failed += 1
            self.note(f"[{self.counted}/{self.total}] failed {spec}: {result.message}")
            if result.folder:
                self.note(f"  {result.folder}")
                self.quote("\n".join(f"  | {line}" for line in result.log_tail.splitlines()))
        elif result.reused:
            self.reused += 1
            self.note(f"[{self.counted}/{self.total}] reused {spec}, made by another process")
        else:
            self.done += 1
            count, seconds = self._times.get((spec.slug, spec.experiment), (0, 0.0))
            self._times[spec.slug, spec.experiment] = count + 1, seconds + result.seconds
            again = ", resumed" if result.resumed else ""
            self.finished_line(f"[{self.counted}/{self.total}] finished {spec} in {duration(result.seconds)}{again}")
        self._say_what_begins()

    def _say_what_begins(self) -> None:
        for batch in self._being_made():
            if not self._begun & batch.keys():
                self._begun.update(batch)
                others = f" and {len(batch) - 1} more seeds" if len(batch) > 1 else ""
                self.started_line(f"{time.strftime('%H:%M:%S')} started {next(iter(batch.values()))}{others}")

    def _being_made(self) -> list[dict[str, RunSpec]]:
        # Tasks are handed to the workers in order and ahead of time: as many as there are slots are being made.
        return list(self._running.values())[: self.slots]

    def _take_off(self, spec: RunSpec) -> None:
        for first, batch in self._running.items():
            if batch.pop(spec.address, None):
                if not batch:
                    del self._running[first]
                return

    def started_line(self, text: str) -> None:
        """The line of a run that begins: a long run is then seen to be alive."""
        self.note(text)

    def finished_line(self, text: str) -> None:
        """The line of a finished run."""
        self.note(text)

    @property
    def counted(self) -> int:
        """Runs that need no more waiting for."""
        return self.done + self.reused + self.failed

    def seconds_left(self) -> float | None:
        """By the mean time of each experiment's finished runs (of all, for an experiment that has none yet)."""
        times = dict(self._times)  # a copy: the live display asks from a thread of its own
        if not times:
            return None
        every = sum(count for count, _ in times.values()), sum(seconds for _, seconds in times.values())
        total, waiting = 0.0, 0
        for experiment, left in list(self._waiting.items()):
            count, seconds = times.get(experiment, every)
            total += left * seconds / count
            waiting += left
        return total / max(1, min(self.slots, waiting))

    def summary(self) -> str:
        """'3 of 8 runs done, 2 running, 1 failed, 2 reused, about 40 s left'."""
        parts = [f"{self.done + self.reused} of {self.total} runs done"]
        if running := sum(len(batch) for batch in self._being_made()):
            parts.append(f"{running} running")
        parts += [f"{count} {word}" for count, word in ((self.failed, "failed"), (self.reused, "reused")) if count]
        left = self.seconds_left()
        if left is not None and self.counted < self.total:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)


class LiveProgress(Progress):
    """The same on a terminal: a bar that is redrawn in place, with failures written above it."""

    def __enter__(self) -> LiveProgress:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(file=self.stream)
        self._live = Live(
            console=self._console,
            get_renderable=self._draw,
            refresh_per_second=4,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def quote(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def started_line(self, text: str) -> None:
        """Nothing: the run is listed."""

    def finished_line(self, text: str) -> None:
        """Nothing: the bar moves."""

    def _draw(self) -> Table:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        running = [spec for batch in self._being_made() for spec in list(batch.values())]
        lines = Table.grid()
        lines.add_row(ProgressBar(total=self.total, completed=self.counted, width=60))
        lines.add_row(self.summary())
        for spec in running[:8]:
            lines.add_row(Text(f"  {spec}", style="dim", no_wrap=True, overflow="ellipsis"))
        return lines


class SilentProgress(Progress):
    """Nothing."""

    def quote(self, text: str) -> None:
        pass


def watch(specs: Sequence[RunSpec], reused: int, shown: bool) -> Progress:
    """The progress that suits standard error."""
    if not shown:
        return SilentProgress(specs, reused)
    return (LiveProgress if sys.stderr.isatty() else Progress)(specs, reused)
