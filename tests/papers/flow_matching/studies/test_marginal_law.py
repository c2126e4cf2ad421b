"""The law of the marginal path: the identity of log-densities, the distance beside its floor, and the control."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from papers.flow_matching.marginal import MixtureField
from papers.flow_matching.studies.looks import PATHS
from papers.flow_matching.studies.marginal_law import CLAIMS, FIELDS, FIGURES, LawConfig, carried, density_error
from papers.flow_matching.studies.plane import EXACT_PATHS, mixture
from tests.papers.fake_run import FakeRun
from tests.papers.flow_matching.cases import at, seeded
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, table, verdict, wobble

(CLAIM,) = CLAIMS


def keys(config: LawConfig) -> list[Row]:
    return [{"t": t, "field": field, "n": config.n_samples} for t in config.times for field in FIELDS]


@pytest.mark.parametrize("name", list(EXACT_PATHS))
def test_the_marginal_velocity_keeps_the_density_and_others_do_not(name: str) -> None:
    path = EXACT_PATHS[name]
    field = MixtureField(path, mixture())
    x = field.sample(8, at(0.8), seeded())
    assert density_error(field, field.velocity, x, at(0.8)) < 1e-3
    assert density_error(field, lambda x, t: 0.9 * field.velocity(x, t), x, at(0.8)) > 1e-2
    assert density_error(field, lambda x, t: -field.velocity(x, t), x, at(0.8)) > 1e-2


def test_the_marginal_velocity_meets_the_claim_on_the_rows_and_the_conditional_one_does_not(tmp_path: Path) -> None:
    found: list[Row] = []
    for name in EXACT_PATHS:
        config = LawConfig(name, times=(0.5, 0.9), n_samples=200, repeats=2, n_densities=8)
        run = FakeRun(tmp_path / name)
        (rows,) = made(carried, config, (3,), (run,))
        found += [{**row, "path": name, "seed": seed} for row in rows for seed in (0, 1, 2)]
        assert {f"{field}_{t:g}" for field in (*FIELDS, "drawn") for t in (0.5, 0.9)} == set(run.arrays)
    measured = pd.DataFrame(found)
    assert verdict(CLAIM, (carried, measured)) == "holds"
    exchanged = measured.assign(field=measured["field"].map(dict(zip(FIELDS, reversed(FIELDS), strict=True))))
    assert verdict(CLAIM, (carried, exchanged)) == "fails"
    assert (measured["floor"] > 0).all()


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
@pytest.mark.parametrize(
    ("error", "ratio", "expected"), [(1e-5, 1.0, "holds"), (1e-2, 1.0, "fails"), (1e-5, 1.5, "fails")]
)
def test_the_claim_reads_the_marginal_rows(preset: str, error: float, ratio: float, expected: str) -> None:
    def plant(row: Row) -> dict[str, float]:
        if row["field"] != "marginal":
            return {}
        return {"density_error": error * wobble(row), "w2": 0.3 * ratio * wobble(row), "floor": 0.3}

    assert verdict(CLAIM, (carried, table(carried, preset, keys, plant))) == expected


def test_the_figure_shows_the_carried_points_over_the_draws() -> None:
    times = LawConfig("ot").times
    names = [f"{name}_{t:g}" for name in ("drawn", *FIELDS) for t in times]
    order = list(PATHS)

    def arrays(run: Row) -> dict[str, np.ndarray]:
        return {name: np.full((5, 2), 1.0 + order.index(run["path"]) + 0.1 * k) for k, name in enumerate(names)}

    panels = FIGURES[0].draw(MadeUp({carried: table(carried, "quick", keys)}, arrays)).axes
    assert [panel.get_title() for panel in panels] == [
        f"{PATHS[path].name}, {what}" for path in PATHS for what in ("marginal velocity", "towards one point")
    ]
    for number, panel in enumerate(panels):
        path, field = order[number // 2], FIELDS[number % 2]
        for place in range(len(times)):
            below, above = panel.collections[2 * place : 2 * place + 2]
            own = arrays({"path": path})
            scale = 2.2 * own[f"drawn_{times[place]:g}"].max()
            for cloud, name in ((below, "drawn"), (above, field)):
                np.testing.assert_allclose(
                    np.asarray(cloud.get_offsets())[:, 1], own[f"{name}_{times[place]:g}"][:, 1] / scale, rtol=1e-6
                )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"path": "linear"}, "path is one of"),
        ({"path": "vp", "times": (0.5, 1.0)}, "times"),
        ({"path": "ot", "repeats": 1}, "repeats"),
    ],
)
def test_settings_out_of_range_are_named(fields: Row, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LawConfig(**fields)


def test_points_start_where_the_path_does() -> None:
    """p_0 of the diffusion paths has a trace of the data in it: points are drawn from it, and not from the noise."""
    field = MixtureField(EXACT_PATHS["ve"], mixture())
    spread = field.sample(20_000, torch.tensor(0.0, dtype=torch.float64), seeded()).std()
    assert float(spread) == pytest.approx((400 + 1) ** 0.5, rel=0.01)
