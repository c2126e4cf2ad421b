"""What spans papers, made anew from the reports that lie below a root:

index.json          one object per report: slug, title, arxiv, week, preset, counts of verdicts, wall_seconds, claims
results.md          every claim of every paper as an HTML table (id "results"), each row with data-paper, data-preset
                    and data-verdict for the page's filters; its cells are Markdown
<slug>/chips.md     one line of spans: how many claims hold, fail, are inconclusive, in the largest preset that was run
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from common.harness.reports.lines import lines
from common.harness.reports.report import cell, verdict_chip, write_json
from common.harness.studies.claims import VERDICTS
from common.harness.studies.experiment import PRESETS

Report = Mapping[str, Any]
HEADER = ("Paper", "Preset", "Claim", "Published", "Measured ± 95 % CI", "Criterion", "Verdict")


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
                "claims": records,
            }
        )
    return sorted(reports, key=lambda report: (report["week"], report["slug"], PRESETS.index(report["preset"])))


def rebuild(root: Path) -> None:
    """Write index.json, results.md and every chips.md below `root`."""
    reports = read_reports(root)
    _replace(root / "results.md", _results(reports))
    for report in reports:  # presets come smallest first, so the largest has the last word
        _replace(root / report["slug"] / "chips.md", _chips(report))
    index = root / "index.json"
    write_json(reports, index.with_suffix(".new"))
    os.replace(index.with_suffix(".new"), index)


def _replace(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    os.replace(new, path)


def _chips(report: Report) -> str:
    words = {"holds": ("holds", "hold"), "fails": ("fails", "fail"), "inconclusive": ("inconclusive", "inconclusive")}
    chips = [
        f'<span class="verdict {verdict}">{count} {words[verdict][count != 1]}</span>'
        for verdict, count in report["counts"].items()
        if count
    ]
    return " ".join(chips) + "\n"


def _results(reports: Sequence[Report]) -> str:
    text = ['<table id="results" markdown="1">', '<thead markdown="1">', '<tr markdown="1">']
    text += [f'<th scope="col">{column}</th>' for column in HEADER]
    text += ["</tr>", "</thead>", '<tbody markdown="1">']
    for report in reports:
        week = f"weeks/{report['week']:02d}-{report['slug']}.md"
        for record in report["claims"]:
            claim, *quantities = lines(record)
            # Cells wrap each at its own length, so the parts of one quantity stay together in one cell.
            parts = [
                f"{line.text.removeprefix('· ')}: **{line.measured}** ({line.criterion}; published {line.published})"
                for line in quantities
            ]
            cells = [
                f"[{report['title']}]({week})",
                report["preset"],
                f"{claim.text} <small>{record['source']}</small>",
                claim.published,
                "<br>".join(parts) or claim.measured,
                claim.criterion,
                verdict_chip(record["verdict"]),
            ]
            text.append(
                f'<tr data-paper="{escape(report["slug"])}" data-preset="{report["preset"]}" '
                f'data-verdict="{record["verdict"]}" markdown="1">'
            )
            text += [f'<td markdown="span">{cell(content)}</td>' for content in cells]
            text.append("</tr>")
    return "\n".join([*text, "</tbody>", "</table>"]) + "\n"
