"""`repro list`: what there is, how long it takes, and how it went last time."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from common.harness.cli.workplace import REPORTS
from common.harness.reports.lines import tally
from common.harness.runs import terminal
from common.harness.runs.today import fingerprints
from common.harness.studies.paper import discover
from common.harness.studies.wording import duration

SHOWN = 3
"""How many experiments of older code are named; `--json` has all."""


def list_papers(options: Namespace) -> int:
    """Print one line per paper and preset, from the cards and the committed reports alone."""
    records, papers = [], discover()
    for paper in papers.values():
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
                "experiments": None,
                "stale": None,
            }
            if (folder / "provenance.json").exists():
                provenance = json.loads((folder / "provenance.json").read_text())
                record["wall_seconds"] = provenance["wall_seconds"]
                record["experiments"] = list(provenance["experiments"])
                record["stale"] = _of_older_code(provenance, fingerprints(paper))
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
                record["preset"],
                duration(seconds) if seconds is not None else "–",
                tally(verdicts.values()) if verdicts is not None else "not run yet",
                _made_by(record["stale"], record["experiments"]),
            )
        )
    terminal.table(("Week", "Paper", "Preset", "Time on 1 core", "Claims, last time", "Made by"), rows)
    # Under the table: beside it a title would be broken into a column of syllables.
    for paper in papers.values():
        terminal.say(f"W{paper.week} {paper.slug}: {paper.title} ({paper.theme})")
    return 0


def _of_older_code(provenance: Mapping[str, Any], today: Mapping[str, str]) -> list[str]:
    """The experiments of a report whose runs today's code has not made."""
    made = provenance.get("fingerprints", {})
    return [name for name in provenance["experiments"] if name not in today or made.get(name) != today[name]]


def _made_by(stale: Sequence[str] | None, experiments: Sequence[str]) -> str:
    if stale is None:
        return ""
    if not stale:
        return "today's code"
    if len(stale) == len(experiments):
        return "older code"
    more = f" and {len(stale) - SHOWN} more" if len(stale) > SHOWN else ""
    return f"older code: {', '.join(stale[:SHOWN])}{more}"
