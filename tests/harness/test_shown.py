"""The committed pages say of every claim what the committed claims.json says, row by row."""

from __future__ import annotations

from pathlib import Path

from shown import disagreements

ROOT = Path(__file__).parents[2]


def test_glance_and_studies_agree_with_the_claims() -> None:
    assert disagreements(ROOT / "reports") == []


def test_a_study_counts_the_runs_that_it_shows() -> None:
    """Also where another study owns them: no table of numbers stands above "0 runs"."""
    parts = sorted((ROOT / "reports").glob("*/*/*.md"))
    assert parts
    assert [str(part) for part in parts if ">0 runs" in part.read_text()] == []
