"""Evaluations that SEEDS saves: each claim holds as a pilot found it and fails for what it excludes; the figure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from papers.seeds.published import SPEED_UP
from papers.seeds.studies.curves import exact_curves, plane_curves
from papers.seeds.studies.evaluations import CLAIMS, FIGURES, PLANE_TARGET, SPREAD_TARGET
from papers.seeds.studies.looks import SAMPLERS
from papers.seeds.studies.network_curves import digit_curves, image_curves
from tests.papers.planted import MadeUp, Row, lines, table, verdict, wobble
from tests.papers.seeds.studies.curved import curves, keys

OF = {claim.id: claim for claim in CLAIMS}
PRESETS = ["quick", "small", "gpu"]


def arriving(experiment: Any, preset: str, column: str, target: float, at: dict[str, float]) -> pd.DataFrame:
    """`column` falls with the evaluations, and is `target` with as many as `at` says (10 if not named)."""

    def plant(row: Row) -> dict[str, float]:
        return {column: target * at.get(row["sampler"], 10.0) * wobble(row) ** 0.5 / row["nfe"]}

    return table(experiment, preset, keys, plant)


EXACT = {"seeds-2b-data": 40.0, "seeds-3-data": 30.0, "em-sigma-squared": 150.0, "ddpm": 800.0}


def exact(preset: str, **change: float) -> pd.DataFrame:
    """The error falls with the evaluations as 1/nfe, and is 0.1 with as many as are named."""
    named = {name.replace("_", "-"): value for name, value in change.items()}
    return arriving(exact_curves, preset, "spread", 0.1, EXACT | named)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_lower_end_of_what_the_abstract_has_is_asked_of_every_pair(preset: str) -> None:
    claim = OF["fewer-evaluations"]
    assert claim.headline
    assert {quantity.published for quantity in claim.quantities} == {SPEED_UP[0]} == {3.0}
    assert verdict(claim, (exact_curves, exact(preset))) == "holds"
    for change in (
        {"em_sigma_squared": 85.0},
        {"ddpm": 85.0},
        {"seeds_3_data": 100.0},
        {"seeds_2b_data": 100.0},
    ):
        assert verdict(claim, (exact_curves, exact(preset, **change))) == "fails"
    assert SPREAD_TARGET == {"em-sigma-squared": 0.1, "ddpm": 0.4}


@pytest.mark.parametrize("preset", ["small", "gpu"])
def test_edm_s_sampler_takes_three_times_as_many_with_churn_and_not_without(preset: str) -> None:
    """As a pilot found it: SEEDS-3 comes to an error of a tenth with 24 evaluations, churn with 110, Heun with 49."""
    for churn, expected in ((110.0, "holds"), (49.0, "fails")):
        rows = exact(preset, seeds_3_data=24.0, churn=churn)
        assert verdict(OF["fewer-evaluations-churn"], (exact_curves, rows)) == expected


TRAINED = {"seeds-3-data": 13.0, "em-sigma": 42.0, "em-vp": 42.0, "ddpm": 60.0, "churn": 14.0}


@pytest.mark.parametrize(
    ("claim", "experiment", "preset"),
    [
        ("fewer-evaluations-trained", digit_curves, "quick"),
        ("fewer-evaluations-trained", digit_curves, "small"),
        ("fewer-evaluations-images", image_curves, "small"),
        ("fewer-evaluations-images", image_curves, "gpu"),
        ("fewer-evaluations-images-ddpm", image_curves, "small"),
        ("fewer-evaluations-images-ddpm", image_curves, "gpu"),
    ],
)
def test_trained_networks_reach_the_plateau_with_half_of_the_evaluations(
    claim: str, experiment: Any, preset: str
) -> None:
    assert preset in OF[claim].presets
    assert verdict(OF[claim], (experiment, curves(experiment, preset, {}, TRAINED))) == "holds"
    compared = {
        "fewer-evaluations-trained": ("em-sigma", "em-vp", "ddpm"),
        "fewer-evaluations-images": ("em-sigma", "em-vp"),
        "fewer-evaluations-images-ddpm": ("ddpm",),
    }
    for slower in compared[claim]:
        rows = curves(experiment, preset, {}, {**TRAINED, slower: 18.0})
        assert verdict(OF[claim], (experiment, rows)) == "fails"
    rows = curves(experiment, preset, {}, {**TRAINED, "seeds-3-data": 40.0})
    assert verdict(OF[claim], (experiment, rows)) == "fails"


def test_a_solver_that_never_comes_to_the_plateau_is_no_measure_of_a_gain() -> None:
    rows = curves(digit_curves, "quick", {"ddpm": 1.5}, TRAINED)
    assert verdict(OF["fewer-evaluations-trained"], (digit_curves, rows)) == "fails"


def test_against_edm_s_sampler_nothing_is_gained_nor_lost() -> None:
    for at, expected in ((14.0, "holds"), (60.0, "fails")):
        rows = curves(digit_curves, "small", {}, {**TRAINED, "churn": at})
        assert verdict(OF["churn"], (digit_curves, rows)) == expected


@pytest.mark.parametrize("preset", PRESETS)
def test_in_the_plane_euler_maruyama_in_sigma_is_as_good(preset: str) -> None:
    for em, expected in ((10.0, "holds"), (7.5, "holds"), (30.0, "fails")):
        rows = arriving(plane_curves, preset, "distance", PLANE_TARGET, {"em-sigma": em})
        assert verdict(OF["plane"], (plane_curves, rows)) == expected


@pytest.mark.parametrize("preset", PRESETS)
def test_the_figure_has_the_geometric_means(preset: str) -> None:
    tables = {each: table(each, preset, keys) for each in (exact_curves, plane_curves)}
    panels = FIGURES[0].draw(MadeUp(tables)).axes
    shown = ((tables[exact_curves], "spread"), (tables[plane_curves], "distance"))
    for panel, (rows, column) in zip(panels, shown, strict=True):
        if "source" in rows:
            rows = rows[rows["source"] == "exact"]
        for sampler, own in rows.groupby("sampler"):
            mean = own.groupby("nfe")[column].apply(lambda values: np.exp(np.log(values).mean()))
            (curve,) = lines(panel, SAMPLERS[str(sampler)].name)
            np.testing.assert_allclose(curve, np.stack([mean.index, mean], axis=1))
