"""`repro list`: what there is, how long it takes, and how it went last time."""

from __future__ import annotations

import json
from argparse import Namespace
from typing import Any

from common.harness.cli.workplace import REPORTS
from common.harness.reports.lines import tally
from common.harness.runs import terminal
from common.harness.studies.paper import discover
from common.harness.studies.wording import duration


def list_papers(options: Namespace) -> int:
    """Print one line per paper and preset, from the cards and the committed reports alone."""
    records = []
    for paper in discover().values():
        for preset in paper.presets:
            folder = REPORTS / paper.slug / preset
            record: dict[str, Any] = {
                "week": paper.week,
                "date": paper.date,
                "paper": paper.slug,
                "title": paper.title,
                "arxiv": paper.arxiv,
                "theme": paper.theme,
                "preset": preset,
                "wall_seconds": None,
                "verdicts": None,
            }
            if (folder / "provenance.json").exists():
                record["wall_seconds"] = json.loads((folder / "provenance.json").read_text())["wall_seconds"]
                claims = json.loads((folder / "claims.json").read_text())
                record["verdicts"] = {claim["id"]: claim["verdict"] for claim in claims}
            records.append(record)
    if options.json:
        terminal.as_json(records)
        return 0
    rows, last = [], None
    for record in records:
        first, last = record["paper"] != last, record["paper"]
        seconds, verdicts = record["wall_seconds"], record["verdicts"]
        rows.append(
            (
                str(record["week"]) if first else "",
                record["paper"] if first else "",
                f"{record['title']} ({record['theme']})" if first else "",
                record["preset"],
                duration(seconds) if seconds is not None else "–",
                tally(verdicts.values()) if verdicts is not None else "not run yet",
            )
        )
    terminal.table(("Week", "Paper", "Title", "Preset", "Time on 1 core", "Claims, last time"), rows)
    return 0
