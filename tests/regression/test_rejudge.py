"""Every committed report, judged again from its own rows by today's studies: verdicts, numbers, words and grids.

`small` takes an hour to run and `gpu` a GPU, so this is what guards them; it takes seconds.
"""

from pathlib import Path

import pytest

from common.harness.cli.wishes import default_device
from common.harness.reports.rejudge import rejudge
from common.harness.studies.experiment import PRESETS
from common.harness.studies.paper import discover

REPORTS = Path(__file__).resolve().parents[2] / "reports"
COMMITTED = [
    (slug, preset) for slug in discover() for preset in PRESETS if (REPORTS / slug / preset / "claims.json").exists()
]


@pytest.mark.parametrize(("slug", "preset"), COMMITTED)
def test_committed_rows_give_the_committed_report(slug: str, preset: str) -> None:
    changes = rejudge(discover()[slug], preset, REPORTS / slug / preset, default_device(preset))
    assert [change for change in changes if change.failed] == []
    assert changes
