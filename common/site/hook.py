"""MkDocs calls `on_pre_build` before it collects the pages; another builder runs `python -m common.site` first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from common.site.fonts import write_fonts
from common.site.reference import write_reference
from common.site.schedule import write_schedule


def prepare(root: Path) -> None:
    """Write below `root/docs` what pages include and serve but nobody should edit: fonts, schedule, API reference."""
    docs = root / "docs"
    write_fonts(docs / "generated" / "fonts")
    write_schedule(docs / "schedule.toml", root / "reports", docs / "generated")
    write_reference(root, docs / "reference")


def on_pre_build(config: Any, **_: Any) -> None:
    prepare(Path(config["config_file_path"]).resolve().parent)
