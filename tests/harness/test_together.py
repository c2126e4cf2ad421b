"""Several seeds as one run: each seed is what it is alone, with whichever others it is made.

That workers make them as this process does, `test_launch.py` sees.
"""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy.batched import Stack, stacks
from toy.experiments import Mood, moody

from common.harness.runs.execute import ActiveRun
from common.harness.runs.launch import launch
from common.harness.runs.plan import plan
from common.harness.studies.experiment import Experiment, Need


def batches(toy: Any) -> list[int]:
    """The sizes of the batches that were begun."""
    sizes = Counter(line.split()[1] for line in toy.events() if line.startswith("of "))
    return sorted(int(size) for size, runs in sizes.items() for _ in range(runs // int(size)))


def only_stacks(toy: Any, **wishes: Any) -> Any:
    return toy.plan(papers=["batched"], only=["stacks"], **wishes)


def test_a_seed_alone_is_what_it_is_among_others(toy: Any, tmp_path: Path) -> None:
    """To rounding: a batched product may sum in another order than a single one."""
    specs = only_stacks(toy)
    launch(specs, toy.store, progress=False)
    assert batches(toy) == [2, 3]
    among = toy.store.table(specs)
    toy.store.root = tmp_path / "alone"
    for spec in specs:
        launch([spec], toy.store, progress=False)
    alone = toy.store.table(specs)
    assert among.drop(columns="norm").equals(alone.drop(columns="norm"))
    np.testing.assert_allclose(among["norm"], alone["norm"], rtol=1e-6)
    assert among.groupby("seed")["norm"].last().nunique() == 5, "and the seeds differ"


def test_each_seed_has_what_a_run_of_its_own_has(toy: Any) -> None:
    specs = only_stacks(toy)
    launch(specs, toy.store, progress=False)
    records = [json.loads((toy.store.folder(spec) / "run.json").read_text()) for spec in specs]
    assert [(record["seed"], record["together"]) for record in records] == [(0, 3), (1, 3), (2, 3), (3, 2), (4, 2)]
    assert records[0]["seconds"] == records[2]["seconds"]
    for spec in specs:
        folder = toy.store.folder(spec)
        assert {"rows.csv", "run.json", "arrays.npz", "metrics.jsonl", "log.txt", "layer"} == {
            path.name for path in folder.iterdir()
        }
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == spec.config.layers
        assert "a batch of (" in (folder / "log.txt").read_text()
    assert len({(toy.store.folder(spec) / "arrays.npz").read_bytes() for spec in specs}) == 5


def test_an_address_does_not_depend_on_how_many_are_made_together(toy: Any) -> None:
    specs = only_stacks(toy)
    assert {replace(spec, together=1).address for spec in specs} == {spec.address for spec in specs}


def test_other_seeds_are_made_alone(toy: Any) -> None:
    launch(only_stacks(toy, seeds=[1, 2]), toy.store, progress=False)
    outcome = launch(only_stacks(toy, seeds=[0, 1, 2, 3, 4]), toy.store, progress=False)
    assert sorted(spec.seed for spec in outcome.finished) == [0, 3, 4]
    assert sorted(spec.seed for spec in outcome.reused) == [1, 2]
    assert batches(toy) == [2, 3]
    assert max(Counter(toy.starts()).values()) == 1


def test_configs_are_not_mixed(toy: Any) -> None:
    launch(only_stacks(toy, preset="small"), toy.store, progress=False)
    assert batches(toy) == [2, 2]


def test_a_batch_that_raises_fails_all_its_seeds_and_no_others(toy: Any) -> None:
    specs = only_stacks(toy, overrides={"raises": "1"})
    outcome = launch(specs, toy.store, progress=False)
    assert [failure.spec.seed for failure in outcome.failed] == [0, 1, 2]
    assert {failure.message for failure in outcome.failed} == {"ArithmeticError: seed 1 went wrong"}
    for failure in outcome.failed:
        assert failure.folder == toy.store.partial(failure.spec)
        assert failure.folder is not None
        assert "seed 1 went wrong" in (failure.folder / "error.txt").read_text()
        assert failure.log_tail.endswith("seed 1 went wrong")
        assert toy.store.state(failure.spec) == "failed"
    assert [spec.seed for spec in outcome.finished] == [3, 4]


def test_rows_that_cannot_be_taken_fail_their_seed_alone(toy: Any) -> None:
    outcome = launch(only_stacks(toy, overrides={"wrong": "1"}), toy.store, progress=False)
    [failure] = outcome.failed
    assert (failure.spec.seed, failure.message) == (1, "ValueError: row value 'norm' is nan")
    assert sorted(spec.seed for spec in outcome.finished) == [0, 2, 3, 4]


def test_rows_of_every_seed_are_asked_for(toy: Any) -> None:
    outcome = launch(only_stacks(toy, seeds=[0, 1], overrides={"short": "true"}), toy.store, progress=False)
    assert {failure.message for failure in outcome.failed} == {
        "ValueError: stacks gave the rows of 1 seeds, where 2 were asked for"
    }


def test_a_need_names_one_seed_of_a_batch(toy: Any) -> None:
    """The study that needs it is another one of the paper."""
    specs = toy.plan(papers=["batched"], only=["pupil"], seeds=[4])
    assert [(spec.experiment, spec.seed) for spec in specs] == [("stacks", 4), ("pupil", 4)]
    launch(specs, toy.store, progress=False)
    assert batches(toy) == [1]
    with np.load(toy.store.folder(specs[0]) / "arrays.npz") as arrays:
        assert toy.store.table(specs[1:])["sum"].tolist() == [float(arrays["x"].sum())]
    more = launch(toy.plan(papers=["batched"], only=["pupil"]), toy.store, progress=False)
    assert sorted((spec.experiment, spec.seed) for spec in more.finished) == [
        *(("pupil", seed) for seed in range(4)),
        *(("stacks", seed) for seed in range(4)),
    ]


def test_those_who_need_a_failed_batch_are_not_made_and_the_others_are(toy: Any) -> None:
    outcome = launch(toy.plan(papers=["batched"], only=["pupil"], overrides={"raises": "4"}), toy.store, progress=False)
    failed = [(failure.spec.experiment, failure.spec.seed) for failure in outcome.failed]
    assert sorted(failed) == [("pupil", 3), ("pupil", 4), ("stacks", 3), ("stacks", 4)]
    assert all("not run: needs batched/stacks" in f.message for f in outcome.failed if f.spec.experiment == "pupil")
    assert len(outcome.finished) == 6


def test_a_seed_whose_need_failed_is_left_out_of_its_batch(toy: Any) -> None:
    """`stacks` builds on `moody` here, whose run for seed 1 raises."""
    needing = replace(
        stacks, needs=lambda config, seed: {"mood": Need(moody, Mood("raise" if seed == 1 else "fine"), 0)}
    )
    card: Any = type("Card", (), {"slug": "card", "claims": (), "experiments": {"stacks": needing, "moody": moody}})()
    outcome = launch(plan(card, "quick", seeds=[0, 1, 2]), toy.store, progress=False)
    assert sorted((f.spec.experiment, f.spec.seed) for f in outcome.failed) == [("moody", 0), ("stacks", 1)]
    assert batches(toy) == [2]


def test_a_killed_batch_starts_anew_without_those_that_are_finished(
    toy: Any, tmp_path: Path, until: Callable[..., None]
) -> None:
    wish = {"papers": ["batched"], "only": ["stacks"], "seeds": [0, 1, 2]}
    specs = toy.plan(**wish)
    toy.store.root = tmp_path / "unbroken"
    launch(specs, toy.store, progress=False)
    expected = toy.rows()
    assert len(set(expected.values())) == 3
    toy.store.root = tmp_path / "runs"
    toy.log.unlink()
    with toy.held(2):
        driver = toy.start(workers=0, **wish)
        until(lambda: (toy.store.partial(specs[2]) / "layer").exists())
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
    assert toy.rows() == {}
    code, outcome, said = toy.drive(workers=0, **wish)
    assert (code, len(outcome["finished"])) == (0, 3), said
    assert batches(toy) == [3, 3]
    assert toy.rows() == expected
    for spec in specs:
        assert len((toy.store.folder(spec) / "metrics.jsonl").read_text().splitlines()) == spec.config.layers
    assert not list(toy.store.root.glob("*/*/*.partial"))
    assert not list(toy.store.root.glob("*/*/*.lock"))


def test_two_launches_at_once_make_every_seed_once(toy: Any) -> None:
    """Their batches overlap, and are asked for in another order: neither waits for the other for ever."""
    wish = {"papers": ["batched"], "only": ["stacks"], "workers": 0, "overrides": {"pause": "0.2"}}
    both = [toy.start(seeds=seeds, **wish) for seeds in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0])]
    said = [driver.communicate(timeout=180) for driver in both]
    assert [driver.returncode for driver in both] == [0, 0], said
    assert len(toy.starts()) == len(set(toy.starts())) == 5


def test_it_is_called_as_the_function_that_it_is(tmp_path: Path) -> None:
    folders = [tmp_path / str(seed) for seed in (3, 5)]
    for folder in folders:
        folder.mkdir()
    runs = tuple(ActiveRun(folder, "cpu", {}) for folder in folders)
    first, second = stacks(Stack(layers=2), (3, 5), runs)
    assert [row["layer"] for row in first] == [0, 1]
    assert first != second
    with pytest.raises(ValueError, match="stacks: together is at least 1, not 0"):
        replace(stacks, together=0)
    assert isinstance(stacks, Experiment)
