"""Where runs lie, and how a run becomes finished: all at once, or not at all.

    runs/<slug>/<experiment>/<address>/          a finished run
    runs/<slug>/<experiment>/<address>.partial/  a run being made, broken off, or failed (then with `error.txt`)
    runs/<slug>/<experiment>/<address>.damaged/  what was found under a run's name but is not what was written
    runs/<slug>/<experiment>/<address>.replaced/ for the moment in which a stale run gives its place to a new one
    runs/<slug>/<experiment>/<address>.lock      held, as an OS lock, by the process that makes the run

A run is written into its partial folder, flushed to disk, and renamed. The lock dies with its process, so a killed run
is free to be taken up again at once, from the checkpoints in its partial folder; whoever finds the lock held waits, and
then finds the run finished. All of this holds on a path shared between machines that supports file locks (NFS does).

A finished run is *stale* where the fingerprint of its code is not today's. It is made again, in its partial folder, and
stays where it is until the new one is whole.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common.harness.runs import provenance, rows
from common.harness.runs.looks import Looks, read_record, sha256
from common.harness.runs.plan import RunSpec, plain
from common.harness.studies.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from common.harness.studies.experiment import Experiment

State = Literal["finished", "stale", "damaged", "running", "failed", "interrupted", "missing"]


class Store:
    """The run folders below `root`: `REPRO_RUNS`, or `runs/` where the command is given.

    With `accept_stale` a stale run counts as finished. With `same_libraries` only a run does that was made with the
    versions that today's libraries have.
    """

    def __init__(
        self, root: Path | str | None = None, *, accept_stale: bool = False, same_libraries: bool = False
    ) -> None:
        # Absolute, for the processes that make the runs may be elsewhere.
        self.root = Path(root or os.environ.get("REPRO_RUNS") or "runs").absolute()
        self.accept_stale, self.same_libraries = accept_stale, same_libraries
        self._look = Looks()

    def folder(self, spec: RunSpec) -> Path:
        """Where the finished run lies, or will lie."""
        return self.root / f"{spec.slug}/{spec.experiment}/{spec.address}"

    def partial(self, spec: RunSpec) -> Path:
        """Where the run is written."""
        return self.folder(spec).with_suffix(".partial")

    def finished(self, spec: RunSpec) -> Path | None:
        """The run's folder if the run is finished, is what was written and is to be taken; None otherwise."""
        folder = self.folder(spec)
        look = self._look(folder)
        if look is None or look.damage or (not self.accept_stale and _is_stale(spec, look.record)):
            return None
        return None if self.same_libraries and provenance.other_libraries(look.record.get("versions", {})) else folder

    def stale(self, spec: RunSpec) -> bool:
        """Whether there is a whole run that was made by other code than today's."""
        look = self._look(self.folder(spec))
        return look is not None and look.damage is None and _is_stale(spec, look.record)

    def record(self, spec: RunSpec) -> Mapping[str, Any]:
        """The `run.json` of a run that is there. KeyError where none is."""
        if look := self._look(self.folder(spec)):
            return look.record
        raise KeyError(f"no run of {spec} at {self.folder(spec)}")

    def state(self, spec: RunSpec) -> State:
        """What there is of a run, whatever of it is taken."""
        if look := self._look(self.folder(spec)):
            return "damaged" if look.damage else "stale" if _is_stale(spec, look.record) else "finished"
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

    @contextmanager
    def lock(self, spec: RunSpec) -> Iterator[None]:
        """Hold the run; waits while another process does."""
        with hold(self._lock_path(spec)):
            folder, replaced = self.folder(spec), self.folder(spec).with_suffix(".replaced")
            if replaced.exists():  # killed between the two renames of `complete`, or after them
                shutil.rmtree(replaced) if folder.exists() else replaced.rename(folder)
            yield

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

    def resumable(self, spec: RunSpec) -> bool:
        """Whether a broken-off run may be gone on from: its checkpoints are of code that is taken."""
        partial = self.partial(spec)
        if not partial.exists() or (partial / "error.txt").exists():
            return False
        return self.accept_stale or _fingerprint(partial) == spec.fingerprint

    def begin(self, spec: RunSpec, afresh: bool = False) -> bool:
        """Make the partial folder ready; True if it goes on from a broken-off run, which it never does `afresh`.

        What a run that raised has left is removed, and what other code has: its checkpoints may be wrong.
        """
        folder, partial = self.folder(spec), self.partial(spec)
        if (look := self._look(folder)) and look.damage:
            damaged = folder.with_suffix(".damaged")
            shutil.rmtree(damaged, ignore_errors=True)
            folder.rename(damaged)
        resumed = self.resumable(spec) and not afresh
        if partial.exists() and not resumed:
            shutil.rmtree(partial)
        if not resumed:
            partial.mkdir(parents=True)
            (partial / "run.json").write_text(json.dumps({"fingerprint": spec.fingerprint}) + "\n")
        return resumed

    def complete(self, spec: RunSpec, results: Sequence[Mapping[str, Any]], record: Mapping[str, Any]) -> None:
        """Write `rows.csv` and `run.json` into the partial folder and make it the finished one."""
        partial = self.partial(spec)
        text, types = rows.encode(results, taken=identity(spec))
        _write(partial / "rows.csv", text)
        sums = {name: sha256(partial / name) for name in ("rows.csv", "arrays.npz") if (partial / name).exists()}
        # A run that was begun by other code, or is built on a run of other code, is of no one code: it stays stale.
        mixed = _fingerprint(partial) != spec.fingerprint or any(self.stale(need) for need in spec.needs.values())
        by = {"fingerprint": None if mixed else spec.fingerprint}
        whole = {**describe(spec), **by, **record, "columns": types, "sha256": sums}
        _write(partial / "run.json", json.dumps(whole, indent=2) + "\n")
        _sync(partial)
        folder, replaced = self.folder(spec), self.folder(spec).with_suffix(".replaced")
        if folder.exists():
            folder.rename(replaced)
        partial.rename(folder)
        _sync(partial.parent)
        shutil.rmtree(replaced, ignore_errors=True)

    def table(self, specs: Sequence[RunSpec]) -> pd.DataFrame:
        """The rows of those of `specs` that are finished, each with its config's fields and `seed` as first columns."""
        import pandas as pd

        frames = []
        for spec in specs:
            if folder := self.finished(spec):
                text, types = (folder / "rows.csv").read_text(), self.record(spec)["columns"]
                frames.append(rows.decode(text, types, beside=identity(spec)))
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


def _is_stale(spec: RunSpec, record: Mapping[str, Any]) -> bool:
    return record.get("fingerprint") != spec.fingerprint


def _fingerprint(partial: Path) -> str | None:
    """Of the code that began a run; None where it did not say."""
    try:
        return read_record(partial)["fingerprint"]
    except (OSError, ValueError, KeyError):
        return None


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
