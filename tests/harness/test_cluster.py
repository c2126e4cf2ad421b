"""A cluster: the same command on two nodes, one of which dies; and addresses where there is none."""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from common.harness.runs.cluster import reachable
from common.harness.runs.launch import launch
from common.harness.studies.errors import UsageError

HERE = Path(__file__).resolve().parent
WISH = {"only": ["walk"], "seeds": [0, 1, 2, 3], "overrides": {"crash": "false", "steps": "8", "pause": "0.25"}}


@pytest.fixture
def cluster(toy: Any) -> Iterator[subprocess.Popen[str]]:
    """Two nodes in another process; its first line has the address and the second node's process."""
    toy.environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        # A dead node is noticed within two seconds and not half a minute.
        "RAY_health_check_initial_delay_ms": "0",
        "RAY_health_check_period_ms": "500",
        "RAY_health_check_failure_threshold": "3",
    }
    nodes = subprocess.Popen(
        [sys.executable, str(HERE / "two_nodes.py")],
        env=toy.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    yield nodes
    if nodes.poll() is None:
        os.killpg(nodes.pid, signal.SIGKILL)
        nodes.wait()


@pytest.mark.slow
def test_work_outlives_a_node(
    toy: Any, tmp_path: Path, cluster: subprocess.Popen[str], until: Callable[..., None]
) -> None:
    """A node is killed without grace amid a run: the run goes on elsewhere, with the numbers of an unbroken one."""
    launch(toy.plan(**WISH), toy.store, progress=False)
    expected = toy.rows()
    toy.log.unlink()
    toy.store.root = tmp_path / "cluster"
    toy.environment["REPRO_RUNS"] = str(toy.store.root)
    assert cluster.stdin is not None
    assert cluster.stdout is not None
    nodes = json.loads(cluster.stdout.readline())
    token = toy.environment["RAY_AUTH_TOKEN"]
    toy.environment["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    code, _, said = toy.drive(address=nodes["address"], **WISH)
    assert (code, len(said.splitlines())) == (2, 1), said
    assert f"the Ray cluster at {nodes['address']} does not let us in" in said
    assert not toy.store.root.exists()
    toy.environment["RAY_AUTH_TOKEN"] = token
    driver = toy.start(address=nodes["address"], **WISH)

    def doomed() -> list[str]:
        """Runs that the second node has begun: its raylet is their workers' parent."""
        return [line.split()[-3] for line in toy.events() if line.split()[-1] == str(nodes["raylet"])]

    until(lambda: any((toy.store.root / f"toy/walk/{run}.partial/checkpoint.json").exists() for run in doomed()))
    cluster.stdin.write("kill\n")
    cluster.stdin.flush()
    assert cluster.stdout.readline() == "killed\n"
    out, said = driver.communicate(timeout=300)
    assert driver.returncode == 0, said
    assert len(json.loads(out)["finished"]) == 4
    assert toy.rows() == expected
    lost = doomed()[-1]
    assert toy.starts().count(lost) == 2  # begun there, and taken up on the first node
    assert len(toy.starts()) == 5
    cluster.communicate("end\n", timeout=120)


def test_an_address_where_nothing_listens_is_refused_within_seconds(toy: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    start = time.monotonic()
    code, _, said = toy.drive(address=address)
    assert time.monotonic() - start < 30
    assert code == 2
    assert said.startswith(f"no Ray cluster answers at {address}: ")
    assert len(said.splitlines()) == 1
    assert not toy.store.root.exists()


def test_an_address_that_swallows_what_it_is_sent_is_refused_within_seconds() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        start = time.monotonic()
        with pytest.raises(UsageError, match="no Ray cluster answers at"):
            reachable(f"127.0.0.1:{deaf.getsockname()[1]}")
        assert time.monotonic() - start < 30


def test_a_port_of_something_else_is_refused() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(100)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(UsageError, match="is not a Ray cluster's head"):
            reachable(f"127.0.0.1:{server.getsockname()[1]}")
        thread.join()


@pytest.mark.parametrize("address", ["nowhere", "ray://host:10001", "host:", ":6379", "host:port"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="--address is auto or host:port of a Ray cluster's head, not"):
        reachable(address)
