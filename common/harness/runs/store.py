"""Where runs lie, and how a run becomes finished: all at once, or not at all.

    runs/<slug>/<experiment>/<address>/          a finished run
    runs/<slug>/<experiment>/<address>.partial/  a run being made, broken off, or failed (then with `error.txt`)
    runs/<slug>/<experiment>/<address>.damaged/  what was found under a run's name but is not what was written
    runs/<slug>/<experiment>/<address>.lock      held, as an OS lock, by the process that makes the run

A run is written into its partial folder, flushed to disk, and renamed. The lock dies with its process, so a killed run
is free to be taken up again at once, from the checkpoints in its partial folder; whoever finds the lock held waits, and
then finds the run finished. All of this holds on a path shared between machines that supports file locks (NFS does).
"""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common.harness.runs import rows
from common.harness.runs.plan import RunSpec, plain
from common.harness.studies.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from common.harness.studies.experiment import Experiment

State = Literal["finished", "damaged", "running", "failed", "interrupted", "missing"]


class Store:
    """The run folders below `root`: `REPRO_RUNS`, or `runs/` where the command is given."""

    def __init__(self, root: Path | str | None = None) -> None:
        # Absolute, for the processes that make the runs may be elsewhere.
        self.root = Path(root or os.environ.get("REPRO_RUNS") or "runs").absolute()

    def folder(self, spec: RunSpec) -> Path:
        """Where the finished run lies, or will lie."""
        return self.root / spec.slug / spec.experiment / spec.address

    def partial(self, spec: RunSpec) -> Path:
        """Where the run is written."""
        return self.folder(spec).with_suffix(".partial")

    def finished(self, spec: RunSpec) -> Path | None:
        """The run's folder if the run is finished and is what was written; None otherwise."""
        folder = self.folder(spec)
        return folder if folder.is_dir() and damage(folder) is None else None

    def state(self, spec: RunSpec) -> State:
        """What there is of a run."""
        if self.folder(spec).is_dir():
            return "damaged" if damage(self.folder(spec)) else "finished"
        partial = self.partial(spec)
        if not partial.is_dir():
            return "missing"
        if self._locked(spec):
            return "running"
        return "failed" if (partial / "error.txt").exists() else "interrupted"

    def prepare(self) -> None:
        """Make sure that runs can be written at all; UsageError where they cannot."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise UsageError(f"run folder {self.root} is a file, not a folder; set REPRO_RUNS") from error
        except OSError as error:
            raise UsageError(f"run folder {self.root} cannot be made: {error.strerror}; set REPRO_RUNS") from error
        if not os.access(self.root, os.W_OK | os.X_OK):
            raise UsageError(f"run folder {self.root} is not writable; set REPRO_RUNS")

    def lock(self, spec: RunSpec) -> AbstractContextManager[None]:
        """Hold the run; waits while another process does."""
        return hold(self._lock_path(spec))

    def _lock_path(self, spec: RunSpec) -> Path:
        return self.folder(spec).with_suffix(".lock")

    def _locked(self, spec: RunSpec) -> bool:
        try:
            handle = os.open(self._lock_path(spec), os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return False
        except BlockingIOError:
            return True
        finally:
            os.close(handle)

    def begin(self, spec: RunSpec) -> bool:
        """Make the partial folder ready; True if it goes on from a broken-off run.

        What a run that raised has left is removed: its checkpoints may be of the code that was wrong.
        """
        if self.folder(spec).exists():
            damaged = self.folder(spec).with_suffix(".damaged")
            shutil.rmtree(damaged, ignore_errors=True)
            self.folder(spec).rename(damaged)
        partial = self.partial(spec)
        if (partial / "error.txt").exists():
            shutil.rmtree(partial)
        resumed = partial.exists()
        partial.mkdir(parents=True, exist_ok=True)
        return resumed

    def complete(self, spec: RunSpec, results: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> None:
        """Write `rows.csv` and `run.json` into the partial folder and make it the finished one."""
        partial = self.partial(spec)
        text, types = rows.encode(results, taken=identity(spec))
        _write(partial / "rows.csv", text)
        sums = {name: _sha256(partial / name) for name in ("rows.csv", "arrays.npz") if (partial / name).exists()}
        whole = {**describe(spec), **record, "columns": types, "sha256": sums}
        _write(partial / "run.json", json.dumps(whole, indent=2) + "\n")
        _sync(partial)
        partial.rename(self.folder(spec))
        _sync(partial.parent)

    def table(self, specs: Sequence[RunSpec]) -> pd.DataFrame:
        """The rows of those of `specs` that are finished, each with its config's fields and `seed` as first columns."""
        import pandas as pd

        frames = []
        for spec in specs:
            if folder := self.finished(spec):
                frame = rows.decode((folder / "rows.csv").read_text(), _record(folder)["columns"])
                for position, (name, value) in enumerate(identity(spec).items()):
                    frame.insert(position, name, pd.Series([value] * len(frame)))
                frames.append(frame)
        return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()

    def results(self, specs: Sequence[RunSpec]) -> StoredResults:
        """What figures and claims are made from: the finished runs that the preset itself asked for."""
        return StoredResults(self, [spec for spec in specs if spec.asked and self.finished(spec)])


class StoredResults:
    """The finished runs of one paper in one preset (`figure.Results`)."""

    def __init__(self, store: Store, specs: Sequence[RunSpec]) -> None:
        self._store, self._specs = store, specs
        names = dict.fromkeys(spec.experiment for spec in specs)
        self._tables: Mapping[str, pd.DataFrame] = {
            name: store.table([spec for spec in specs if spec.experiment == name]) for name in names
        }

    def table(self, experiment: Experiment) -> pd.DataFrame:
        """The rows of an experiment, with the config's fields and `seed` as columns."""
        return self._tables[experiment.name]

    def arrays(self, experiment: Experiment, **where: Any) -> list[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]]:
        """The `arrays.npz`, with the config, of each run of `experiment` whose fields (or `seed`) equal `where`."""
        import numpy as np

        found: list[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]] = []
        for spec in self._specs:
            known = identity(spec)
            path = self._store.folder(spec) / "arrays.npz"
            if spec.experiment != experiment.name or not path.exists():
                continue
            if missing := where.keys() - known.keys():
                raise KeyError(
                    f"{experiment.name} has no config field {', '.join(sorted(missing))}; it has {', '.join(known)}"
                )
            if all(known[name] == value for name, value in where.items()):
                with np.load(path, allow_pickle=False) as arrays:
                    found.append((known, dict(arrays)))
        return found


@contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold `path` as an OS lock, which dies with its process; waits while another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if not _is_file(handle, path):
                continue  # the holder that we waited for has removed the file: lock its successor
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return
        finally:
            os.close(handle)


def identity(spec: RunSpec) -> dict[str, Any]:
    """The config's fields and the seed: the columns that every row of the run gets."""
    return {**{f.name: getattr(spec.config, f.name) for f in dataclasses.fields(spec.config)}, "seed": spec.seed}


def describe(spec: RunSpec) -> dict[str, Any]:
    """What a run is, as `run.json` has it."""
    return {
        "address": spec.address,
        "slug": spec.slug,
        "experiment": spec.experiment,
        "version": spec.version,
        "config": plain(spec.config),
        "seed": spec.seed,
        "device": spec.device,
        "needs": {key: need.address for key, need in spec.needs.items()},
        "criteria": dict(spec.criteria),
    }


def damage(folder: Path) -> str | None:
    """What is wrong with a finished run's folder, in words; None if nothing is."""
    try:
        record = _record(folder)
        if record["address"] != folder.name:
            return "run.json is of another run"
        for name, expected in record["sha256"].items():
            if _sha256(folder / name) != expected:
                return f"{name} is not what the run wrote"
    except FileNotFoundError as error:
        return f"{Path(error.filename).name} is missing"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return "run.json cannot be read"
    return None if "rows.csv" in record["sha256"] else "run.json names no rows.csv"


def _record(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "run.json").read_text())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _is_file(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
