"""The committed pages say of every claim what the committed claims.json says, row by row."""

from __future__ import annotations

from pathlib import Path

from shown import disagreements

ROOT = Path(__file__).parents[2]


def test_glance_and_studies_agree_with_the_claims() -> None:
    assert disagreements(ROOT / "reports") == []
