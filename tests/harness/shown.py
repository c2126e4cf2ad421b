"""What pages show of claims, read from their HTML and held against `claims.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from math import nextafter
from pathlib import Path
from typing import Any

from common.harness.studies.wording import criterion, interval, number


@dataclass
class Cell:
    """A cell: its column on a phone, its words, the verdicts it has as (class, word), where it links to."""

    label: str
    text: str = ""
    verdicts: list[tuple[str, str]] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)


@dataclass
class Row:
    claim: bool
    cells: list[Cell] = field(default_factory=list)


class Tables(HTMLParser):
    """The rows of the tables of class glance or claims, their heads left out."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[Row] = []
        self._inside = self._body = False
        self._verdict = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        classes = values.get("class", "").split()
        if tag == "table":
            self._inside = bool({"glance", "claims"} & set(classes))
        if tag == "tbody":
            self._body = self._inside
        if not self._body:
            return
        if tag == "tr":
            self.rows.append(Row("claim" in classes))
        if tag in ("td", "th"):
            self.rows[-1].cells.append(Cell(values.get("data-label", "")))
        if tag == "a":
            self.rows[-1].cells[-1].links.append(values["href"])
        if tag in ("span", "small"):
            self.rows[-1].cells[-1].classes += classes
            self._verdict = classes[1] if classes[:1] == ["verdict"] else ""

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._inside = self._body = False

    def handle_data(self, data: str) -> None:
        if self._body and self.rows and self.rows[-1].cells:
            cell = self.rows[-1].cells[-1]
            cell.text += data
            if self._verdict:
                cell.verdicts.append((self._verdict, data))
                self._verdict = ""


def disagreements(root: Path) -> list[str]:
    """Where a glance or a study's part below `root` says other than the `claims.json` it is made of."""
    found: list[str] = []
    for slug in sorted({path.parent.parent for path in root.glob("*/*/claims.json")}):
        records = {path.parent.name: json.loads(path.read_text()) for path in slug.glob("*/claims.json")}
        found += [f"{slug.name} glance: {fault}" for fault in _glance(slug, records)]
        for preset, claims in records.items():
            found += [f"{slug.name} {preset}: {fault}" for fault in _details(slug / preset, claims)]
    return found


def _ids(records: Sequence[Mapping[str, Any]]) -> set[str]:
    return {record["id"] for record in records}


def _glance(slug: Path, records: Mapping[str, list[dict[str, Any]]]) -> Iterator[str]:
    rows = Tables((slug / "glance.md").read_text()).rows
    claims = {record["id"]: record for of_preset in records.values() for record in of_preset}
    # Of two claims with the same words, each judged in a preset of its own, a line has both.
    lines = {(record["statement"], preset): record for preset in records for record in records[preset]}
    most = max((sum(r["statement"] == s for r in of) for s, _ in lines for of in records.values()), default=0)
    if most <= 1 and len(rows) != len({statement for statement, _ in lines}):
        yield f"{len(rows)} lines for {len(claims)} claims"
    studies = [json.loads(path.read_text())["studies"] for path in slug.glob("*/provenance.json")]
    homes = {claim: name for each in studies for name, study in each.items() for claim in study["decides"]}
    headline = []
    for row in rows:
        statement, *cells = row.cells
        # Two claims may say the same of two languages: in one line, where no preset judges both.
        same = [c for c, record in claims.items() if statement.text.startswith(record["statement"])]
        if any(len(_ids(of_preset) & set(same)) > 1 for of_preset in records.values()):
            judged = {cell.label for cell in cells if cell.verdicts}
            same = [c for c in same if judged == {p for p in records if c in _ids(records[p])}][:1]
        if not same:
            yield f"no claim says {statement.text}"
            continue
        line = {p: r for p, of_preset in records.items() for r in of_preset if r["id"] in same}
        largest = next(p for p in ("gpu", "small", "quick") if p in line)
        claim = line[largest]["id"]
        headline.append(line[largest]["headline"])
        if {cell.label for cell in cells} != set(records):
            yield f"{claim}: columns {[cell.label for cell in cells]}"
        for cell in cells:
            record = line.get(cell.label)
            if record is None:
                if cell.verdicts or "not judged" not in cell.text:
                    yield f"{claim}: {cell.text} though not judged in {cell.label}"
                continue
            if cell.verdicts != [(record["verdict"], record["verdict"])]:
                yield f"{claim}: {cell.verdicts} in {cell.label}, not {record['verdict']}"
            words = " ".join((statement.text, cell.text))
            if not any(_says(cell.text, words, quantity) for quantity in quantities(record)):
                yield f"{claim}: no quantity of {cell.label} has these numbers: {words}"
            if record["verdict"] != "holds" and cell.label == largest and record["reason"] not in statement.text:
                yield f"{claim}: no reason for {cell.label}"
        if statement.links != [f"#study-{homes[claim]}"]:
            yield f"{claim}: links to {statement.links}"
    if headline != sorted(headline, reverse=True):
        yield f"headlines are not first: {headline}"


def _says(cell: str, words: str, quantity: Mapping[str, Any]) -> bool:
    published = quantity["published"]
    beside = f"published {number(published)}" if published is not None else ""
    own = not quantity["alone"]
    return (
        interval(quantity["measured"], quantity["ci"]) in cell
        and beside in words
        and (not own or quantity["name"] in words)
    )


def _details(folder: Path, records: list[dict[str, Any]]) -> Iterator[str]:
    rows = [row for path in sorted(folder.glob("*.md")) for row in Tables(path.read_text()).rows]
    shown: dict[str, list[Row]] = {}
    claims: dict[str, dict[str, Any]] = {}
    record: dict[str, Any] | None = None
    for row in rows:
        if row.claim:
            record = next((r for r in records if row.cells[0].text.startswith(r["statement"])), None)
            if record is None:
                yield f"no claim says {row.cells[0].text}"
                return
            claims[record["id"]] = record
            if row.cells[-1].verdicts != [(record["verdict"], record["verdict"])]:
                yield f"{record['id']}: {row.cells[-1].verdicts}, not {record['verdict']}"
            for word, wanted in (("headline", record["headline"]), (record["kind"], True)):
                if (word in row.cells[0].text.removeprefix(record["statement"]).split()) != wanted:
                    yield f"{record['id']}: {word} is {'not ' * wanted}shown"
        if record is not None:
            shown.setdefault(record["id"], []).append(row)
    if set(claims) != {record["id"] for record in records}:
        yield f"claims {sorted(claims)}"
    for claim, (_, *below) in shown.items():
        wanted = quantities(claims[claim])
        if len(below) != len(wanted):
            yield f"{claim}: {len(below)} rows for {len(wanted)} quantities"
        for row, quantity in zip(below, wanted, strict=False):
            cells = {cell.label: cell for cell in row.cells}
            verdict = quantity["verdict"]
            if cells["Verdict"].verdicts != [(verdict, verdict)]:
                yield f"{claim}, {quantity['name']}: {cells['Verdict'].verdicts}, not {verdict}"
            for label, text in (
                ("Measured", interval(quantity["measured"], quantity["ci"])),
                ("Published", number(quantity["published"])),
                ("Criterion", criterion(*quantity["bounds"])),
            ):
                if label in cells and cells[label].text != text:
                    yield f"{claim}, {quantity['name']}: {label} {cells[label].text}, not {text}"
            if not quantity["alone"] and not cells[""].text.startswith(quantity["name"]):
                yield f"{claim}: {cells[''].text} in the place of {quantity['name']}"


def quantities(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The numbers of a claim one by one, each judged anew by its own criterion."""
    alone = not isinstance(record["criterion"], Mapping)
    found = []
    for name in [""] if alone else record["criterion"]:
        stated, published, measured, ci = (
            record[key] if alone else record[key][name] for key in ("criterion", "published", "measured", "ci")
        )
        lower, upper = bounds(stated)
        if measured is None or (ci is None and not isinstance(measured, str)):
            verdict = "inconclusive"
        elif isinstance(measured, str) or ci[1] < lower or ci[0] > upper:
            verdict = "fails"
        else:
            verdict = "holds" if lower <= ci[0] and ci[1] <= upper else "inconclusive"
        found.append(
            {
                "name": name,
                "alone": alone,
                "published": published,
                "measured": measured,
                "ci": ci,
                "verdict": verdict,
                "bounds": (lower, upper),
            }
        )
    return found


def bounds(stated: str) -> tuple[float, float]:
    """(0.5, 1.5) of '0.5 to 1.5, a reason'."""
    words = re.split(r", | to ", stated.replace("≤ ", "-inf to "), maxsplit=2)
    if stated.startswith("> 0"):
        return nextafter(0, 1), float("inf")
    if stated.startswith("≥"):
        return float(words[0].removeprefix("≥ ")), float("inf")
    return float(words[0]), float(words[1])
