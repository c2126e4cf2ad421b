"""The exact limits of little and much noise."""

from __future__ import annotations

from itertools import islice

import pandas as pd
import pytest

from papers.dsbm.gaussian import imf, independent_bridge, unit_gaussians
from papers.dsbm.studies.limits import CLAIMS, LimitsConfig, exact_limits
from papers.dsbm.studies.pairs import SIGMA, A
from papers.dsbm.studies.passes import drift_error
from tests.papers.dsbm.cases import doubled, generator
from tests.papers.fake_run import FakeRun


def test_limits_go_where_the_paper_says(run: FakeRun) -> None:
    table = pd.DataFrame(exact_limits(LimitsConfig(sigmas=(0.01, 100.0)), 0, run))
    little, much = (table[table["sigma"] == sigma].set_index("pair") for sigma in (0.01, 100.0))
    assert (little[["first_to_rectified", "bridge_to_transport"]].to_numpy() < 1e-3).all()
    assert (much["bridge_to_independent"] < 1e-3).all()
    # Rectified flow is optimal transport after one pass in one dimension, and not in general.
    size = little["first_to_independent"]
    assert size["unit"] == pytest.approx(1, abs=1e-3)
    assert abs(size["general"] - 1) > 0.1


def test_the_drift_of_the_second_pass_is_not_bridge_matching() -> None:
    """Exact, and still twice as far as the claim allows; the claim's bound is the one that it is held to."""
    first, second = islice(imf(independent_bridge(*unit_gaussians(5, A), SIGMA)), 2)
    error = drift_error(doubled(second.backward_drift), first, False, generator())
    assert error == pytest.approx(0.53, abs=0.02)
    (bound,) = (q.criterion.upper for claim in CLAIMS if claim.id == "bridge-matching" for q in claim.quantities)
    assert error > 2 * bound
