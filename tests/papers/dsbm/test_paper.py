"""The card: its criteria on what the paper published, its grids, and bad input."""

from __future__ import annotations

import pandas as pd
import pytest

from common.harness.runs.plan import plan
from common.harness.studies.claims import judge
from common.harness.studies.errors import UsageError
from common.harness.studies.experiment import Experiment
from papers.dsbm.paper import PAPER
from papers.dsbm.published import GAUSSIAN_KL, PLANE_ENERGY, PLANE_W2
from papers.dsbm.studies.exact import exact_iterates
from papers.dsbm.studies.gaussian import GAUSSIAN_METHODS, gaussian
from papers.dsbm.studies.plane import plane

BY_ID = {claim.id: claim for claim in PAPER.claims}


def paper_tables(factor: float = 1.0) -> dict[str, pd.DataFrame]:
    """Run tables as the paper's own numbers would make them; `factor` worsens DSBM."""

    def worse(method: str) -> float:
        return factor if method.startswith("DSBM") else 1.0

    gaussian_rows = [
        {"seed": s, "method": m, "dim": d, "final": True, "kl_diagonal": cell.mean * worse(m) * (1 + 0.01 * s)}
        for s in range(5)
        for (m, d), cell in GAUSSIAN_KL.items()
    ]
    cells = {key: {"w2": cell.mean * worse(key[0])} for key, cell in PLANE_W2.items()}
    for key, cell in PLANE_ENERGY.items():
        cells.setdefault(key, {})["path_energy"] = cell.mean
    plane_rows = [
        {"seed": s, "method": m, "task": t, **{name: value * (1 + 0.01 * s) for name, value in values.items()}}
        for s in range(5)
        for (m, t), values in cells.items()
    ]
    return {gaussian.name: pd.DataFrame(gaussian_rows), plane.name: pd.DataFrame(plane_rows)}


ORDERINGS = ("gaussian-order", "plane-dsb", "plane-ot-cfm", "plane-rf")


@pytest.mark.parametrize("claim", [*ORDERINGS, "gaussian-kl", "gaussian-growth", "plane-w2", "plane-energy"])
def test_the_published_numbers_pass(claim: str) -> None:
    assert judge(BY_ID[claim], paper_tables()).verdict == "holds"


@pytest.mark.parametrize("claim", ["gaussian-order", "plane-dsb", "gaussian-kl", "plane-w2"])
def test_a_method_four_times_as_bad_does_not(claim: str) -> None:
    assert judge(BY_ID[claim], paper_tables(factor=4.0)).verdict == "fails"


def test_every_quantity_has_its_runs() -> None:
    """Each preset of each claim has the experiment that the claim measures."""
    for claim in PAPER.claims:
        for quantity in claim.quantities:
            assert set(claim.presets) <= set(quantity.experiment.presets), (claim.id, quantity.name)


def test_small_has_every_cell_of_the_tables() -> None:
    between_gaussians, in_the_plane = gaussian.presets["small"], plane.presets["small"]
    cells = {(config.method, config.dim) for config in between_gaussians.configs}
    assert cells == {(method, dim) for method in GAUSSIAN_METHODS for dim in (5, 20, 50)} == set(GAUSSIAN_KL)
    assert set(PLANE_W2) | set(PLANE_ENERGY) <= {(config.method, config.task) for config in in_the_plane.configs}
    assert between_gaussians.seeds == in_the_plane.seeds == 5


@pytest.mark.parametrize(
    ("experiment", "fields", "message"),
    [
        (gaussian, {"method": "ddpm"}, "method is one of"),
        (gaussian, {"dim": "0"}, "dim is at least 1, not 0"),
        (gaussian, {"lr": "0"}, "lr is 0.0; it must be positive"),
        (plane, {"task": "rings"}, "task is one of moons, scurve, 8gaussians, moons-8gaussians, not 'rings'"),
        (plane, {"sigma_factor": "-1"}, "sigma_factor is -1.0; it must be positive"),
        (plane, {"passes": "1"}, "passes is at least 2, not 1"),
        (exact_iterates, {"sigmas": "1,0"}, "it must be positive"),
    ],
)
def test_bad_input_is_named(experiment: Experiment, fields: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        plan(PAPER, "quick", only=[experiment.name], overrides=fields)
