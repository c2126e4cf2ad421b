"""VDM on the swirl: what is trained on, what is measured on fresh points, and claims and figures."""

from __future__ import annotations

from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.training.members import Members
from common.training.stream import stream
from papers.weighted_elbo.score_network import VariationalDiffusion
from papers.weighted_elbo.studies.laws import swirl, swirl_law
from papers.weighted_elbo.studies.swirl import (
    CHUNK,
    CLAIMS,
    DATA,
    FIGURES,
    INITIAL,
    TERMS,
    TEST,
    SwirlConfig,
    fresh_bound,
    indices,
    standardised,
    swirl_bound,
    training_loss,
)
from papers.weighted_elbo.vdm import bound, uniform_times
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, shows, table, verdict, wobble

OF = {claim.id: claim for claim in CLAIMS}
DRAWN = {figure.name: figure.draw for figure in FIGURES}
TINY = SwirlConfig(steps=4, batch=32, points=64, hidden=8, looks=2, n_test=100, sample_steps=3)


def test_points_are_standardised_by_dimension() -> None:
    points = torch.stack([swirl(500, stream(s, DATA)) for s in range(2)])
    f = standardised(points).encode(points)
    torch.testing.assert_close(f.mean(1), torch.zeros(2, 2).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(f.std(1, correction=0), torch.ones(2, 2).double())


def test_each_network_is_trained_on_its_own_points_at_the_places_of_its_batch() -> None:
    points = torch.stack([swirl(40, stream(s, DATA)) for s in range(2)])
    nets = [VariationalDiffusion(2, 8, stream(s, INITIAL)) for s in range(2)]
    index = torch.tensor([[3, 7, 7], [0, 39, 1]])
    generators = (stream(5, 0), stream(6, 0))
    found = training_loss(points)(Members(nets), index, generators)
    for s in range(2):
        numbers = standardised(points[s], torch.float32)
        x = points[s][index[s]]
        alone = bound(nets[s], x, numbers, nets[s].schedule, stream(5 + s, 0), times=uniform_times)
        torch.testing.assert_close(found[s], alone.total / (2 * log(2)), rtol=1e-4, atol=1e-4)


def test_a_full_batch_is_every_point_once() -> None:
    index, cond = indices(50)(50, stream(0, 0))
    assert sorted(index.tolist()) == list(range(50))
    assert cond == {}
    assert len(set(indices(50)(20, stream(1, 0))[0].tolist())) == 20


def test_the_bound_is_of_fresh_points_beside_their_own_law(monkeypatch: pytest.MonkeyPatch) -> None:
    model, points, n = VariationalDiffusion(2, 8, stream(0, INITIAL)), swirl(64, stream(0, DATA)), CHUNK + 500
    found = fresh_bound(model, points, n, seed=4)
    x = swirl(n, stream(4, TEST))
    cross = float(-swirl_law()[x[:, 0], x[:, 1]].log().mean()) / (2 * log(2))
    assert found["excess"] == pytest.approx(found["bpd"] - cross, abs=1e-6)
    assert sum(found[name] for name in TERMS) == pytest.approx(found["bpd"])
    assert (found["log_snr_max"], found["log_snr_min"]) == pytest.approx((13.3, -5.0), abs=1e-4)
    assert found["z"] > 10, "an untrained network is far above the entropy"
    # On the scale of its training points: the prior's mean is known.
    f, noise = standardised(points).encode(x), 1 / (1 + np.exp(-5.0))
    prior = ((1 - noise) * float(f.square().mean()) + noise - 1 - np.log(noise)) / 2 / log(2)
    assert found["prior"] == pytest.approx(prior, rel=1e-4)
    assert fresh_bound(model, points, n, seed=5)["bpd"] != found["bpd"]


def test_a_seed_has_its_own_points_model_and_samples(tmp_path: Path) -> None:
    runs = [FakeRun(tmp_path / str(seed)) for seed in (2, 3)]
    rows = made(swirl_bound, TINY, (2, 3), runs)
    for seed, run, own in zip((2, 3), runs, rows, strict=True):
        assert [row["step"] for row in own] == [2, 4]
        assert torch.equal(torch.from_numpy(run.arrays["points"]), swirl(64, stream(seed, DATA)))
        assert run.arrays["samples"].shape == (1024, 2)
    assert rows[0][1]["bpd"] != rows[1][1]["bpd"]
    assert rows[0][1]["log_snr_max"] != pytest.approx(13.3, abs=1e-4), "the ends are learned"
    alone = made(swirl_bound, TINY, (3,), [FakeRun(tmp_path / "alone")])[0]
    assert alone[1]["bpd"] == pytest.approx(rows[1][1]["bpd"], rel=1e-3)
    assert not list(runs[0].folder.iterdir())


def keys(config: SwirlConfig) -> list[Row]:
    return [{"step": step} for step in config.seen_after]


def planted(preset: str, **last: float) -> Any:
    """A table whose last looks hold `last`, and whose others hold what would fail."""

    def plant(row: Row) -> dict[str, float]:
        end = row["step"] == row["steps"]
        return {name: value * wobble(row) if end else 9.0 for name, value in last.items()}

    return table(swirl_bound, preset, keys, plant)


@pytest.mark.parametrize("preset", ["small", "gpu"])
@pytest.mark.parametrize(
    ("excess", "expected"), [(0.2, "holds"), (-0.05, "fails"), (1.5, "fails"), (5.0, "fails"), (-3.6, "fails")]
)
def test_the_bound_is_above_the_entropy_and_near(preset: str, excess: float, expected: str) -> None:
    rows = planted(preset, excess=excess)
    assert verdict(OF["swirl-bound"], (swirl_bound, rows)) == expected
    assert verdict(OF["swirl-above"], (swirl_bound, rows)) == ("holds" if excess > 0 else "fails")


@pytest.mark.parametrize("term", ["prior", "reconstruction"])
def test_both_ends_cost_little(term: str) -> None:
    ends = {"prior": 0.004, "reconstruction": 0.0}
    assert verdict(OF["swirl-ends"], (swirl_bound, planted("small", **ends))) == "holds"
    for value in (0.1, -0.01):
        assert verdict(OF["swirl-ends"], (swirl_bound, planted("small", **{**ends, term: value}))) == "fails"


def test_the_figures_show_points_samples_and_the_bound_by_step() -> None:
    rows = table(swirl_bound, "small", keys)
    points = np.stack([np.arange(30, 130), np.arange(40, 140)], 1)
    results = MadeUp({swirl_bound: rows}, lambda run: {"points": points, "samples": points + 50})
    left, right = DRAWN["swirl"](results).axes
    np.testing.assert_array_equal(left.collections[0].get_offsets(), points)
    np.testing.assert_array_equal(right.collections[0].get_offsets(), points + 50)
    (panel,) = DRAWN["swirl-progress"](results).axes
    mean = rows.groupby("step")["bpd"].mean()
    assert shows(panel, list(zip(mean.index / 1000, mean, strict=True)))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"batch": 128}, "points is at least 128, not 64"),
        ({"looks": 5}, "steps is at least 5, not 4"),
        ({"lr": 0.0}, r"lr is 0\.0; it must be positive"),
    ],
)
def test_a_bad_config_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **fields)
