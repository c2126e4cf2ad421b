"""What pages include and serve but nobody edits, written below `docs/` (ignored by git) before the site is built."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from common.site.fonts import write_fonts
from common.site.reference import write_reference
from common.site.schedule import write_schedule

SERVED = (".svg", ".csv", ".json")
"""Of a report: what pages show and link to. Its Markdown is included, not served."""


def prepare(root: Path) -> None:
    """Write the fonts, the schedule, the API reference and the files of the reports below `root/docs`."""
    docs, reports = root / "docs", root / "reports"
    write_fonts(docs / "generated" / "fonts")
    write_schedule(docs / "schedule.toml", reports, docs / "generated")
    write_reference(root, docs / "reference")
    copy_reports(reports, docs / "generated" / "reports")


def copy_reports(reports: Path, folder: Path) -> None:
    """Copy the files that pages serve from `reports` to `folder`, and take away there what `reports` has no more.

    A copy, for not every builder follows a link that leaves the folder of the pages.
    """
    wanted = set(_served(reports))
    for path in set(_served(folder)) - wanted:
        (folder / path).unlink()
    for path in sorted(wanted):
        source, target = reports / path, folder / path
        if not target.exists() or source.read_bytes() != target.read_bytes():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)


def _served(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        if path.suffix in SERVED and path.is_file():
            yield path.relative_to(folder)
