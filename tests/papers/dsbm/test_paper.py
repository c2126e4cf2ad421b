"""The card: its grids, its streams, and bad input."""

from __future__ import annotations

import pytest

from common.harness.runs.plan import plan
from common.harness.studies.errors import UsageError
from common.harness.studies.experiment import Experiment
from papers.dsbm.paper import PAPER
from papers.dsbm.published import GAUSSIAN_KL, PLANE_ENERGY, PLANE_W2
from papers.dsbm.studies.exact import exact_iterates
from papers.dsbm.studies.gaussian import GAUSSIAN_METHODS, gaussian
from papers.dsbm.studies.plane import plane


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
