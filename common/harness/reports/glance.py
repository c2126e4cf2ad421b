"""What spans the presets of a paper, as its page includes it:

glance.md            one line per claim, headlines first: its verdict in every preset, the number that decides it beside
                     the published one, and a link to its study; where it does not hold, why
studies/<study>.md   heading, question, and a tab per preset with what `study_page` wrote there, the largest first
chips.md             how many claims of each kind hold

A claim that several presets judge is one claim; the largest of them has the last word. So are two with the same words
in one study, of which no preset judges both: what a preset asks may be on other data, and then it has an id of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from common.harness.reports.lines import Record
from common.harness.reports.marks import Counts, tally, unseen, verdict_chip
from common.harness.studies.wording import interval, number

Report = Mapping[str, Any]
"""A preset's report: `preset`, `claims`, `studies` (from its provenance), `missing`, and what `index.json` has."""


@dataclass(frozen=True)
class Decider:
    """The quantity that a verdict hangs on; `name` is empty where the claim has no other."""

    name: str
    measured: str
    published: str
    expected: str
    """Both '' where there is none."""

    @property
    def words(self) -> str:
        """'FID at 35 NFE · published 2.85'."""
        beside = f"published {self.published}" if self.published else ""
        if self.expected and not beside:
            beside = f"derived {self.expected}"
        return " · ".join(filter(None, (self.name, beside)))


@dataclass(frozen=True)
class Entry:
    """A claim with its record in every preset that judges it, the smallest first."""

    study: str
    """'' where the report does not say."""
    records: Mapping[str, Record]
    deciders: Mapping[str, Decider]

    @property
    def preset(self) -> str:
        """The largest preset that measured anything of it, else the largest that has it."""
        seen = [preset for preset, record in self.records.items() if _measured(record)]
        return (seen or list(self.records))[-1]

    @property
    def record(self) -> Record:
        return self.records[self.preset]

    @property
    def kind(self) -> str:
        return str(self.record["kind"])

    @property
    def headline(self) -> bool:
        return bool(self.record["headline"])


def entries(reports: Sequence[Report]) -> list[Entry]:
    """The claims of one paper's reports (smallest preset first), headlines first, else in the order of the studies."""
    studies = [(name, study) for report in reversed(reports) for name, study in report["studies"].items()]
    home = {claim: name for name, study in studies for claim in study["decides"]}
    records: dict[str, dict[str, Record]] = {}
    deciders: dict[str, dict[str, Decider]] = {}
    firsts: dict[tuple[str, str], str] = {}
    for report in reports:
        for record in report["claims"]:
            claim = record["id"]
            name = report["studies"].get(home.get(claim), {}).get("decides", {}).get(claim)
            first = firsts.setdefault((home.get(claim, ""), record["statement"]), claim)
            entry = claim if report["preset"] in records.get(first, {}) else first
            records.setdefault(entry, {})[report["preset"]] = record
            deciders.setdefault(entry, {})[report["preset"]] = decider(record, name)
    found = [Entry(home.get(claim, ""), records[claim], deciders[claim]) for claim in records]
    order = list(dict.fromkeys(name for name, _ in studies))  # the largest preset has the most of them
    return sorted(found, key=lambda e: (not e.headline, order.index(e.study) if e.study else len(order)))


def decider(record: Record, name: str | None) -> Decider:
    """The quantity called `name` of a claim; the first where no name is known."""
    several = isinstance(record["criterion"], Mapping)
    if several and name not in record["criterion"]:
        name = next(iter(record["criterion"]))

    def of(key: str) -> Any:
        value = record.get(key)
        return value[name] if several and value is not None else value

    published, expected = (number(value) if (value := of(key)) is not None else "" for key in ("published", "expected"))
    return Decider((name or "") if several else "", interval(of("measured"), of("ci")), published, expected)


def count(found: Sequence[Entry]) -> Counts:
    """How many claims of each kind have which verdict, every claim once."""
    kinds: dict[str, Counter[str]] = {}
    for entry in found:
        kinds.setdefault(entry.kind, Counter())[entry.record["verdict"]] += 1
    return kinds


def chips(found: Sequence[Entry]) -> str:
    """The counts by kind, as one line."""
    return tally(count(found)) + "\n"


def glance(reports: Sequence[Report]) -> str:
    """The claims of a paper at a glance; those of the headlines are seen at once, the others on a click."""
    found = entries(reports)
    presets = [report["preset"] for report in reports]
    first = [entry for entry in found if entry.headline] or found
    others = found[len(first) :]
    text = [f'<p class="tally">{tally(count(found))}</p>', "", *_table(first, presets)]
    if others:
        words = f"{len(others)} more claim{'s' * (len(others) > 1)}"
        text += ["", f'<details class="more"><summary>{words} {tally(count(others))}</summary>']
        text += [*_table(others, presets), "</details>"]
    for report in reports:
        if report["missing"]:
            text += ["", f"Not complete: {report['missing']} runs of the {report['preset']} preset are missing."]
    return "\n".join(text) + "\n"


def _table(found: Sequence[Entry], presets: Sequence[str]) -> Iterator[str]:
    heads = "".join(f'<th scope="col">{preset}</th>' for preset in presets)
    yield '<table class="glance" role="table"><thead role="rowgroup"><tr role="row">'
    yield f'<th scope="col">Claim</th>{heads}</tr></thead><tbody role="rowgroup">'
    for entry in found:
        yield f'<tr role="row"><th scope="row" role="rowheader">{_statement(entry)}</th>'
        yield from (_cell(entry, preset) for preset in presets)
        yield "</tr>"
    yield "</tbody></table>"


def _statement(entry: Entry) -> str:
    statement = escape(entry.record["statement"])
    text = f'<a href="#study-{entry.study}">{statement}</a>' if entry.study else statement
    if words := _shared(entry):
        text += f" <small>{escape(words)}</small>"
    failing = [preset for preset, record in entry.records.items() if record["verdict"] != "holds"]
    reason = entry.records[failing[-1]].get("reason") if failing else ""
    if reason:
        where = f"In {failing[-1]}: " if len(entry.records) > 1 else ""
        text += f' <small class="reason">{where}{escape(reason)}</small>'
    return text


def _cell(entry: Entry, preset: str) -> str:
    start = f'<td role="cell" data-label="{preset}"'
    if preset not in entry.records:
        return f'{start}><span aria-hidden="true">–</span>{unseen(f"not judged in {preset}")}</td>'
    found, chip = entry.deciders[preset], verdict_chip(entry.records[preset]["verdict"])
    words = f" <small>{escape(found.words)}</small>" if found.words and not _shared(entry) else ""
    return f'{start}>{chip} <span class="number">{escape(found.measured)}</span>{words}</td>'


def _shared(entry: Entry) -> str:
    """What is said of the deciding quantity once, where the same one decides in every preset."""
    words = {found.words for found in entry.deciders.values()}
    return words.pop() if len(words) == 1 else ""


def studies(slug: str, reports: Sequence[Report]) -> dict[str, str]:
    """The text of every `studies/<study>.md`, by study."""
    pages = {}
    for name, study in ((name, study) for report in reports for name, study in report["studies"].items()):
        tabs = [
            f'/// tab | {report["preset"]}\n\n--8<-- "reports/{slug}/{report["preset"]}/{name}.md"\n\n///\n'
            for report in reversed(reports)
            if name in report["studies"]
        ]
        head = f"### {study['title']} {{ #study-{name} }}\n\n{study['question']}\n"
        pages[name] = "\n".join([head, *tabs])
    return pages


def _measured(record: Record) -> bool:
    measured = record["measured"]
    return any(value is not None for value in (measured.values() if isinstance(measured, Mapping) else [measured]))
