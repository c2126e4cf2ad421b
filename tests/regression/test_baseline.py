"""Every paper's quick preset, run again, gives what its committed report says."""

from pathlib import Path

import pytest

from common.harness.cli import main
from common.harness.paper import discover

REPORTS = Path(__file__).resolve().parents[2] / "reports"
COMMITTED = [slug for slug in discover() if (REPORTS / slug / "quick" / "claims.json").exists()]


@pytest.mark.parametrize("slug", COMMITTED)
def test_quick_gives_what_was_committed(slug: str, capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["check", slug, "--preset", "quick", "--workers", "2"])
    said = capfd.readouterr()
    assert code == 0, said.out + said.err
