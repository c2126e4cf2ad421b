"""The official script's bits: on rows of the study the two claims hold, and with the residuals exchanged they fail."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from papers.ctm.studies.official_likelihood import CLAIMS, STDS, BitsConfig, missing, official_bits
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import Row, table, verdict


def test_what_is_missing_is_what_the_paper_s_file_has() -> None:
    assert [missing(std) for std in (0.5, 0.25, 0.1)] == pytest.approx([-0.29, -0.53, -0.68], abs=0.005)


def test_claims_hold_on_the_rows_and_fail_with_the_residuals_exchanged(tmp_path: Path) -> None:
    found = []
    for std in STDS:
        config = BitsConfig(std, n=500)
        for seed in range(2):
            (rows,) = made(official_bits, config, (seed,), (FakeRun(tmp_path / "run"),))
            found += [{**row, "std": std, "n": config.n, "seed": seed} for row in rows]
    for row in found:  # four standard errors of the mean of 500 residuals
        assert row["excess"] == pytest.approx(0, abs=4 * 0.032)
        assert row["official"] == pytest.approx(missing(row["std"]), abs=4 * 0.032)
    measured = pd.DataFrame(found)
    assert measured.groupby("seed")["excess"].nunique().eq(len(STDS)).all()
    exchanged = measured.rename(columns={"excess": "official", "official": "excess"})
    assert [verdict(claim, (official_bits, exchanged)) for claim in CLAIMS] == ["fails", "fails"]


def keys(config: BitsConfig) -> list[Row]:
    return [{}]


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
def test_every_law_is_read(preset: str) -> None:
    for wrong in (None, *STDS):

        def plant(row: Row, wrong: float | None = wrong) -> dict[str, float]:
            off = 0.1 if row["std"] == wrong else 0.002 * row["seed"]
            return {"excess": off, "official": missing(row["std"]) + off}

        rows = table(official_bits, preset, keys, plant)
        expected = "holds" if wrong is None else "fails"
        assert [verdict(claim, (official_bits, rows)) for claim in CLAIMS] == [expected] * 2


@pytest.mark.parametrize(("field", "value"), [("std", 0.0), ("n", 0)])
def test_settings_out_of_range_are_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        BitsConfig(**{"std": 0.5, field: value})  # type: ignore[arg-type]
