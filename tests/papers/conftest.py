"""What the tests of all papers share."""

from pathlib import Path

import pytest

from tests.papers.fake_run import FakeRun


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return FakeRun(tmp_path / "run")
