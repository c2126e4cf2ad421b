"""Kills, Ctrl-C, a full disk, two commands at once: nothing finished is lost or made twice, nothing half counts."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from common.harness.runs.launch import launch


def paused(*seeds: int, pause: float = 0.25) -> dict[str, Any]:
    """Runs of two seconds each, with a checkpoint every quarter of a second."""
    return {"only": ["walk"], "seeds": seeds, "overrides": {"crash": "false", "steps": "8", "pause": str(pause)}}


def results(toy: Any, wish: dict[str, Any]) -> list[bytes]:
    """What the finished runs of a wish have in rows.csv, in order."""
    return [(toy.store.folder(spec) / "rows.csv").read_bytes() for spec in toy.plan(**wish)]


def unbroken(toy: Any, tmp_path: Path, *seeds: int) -> list[bytes]:
    """The rows of the same runs, made without a pause or trouble in another store."""
    toy.store.root = tmp_path / "unbroken"
    launch(toy.plan(**paused(*seeds, pause=0)), toy.store, progress=False)
    rows = results(toy, paused(*seeds, pause=0))
    toy.store.root = tmp_path / "runs"
    toy.log.unlink()
    assert len(set(rows)) == len(seeds)
    return rows


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_launch_is_taken_up_where_it_was(
    toy: Any, tmp_path: Path, until: Callable[..., None], workers: int, blow: signal.Signals
) -> None:
    wish = paused(0, 1, 2, pause=0)
    expected = unbroken(toy, tmp_path, 0, 1, 2)
    *_, last = specs = toy.plan(**wish)
    with toy.held(last.seed):
        driver = toy.start(workers=workers, **wish)
        until(lambda: (toy.store.partial(last) / "checkpoint.json").exists())
        # A terminal's Ctrl-C reaches every process of the command; a kill only the one that it is aimed at.
        (os.killpg if blow == signal.SIGINT else os.kill)(driver.pid, blow)
        _, said = driver.communicate(timeout=180)
    if blow == signal.SIGINT:
        assert driver.returncode == 130, said
        assert "interrupted: " in said
        assert "of 3 runs done" in said
        assert "nothing finished is lost, and the same command goes on from here" in said
    finished = {spec.address for spec in specs if toy.store.finished(spec)}
    before = len(toy.events())
    code, outcome, said = toy.drive(**wish)
    assert code == 0
    assert results(toy, wish) == expected
    assert finished <= set(outcome["reused"])
    assert not list(toy.store.root.glob("*/*/*.partial"))
    assert not list(toy.store.root.glob("*/*/*.lock"))
    later = toy.events()[before:]
    assert not {line.split()[-3] for line in later} & finished
    if workers == 0 or blow == signal.SIGINT:
        # (The workers of a driver that was killed outlive it by a moment, in which they may end a run.)
        assert 1 <= len(finished) < 3
        assert "interrupted run" in said
        assert any(last.address in line and not line.startswith("start at 0") for line in later)


def test_two_launches_at_once_make_every_run_once(toy: Any, tmp_path: Path) -> None:
    expected = unbroken(toy, tmp_path, 0, 1)
    both = [toy.start(**paused(0, 1)), toy.start(**paused(0, 1))]
    said = [driver.communicate(timeout=180) for driver in both]
    assert [driver.returncode for driver in both] == [0, 0], said
    assert sorted(toy.starts()) == sorted(spec.address for spec in toy.plan(**paused(0, 1)))
    assert results(toy, paused(0, 1)) == expected
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
    wish = paused(0)
    [spec] = toy.plan(**wish)
    assert toy.store.state(spec) == "missing"
    driver = toy.start(**wish)
    until(lambda: toy.store.state(spec) == "running")
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert toy.store.state(spec) == "interrupted"
