"""Cost at tiny settings: the samplers of Table 1, and the evaluations that are read off a curve."""

from math import sqrt

import numpy as np
import pytest

from common.harness.studies.measures import NotReached
from papers.edm.studies.cost import SAMPLERS, SamplingCostConfig, evaluations_to_reach, sampling_cost
from tests.papers.edm.made import made
from tests.papers.fake_run import FakeRun


@pytest.mark.parametrize(("sampler", "order", "per_step"), [("vp", 1, 1), ("ve", 1, 1), ("iddpm", 1, 1), ("edm", 2, 2)])
def test_samplers_converge_to_their_own_limit(sampler: str, order: int, per_step: int, run: FakeRun) -> None:
    config = SamplingCostConfig(sampler, (120, 240), reference_steps=1000, n_samples=8, n_points=5)
    coarse, fine = made(sampling_cost, config, 0, run)
    assert [coarse["nfe"], fine["nfe"]] == [per_step * n - (per_step - 1) for n in (120, 240)]
    # 15 % for the next term of the error, and for the rounding of iDDPM's levels to whole numbers.
    assert float(coarse["error"]) / float(fine["error"]) == pytest.approx(2**order, rel=0.15)


def test_the_samplers_are_those_of_table_1() -> None:
    limits = {name: [float(level) for level in sigmas_of(2)] for name, (_, sigmas_of, _) in SAMPLERS.items()}
    assert limits["ve"] == pytest.approx([100, 0.02, 0])
    assert limits["edm"] == pytest.approx([80, 0.002, 0])
    assert limits["vp"][0] == pytest.approx(sqrt(np.expm1(19.9 / 2 + 0.1)))
    assert limits["iddpm"][0] == pytest.approx(81, abs=1)


def test_evaluations_are_interpolated_and_never_extrapolated() -> None:
    nfe, error = [4, 1, 16], [1e-2, 1.0, 1e-6]
    assert evaluations_to_reach(nfe, error, 1e-1) == pytest.approx(2.0)
    assert evaluations_to_reach(nfe, error, 1e-4) == pytest.approx(8.0)
    assert evaluations_to_reach(nfe, error, 1e-6) == pytest.approx(16.0)
    for outside in (2.0, 1.0, 1e-7):
        with pytest.raises(NotReached, match="not on a curve"):
            evaluations_to_reach(nfe, error, outside)
