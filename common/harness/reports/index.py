"""What spans presets and papers, made anew from the reports that lie below a root:

index.json          one object per report: slug, title, arxiv, week, preset, counts of verdicts, kinds, wall_seconds,
                    claims; `kinds` counts verdicts by kind of claim, each claim in the largest preset that measured it
results.md          every claim of every paper and preset as an HTML table (id "results"), with the number that decides
                    it, each row with data-paper, data-preset, data-kind and data-verdict for the page's filters
<slug>/glance.md chips.md studies/<study>.md    what a paper's page includes (`glance.py`)
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from pathlib import Path

from common.harness.reports.glance import Entry, Report, chips, count, entries, glance, studies
from common.harness.reports.marks import kind_chip, verdict_chip
from common.harness.reports.report import write_json
from common.harness.studies.claims import VERDICTS
from common.harness.studies.experiment import PRESETS

HEADER = ("Paper", "Preset", "Claim", "Published", "Measured ± 95 % CI", "Verdict")
INDEXED = ("slug", "title", "arxiv", "week", "preset", "counts", "kinds", "wall_seconds", "claims")


def read_reports(root: Path) -> list[Report]:
    """Every complete report below `root`, by week, paper and preset."""
    reports = []
    for claims in root.glob("*/*/claims.json"):
        preset = claims.parent.name
        if preset not in PRESETS:
            continue
        provenance = json.loads((claims.parent / "provenance.json").read_text())
        records = json.loads(claims.read_text())
        counts = Counter(record["verdict"] for record in records)
        reports.append(
            {
                **provenance["paper"],
                "preset": preset,
                "counts": {verdict: counts[verdict] for verdict in VERDICTS},
                "wall_seconds": provenance["wall_seconds"],
                "missing": provenance["missing"],
                "studies": provenance["studies"],
                "claims": records,
            }
        )
    return sorted(reports, key=lambda report: (report["week"], report["slug"], PRESETS.index(report["preset"])))


def rebuild(root: Path) -> None:
    """Write everything that spans presets and papers below `root`."""
    indexed, rows = [], list[str]()
    for slug, group in groupby(read_reports(root), key=lambda report: str(report["slug"])):
        reports = list(group)
        found = entries(reports)
        _replace(root / slug / "chips.md", chips(found))
        _replace(root / slug / "glance.md", glance(reports))
        _rewrite(root / slug / "studies", studies(slug, reports))
        for report in reports:
            kinds = count([entry for entry in found if entry.preset == report["preset"]])
            full = {**report, "kinds": kinds}
            indexed.append({key: full[key] for key in INDEXED})
            rows += _rows(report, found)
    _replace(root / "results.md", _results(rows))
    index = root / "index.json"
    write_json(indexed, index.with_suffix(".new"))
    os.replace(index.with_suffix(".new"), index)


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    os.replace(new, path)


def _rewrite(folder: Path, pages: dict[str, str]) -> None:
    """Write the pages into `folder`, and take away those of studies that are no more."""
    folder.mkdir(exist_ok=True)
    for name, text in pages.items():
        _replace(folder / f"{name}.md", text)
    for path in folder.glob("*.md"):
        if path.stem not in pages:
            path.unlink()


def _results(rows: Sequence[str]) -> str:
    heads = [f'<th scope="col">{column}</th>' for column in HEADER]
    text = [
        '<table id="results" markdown="1">',
        '<thead markdown="1">',
        '<tr markdown="1">',
        *heads,
        "</tr>",
        "</thead>",
    ]
    return "\n".join([*text, '<tbody markdown="1">', *rows, "</tbody>", "</table>"]) + "\n"


def _rows(report: Report, found: Sequence[Entry]) -> Iterator[str]:
    week, preset = f"weeks/{report['week']:02d}-{report['slug']}.md", report["preset"]
    for entry in (entry for entry in found if preset in entry.records):
        record, decider = entry.records[preset], entry.deciders[preset]
        several = f"<br><small>{escape(decider.name)}</small>" if decider.name else ""
        anchor = f"#study-{entry.study}" if entry.study else ""
        title = " ".join(report["title"].split()).replace("|", "\\|")
        cells = [
            f'<td markdown="span">[{title}]({week}{anchor})</td>',
            f"<td>{preset}</td>",
            f"<td>{escape(record['statement'])} {kind_chip(entry.kind, entry.headline)} "
            f"<small>{escape(record['source'])}</small></td>",
            f"<td>{decider.published or (f'{decider.expected} (derived)' if decider.expected else '–')}</td>",
            f"<td>{escape(decider.measured)}{several}</td>",
            f"<td>{verdict_chip(record['verdict'])}</td>",
        ]
        yield (
            f'<tr data-paper="{escape(report["slug"])}" data-preset="{preset}" data-kind="{entry.kind}" '
            f'data-verdict="{record["verdict"]}" markdown="1">'
        )
        yield from cells
        yield "</tr>"
