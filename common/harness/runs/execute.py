"""One run, or several seeds as one, made in this process: the thread count first, then the experiment, then folders."""

from __future__ import annotations

import errno
import importlib
import io
import json
import math
import os
import random
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, SupportsFloat, TextIO

from common.harness.runs import provenance, rows
from common.harness.runs.plan import RunSpec
from common.harness.runs.store import Store
from common.harness.studies.experiment import Experiment, Row

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
LOG_TAIL = 10
"""Lines of a failed run's log that are shown."""


@dataclass(frozen=True)
class Origin:
    """What the process that starts the runs knows of them: the command given, and the state of the code."""

    command: str
    git: Mapping[str, Any] | None


@dataclass(frozen=True)
class Done:
    """A finished run: `reused` if another process made it meanwhile, `resumed` if it went on from a broken-off one."""

    spec: RunSpec
    seconds: float
    reused: bool = False
    resumed: bool = False


@dataclass(frozen=True)
class Failure:
    """A run that is not finished, and why. `folder` holds what it left; None for a run that was not started."""

    spec: RunSpec
    message: str
    folder: Path | None = None
    log_tail: str = ""


class ActiveRun:
    """The run as its experiment sees it (`experiment.Run`)."""

    def __init__(self, folder: Path, device: str, needs: Mapping[str, Path]) -> None:
        self.folder, self.device, self.needs = folder, device, needs
        self._metrics: TextIO | None = None
        self._saved = False

    def log(self, **metrics: SupportsFloat) -> None:
        """Append one line to `metrics.jsonl`. Raises FloatingPointError for a loss that is not finite."""
        values = {name: value.item() if hasattr(value, "item") else value for name, value in metrics.items()}
        for name, value in values.items():
            if "loss" in name and not math.isfinite(value):
                raise FloatingPointError(f"{name} is {value} ({', '.join(f'{k}={v}' for k, v in values.items())})")
        if self._metrics is None:
            self._metrics = _whole_lines(self.folder / "metrics.jsonl").open("a", buffering=1)
        self._metrics.write(json.dumps(values) + "\n")

    def save_arrays(self, **arrays: Any) -> None:
        """Write `arrays.npz`, from NumPy arrays or tensors. Raises RuntimeError if called twice."""
        import numpy as np

        if self._saved:
            raise RuntimeError("save_arrays is called once, with all arrays")
        self._saved = True
        with (self.folder / "arrays.npz").open("wb") as file:
            np.savez(file, allow_pickle=False, **{name: _array(value) for name, value in arrays.items()})
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """End `metrics.jsonl`."""
        if self._metrics is not None:
            self._metrics.close()


def execute(batch: Sequence[RunSpec], store: Store, origin: Origin) -> list[Done | Failure]:
    """Make the runs of a batch as one: seeds of one config, or a single run.

    A run that is finished by now is left out. An exception becomes a Failure of each. Ctrl-C and SystemExit, by which
    Ray ends a worker, pass through and leave runs that can go on. The same function makes runs in the driver and on a
    worker, so that both give the same rows.
    """
    left, over = list(batch), list[Done | Failure]()
    try:
        with ExitStack() as locks:
            # In one order for all, for two batches must not wait for each other.
            for spec in sorted(batch, key=lambda each: each.address):
                locks.enter_context(store.lock(spec))
            over += [Done(spec, 0.0, reused=True) for spec in batch if store.finished(spec)]
            left = [spec for spec in batch if not store.finished(spec)]
            if left:
                over += _execute(left, store, origin)
    except Exception as error:
        over += [_failure(spec, error, store) for spec in left]
    return over


def _execute(batch: Sequence[RunSpec], store: Store, origin: Origin) -> list[Done | Failure]:
    partials = [store.partial(spec) for spec in batch]
    resumed = [store.begin(spec, afresh=spec.together > 1) for spec in batch]
    start = time.perf_counter()
    with _noted(partials), _logged(partials, origin.command):
        experiment, tables, record = _compute(batch, store, origin)
    over: list[Done | Failure] = []
    for spec, partial, table, went_on in zip(batch, partials, tables, resumed, strict=True):
        try:
            with _noted([partial]):
                rows.check(table, experiment.columns)
                store.complete(spec, table, {**record, "resumed": went_on})
        except Exception as error:
            over.append(_failure(spec, error, store))
        else:
            over.append(Done(spec, (time.perf_counter() - start) / len(batch), resumed=went_on))
    return over


def _compute(
    batch: Sequence[RunSpec], store: Store, origin: Origin
) -> tuple[Experiment, Sequence[Sequence[Row]], dict[str, Any]]:
    """The rows of each run of a batch, and what is on record of how they were made."""
    start = time.perf_counter()
    first = batch[0]
    with threads(first.resources.cpus):
        experiment: Experiment = getattr(importlib.import_module(first.module), first.experiment)
        with threads(first.resources.cpus):  # again, for the libraries that this import has loaded
            _seed_globals(first.seed)
            memory = provenance.PeakMemory()
            runs = tuple(
                ActiveRun(
                    store.partial(spec), spec.device, {key: store.folder(need) for key, need in spec.needs.items()}
                )
                for spec in batch
            )
            try:
                if experiment.together == 1:
                    tables: Sequence[Sequence[Row]] = [experiment(first.config, first.seed, runs[0])]
                else:
                    tables = experiment(first.config, tuple(spec.seed for spec in batch), runs)
            finally:
                for run in runs:
                    run.close()
    if len(tables) != len(batch):
        raise ValueError(f"{experiment.name} gave the rows of {len(tables)} seeds, where {len(batch)} were asked for")
    return (
        experiment,
        tables,
        {
            "command": origin.command,
            "git": origin.git,
            "versions": provenance.versions(),
            "machine": provenance.machine(first.device),
            "threads": first.resources.cpus,
            "seconds": round((time.perf_counter() - start) / len(batch), 3),
            "together": len(batch),
            "peak_memory_bytes": memory.read(),
        },
    )


def _failure(spec: RunSpec, error: Exception, store: Store) -> Failure:
    partial = store.partial(spec)
    message = f"{type(error).__name__}: {error}"
    if _no_room(error, partial):
        message = f"no room left on disk ({message}); what there is of the run is kept, and goes on from there"
    trace = "".join(traceback.format_exception(error))
    return Failure(spec, message, partial, log_tail(partial) or "\n".join(trace.splitlines()[-LOG_TAIL:]))


@contextmanager
def _noted(partials: Sequence[Path]) -> Iterator[None]:
    """Leave the traceback of an exception in `log.txt` and `error.txt` of runs that it ends."""
    try:
        yield
    except Exception as error:
        for partial in partials:
            with suppress(OSError), (partial / "log.txt").open("a") as file:
                traceback.print_exc(file=file)
            # A full disk is not the run's fault: without this mark, its checkpoints are taken up again.
            if not _no_room(error, partial):
                (partial / "error.txt").write_text(traceback.format_exc())
        raise


@contextmanager
def threads(count: int) -> Iterator[None]:
    """`count` threads for PyTorch, BLAS and OpenMP, whether they are loaded or still to be; as before on leaving."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(count)))
    torch = sys.modules.get("torch")
    torch_before = torch.get_num_threads() if torch else count
    try:
        with _pools(len(sys.modules)).limit(limits=count):
            if torch:
                torch.set_num_threads(count)
            yield
    finally:
        if torch:
            torch.set_num_threads(torch_before)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@lru_cache(maxsize=1)
def _pools(loaded: int) -> ThreadpoolController:
    """The libraries that have threads. To look for them takes milliseconds: done when a module more is `loaded`."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def log_tail(folder: Path) -> str:
    """The last lines of a run's log; empty where there is none."""
    try:
        return "\n".join((folder / "log.txt").read_text(errors="replace").splitlines()[-LOG_TAIL:])
    except OSError:
        return ""


def _seed_globals(seed: int) -> None:
    # Experiments take their randomness from generators. Should a library draw from a global one all the same, the rows
    # must not depend on what this process ran before.
    random.seed(seed)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(seed % 2**32)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


@contextmanager
def _logged(partials: Sequence[Path], command: str) -> Iterator[None]:
    """Send what is printed to the `log.txt` of each run."""
    with ExitStack() as stack:
        files = [stack.enter_context((partial / "log.txt").open("a", buffering=1)) for partial in partials]
        log = files[0] if len(files) == 1 else _Copies(files)
        log.write(f"=== {time.strftime('%Y-%m-%d %H:%M:%S')} {command}\n")
        stack.enter_context(redirect_stdout(log))
        stack.enter_context(redirect_stderr(log))
        yield


class _Copies(io.TextIOBase):
    """A text file that is several."""

    def __init__(self, files: Sequence[TextIO]) -> None:
        self._files = files

    def write(self, text: str) -> int:
        for file in self._files:
            file.write(text)
        return len(text)


def _no_room(error: BaseException, folder: Path) -> bool:
    """Whether a full disk (or quota, or size limit) is behind an error, which a library may report without errno."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return True
    with suppress(OSError):
        return shutil.disk_usage(folder).free < 2**20
    return False


def _whole_lines(path: Path) -> Path:
    """`path`, without the half line that a kill may have left at its end."""
    if path.exists():
        written = path.read_bytes()
        os.truncate(path, written.rfind(b"\n") + 1)
    return path


def _array(value: Any) -> Any:
    import numpy as np

    return value.detach().cpu().numpy() if hasattr(value, "detach") else np.asarray(value)
