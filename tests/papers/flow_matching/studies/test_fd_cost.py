"""Evaluations on images: what is solved from where and held to what, and the claims and figures on made-up tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from common.harness.runs.rows import check
from common.training.stream import stream
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.studies import fd_cost as study
from papers.flow_matching.studies.fd_cost import CLAIMS, FIGURES, TARGET, ImageCostConfig, image_cost
from papers.flow_matching.studies.images import SAMPLING
from papers.flow_matching.studies.looks import METHODS
from papers.flow_matching.studies.networks import network, noise
from tests.papers.fake_run import FakeRun
from tests.papers.planted import MadeUp, Row, shows, table, verdict, wobble

OF = {claim.id: claim for claim in CLAIMS}
DRAWN = {figure.name: figure.draw for figure in FIGURES}
SMALL = ImageCostConfig("perceptron", "fm-vp", (4, 8, 16), (1e-1, 1e-4), (8,), n_samples=30, n_errors=5)


@pytest.fixture
def growth(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The network's velocity is 4 x, so that samples are e⁴ times the noise. Keeps what is judged."""
    seen: dict[str, Any] = {}

    class Data:
        def fd(self, samples: Tensor) -> float:
            seen["judged"] = samples
            return 5.0

        def floor(self, side: int, n: int, generator: torch.Generator) -> float:
            return float(n)

    def trained_velocity(config: Any, folder: Path, device: str) -> Any:
        seen["network"] = (config, folder)
        return lambda x, t: 4 * x

    monkeypatch.setattr(study, "trained_velocity", trained_velocity)
    monkeypatch.setattr(study, "DATASETS", {"digits": Data()})
    return seen


def test_errors_are_those_of_the_solver_on_the_network_s_own_flow(growth: dict[str, Any], tmp_path: Path) -> None:
    """In closed form: a midpoint step of h multiplies by 1 + 4h + 8h²."""
    rows = image_cost(SMALL, 3, FakeRun(tmp_path / "run", network=tmp_path / "trained"))
    check(rows, image_cost.columns)
    assert growth["network"] == (network("perceptron", "fm-vp"), tmp_path / "trained")
    need = image_cost.needs(SMALL, 3)["network"]
    assert (need.config, need.seed) == (network("perceptron", "fm-vp"), 3)
    last = OBJECTIVES["fm-vp"].path.last
    x_0 = noise(network("perceptron", "fm-vp"), 30, stream(3, SAMPLING))
    size = float(x_0[:5].square().mean().sqrt())
    fixed = [row for row in rows if row["solver"] == "midpoint"]
    assert [row["nfe"] for row in fixed] == [4, 8, 16]
    for row in fixed:
        h = last / (int(row["nfe"]) / 2)
        grown = (1 + 4 * h + 8 * h * h) ** (int(row["nfe"]) / 2)
        assert row["error"] == pytest.approx(size * (np.exp(4 * last) - grown), rel=1e-2)
        assert ("fd" in row) == (row["nfe"] == 8)
        if row["nfe"] == 8:
            assert (row["fd"], row["floor"]) == (5.0, 30.0)
            torch.testing.assert_close(growth["judged"], x_0 * grown, rtol=1e-12, atol=0)
    loose, tight = (row for row in rows if row["solver"] == "dopri5")
    assert (loose["tolerance"], tight["tolerance"]) == (1e-1, 1e-4)
    assert int(loose["nfe"]) < int(tight["nfe"])
    assert float(loose["error"]) > float(tight["error"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"nfes": (4, 7), "judged": (4,)}, "nfes has 7; the midpoint method takes two evaluations a step"),
        ({"judged": (12,)}, "judged has 12; it is none of nfes"),
        ({"tolerances": (0.0,)}, "it must be positive"),
        ({"objective": "edm"}, "objective is one of"),
        ({"n_errors": 0}, "n_errors is at least 1"),
    ],
)
def test_a_bad_config_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(SMALL, **fields)


def keys(config: ImageCostConfig) -> list[Row]:
    fixed = [{"solver": "midpoint", "nfe": nfe} for nfe in config.nfes]
    return [*fixed, *({"solver": "dopri5", "tolerance": tolerance} for tolerance in config.tolerances)]


def costs(preset: str, factor: Mapping[str, float], quality: Mapping[str, float]) -> Any:
    """Errors fall as the square of the evaluations; `factor` is what a method takes more than OT."""

    def plant(row: Row) -> dict[str, float]:
        name = row["objective"]
        # At TARGET: 9 evaluations of midpoint, and 18 of dopri5.
        if row["solver"] == "midpoint":
            error = TARGET * (row["nfe"] / (9 * factor.get(name, 1.0) * wobble(row))) ** -2
            fd = 6 * quality.get(name, 1.0) * wobble(row) if row["nfe"] in row["judged"] else float("nan")
            return {"error": error, "fd": fd, "floor": 0.5}
        nfe = 18 * (row["tolerance"] / 1e-2) ** -0.2 * factor.get(name, 1.0)
        nothing = {"fd": float("nan"), "floor": float("nan")}
        return {"nfe": nfe, "error": TARGET * row["tolerance"] / 1e-2 * wobble(row), **nothing}

    return table(image_cost, preset, keys, plant)


@pytest.mark.parametrize("preset", ["small", "gpu"])
@pytest.mark.parametrize(("factor", "expected"), [(1.6, "holds"), (1.0, "fails"), (1.1, "fails"), (0.6, "fails")])
def test_the_ratio_of_evaluations_is_taken_at_equal_error(preset: str, factor: float, expected: str) -> None:
    claim = OF["image-error-cost"]
    rows = costs(preset, {"fm-vp": factor}, {})
    assert verdict(claim, (image_cost, rows)) == expected
    for quantity in claim.quantities:
        assert quantity.measure(rows).to_numpy() == pytest.approx(1 / factor, rel=1e-6)


def test_a_saving_of_one_solver_alone_is_not_enough() -> None:
    rows = costs("small", {"fm-vp": 1.6}, {})
    alike = rows["solver"] == "dopri5"
    ot = rows[alike & (rows["objective"] == "fm-ot")]
    for column in ("nfe", "error"):
        rows.loc[alike & (rows["objective"] == "fm-vp"), column] = ot[column].to_numpy()
    assert verdict(OF["image-error-cost"], (image_cost, rows)) == "fails"


@pytest.mark.parametrize(
    ("preset", "id", "places"),
    [
        *((preset, "image-quality-cost", {"fm-vp": (10, 20)}) for preset in ("quick", "small", "gpu")),
        *(
            (preset, "image-quality-cost-all", {"fm-vp": (4, 6), "score": (4, 6, 10, 20), "ddpm": (4, 6, 10, 20)})
            for preset in ("small", "gpu")
        ),
    ],
)
def test_ot_must_be_better_than_each_of_the_others_at_every_place(
    preset: str, id: str, places: dict[str, tuple[int, ...]]
) -> None:
    claim, better = OF[id], dict.fromkeys(places, 1.3)
    assert verdict(claim, (image_cost, costs(preset, {}, better))) == "holds"
    for name, nfes in places.items():
        assert verdict(claim, (image_cost, costs(preset, {}, {**better, name: 1.0}))) == "fails"
        for nfe in nfes:
            rows = costs(preset, {}, better)
            rows.loc[(rows["nfe"] == nfe) & (rows["objective"] == name), "fd"] = 5.0
            assert verdict(claim, (image_cost, rows)) == "fails"


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_the_figures_show_means_over_seeds_of_the_table(preset: str) -> None:
    rows = costs(preset, {"fm-vp": 1.6}, {"fm-vp": 1.3})
    left, right = DRAWN["image-error-cost"](MadeUp({image_cost: rows})).axes[:2]
    (quality,) = DRAWN["image-quality-cost"](MadeUp({image_cost: rows})).axes
    for name in set(rows["objective"]):
        own = rows[rows["objective"] == name]
        for panel, solver, by in ((left, "midpoint", "nfe"), (right, "dopri5", "tolerance")):
            settings = [each for _, each in own[own["solver"] == solver].groupby(by)]
            means = sorted((each["nfe"].mean(), each["error"].mean()) for each in settings)
            assert shows(panel, means, METHODS[name].colour)
        fd = own[own["fd"].notna()].groupby("nfe")["fd"].mean()
        assert shows(quality, list(zip(fd.index, fd, strict=True)), METHODS[name].colour)
    assert shows(quality, [(0, 0.5), (1, 0.5)])
