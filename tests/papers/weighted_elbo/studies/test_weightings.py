"""Weightings: the claims and figures on made-up tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from common.harness.studies.statistics import student_t
from papers.weighted_elbo.published import IMAGENET_64, IMAGENET_64_ADAPTIVE, IMAGENET_64_EDM
from papers.weighted_elbo.studies.images import LOG_SNR_MIN
from papers.weighted_elbo.studies.looks import WEIGHTINGS
from papers.weighted_elbo.studies.training import BINS, TRAINED, digit_weightings, image_weightings
from papers.weighted_elbo.studies.weightings import CLAIMS, FIGURES, SETS
from tests.papers.planted import MadeUp, Row, shows, table, verdict, wobble

OF = {claim.id: claim for claim in CLAIMS}
DRAWN = {figure.name: figure.draw for figure in FIGURES}
EXPERIMENTS = (digit_weightings, image_weightings)


def keys(config: Any) -> list[Row]:
    return [{}]


def planted(preset: str, fd: dict[str, float], bpd: dict[str, float] | None = None) -> list[Any]:
    """Frechet distances and bits by weighting; 10 and 4 where none is given."""

    def plant(row: Row) -> dict[str, float]:
        return {
            "fd": fd.get(row["weighting"], 10.0)
            * wobble(row)
            * (1 + 0.01 * np.sin(len(row["weighting"]) + row["seed"])),
            "bpd": (bpd or {}).get(row["weighting"], 4.0) + 0.1 * row["seed"],
        }

    return [(each, table(each, preset, keys, plant)) for each in EXPERIMENTS if preset in each.presets]


@pytest.mark.parametrize(("preset", "id"), [("quick", "-digits"), ("small", "-digits"), ("small", ""), ("gpu", "")])
@pytest.mark.parametrize(
    ("ratio", "expected"), [(1.0, "holds"), (0.9, "holds"), (1.15, "holds"), (1.4, "fails"), (0.7, "fails")]
)
def test_parity_is_a_margin_on_either_side(preset: str, id: str, ratio: float, expected: str) -> None:
    claim = OF[f"monotone-parity{id}"]
    assert preset in claim.presets
    assert claim.headline
    tables = planted(preset, {"edm-monotonic": 10 * ratio, "elbo": 3.0})
    assert verdict(claim, *tables) == expected
    (quantity,) = claim.quantities
    assert quantity.expected == pytest.approx(IMAGENET_64_EDM["edm-monotonic"] / IMAGENET_64_EDM["edm"])
    (own,) = [rows for each, rows in tables if each is quantity.experiment]
    assert quantity.measure(own).to_numpy() == pytest.approx(ratio, rel=0.03)


@pytest.mark.parametrize("worse", ["edm-monotonic", "sigmoid"])
def test_each_monotone_weighting_is_no_worse_than_the_usual_loss_on_both_sets(worse: str) -> None:
    claim = OF["monotone-samples"]
    assert verdict(claim, *planted("small", {"eps-cosine": 10.0})) == "holds"
    assert verdict(claim, *planted("small", {"edm-monotonic": 6.0, "sigmoid": 11.0})) == "holds"
    assert verdict(claim, *planted("small", {worse: 13.0})) == "fails"
    for each in EXPERIMENTS:
        tables = dict(planted("small", {}))
        tables[each] = dict(planted("small", {worse: 13.0}))[each]
        assert verdict(claim, *tables.items()) == "fails"
    published = {"edm-monotonic": IMAGENET_64_ADAPTIVE["edm-monotonic"], "sigmoid": IMAGENET_64["sigmoid k=2"]}
    for quantity in claim.quantities:
        name = next(name for name in published if quantity.name.startswith(WEIGHTINGS[name].name + " over"))
        assert quantity.expected == pytest.approx(published[name] / IMAGENET_64["eps-cosine"])


def test_the_elbo_in_the_place_of_a_monotone_weighting_meets_neither_criterion() -> None:
    """As it comes out: 1.4 times the distance. The claim that says so fails where it passes for one of them."""
    as_found = {"elbo": 14.0}
    claim = OF["elbo-samples"]
    assert verdict(claim, *planted("small", as_found)) == "holds"
    for each, rows in planted("small", as_found):
        for of, other in (("monotone-parity", "edm"), ("monotone-parity-digits", "edm")):
            (quantity,) = OF[of].quantities
            if quantity.experiment is each:
                swapped = rows[rows["weighting"].isin(["elbo", other])].replace({"elbo": "edm-monotonic"})
                assert verdict(OF[of], (each, swapped)) == "fails"
    for fd in ({"elbo": 12.0}, {"elbo": 14.0, "edm": 12.5}, {"elbo": 11.0, "edm": 5.0}, {"elbo": 5.0}):
        assert verdict(claim, *planted("small", fd)) == "fails"


@pytest.mark.parametrize("other", [name for name in TRAINED if name != "elbo"])
def test_the_elbo_is_the_best_in_bits_against_each_of_the_others(other: str) -> None:
    claim, best = OF["elbo-bits"], dict.fromkeys((name for name in TRAINED if name != "elbo"), 4.1)
    assert len(claim.quantities) == 2 * len(best)
    assert verdict(claim, *planted("small", {}, best)) == "holds"
    for value in (4.0, 3.9):
        assert verdict(claim, *planted("small", {}, {**best, other: value})) == "fails"


def arrays(run: Row) -> dict[str, np.ndarray]:
    place = TRAINED.index(run["weighting"]) + 1
    return {
        "error": np.linspace(1, 2, BINS) * place + 0.1 * (run["seed"] % 2),
        "density": np.linspace(1, place, 100) / (50 * (1 + place)),
        "samples": np.full((32, 1, 4, 4), place / 10 + run["seed"] / 1000, dtype=np.float32),
    }


CASES = [("digits", "quick"), ("digits", "small"), ("mnist", "small"), ("mnist", "gpu")]


def made_up(name: str, preset: str) -> tuple[Any, pd.DataFrame, MadeUp]:
    each = {key.lower(): value for key, value in SETS.items()}[name]
    rows = table(each, preset, keys)
    return each, rows, MadeUp({each: rows}, arrays)


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_quality_is_shown_against_bits_with_both_intervals(name: str, preset: str) -> None:
    _, rows, results = made_up(name, preset)
    (panel,) = DRAWN[f"quality-{name}"](results).axes
    for weighting in set(rows["weighting"]):
        own, colour = rows[rows["weighting"] == weighting], WEIGHTINGS[weighting].colour
        fd, bits = student_t([*own["fd"]], "log"), student_t([*own["bpd"]])
        assert shows(panel, [(bits.mean, fd.mean)], colour)
        assert shows(panel, [(bits.low, fd.mean), (bits.high, fd.mean)], colour)
        assert shows(panel, [(bits.mean, fd.low), (bits.mean, fd.high)], colour)
    assert f"n = {rows['n_samples'].iloc[0]}" in panel.get_ylabel()


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_errors_are_over_those_of_edm_and_densities_integrate_to_one(name: str, preset: str) -> None:
    _, rows, results = made_up(name, preset)
    left, right = DRAWN[f"by-level-{name}"](results).axes
    high = {"digits": 9.0, "mnist": 13.3}[name]
    seeds = sorted(set(rows["seed"]))

    def mean(weighting: str, key: str) -> np.ndarray:
        return np.mean([arrays({"weighting": weighting, "seed": seed})[key] for seed in seeds], axis=0)

    for weighting in set(rows["weighting"]):
        colour, width = WEIGHTINGS[weighting].colour, (high - LOG_SNR_MIN) / BINS
        at = LOG_SNR_MIN + width * (np.arange(BINS) + 0.5)
        assert shows(left, np.stack([at, mean(weighting, "error") / mean("edm", "error")], 1), colour)
        fine = (high - LOG_SNR_MIN) / 100
        at = LOG_SNR_MIN + fine * (np.arange(100) + 0.5)
        assert shows(right, np.stack([at, mean(weighting, "density") / fine], 1), colour)


@pytest.mark.parametrize(("name", "preset"), CASES)
def test_the_grids_of_samples_are_those_of_their_weighting_at_one_seed(name: str, preset: str) -> None:
    _, rows, results = made_up(name, preset)
    axes = DRAWN[f"samples-{name}"](results).axes
    there = [weighting for weighting in WEIGHTINGS if weighting in set(rows["weighting"])]
    for panel, weighting in zip(axes, there, strict=True):
        shown = np.asarray(panel.images[0].get_array())
        assert float(shown[3, 3]) == pytest.approx((TRAINED.index(weighting) + 1) / 10)
        assert panel.get_title() == WEIGHTINGS[weighting].name
