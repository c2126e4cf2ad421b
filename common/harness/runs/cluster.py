"""Runs as Ray Core tasks, on this machine or on a running cluster.

A cluster's machines see the working tree, its Python environment and the run folders under the same paths; nothing is
uploaded. The command is given on one of them.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from typing import Any

from common.harness.runs.execute import Done, Failure, Origin, execute, log_tail
from common.harness.runs.plan import RunSpec, device_type
from common.harness.runs.provenance import TREE
from common.harness.runs.store import Store
from common.harness.studies.errors import UsageError

CRASHES = 3
"""How often a run is made again after its worker or node died; an exception is never tried again."""
PATIENCE = 3.0
"""Seconds that a cluster's port has to answer."""


@contextmanager
def ray_pool(
    todo: Sequence[RunSpec], store: Store, origin: Origin, workers: int, address: str | None
) -> Iterator[RayPool]:
    """A pool on the cluster at `address`, or on one of `workers` CPUs that lives as long as this block."""
    _choose_settings(local=address is None)
    import ray

    quiet: dict[str, Any] = {
        "log_to_driver": False,  # a run's output is in its log.txt
        "logging_level": logging.ERROR,
        "runtime_env": {"env_vars": _environment()},
    }
    local: dict[str, Any] = {
        "num_cpus": max(workers, *(spec.resources.cpus for spec in todo)),
        "include_dashboard": False,
        "object_store_memory": 100 * 2**20,  # only specs and outcomes travel
    }
    # Ray prints paragraphs about each dead worker to standard output, which is the command's. That a run was taken up
    # again its own line says, and why it failed its error.
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere):
        if address is None:
            ray.init(address="local", **local, **quiet)
        else:
            _join(address, quiet)
        try:
            _check_room(todo)
            yield RayPool(store, origin)
        finally:
            ray.shutdown()


def _join(address: str, quiet: Mapping[str, Any]) -> None:
    import ray

    try:
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UsageError(
            f"the Ray cluster at {address} cannot be joined: {reason}; it must be of the same Ray and Python versions"
        ) from error


class RayPool:
    """Runs as Ray tasks; Ray places them by their resources."""

    def __init__(self, store: Store, origin: Origin) -> None:
        import ray

        self._store, self._origin = store, origin
        self._task = ray.remote(_execute_on_worker)
        self._running: dict[Any, Sequence[RunSpec]] = {}
        self.slots = max(1, int(ray.cluster_resources().get("CPU", 1)))

    def submit(self, batch: Sequence[RunSpec]) -> None:
        """Hand a batch to Ray, as one task."""
        needed = batch[0].resources
        task = self._task.options(
            name=str(batch[0]),
            num_cpus=needed.cpus,
            num_gpus=needed.gpus,
            max_retries=CRASHES,
            retry_exceptions=False,
        )
        self._running[task.remote(batch, self._store, self._origin)] = batch

    def next(self) -> list[Done | Failure]:
        """Wait for the first batch that is over; runs whose workers kept dying are Failures."""
        import ray

        ready, _ = ray.wait(list(self._running), num_returns=1)
        batch = self._running.pop(ready[0])
        try:
            return ray.get(ready[0])
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            message = f"{type(error).__name__}, after {CRASHES} more attempts: {reason}"
            partials = [self._store.partial(spec) for spec in batch]
            return [
                Failure(spec, message, partial, log_tail(partial))
                for spec, partial in zip(batch, partials, strict=True)
            ]


def _execute_on_worker(batch: Sequence[RunSpec], store: Store, origin: Origin) -> list[Done | Failure]:
    # Ray shows each task its own GPU as the first.
    return execute(
        [replace(spec, device="cuda") if device_type(spec.device) == "cuda" else spec for spec in batch], store, origin
    )


def _choose_settings(local: bool) -> None:
    """Ray's settings, which it reads when it is imported; what the user has set stays."""
    os.environ.setdefault("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # By default a run too large for the machine is tried for ever.
    os.environ.setdefault("RAY_task_oom_retries", str(CRASHES))
    if local:
        # Ray listens on all of the machine's addresses. A token of this process alone keeps others out, and unlike the
        # one that Ray would make by itself it is not left in the home directory. A cluster's mode is its owner's to
        # set.
        os.environ.setdefault("RAY_AUTH_MODE", "token")
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))


def _environment() -> dict[str, str]:
    """The variables that workers get: where our code and data are."""
    paths = [str(TREE), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    ours = {name: value for name, value in os.environ.items() if name.startswith("REPRO_")}
    return {**ours, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths))}


def _check_room(todo: Sequence[RunSpec]) -> None:
    """UsageError for a run that no node can hold: Ray would wait for ever."""
    import ray

    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    for need in {spec.resources for spec in todo}:
        if not any(node.get("CPU", 0) >= need.cpus and node.get("GPU", 0) >= need.gpus for node in nodes):
            raise UsageError(
                f"runs take {need.cpus} CPUs and {need.gpus:g} GPUs; no machine of the cluster has as many"
            )


def reachable(address: str) -> str:
    """host:port of the cluster at `address`, after seeing that it answers; UsageError within seconds if not.

    Ray itself takes minutes to give up on a port where nothing, or something else, listens.
    """
    found = _running_cluster() if address == "auto" else address
    host, _, port = found.rpartition(":")
    if not host or "/" in host or not port.isdigit():
        raise UsageError(f"--address is auto or host:port of a Ray cluster's head, not {address!r}")
    # The opening of HTTP/2, on which gRPC stands: its answer starts with a frame of type SETTINGS (4).
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE) as connection:
            connection.sendall(preface)
            answer = connection.recv(9)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"no Ray cluster answers at {found}: {error or type(error).__name__}; is it running?"
        ) from error
    if len(answer) < 4 or answer[3] != 4:
        raise UsageError(f"what answers at {found} is not a Ray cluster's head")
    _let_in(found)
    return found


def _let_in(address: str) -> None:
    """UsageError where the cluster wants another token; `ray.init` would ask twenty times, with a warning each."""
    _choose_settings(local=False)
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # of C++, without stubs

    with _without_warnings():
        try:
            GcsClient(address=address)
        except Exception as error:  # Ray's own kind differs by version
            raise UsageError(
                f"the Ray cluster at {address} does not let us in: it wants the token of its owner, as "
                f"RAY_AUTH_MODE=token and RAY_AUTH_TOKEN ({type(error).__name__})"
            ) from error


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Nothing on standard error, from C++ either, which does not ask Python's `sys.stderr`."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _running_cluster() -> str:
    _choose_settings(local=False)
    from ray._private.services import canonicalize_bootstrap_address

    try:
        return str(canonicalize_bootstrap_address("auto"))
    except ConnectionError as error:
        raise UsageError(
            "--address auto: no Ray cluster runs on this machine; start one with `ray start --head`"
        ) from error
