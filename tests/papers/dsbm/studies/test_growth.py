"""The exponent of a growth, on a power law."""

from __future__ import annotations

import pandas as pd
import pytest

from papers.dsbm.studies.growth import growth


def test_growth_is_the_exponent_of_a_power_law() -> None:
    table = pd.DataFrame([{"seed": s, "d": d, "kl": (1 + s) * d**1.5} for s in (0, 1) for d in (5, 20, 50)])
    assert growth("kl", "d", 5, 50)(table).tolist() == pytest.approx([1.5, 1.5])
