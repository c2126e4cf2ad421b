"""Launching: the same bytes by every backend, nothing made twice, and one run's exception is its own."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from common.harness.runs.execute import Done, Failure, threads
from common.harness.runs.launch import launch
from common.harness.runs.progress import LiveProgress, Progress
from common.harness.studies.errors import UsageError

BOTH = ("toy", "tensors")


def on_ray(toy: Any, folder: Path, **wish: Any) -> tuple[int, dict[str, Any], str]:
    """Launch in another process and an empty store; the runs that can crash do."""
    toy.log.unlink(missing_ok=True)
    toy.store.root = folder / "ray"
    toy.environment |= {"REPRO_RUNS": str(toy.store.root), "REPRO_TOY_CRASH": "1"}
    result: tuple[int, dict[str, Any], str] = toy.drive(**wish)
    return result


def moods(toy: Any, *names: str) -> list[Any]:
    """Runs of `moody` in these moods."""
    return [spec for name in names for spec in toy.plan("small", only=["moody"], overrides={"mood": name})]


def test_two_ray_workers_write_the_bytes_that_this_process_writes(toy: Any, tmp_path: Path) -> None:
    """Convolutions and matrix products included, whose last bits depend on the thread count; so do global generators.

    Seeds that are made together are so there too, and one task. One worker is killed in the middle of its run, which is
    made again and gives the same numbers.
    """
    papers = ("batched", *BOTH)
    specs = toy.plan(papers=papers)
    torch.set_num_threads(2)
    launch(specs, toy.store, progress=False)
    here = toy.rows()
    assert len(here) == len(specs) == 20
    code, outcome, said = on_ray(toy, tmp_path, papers=papers, workers=2)
    assert (code, len(outcome["finished"])) == (0, 20), said
    assert toy.rows() == here
    crashed = next(spec for spec in specs if getattr(spec.config, "crash", False))
    assert (toy.store.folder(crashed) / "crashed").exists()
    silent = {spec.address for spec in specs if spec.experiment == "pupil"}
    assert sorted(toy.starts()) == sorted([*(set(outcome["finished"]) - silent), crashed.address])
    assert any(line.startswith("start at 1 " + crashed.address) for line in toy.events())  # from its checkpoint
    assert sorted(line.split()[1] for line in toy.events() if line.startswith("of ")) == ["2", "2", "3", "3", "3"]
    ended = [line for line in said.splitlines() if " started " not in line]
    assert [line.startswith(f"[{n + 1}/20] finished") for n, line in enumerate(ended)] == [True] * 20, said
    assert [str(crashed) in line for line in ended if line.endswith(", resumed")] == [True]
    # A run that is over before anyone looked is only said to have finished; the first two are said to start at once.
    started = [line.partition(" started ")[2] for line in said.splitlines() if " started " in line]
    first, second = "batched/stacks() seed 0 and 2 more seeds", "batched/stacks() seed 3 and 1 more seeds"
    assert (started[:2], started.count(first)) == ([first, second], 1)
    assert set(started) <= {first, second, *map(str, specs)}


@pytest.mark.slow
def test_one_ray_worker_does_too_and_an_exception_there_fails_that_run_alone(toy: Any, tmp_path: Path) -> None:
    """The exception is not tried again, and one CPU is no obstacle to a run that takes two threads."""
    launch(toy.plan("small", BOTH), toy.store, progress=False)
    here = toy.rows()
    code, outcome, said = on_ray(toy, tmp_path, papers=BOTH, preset="small", workers=1)
    assert toy.rows() == here
    assert (code, len(outcome["finished"])) == (1, len(here))
    assert sorted(outcome["failed"].values()) == [
        "ArithmeticError: two and two are five",
        "not run: needs toy/moody(mood=raise) seed 0, which failed",
    ]
    assert len(toy.starts()) == len(here) + 1
    assert toy.store.table(toy.plan("small", ["tensors"]))["threads"].tolist() == [2]
    assert "| ArithmeticError: two and two are five" in said


def test_the_thread_count_is_the_experiments_and_restored_after(toy: Any) -> None:
    torch.set_num_threads(2)
    before = os.environ.get("OMP_NUM_THREADS")
    specs = toy.plan("quick", ["tensors"], seeds=[0]) + toy.plan("small", ["tensors"], overrides={"width": "8"})
    launch(specs, toy.store, progress=False)
    assert toy.store.table(specs)["threads"].tolist() == [1, 2]
    assert torch.get_num_threads() == 2
    assert os.environ.get("OMP_NUM_THREADS") == before
    with threads(1):
        assert os.environ["OMP_NUM_THREADS"] == "1"


def test_what_is_finished_is_never_made_again(toy: Any) -> None:
    specs = toy.plan()
    launch(specs, toy.store, progress=False)
    made = toy.starts()
    assert sorted(made) == sorted(spec.address for spec in specs)
    again = launch(specs, toy.store, progress=False)
    assert (again.finished, [spec.address for spec in again.reused]) == ([], [spec.address for spec in specs])
    assert toy.starts() == made


def test_another_seed_runs_alone(toy: Any) -> None:
    launch(toy.plan(only=["noise"], seeds=[0, 1]), toy.store, progress=False)
    outcome = launch(toy.plan(only=["noise"], seeds=[0, 1, 2]), toy.store, progress=False)
    assert [spec.seed for spec in outcome.finished] == [2, 2]
    assert len(toy.starts()) == 6


def test_a_need_that_is_gone_is_not_made_again_for_a_finished_run(toy: Any) -> None:
    specs = toy.plan(only=["student"])
    launch(specs, toy.store, progress=False)
    toy.store.folder(specs[0]).rename(toy.store.root / "gone")
    assert launch(specs, toy.store, progress=False).finished == []
    assert len(toy.starts()) == 2


def test_a_need_is_given_to_the_run_that_needs_it(toy: Any) -> None:
    specs = toy.plan(only=["student"])
    launch(specs, toy.store, progress=False)
    assert toy.store.table(specs[1:])["taught"].tolist() == ["value 1.0"]


@pytest.mark.parametrize(
    ("mood", "message"),
    [
        ("raise", "ArithmeticError: two and two are five"),
        ("nan loss", "FloatingPointError: loss is nan (step=7, loss=nan)"),
        ("nan row", "ValueError: row value 'w2' is nan"),
        ("clash", "ValueError: rows have keys that the config or the seed already has: mood"),
    ],
)
def test_a_run_that_raises_fails_alone_and_shows_its_log(
    toy: Any, mood: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    bad, good = specs = moods(toy, mood, "fine")
    outcome = launch(specs, toy.store)
    [failure] = outcome.failed
    assert (failure.spec, failure.message, failure.folder) == (bad, message, toy.store.partial(bad))
    assert failure.folder is not None
    assert failure.log_tail.splitlines()[-1].endswith(message)
    assert f"the mood is {mood}" in (failure.folder / "log.txt").read_text()
    assert [spec.address for spec in outcome.finished] == [good.address]
    said = capfd.readouterr().err
    assert f"failed {bad}: {message}" in said
    assert str(failure.folder) in said
    assert failure.log_tail.splitlines()[-1] in said
    assert toy.store.state(bad) == "failed"


def test_a_run_that_leaves_does_not_take_the_command_with_it(toy: Any) -> None:
    outcome = launch(moods(toy, "exit", "fine"), toy.store, progress=False)
    assert [failure.message for failure in outcome.failed] == ["SystemExit: leaving"]
    assert outcome.failed[0].log_tail.endswith("the mood is exit")
    assert len(outcome.finished) == 1


def test_a_failed_run_starts_afresh(toy: Any, capfd: pytest.CaptureFixture[str]) -> None:
    """Its checkpoints may be of the code that was wrong."""
    [bad] = moods(toy, "raise")
    launch([bad], toy.store, progress=False)
    (toy.store.partial(bad) / "checkpoint").write_text("of wrong code")
    launch([bad], toy.store)
    assert "1 failed run found, starting afresh" in capfd.readouterr().err
    assert not (toy.store.partial(bad) / "checkpoint").exists()


def test_runs_that_need_a_failed_one_are_not_made(toy: Any) -> None:
    specs = toy.plan("small", only=["student"])
    outcome = launch(specs, toy.store, progress=False)
    failed = {failure.spec.experiment: failure for failure in outcome.failed}
    assert failed["student"].message == "not run: needs toy/moody(mood=raise) seed 0, which failed"
    assert failed["student"].folder is None
    assert {spec.experiment for spec in outcome.finished} == {"moody", "student"}  # those in the mood 'fine'
    assert len(toy.starts()) == 3


def test_a_negative_number_of_workers_is_refused(toy: Any) -> None:
    with pytest.raises(UsageError, match="not -1"):
        launch(toy.plan(), toy.store, workers=-1)
    assert not toy.store.root.exists()


def test_progress_says_one_line_per_event_where_there_is_no_terminal(
    toy: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    launch(toy.plan(papers=["tensors"]), toy.store)
    lines = capfd.readouterr().err.splitlines()
    starts = [line for line in lines if re.match(r"\d\d:\d\d:\d\d started ", line)]
    assert starts == lines[::2]
    assert [line.partition(" started ")[2] for line in starts] == [f"tensors/convolve() seed {seed}" for seed in (0, 1)]
    assert [line.rpartition(" in ")[0] for line in lines[1::2]] == [
        "[1/2] finished tensors/convolve() seed 0",
        "[2/2] finished tensors/convolve() seed 1",
    ]


def test_progress_says_that_a_run_has_begun_when_a_worker_is_free_and_at_once(toy: Any) -> None:
    """Four runs are handed to two workers; whoever reads the file sees each line when it is written."""

    class File(io.StringIO):
        written = ""

        def flush(self) -> None:
            self.written = self.getvalue()

    def started() -> list[str]:
        return [line.partition(" started ")[2] for line in stream.written.splitlines() if " started " in line]

    stream = File()
    specs = toy.plan(only=["noise"])
    display = Progress(specs, reused=0, stream=stream)
    display.slots = 2
    for spec in specs:
        display.started([spec])
    assert started() == [str(spec) for spec in specs[:2]]
    display.ended(Done(specs[1], 1.0))
    assert started() == [str(spec) for spec in specs[:3]]
    assert f"[1/4] finished {specs[1]}" in stream.written


def test_progress_counts_and_estimates(toy: Any) -> None:
    specs = toy.plan(only=["noise"], seeds=[0, 1, 2])
    slow = toy.plan(papers=["tensors"], seeds=[0])
    display = Progress(specs + slow, reused=2, stream=io.StringIO())
    display.slots = 2
    assert display.seconds_left() is None
    for spec in specs[:3]:
        display.started([spec])
    assert display.summary() == "2 of 9 runs done, 2 running, 2 reused"
    display.ended(Done(specs[0], 10.0))
    display.ended(Done(specs[1], 20.0))
    display.ended(Failure(specs[2], "broken"))
    # Three of `noise` at their mean of 15 s, and one of `convolve`, of which nothing is known, likewise; two at a time.
    assert display.seconds_left() == pytest.approx(4 * 15.0 / 2)
    assert display.summary() == "4 of 9 runs done, 1 failed, 2 reused, about 30 s left"
    display.ended(Done(slow[0], 100.0))
    assert display.seconds_left() == pytest.approx(3 * 15.0 / 2)


def test_a_terminal_gets_a_live_display(toy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("COLUMNS", "70")
    terminal = Terminal()
    specs = toy.plan(only=["noise"])
    with LiveProgress(specs, reused=1, stream=terminal) as display:
        display.started([specs[0]])
        display.ended(Failure(specs[1], "broken"))
        display._live.refresh()
    shown = terminal.getvalue()
    assert "1 of 5 runs done, 1 running, 1 failed, 1 reused" in shown
    assert "toy/noise() seed 0" in shown
    assert "failed toy/noise() seed 1: broken" in shown
