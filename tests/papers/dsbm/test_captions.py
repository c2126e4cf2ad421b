"""What captions, claims and the page say of the data is true of the committed rows, in every preset that shows them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from common.harness.studies.panels import where
from papers.dsbm.paper import PAPER
from papers.dsbm.published import PLANE_ENERGY
from papers.dsbm.studies.plane import MIXED

REPORTS = Path(__file__).resolve().parents[3] / "reports" / "dsbm"
CAPTIONS = {figure.name: figure.caption for study in PAPER.load().values() for figure in study.figures}
EXCLUDES = {claim.id: claim.excludes for claim in PAPER.claims}
both = pytest.mark.parametrize("preset", ["quick", "small"])


@cache
def read(preset: str) -> pd.DataFrame:
    return pd.read_csv(REPORTS / preset / "runs.csv", low_memory=False)


def rows(preset: str, experiment: str, **values: object) -> pd.DataFrame:
    return where(read(preset), experiment=experiment, **values)


@both
def test_ipf_is_slow_where_there_is_little_noise_and_imf_never(preset: str) -> None:
    assert "The less noise, the slower is IPF; IMF needs a few passes at every σ" in CAPTIONS["exact-convergence"]
    table = rows(preset, "exact_iterates", pair="unit").set_index(["method", "sigma", "iterate"])["kl"]
    sigmas = (0.25, 0.5, 1.0, 2.0, 4.0)
    shrinking = [table["ipf", sigma, 2] / table["ipf", sigma, 0] for sigma in sigmas]
    assert shrinking == sorted(shrinking, reverse=True)
    assert shrinking[0] > 0.5
    assert all(table["imf", sigma, 4] < 1e-6 for sigma in sigmas)
    assert "At iterate 0 IPF is ahead where there is little noise" in CAPTIONS["exact-convergence"]
    assert all((table["ipf", s, 0] < table["imf", s, 0]) == (s <= 1) for s in sigmas)
    assert "before any pass: at sigma 0.25 IPF's is nearer" in EXCLUDES["passes"]
    for pair in ("unit", "general"):
        start = rows(preset, "exact_iterates", pair=pair, sigma=0.25, iterate=0).set_index("method")["kl"]
        assert start["ipf"] < start["imf"]


@both
def test_exact_ipf_swings_and_exact_imf_climbs(preset: str) -> None:
    assert "IPF swings around the bridge's value from pass to pass, and IMF climbs" in CAPTIONS["covariances"]
    for method, swings in (("DSBM-IPF", True), ("DSBM-IMF", False)):
        table = rows(preset, "gaussian", method=method, dim=5, seed=0)
        exact = table.set_index("pass_number")["exact_correlation"]
        signs = (exact.loc[1:4] > (5**0.5 - 1) / 2).tolist()
        assert signs == ([False, True, False, True] if swings else [False] * 4)
        if not swings:
            assert exact.is_monotonic_increasing
            assert exact.loc[3] == pytest.approx(0.618, abs=1e-3)


@both
def test_the_pieces_of_the_identity_add_up_and_the_limits_are_powers(preset: str) -> None:
    assert "They agree" in CAPTIONS["identity"]
    table = rows(preset, "exact_iterates", pair="general", method="imf", sigma=1.0).dropna(subset=["kl_projection"])
    assert (table["kl_projection"] + table["kl_markov"]).to_numpy() == pytest.approx(table["kl"].to_numpy())
    assert "bridge loses all relation between its ends" in CAPTIONS["limits"]
    limits = rows(preset, "exact_limits", pair="general").set_index("sigma")
    assert limits["first_to_rectified"].is_monotonic_increasing
    assert limits["bridge_to_transport"].is_monotonic_increasing
    assert limits["bridge_to_independent"].is_monotonic_decreasing
    assert limits["bridge_to_independent"][30.0] < 0.01


@both
def test_what_limits_exclude_does_not_meet_them(preset: str) -> None:
    assert "independent ends where there is little noise, optimal transport where much" in EXCLUDES["limits"]
    for pair in ("unit", "general"):
        limits = rows(preset, "exact_limits", pair=pair).set_index("sigma")
        assert limits["bridge_to_independent"][0.03] > 0.9
        assert limits["bridge_to_transport"][30.0] > 0.9


@both
def test_optimal_pairs_do_not_take_the_energy_of_independent_ones(preset: str) -> None:
    for claim in ("plane-energy-cfm", "plane-energy-order"):
        assert "OT-CFM" in EXCLUDES[claim]
    energy = rows(preset, "plane", task=MIXED).groupby("method")["path_energy"].mean()
    assert energy["OT-CFM"] < energy["DSBM-IMF"] < energy["CFM"] / 2
    assert "those of CFM" in CAPTIONS["paths"]
    assert energy["CFM"] == energy.max()


def test_energies_that_the_table_excludes_are_outside_its_bands() -> None:
    energy = rows("small", "plane").groupby(["method", "task"])["path_energy"].mean()
    for method, other in (("CFM", "OT-CFM"), ("OT-CFM", "CFM")):
        assert not 1 / 1.5 < energy[other, MIXED] / PLANE_ENERGY[method, MIXED].mean < 1.5
    for task in ("moons", "scurve"):
        assert all(energy["DSB", task] < PLANE_ENERGY[m, task].mean / 1.5 for m in ("DSBM-IPF", "SB-CFM"))
        assert energy["OT-CFM", task] < energy["DSBM-IMF", task]  # what plane-energy-independent excludes


def test_the_full_fits_bias_grows_with_the_square_of_the_dimension() -> None:
    assert "grows with the square of the dimension" in CAPTIONS["kl-full"]
    floor = rows("small", "gaussian_floor").groupby("dim")["floor_full"].mean()
    for dim in (5, 20, 50):
        assert floor[dim] == pytest.approx(1e3 * dim * (dim + 3) / 4e4, rel=0.1)


def test_more_noise_makes_longer_ways() -> None:
    assert "more noise, longer ways" in CAPTIONS["sigma"]
    for task in ("moons", MIXED):
        swept = rows("small", "plane_sigma", task=task).groupby("sigma_factor")["path_energy"].mean()
        own = rows("small", "plane", task=task, method="DSBM-IMF")["path_energy"].mean()
        assert swept[0.25] < swept[0.5] < own < swept[2.0]


def test_a_start_from_independent_pairs_needs_few_passes_for_the_plan_and_one_from_the_reference_more() -> None:
    assert "The less noise, the more passes does a start from the" in CAPTIONS["plan-distance"]
    table = rows("small", "plan_distance")
    excess = table.assign(excess=table["joint_w2"] / table["joint_floor"]).groupby(["method", "sigma", "pass_number"])
    mean = excess["excess"].mean()
    arrived = {
        (method, sigma): next((n for n in range(1, 9) if mean[method, sigma, n] < 1.2), 99)
        for method in ("DSBM-IPF", "DSBM-IMF")
        for sigma in (0.5, 1.0, 2.0)
    }
    assert all(arrived["DSBM-IMF", sigma] <= 2 for sigma in (0.5, 1.0, 2.0))
    assert arrived["DSBM-IPF", 0.5] > arrived["DSBM-IPF", 1.0] > arrived["DSBM-IPF", 2.0]
