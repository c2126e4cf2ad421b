"""What spans papers is what the committed reports give: index.json, results.md, and a fragment or two per paper."""

import shutil
from pathlib import Path

import pytest

from common.harness.reports import index

REPORTS = Path(__file__).resolve().parents[2] / "reports"


def differing(committed: Path, scratch: Path) -> list[str]:
    """The files that `index.rebuild` writes from the reports below `committed`, and that are not the committed ones."""
    for claims in committed.glob("*/*/claims.json"):
        folder = scratch / claims.parent.relative_to(committed)
        folder.mkdir(parents=True)
        for name in ("claims.json", "provenance.json"):
            shutil.copy(claims.with_name(name), folder)
    sources = set(scratch.rglob("*.json"))
    index.rebuild(scratch)
    made = {path.relative_to(scratch) for path in scratch.rglob("*") if path.is_file() and path not in sources}
    assert {"index.json", "results.md"} <= {str(path) for path in made}
    return sorted(
        str(path)
        for path in made
        if not (committed / path).exists() or (committed / path).read_bytes() != (scratch / path).read_bytes()
    )


def test_the_committed_index_is_that_of_the_committed_reports(tmp_path: Path) -> None:
    found = differing(REPORTS, tmp_path)
    assert found == [], f"not what `repro report` writes: {', '.join(found)}"


@pytest.mark.parametrize("name", ["index.json", "results.md"])
def test_a_file_that_was_edited_or_is_missing_is_named(name: str, tmp_path: Path) -> None:
    committed = tmp_path / "reports"
    for claims in sorted(REPORTS.glob("*/*/claims.json"))[:1]:
        folder = committed / claims.parent.relative_to(REPORTS)
        folder.mkdir(parents=True)
        for file in ("claims.json", "provenance.json"):
            shutil.copy(claims.with_name(file), folder)
    index.rebuild(committed)
    assert differing(committed, tmp_path / "same") == []
    (committed / name).write_text((committed / name).read_text().replace("holds", "fails", 1))
    assert differing(committed, tmp_path / "edited") == [name]
    (committed / name).unlink()
    assert differing(committed, tmp_path / "gone") == [name]
