"""Training with the adaptive schedule: whose levels are whose, the loss that is compared, and the claim and figure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import integrate

from common.training.stream import stream
from papers.weighted_elbo.studies import adaptive_training as study
from papers.weighted_elbo.studies.adaptive_training import (
    BASE,
    CLAIMS,
    COMPARED,
    FIGURES,
    ScheduleConfig,
    adaptive_training,
    fixed_levels,
    held_out,
    loss_of,
)
from papers.weighted_elbo.studies.images import DATASETS, LOG_SNR_MIN
from papers.weighted_elbo.studies.looks import SCHEDULES
from papers.weighted_elbo.studies.networks import untrained
from papers.weighted_elbo.weighting import WEIGHTINGS
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, shows, table, verdict, wobble
from tests.papers.weighted_elbo.studies.test_training import nothing

TINY = replace(BASE, images=4 * 64, batch=64, width=8, n_images=20, looks=2)
(CLAIM,) = CLAIMS


def test_fixed_levels_are_uniform_in_time_between_the_same_ends() -> None:
    cosine, linear = (fixed_levels(replace(TINY, schedule=name)) for name in ("cosine", "linear"))
    for levels in (cosine, linear):
        assert (levels.log_snr_min, levels.log_snr_max) == pytest.approx((LOG_SNR_MIN, 9.0))
    log_snr = torch.linspace(-7, 8, 7, dtype=torch.float64)
    torch.testing.assert_close(linear.density(log_snr), torch.full((7,), 1 / 17).double())
    ratio = cosine.density(log_snr) * torch.cosh(log_snr / 2)
    torch.testing.assert_close(ratio, ratio[:1].expand(7), rtol=1e-6, atol=0)


def test_only_the_adaptive_schedule_learns_its_levels() -> None:
    for name in COMPARED:
        config = replace(TINY, schedule=name)
        net = untrained(config, 0)
        values = loss_of(config)(net, torch.randn(300, 1, 8, 8, generator=stream(0, 0)), stream(1, 0))
        assert values.shape == (300,)
        assert float(net.levels.draws.sum()) == (300 if name == "adaptive" else 0)


def test_the_loss_that_is_compared_is_that_of_the_weighting_on_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a network that predicts v = 0, whose error is known; test images are all white, and no training image is."""
    real = DATASETS["digits"]
    white = replace(
        real, read=lambda split, side: torch.ones(355, 1, 8, 8) if split == "test" else real.read(split, side)
    )
    monkeypatch.setattr(study, "DATASETS", {"digits": white})
    spread = float(white.numbers(8).encode(white.load("test", 8)).square().mean())

    def integrand(log_snr: float) -> float:
        alpha2 = 1 / (1 + np.exp(-log_snr))
        w = float(WEIGHTINGS["sigmoid"](torch.tensor(log_snr, dtype=torch.float64)))
        return w * alpha2 * (alpha2 + (1 - alpha2) * spread)

    expected = integrate.quad(integrand, LOG_SNR_MIN, 9.0)[0]
    assert spread > 2 * float(white.numbers(8).encode(white.load("train", 8)).square().mean())
    found = held_out(replace(BASE, n_images=355), nothing(), "cpu")
    assert found == pytest.approx(expected, rel=0.08)
    assert held_out(replace(BASE, n_images=355), nothing(), "cpu") == found


def test_a_loss_is_taken_at_each_look_of_one_training(tmp_path: Path) -> None:
    runs = [FakeRun(tmp_path / str(seed)) for seed in (1, 2)]
    rows = made(adaptive_training, TINY, (1, 2), runs)
    assert [[row["step"] for row in own] for own in rows] == [[2, 4], [2, 4]]
    once = made(adaptive_training, replace(TINY, looks=1), (1,), [FakeRun(tmp_path / "once")])
    assert once[0][0]["loss"] == pytest.approx(rows[0][1]["loss"], rel=1e-5), "looks on the way change nothing"
    assert rows[0][1]["loss"] != rows[1][1]["loss"]
    assert not list(runs[0].folder.iterdir())


def keys(config: ScheduleConfig) -> list[Row]:
    steps = config.training.steps
    return [{"step": steps * look // config.looks} for look in range(1, config.looks + 1)]


def courses(faster: dict[str, float]) -> Any:
    """Losses fall as steps^-1, with `faster` times as many."""

    def plant(row: Row) -> dict[str, float]:
        return {"loss": 1000 / (row["step"] * faster.get(row["schedule"], 1.0)) * wobble(row)}

    return table(adaptive_training, "small", keys, plant)


@pytest.mark.parametrize("fixed", COMPARED[1:])
def test_steps_are_counted_to_where_each_fixed_schedule_ends(fixed: str) -> None:
    rows = courses({"adaptive": 1.2})
    assert verdict(CLAIM, (adaptive_training, rows)) == "holds"
    for quantity in CLAIM.quantities:
        assert quantity.measure(rows).to_numpy() == pytest.approx(1 / 1.2)
    assert verdict(CLAIM, (adaptive_training, courses({"adaptive": 1.2, fixed: 1.5}))) == "fails"


def test_the_figure_shows_means_over_seeds() -> None:
    rows = courses({"adaptive": 2.0})
    (panel,) = FIGURES[0].draw(MadeUp({adaptive_training: rows})).axes
    for name in COMPARED:
        mean = rows[rows["schedule"] == name].groupby("step")["loss"].mean()
        assert shows(panel, list(zip(mean.index, mean, strict=True)), SCHEDULES[name].colour)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"schedule": "vp"}, "schedule is one of adaptive, cosine, linear, not 'vp'"),
        ({"looks": 0}, "looks is at least 1"),
    ],
)
def test_a_bad_config_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **fields)
