"""The exact limits of little and much noise."""

from __future__ import annotations

import pandas as pd
import pytest

from papers.dsbm.studies.limits import LimitsConfig, exact_limits
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
