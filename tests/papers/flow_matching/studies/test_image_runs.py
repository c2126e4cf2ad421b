"""The studies of images from end to end at tiny sizes, and what they refuse before anything runs."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial
from math import isfinite
from pathlib import Path

import pytest

from common.harness.cli.main import main
from common.harness.runs.plan import plan
from common.harness.runs.rows import check
from common.harness.studies.errors import UsageError
from papers.flow_matching.likelihood import bits_per_dim
from papers.flow_matching.paper import PAPER
from papers.flow_matching.solvers import dopri5
from papers.flow_matching.studies import fd_cost, likelihood_samples, networks, table, training_speed
from papers.flow_matching.studies.fd_cost import ImageCostConfig, image_cost
from papers.flow_matching.studies.images import look_at
from papers.flow_matching.studies.likelihood_samples import DrawsConfig, likelihood_draws
from papers.flow_matching.studies.networks import NETWORKS, network
from papers.flow_matching.studies.table import TableConfig, table_1
from papers.flow_matching.studies.training import training
from papers.flow_matching.studies.training_speed import ProgressConfig, progress
from tests.papers.fake_run import FakeRun


def test_a_unet_goes_through_all_studies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in `small` and `gpu`, on 8×8 digits, with two steps of training and loose tolerances."""
    tiny = replace(
        NETWORKS["large unet"], dataset="digits", resolution=8, images=32, batch=16, width=4, levels=2, looks=2
    )
    for module in (networks, table, fd_cost, training_speed, likelihood_samples):
        monkeypatch.setattr(module, "NETWORKS", {**NETWORKS, "unet": tiny})
    for module in (table, fd_cost, training_speed):
        monkeypatch.setattr(module, "dopri5", lambda v, x, t_1, **others: dopri5(v, x, t_1=t_1, atol=0.1, rtol=0.1))
    monkeypatch.setattr(table, "bits_per_dim", partial(bits_per_dim, tolerance=0.1))
    made = FakeRun(tmp_path / "made")
    check(training(network("unet", "ddpm"), 0, made), training.columns)
    run = FakeRun(tmp_path / "run", network=made.folder)
    (row,) = table_1(TableConfig("unet", "ddpm", 12, n_solved=2, n_images=2), 0, run)
    assert all(isfinite(float(value)) for value in row.values())
    rows = image_cost(ImageCostConfig("unet", "ddpm", (4,), (1e-1,), (4,), 12, 2), 0, run)
    check(rows, image_cost.columns)
    assert [row["nfe"] for row in rows if row["solver"] == "midpoint"] == [4]
    looks = progress(ProgressConfig("unet", "ddpm", 12, 2), 0, run)
    assert [row["seen"] for row in looks] == [16, 32]
    rows = likelihood_draws(DrawsConfig("unet", 1, tolerance=0.1), 0, run)
    check(rows, likelihood_draws.columns)
    assert len({row["K"] for row in rows}) == 3


@pytest.mark.parametrize(
    ("experiment", "fields", "message"),
    [
        ("table_1", {"K": "0"}, "K is at least 1, not 0"),
        ("table_1", {"network": "vgg"}, "network is one of perceptron, unet, large unet, not 'vgg'"),
        ("digit_training", {"dataset": "cats"}, "dataset is one of digits, mnist, not 'cats'"),
        ("image_cost", {"nfes": "4,7"}, "nfes has 7; the midpoint method takes two evaluations a step"),
        ("progress", {"n_samples": "1"}, "n_samples is at least 2, not 1"),
        ("known_law", {"steps": "0"}, "steps is at least 1, not 0"),
        ("likelihood_draws", {"tolerance": "0"}, "it must be positive"),
    ],
)
def test_a_field_that_makes_no_sense_is_bad_input(experiment: str, fields: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        plan(PAPER, "quick", only=[experiment], overrides=fields)


def test_missing_images_are_bad_input_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("REPRO_OFFLINE", "1")
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    look_at.cache_clear()
    assert main(["run", "flow_matching", "--preset", "small", "--only", "table_1", "--device", "cpu", "--offline"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "data" / "MNIST/raw") in line
    assert list(tmp_path.iterdir()) == []
