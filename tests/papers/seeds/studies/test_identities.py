"""Identities: they hold on the rows of the study, and the changed ones do not."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from papers.seeds.studies.identities import CLAIMS, IDENTITIES, IdentityConfig, identity
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import Row, table, verdict

SAME, CHANGED = CLAIMS


def keys(config: IdentityConfig) -> list[Row]:
    return [{"identity": name} for name in IDENTITIES]


def test_both_claims_hold_on_the_rows_and_fail_with_the_columns_exchanged(tmp_path: Path) -> None:
    (rows,) = made(identity, IdentityConfig(steps=4, n_samples=8), (2,), (FakeRun(tmp_path / "run"),))
    measured = pd.DataFrame([{**row, "seed": seed} for row in rows for seed in (0, 1, 2)])
    assert set(measured["identity"]) == set(IDENTITIES)
    assert [verdict(claim, (identity, measured)) for claim in CLAIMS] == ["holds", "holds"]
    exchanged = measured.rename(columns={"distance": "changed", "changed": "distance"})
    assert [verdict(claim, (identity, exchanged)) for claim in CLAIMS] == ["fails", "fails"]


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
def test_every_identity_is_read(preset: str) -> None:
    for wrong in (None, *IDENTITIES):

        def plant(row: Row, wrong: str | None = wrong) -> dict[str, float]:
            bad = row["identity"] == wrong
            return {"distance": 1e-6 if bad else 1e-13, "changed": 1e-6 if bad else 0.3}

        rows = table(identity, preset, keys, plant)
        expected = "holds" if wrong is None else "fails"
        assert [verdict(claim, (identity, rows)) for claim in CLAIMS] == [expected, expected]


def test_settings_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match="steps"):
        IdentityConfig(steps=0)
