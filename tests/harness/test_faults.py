"""Kills, Ctrl-C, a full disk, two commands at once: nothing finished is lost or made twice, nothing half counts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.harness.launch import launch

PAUSED = {"only": ["walk"], "seeds": [0, 1, 2], "overrides": {"crash": "false", "steps": "5", "pause": "0.3"}}
"""Three runs of a second and a half, with a checkpoint every third of a second."""


def unbroken(toy: Any, tmp_path: Path) -> dict[str, bytes]:
    """The rows of the same runs, made without trouble in another store."""
    toy.store.root = tmp_path / "unbroken"
    launch(toy.plan(**PAUSED), toy.store, progress=False)
    rows = toy.rows()
    toy.store.root = tmp_path / "runs"
    toy.log.unlink()
    assert len(rows) == 3
    return rows


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_launch_is_taken_up_where_it_was(
    toy: Any, tmp_path: Path, until: Callable[..., None], workers: int, blow: signal.Signals
) -> None:
    expected = unbroken(toy, tmp_path)
    specs = toy.plan(**PAUSED)
    driver = toy.start(workers=workers, **PAUSED)
    # One run is finished, and the next has a checkpoint.
    until(lambda: any(toy.store.state(spec) == "finished" for spec in specs))
    until(lambda: any((toy.store.partial(spec) / "checkpoint.json").exists() for spec in specs))
    # A terminal's Ctrl-C reaches every process of the command; a kill only the one that it is aimed at.
    (os.killpg if blow == signal.SIGINT else os.kill)(driver.pid, blow)
    _, said = driver.communicate(timeout=30)
    if blow == signal.SIGINT:
        assert driver.returncode == 130, said
        assert "of 3 runs done" in said
        assert "interrupted: " in said
        assert "nothing finished is lost, and the same command goes on from here" in said
    finished = [spec.address for spec in specs if toy.store.finished(spec)]
    assert 1 <= len(finished) < 3
    first = toy.events()
    code, outcome, said = toy.drive(**PAUSED)
    assert code == 0
    assert toy.rows() == expected
    assert set(finished) <= set(outcome["reused"])
    assert len(outcome["finished"]) + len(outcome["reused"]) == 3
    assert "found, resuming" in said or "under way in another process" in said
    later = toy.events()[len(first) :]
    # A run went on from its checkpoint, unless a worker that had yet to notice its driver's death came to its end.
    assert any(not line.startswith("start at 0") for line in later) or "made by another process" in said
    assert not {line.split()[-3] for line in later} & set(finished)
    assert not list(toy.store.root.glob("*/*/*.partial"))
    assert not list(toy.store.root.glob("*/*/*.lock"))


def test_two_launches_at_once_make_every_run_once(toy: Any, tmp_path: Path) -> None:
    expected = unbroken(toy, tmp_path)
    both = [toy.start(**PAUSED), toy.start(**PAUSED)]
    said = [driver.communicate(timeout=60) for driver in both]
    assert [driver.returncode for driver in both] == [0, 0], said
    assert sorted(toy.starts()) == sorted(spec.address for spec in toy.plan(**PAUSED))
    assert toy.rows() == expected
    assert "made by another process" in said[0][1] + said[1][1] or "waiting for" in said[0][1] + said[1][1]


def test_a_full_disk_fails_the_run_and_leaves_it_unfinished(toy: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """/dev/full answers every write with ENOSPC, as a full disk does: here to the very last file but one."""
    [full] = toy.plan("small", only=["moody"], overrides={"mood": "no room for rows"})
    outcome = launch([full, *toy.plan(only=["noise"])], toy.store)
    [failure] = outcome.failed
    assert failure.message.startswith("no room left on disk (OSError: [Errno 28]")
    assert failure.message in capfd.readouterr().err
    assert len(outcome.finished) == 4
    assert toy.store.finished(full) is None
    assert toy.store.state(full) == "interrupted"  # and not failed: it may go on from what it has
    (toy.store.partial(full) / "rows.csv").unlink()
    (toy.store.partial(full) / "rows.csv").symlink_to(toy.store.root / "room")
    outcome = launch([full], toy.store)
    assert "1 interrupted run found, resuming" in capfd.readouterr().err
    assert len(outcome.finished) == 1


def test_a_file_that_may_not_grow_fails_the_run_and_the_others_go_on(toy: Any) -> None:
    """The limit is the operating system's; the run's arrays are larger, its log and the other run's files are not."""
    wish = {"preset": "small", "only": ["moody"], "overrides": {"mood": "large"}}
    code, outcome, said = toy.drive(file_size_limit=100_000, **wish)
    [message] = outcome["failed"].values()
    assert (code, outcome["finished"]) == (1, [])
    assert message.startswith("no room left on disk")
    assert toy.rows() == {}
    code, outcome, said = toy.drive(**wish)
    assert (code, len(outcome["finished"])) == (0, 1)
    assert "1 interrupted run found, resuming" in said


def test_a_half_written_run_is_never_finished(toy: Any) -> None:
    """Whatever a kill leaves before the rename: here everything but the rename."""
    [spec] = toy.plan(only=["noise"], seeds=[0], overrides={"n": "3"})
    launch([spec], toy.store, progress=False)
    toy.store.folder(spec).rename(toy.store.partial(spec))
    assert toy.store.finished(spec) is None
    assert toy.store.state(spec) == "interrupted"
    assert toy.store.table([spec]).empty
    assert len(launch([spec], toy.store, progress=False).finished) == 1
    assert len(toy.starts()) == 2


def test_a_run_in_another_process_is_seen_as_running(toy: Any, until: Callable[..., None]) -> None:
    wish = {**PAUSED, "seeds": [0]}
    [spec] = toy.plan(**wish)
    assert toy.store.state(spec) == "missing"
    driver = toy.start(**wish)
    until(lambda: toy.store.state(spec) == "running")
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert toy.store.state(spec) == "interrupted"
