"""The card's measures on tables whose answer is known, and its criteria on what the paper published."""

from __future__ import annotations

import pandas as pd
import pytest

from common.harness.studies.claims import judge
from papers.dsbm.claims import CLAIMS
from papers.dsbm.experiments import EXPERIMENTS
from papers.dsbm.experiments_gaussian import GAUSSIAN_METHODS
from papers.dsbm.measures import generated_variance, growth, largest_residual, largest_rise, last_over
from papers.dsbm.published import GAUSSIAN_KL, PLANE_ENERGY, PLANE_W2

BY_ID = {claim.id: claim for claim in CLAIMS}


def test_growth_is_the_exponent_of_a_power_law() -> None:
    table = pd.DataFrame([{"seed": s, "d": d, "kl": (1 + s) * d**1.5} for s in (0, 1) for d in (5, 20, 50)])
    assert growth("kl", "d", 5, 50)(table).tolist() == pytest.approx([1.5, 1.5])


def test_the_generated_end_is_where_a_pass_arrives() -> None:
    rows = [
        {"seed": 0, "pass_number": n, "direction": d, "var_0": 10 + n, "var_1": 20 + n} for n, d in ((1, "b"), (2, "f"))
    ]
    table = pd.DataFrame(rows)
    assert generated_variance(1)(table)[0] == 11
    assert generated_variance(2)(table)[0] == 22


def test_a_single_rise_anywhere_is_found() -> None:
    def table(last: float) -> pd.DataFrame:
        costs = {("unit", 1.0): (4.0, 3.0, 2.0), ("general", 2.0): (10.0, 8.0, last)}
        return pd.DataFrame(
            [
                {"seed": 0, "pair": pair, "sigma": sigma, "iterate": n, "cost": cost}
                for (pair, sigma), values in costs.items()
                for n, cost in enumerate(values)
            ]
        )

    assert largest_rise("cost")(table(7.5))[0] == pytest.approx(-0.05)
    assert largest_rise("cost")(table(8.5))[0] == pytest.approx(0.05)


def test_the_residual_is_relative_to_the_first_divergence() -> None:
    rows = [
        {"seed": 0, "pair": "unit", "sigma": 1.0, "method": "imf", "kl": kl, "kl_projection": a, "kl_markov": b}
        for kl, a, b in ((4.0, 3.0, 1.0), (1.0, 0.5, 0.46), (0.1, None, None))
    ]
    assert largest_residual(pd.DataFrame(rows))[0] == pytest.approx(0.01)


def test_the_last_pass_is_compared_with_its_own_floor() -> None:
    rows = [
        {"seed": 0, "pass_number": n, "gap": gap, "floor": floor} for n, gap, floor in ((2, 6.0, 4.0), (1, 9.0, 1.0))
    ]
    assert last_over("gap", "floor")(pd.DataFrame(rows))[0] == 1.5


def paper_tables(factor: float = 1.0) -> dict[str, pd.DataFrame]:
    """Run tables as the paper's own numbers would make them; `factor` worsens DSBM."""

    def worse(method: str) -> float:
        return factor if method.startswith("DSBM") else 1.0

    gaussian = [
        {"seed": s, "method": m, "dim": d, "final": True, "kl_diagonal": cell.mean * worse(m) * (1 + 0.01 * s)}
        for s in range(5)
        for (m, d), cell in GAUSSIAN_KL.items()
    ]
    cells = {key: {"w2": cell.mean * worse(key[0])} for key, cell in PLANE_W2.items()}
    for key, cell in PLANE_ENERGY.items():
        cells.setdefault(key, {})["path_energy"] = cell.mean
    plane = [
        {"seed": s, "method": m, "task": t, **{name: value * (1 + 0.01 * s) for name, value in values.items()}}
        for s in range(5)
        for (m, t), values in cells.items()
    ]
    return {"gaussian": pd.DataFrame(gaussian), "plane": pd.DataFrame(plane)}


ORDERINGS = ("gaussian-order", "plane-dsb", "plane-ot-cfm", "plane-rf")


@pytest.mark.parametrize("claim", [*ORDERINGS, "gaussian-kl", "gaussian-growth", "plane-w2", "plane-energy"])
def test_the_published_numbers_pass(claim: str) -> None:
    assert judge(BY_ID[claim], paper_tables()).verdict == "holds"


@pytest.mark.parametrize("claim", ["gaussian-order", "plane-dsb", "gaussian-kl", "plane-w2"])
def test_a_method_four_times_as_bad_does_not(claim: str) -> None:
    assert judge(BY_ID[claim], paper_tables(factor=4.0)).verdict == "fails"


def test_every_quantity_has_its_runs() -> None:
    """Each preset of each claim has the experiment that the claim measures."""
    presets = {experiment.name: set(experiment.presets) for experiment in EXPERIMENTS}
    for claim in CLAIMS:
        for quantity in claim.quantities:
            assert set(claim.presets) <= presets[quantity.experiment], (claim.id, quantity.name)


def test_small_has_every_cell_of_the_tables() -> None:
    experiments = {experiment.name: experiment for experiment in EXPERIMENTS}
    gaussian = {(config.method, config.dim) for config in experiments["gaussian"].presets["small"].configs}
    assert gaussian == {(method, dim) for method in GAUSSIAN_METHODS for dim in (5, 20, 50)} == set(GAUSSIAN_KL)
    plane = {(config.method, config.task) for config in experiments["plane"].presets["small"].configs}
    assert set(PLANE_W2) | set(PLANE_ENERGY) <= plane
    assert experiments["gaussian"].presets["small"].seeds == experiments["plane"].presets["small"].seeds == 5
