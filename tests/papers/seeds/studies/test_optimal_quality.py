"""Optimal quality: each claim holds as a pilot found it, fails for what it excludes, and figures have the means."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from common.harness.studies.experiment import Experiment
from papers.seeds.studies.curves import COMPONENT_STD, SPOILED, exact_curves
from papers.seeds.studies.looks import SAMPLERS
from papers.seeds.studies.network_curves import digit_curves, image_curves
from papers.seeds.studies.optimal_quality import CLAIMS, FIGURES, MANY, left_by_flows
from papers.seeds.studies.samplers import drawn
from tests.papers.planted import MadeUp, Row, lines, table, verdict, wobble
from tests.papers.seeds.cases import randn, seeded
from tests.papers.seeds.studies.curved import FLOOR, curves, keys

OF = {claim.id: claim for claim in CLAIMS}
DRAWN = {figure.name: figure.draw for figure in FIGURES}
SDE = ("seeds-1-data", "seeds-2b-data", "seeds-3-data", "em-sigma", "em-vp", "ddpm", "churn")
ARRIVE = {"seeds-3-data": 13.0, "seeds-1-data": 60.0, "ddpm": 50.0, "em-sigma": 40.0, "em-vp": 40.0}


def small(sde: dict[str, float], at: dict[str, float] = ARRIVE, usual: float = 1.0) -> pd.DataFrame:
    """Stochastic solvers end at `sde` (0.76 if not named) of the deterministic ones; with usual noise at `usual`."""
    best = dict.fromkeys(SDE, 0.76) | sde
    starts = dict.fromkeys(("ddim", "tab3", "2m", "heun"), 0.1)

    def change(row: Row) -> float:
        return usual / best[row["sampler"]] if row["noise"] == "usual" and row["sampler"] in best else 1.0

    return curves(digit_curves, "small", best, at | starts, change)


@pytest.mark.parametrize(
    ("claim", "rows", "expected"),
    [
        ("optimal-quality", small({}), "holds"),
        ("optimal-quality", small({"seeds-3-data": 1.0}), "fails"),
        ("optimal-quality", small({"seeds-3-data": 0.95}), "fails"),
        ("usual-networks", small({}), "holds"),
        ("usual-networks", small({}, usual=0.76), "fails"),
        ("usual-networks", small({}, usual=1.2), "fails"),
        ("ode-first", small({}), "holds"),
        ("ode-first", small({}, {**ARRIVE, "seeds-3-data": 5.0}), "fails"),
        ("crossing", small({}), "holds"),
        ("crossing", small({}, {**ARRIVE, "seeds-1-data": 13.0}), "fails"),
        ("crossing", small({}, {**ARRIVE, "ddpm": 13.0}), "fails"),
        ("crossing", small({"ddpm": 1.3}), "holds"),
        ("crossing", small({"seeds-3-data": 1.3}), "fails"),
    ],
)
def test_claims_on_networks(claim: str, rows: pd.DataFrame, expected: str) -> None:
    assert verdict(OF[claim], (digit_curves, rows)) == expected


def test_the_plateau_is_read_at_the_same_evaluations_of_both() -> None:
    rows = small({})
    rows.loc[(rows["nfe"] != MANY), "distance"] = 1.0
    assert verdict(OF["optimal-quality"], (digit_curves, rows)) == "holds"


def spoiled(preset: str, high: float, low: float, exact: float) -> pd.DataFrame:
    """SEEDS-3 is at 0.5, Heun at 0.5 and so many floors more."""
    gain = {"spoiled at high noise": high, "spoiled at low noise": low, "exact": exact}

    def change(row: Row) -> float:
        return 1 + 2 * FLOOR * gain[row["source"]] if row["sampler"] == "heun" else 1.0

    at = dict.fromkeys(SAMPLERS, 0.1)
    return curves(exact_curves, preset, dict.fromkeys(SAMPLERS, 0.5), at, change)


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
def test_errors_at_high_noise_alone_are_forgotten(preset: str) -> None:
    as_found = spoiled(preset, 8.0, 0.2, 0.1)
    for claim in ("optimal-quality-exact", "where-the-error-lies"):
        assert verdict(OF[claim], (exact_curves, as_found)) == "holds"
    assert verdict(OF["optimal-quality-exact"], (exact_curves, spoiled(preset, 0.0, 0.2, 0.1))) == "fails"
    for low, exact in ((8.0, 0.1), (0.2, 8.0), (-3.0, 0.1)):
        rows = spoiled(preset, 8.0, low, exact)
        assert verdict(OF["where-the-error-lies"], (exact_curves, rows)) == "fails"


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
@pytest.mark.parametrize(("left", "expected"), [(0.55, "holds"), (1.0, "fails"), (0.2, "fails")])
def test_a_part_of_an_error_at_low_noise_is_forgotten(preset: str, left: float, expected: str) -> None:
    def plant(row: Row) -> dict[str, float]:
        return {"spread": 0.5 * wobble(row) * (left if row["sampler"] == "seeds-3-data" else 1.0)}

    def low(row: Row) -> dict[str, float]:
        return plant(row) if (row["source"], row["nfe"]) == ("spoiled at low noise", 49) else {}

    assert verdict(OF["low-noise"], (exact_curves, table(exact_curves, preset, keys, low))) == expected


def test_what_is_expected_at_low_noise_is_what_many_steps_leave() -> None:
    """Of a Gaussian's variance, by SEEDS-3 and Heun with 1537 evaluations; 40,000 draws tell it to half a per cent."""

    def gaussian(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x * COMPONENT_STD**2 / (COMPONENT_STD**2 + torch.as_tensor(sigma) ** 2)

    for sampler, expected in zip(("seeds-3-data", "heun"), left_by_flows(), strict=True):
        x, _ = drawn(sampler, SPOILED["spoiled at low noise"](gaussian), randn(40_000, 1), 1537, seeded(1))
        assert 1 - float(x.var()) / COMPONENT_STD**2 == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize(
    ("name", "experiment", "preset"),
    [
        ("quality-digits", digit_curves, "quick"),
        ("quality-digits", digit_curves, "small"),
        ("quality-images", image_curves, "small"),
        ("quality-images", image_curves, "gpu"),
    ],
)
def test_figures_have_the_geometric_mean_of_each_solver(name: str, experiment: Experiment, preset: str) -> None:
    rows = table(experiment, preset, keys)
    panels = DRAWN[name](MadeUp({experiment: rows})).axes
    order = [noise for noise in ("starved", "usual") if noise in set(rows["noise"])]
    assert len(panels) == len(order)
    for panel, noise in zip(panels, order, strict=True):
        for sampler, own in rows[rows["noise"] == noise].groupby("sampler"):
            mean = own.groupby("nfe")["distance"].apply(lambda values: np.exp(np.log(values).mean()))
            (curve,) = lines(panel, SAMPLERS[str(sampler)].name)
            np.testing.assert_allclose(curve, np.stack([mean.index, mean], axis=1))
