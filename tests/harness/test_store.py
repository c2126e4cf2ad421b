"""The store: rows come back as they were written, and nothing but a whole run is ever taken for a finished one."""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from toy.experiments import Noise, moody, noise, student

from common.harness.runs import rows
from common.harness.runs.execute import ActiveRun
from common.harness.runs.launch import launch
from common.harness.runs.looks import damage
from common.harness.runs.store import Store
from common.harness.studies.errors import UsageError


def test_rows_come_back_exactly() -> None:
    written: list[dict[str, Any]] = [
        {"w2": 0.1 + 0.2, "n": 2**60 + 1, "name": 'comma, "quote"\nline', "ok": True, "mixed": 1},
        {"w2": np.float32(0.1), "n": np.int64(-3), "name": "nan", "ok": False, "mixed": 0.5},
        {"w2": torch.tensor(5e-324, dtype=torch.float64), "n": 0, "name": "007", "ok": np.bool_(True), "mixed": -0.0},
        {"w2": math.inf, "n": 1, "name": "None", "ok": False, "mixed": 1e300},
    ]
    table = rows.decode(*rows.encode(written))
    assert list(table.columns) == ["w2", "n", "name", "ok", "mixed"]
    assert table["w2"].tolist() == [0.30000000000000004, float(np.float32(0.1)), 5e-324, math.inf]
    assert table["n"].tolist() == [2**60 + 1, -3, 0, 1]
    assert table["name"].tolist() == ['comma, "quote"\nline', "nan", "007", "None"]
    assert table["ok"].tolist() == [True, False, True, False]
    assert table["ok"].dtype == bool
    assert table["mixed"].tolist() == [1.0, 0.5, -0.0, 1e300]


def test_a_key_that_a_row_leaves_out_is_missing() -> None:
    table = rows.decode(*rows.encode([{"a": 1}, {"b": 2.5, "a": 3}, {"b": 0.0}]))
    assert list(table.columns) == ["a", "b"]
    assert table.isna().to_numpy().tolist() == [[False, True], [False, False], [True, False]]
    assert rows.decode(*rows.encode([])).empty


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"w2": math.nan}, "'w2' is nan"),
        ({"loss": math.inf}, "'loss' is inf"),
        ({"w2": [1.0]}, "'w2' is a number, text or truth value, not list"),
        ({"w2": None}, "not NoneType"),
        ({"seed": 1, "w2": 1.0}, "already has: seed"),
    ],
)
def test_a_row_that_cannot_be_a_result_is_refused(row: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        rows.encode([row], taken=("n", "seed"))
    with pytest.raises(ValueError, match="column 'w2' mixes"):
        rows.encode([{"w2": 1.0}, {"w2": "large"}])


def test_a_table_has_config_and_seed_beside_the_rows(toy: Any) -> None:
    specs = toy.plan(only=["noise"])
    launch(specs, toy.store, progress=False)
    table = toy.store.table(specs)
    assert list(table.columns) == [
        *("n", "scale", "kind", "shifts", "limit", "seed"),
        *("index", "draw", "name", "positive"),
    ]
    for (n, seed), group in table.groupby(["n", "seed"]):
        expected = np.random.default_rng(seed).normal(size=n)
        assert np.array_equal(group["draw"], expected)
        assert (group["positive"] == (expected > 0)).all()
        assert set(group["shifts"]) == {(0.0,)}
    assert len(table) == 2 * 3 + 2 * 5


def test_results_are_the_runs_that_were_asked_for(toy: Any) -> None:
    specs = toy.plan(only=["noise", "student"])
    launch(specs, toy.store, progress=False)
    results = toy.store.results(specs)
    assert len(results.table(noise)) == 2 * (3 + 5)
    assert len(results.table(student)) == 1
    with pytest.raises(KeyError):
        results.table(moody)  # which is only needed
    (config, arrays), *others = results.arrays(noise, n=5, seed=1)
    assert not others
    assert (config["n"], config["seed"]) == (5, 1)
    assert np.array_equal(arrays["draws"], np.random.default_rng(1).normal(size=5))
    assert len(results.arrays(noise)) == 4
    with pytest.raises(KeyError, match="no config field m"):
        results.arrays(noise, m=5)


def test_run_json_says_how_the_run_was_made(toy: Any) -> None:
    [spec] = toy.plan("small", ["tensors"])
    launch([spec], toy.store, progress=False, command="repro run toy --preset small")
    record = json.loads((toy.store.folder(spec) / "run.json").read_text())
    assert record["config"] == {"class": "Net", "width": 64}
    assert (record["seed"], record["version"], record["device"], record["threads"]) == (0, 1, "cpu", 2)
    assert record["command"] == "repro run toy --preset small"
    assert record["versions"]["torch"] == torch.__version__.split("+")[0]
    assert set(record["git"] or {"commit": 0, "dirty": 0}) == {"commit", "dirty"}
    assert record["seconds"] > 0
    assert 50 * 2**20 < record["peak_memory_bytes"] < 2**36  # torch alone takes more than 50 MB
    assert record["machine"]["cores"] >= 1


def _truncated_rows(folder: Path) -> str:
    path = folder / "rows.csv"
    path.write_bytes(path.read_bytes()[:-5])
    return "rows.csv is not what the run wrote"


def _changed_rows(folder: Path) -> str:
    path = folder / "rows.csv"
    path.write_text(path.read_text().replace("draw 0", "draw 9"))
    return "rows.csv is not what the run wrote"


def _no_rows(folder: Path) -> str:
    (folder / "rows.csv").unlink()
    return "rows.csv is missing"


def _changed_arrays(folder: Path) -> str:
    (folder / "arrays.npz").write_bytes(b"PK")
    return "arrays.npz is not what the run wrote"


def _no_record(folder: Path) -> str:
    (folder / "run.json").unlink()
    return "run.json is missing"


def _half_a_record(folder: Path) -> str:
    path = folder / "run.json"
    path.write_text(path.read_text()[:100])
    return "run.json cannot be read"


def _empty_record(folder: Path) -> str:
    (folder / "run.json").write_text("{}")
    return "run.json cannot be read"


def _copied(folder: Path) -> str:
    path = folder / "run.json"
    path.write_text(path.read_text().replace(folder.name, "0" * 16))
    return "run.json is of another run"


@pytest.mark.parametrize(
    "harm",
    [
        *(_truncated_rows, _changed_rows, _no_rows, _changed_arrays),
        *(_no_record, _half_a_record, _empty_record, _copied),
    ],
)
def test_a_folder_that_is_not_what_a_run_wrote_is_named_and_made_again(
    toy: Any, harm: Callable[[Path], str], capfd: pytest.CaptureFixture[str]
) -> None:
    specs = toy.plan(only=["noise"], seeds=[0])
    launch(specs, toy.store, progress=False)
    good = toy.rows()
    folder = toy.store.folder(specs[0])
    words = harm(folder)
    assert damage(folder) == words
    assert toy.store.finished(specs[0]) is None
    assert toy.store.state(specs[0]) == "damaged"
    assert set(toy.store.table(specs)["n"]) == {5}
    outcome = launch(specs, toy.store)
    assert f"damaged run found, making it again: {folder}: {words}" in capfd.readouterr().err
    assert ([s.config for s in outcome.finished], [s.config for s in outcome.reused]) == ([Noise()], [Noise(n=5)])
    assert toy.rows() == good
    assert folder.with_suffix(".damaged").exists()  # kept for whoever wants to know


def test_a_store_that_cannot_be_written_is_refused(tmp_path: Path, toy: Any) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"run folder .*/file/runs cannot be made: .*; set REPRO_RUNS"):
        launch(toy.plan(), Store(tmp_path / "file" / "runs"), progress=False)
    with pytest.raises(UsageError, match=r"run folder .*/file is a file, not a folder; set REPRO_RUNS"):
        launch(toy.plan(), Store(tmp_path / "file"), progress=False)


def test_a_run_is_held_by_one_at_a_time(toy: Any) -> None:
    """Each holder removes the lock's file, so that one who waited for it may hold a file that is no longer the lock."""
    [spec] = toy.plan(only=["noise"], seeds=[0], overrides={"n": "3"})
    inside: list[int] = []
    crowds: list[int] = []

    def hold(who: int) -> None:
        for _ in range(40):
            with toy.store.lock(spec):
                inside.append(who)
                time.sleep(0.0005)
                crowds.append(len(inside))
                inside.remove(who)

    threads = [threading.Thread(target=hold, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert crowds == [1] * 160


def test_arrays_are_saved_once_and_plain(tmp_path: Path) -> None:
    run = ActiveRun(tmp_path, "cpu", {})
    run.save_arrays(x0=torch.arange(3.0, requires_grad=True), names=["a", "b"])
    with np.load(tmp_path / "arrays.npz") as arrays:
        assert arrays["x0"].tolist() == [0.0, 1.0, 2.0]
        assert arrays["names"].tolist() == ["a", "b"]
    with pytest.raises(RuntimeError, match="once"):
        run.save_arrays(x0=np.zeros(1))
    with pytest.raises(ValueError, match="allow_pickle"):
        ActiveRun(tmp_path, "cpu", {}).save_arrays(x0=np.array([object()]))


def test_metrics_go_on_after_a_line_that_a_kill_cut_short(tmp_path: Path) -> None:
    run = ActiveRun(tmp_path, "cpu", {})
    run.log(step=1, loss=torch.tensor(0.5))
    run.close()
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + '{"step": 2, "lo')
    run = ActiveRun(tmp_path, "cpu", {})
    run.log(step=2, loss=0.25)
    run.close()
    assert [json.loads(line) for line in path.read_text().splitlines()] == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 0.25},
    ]


@pytest.mark.parametrize("loss", [math.nan, math.inf, torch.tensor(math.nan)])
def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path, loss: Any) -> None:
    with pytest.raises(FloatingPointError, match=r"val_loss is (nan|inf) \(step=7, val_loss="):
        ActiveRun(tmp_path, "cpu", {}).log(step=7, val_loss=loss)
