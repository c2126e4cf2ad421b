"""Every paper's quick preset, run again, gives what its committed report says."""

from pathlib import Path

import pytest

from common.harness.cli.main import main
from common.harness.studies.paper import discover

REPORTS = Path(__file__).resolve().parents[2] / "reports"
COMMITTED = [slug for slug in discover() if (REPORTS / slug / "quick" / "claims.json").exists()]


def test_what_is_zero_but_for_rounding_says_below_what_it_is_zero() -> None:
    """Another processor rounds otherwise: without it such a number would always have moved."""
    bare = [
        (paper.slug, claim.id, quantity.name)
        for paper in discover().values()
        for claim in paper.claims
        for quantity in claim.quantities
        if quantity.zero == 0 and 0 < quantity.criterion.upper <= 1e-6
    ]
    assert not bare


@pytest.mark.parametrize("slug", COMMITTED)
def test_quick_gives_what_was_committed(slug: str, capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["check", slug, "--preset", "quick", "--workers", "0"])
    said = capfd.readouterr()
    assert code == 0, said.out + said.err
