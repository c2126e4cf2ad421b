"""One run, made in this process: the thread count first, then the experiment, then its folder."""

from __future__ import annotations

import errno
import importlib
import json
import math
import os
import random
import shutil
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat, TextIO

from common.harness.runs import provenance, rows
from common.harness.runs.plan import RunSpec
from common.harness.runs.store import Store
from common.harness.studies.experiment import Experiment

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


def execute(spec: RunSpec, store: Store, origin: Origin) -> Done | Failure:
    """Make one run, unless it is finished by now. An exception becomes a Failure.

    Ctrl-C and SystemExit, by which Ray ends a worker, pass through and leave a run that can go on. The same function
    makes a run in the driver and on a worker, so that both give the same rows.
    """
    partial = store.partial(spec)
    try:
        with store.lock(spec):
            if store.finished(spec):
                return Done(spec, 0.0, reused=True)
            resumed = store.begin(spec)
            start = time.perf_counter()
            try:
                with _logged(partial / "log.txt", origin.command):
                    _make(spec, store, origin, resumed)
            except Exception as error:
                # A full disk is not the run's fault: without this mark, its checkpoints are taken up again.
                if not _no_room(error, partial):
                    (partial / "error.txt").write_text(traceback.format_exc())
                raise
            return Done(spec, time.perf_counter() - start, resumed=resumed)
    except Exception as error:
        trace = traceback.format_exc()
        message = f"{type(error).__name__}: {error}"
        if _no_room(error, partial):
            message = f"no room left on disk ({message}); what there is of the run is kept, and goes on from there"
        return Failure(spec, message, partial, log_tail(partial) or "\n".join(trace.splitlines()[-LOG_TAIL:]))


def _make(spec: RunSpec, store: Store, origin: Origin, resumed: bool) -> None:
    start = time.perf_counter()
    with threads(spec.resources.cpus):
        experiment: Experiment = getattr(importlib.import_module(spec.module), spec.experiment)
        with threads(spec.resources.cpus):  # again, for the libraries that this import has loaded
            _seed_globals(spec.seed)
            memory = provenance.PeakMemory()
            run = ActiveRun(
                store.partial(spec), spec.device, {key: store.folder(need) for key, need in spec.needs.items()}
            )
            try:
                results = experiment(spec.config, spec.seed, run)
            finally:
                run.close()
    record = {
        "command": origin.command,
        "git": origin.git,
        "versions": provenance.versions(),
        "machine": provenance.machine(spec.device),
        "threads": spec.resources.cpus,
        "seconds": round(time.perf_counter() - start, 3),
        "peak_memory_bytes": memory.read(),
        "resumed": resumed,
    }
    rows.check(results, experiment.columns)
    store.complete(spec, results, record)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """`count` threads for PyTorch, BLAS and OpenMP, whether they are loaded or still to be; as before on leaving."""
    from threadpoolctl import threadpool_limits

    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(count)))
    torch = sys.modules.get("torch")
    torch_before = torch.get_num_threads() if torch else count
    try:
        with threadpool_limits(count):
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
def _logged(path: Path, command: str) -> Iterator[None]:
    """Send what is printed to `path`, and the traceback of an exception."""
    with ExitStack() as stack:
        file = stack.enter_context(path.open("a", buffering=1))
        file.write(f"=== {time.strftime('%Y-%m-%d %H:%M:%S')} {command}\n")
        stack.enter_context(redirect_stdout(file))
        stack.enter_context(redirect_stderr(file))
        try:
            yield
        except Exception:
            with suppress(OSError):
                traceback.print_exc(file=file)
            raise


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
