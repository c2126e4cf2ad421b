"""A tiny transfer between digits."""

from __future__ import annotations

from common.harness.runs.rows import check
from papers.dsbm.studies.transfer import TransferConfig, transfer
from tests.papers.fake_run import FakeRun


def test_transfer_runs_on_digits(run: FakeRun) -> None:
    config = TransferConfig(
        "DSBM-IMF", "digits", passes=2, first_steps=2, inner_steps=2, batch=8, width=8, levels=2, steps=2, cache=16,
        refresh_every=2, n_test=70,
    )  # fmt: skip
    rows = transfer(config, 0, run)
    check(rows, transfer.columns)
    assert [row["direction"] for row in rows] == ["b", "f"]
    assert run.arrays["transferred_b"].shape == (32, 1, 8, 8)
    assert (run.folder / "drift_b.safetensors").exists()
