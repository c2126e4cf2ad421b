"""What one preset found for one study, as the page shows it in a tab: `reports/<slug>/<preset>/<study>.md`.

A table has a row per claim with its verdict, and below it a row per quantity with a verdict of its own. Then come the
figures with alternative text and caption, the author's conclusion, and where the rows lie.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from common.harness.reports.lines import bound
from common.harness.reports.marks import kind_chip, verdict_chip
from common.harness.studies.claims import Judgement, Measurement, Quantity, plain
from common.harness.studies.figure import Figure
from common.harness.studies.study import Study
from common.harness.studies.wording import duration, interval, number

SERVED = "../generated/reports"
"""Where the site serves a report's files, seen from docs/weeks/NN-slug.md."""


@dataclass(frozen=True)
class Found:
    """What one preset found for one study."""

    slug: str
    preset: str
    study: Study
    judgements: Sequence[Judgement]
    figures: Sequence[Figure]
    """Those that could be drawn."""
    missing: int
    """How many of its runs are not there."""

    @property
    def decides(self) -> dict[str, str]:
        """The quantity that each claim's verdict hangs on, by the claim's id."""
        return {judgement.claim.id: judgement.deciding.quantity.name for judgement in self.judgements}


def page(found: Found, provenance: Mapping[str, Any]) -> str:
    """The Markdown of one study in one preset."""
    text = [_variation(provenance["varied"]), ""] if "varied" in provenance else []
    text += [*_table(found.judgements, provenance), ""] if found.judgements else []
    for figure in found.figures:
        text += [*_figure(figure, found), ""]
    conclusion = found.study.conclusion
    words = conclusion if isinstance(conclusion, str) else conclusion.get(found.preset, "")
    text += [words, ""] if words else []
    return "\n".join([*text, *_made(found, provenance)]) + "\n"


def cell(text: str) -> str:
    """Text that cannot break out of a Markdown image or table."""
    return " ".join(text.split()).replace("|", "\\|")


def _table(judgements: Sequence[Judgement], provenance: Mapping[str, Any]) -> Iterator[str]:
    quantities = [m.quantity for judgement in judgements for m in judgement.measurements]
    columns = ["Quantity", "Published", "Expected", "Measured ± 95 % CI", "Criterion", "Verdict"]
    empty = {
        "Published": all(quantity.published is None for quantity in quantities),
        "Expected": all(quantity.expected is None for quantity in quantities),
    }
    columns = [column for column in columns if not empty.get(column)]
    heads = "".join(f'<th scope="col">{column}</th>' for column in columns)
    yield f'<table class="claims" role="table"><thead role="rowgroup"><tr role="row">{heads}</tr></thead>'
    for judgement in judgements:
        yield '<tbody role="rowgroup">'
        yield (
            f'<tr class="claim" role="row"><th scope="rowgroup" role="rowheader" colspan="{len(columns) - 1}">'
            f'{_claim(judgement, provenance)}</th><td role="cell">{verdict_chip(judgement.verdict)}</td></tr>'
        )
        for measurement in judgement.measurements:
            cells = _cells(measurement)
            yield '<tr role="row">' + "".join(_cell(column, cells[column]) for column in columns) + "</tr>"
        yield "</tbody>"
    yield "</table>"


def _cells(measurement: Measurement) -> dict[str, str]:
    quantity, estimate = measurement.quantity, measurement.estimate
    measured = plain(estimate.mean) if estimate.n else None
    return {
        "Quantity": _what(quantity),
        "Published": escape(number(quantity.published)),
        "Expected": escape(f"{number(quantity.expected)} (derived)") if quantity.expected is not None else "–",
        "Measured ± 95 % CI": escape(
            interval(measured, [estimate.low, estimate.high] if estimate.has_interval else None)
        ),
        "Criterion": escape(bound(str(quantity.criterion))),
        "Verdict": verdict_chip(measurement.verdict),
    }


def _cell(column: str, content: str) -> str:
    if column == "Quantity":
        return f'<th scope="row" role="rowheader">{content}</th>'
    return f'<td role="cell" data-label="{column.partition(" ±")[0]}">{content}</td>'


def _what(quantity: Quantity) -> str:
    more = ", ".join(filter(None, (quantity.metric, quantity.unit)))
    return escape(quantity.name) + (f" <small>{escape(more)}</small>" if more else "")


def _claim(judgement: Judgement, provenance: Mapping[str, Any]) -> str:
    claim = judgement.claim
    text = f"{escape(claim.statement)} {kind_chip(claim.kind, claim.headline)} <small>{escape(claim.source)}</small>"
    if claim.excludes:
        text += f' <small class="excludes">Excludes: {escape(claim.excludes)}</small>'
    text += "".join(f' <small class="flag">{escape(flag)}</small>' for flag in _flags(claim.id, provenance))
    margins = dict.fromkeys(m.quantity.criterion.reason for m in judgement.measurements if m.quantity.criterion.reason)
    details = [f"<p>{escape(claim.deviation)}</p>"] if claim.deviation else []
    details += [f"<p>Margin: {escape('; '.join(margins))}.</p>"] if margins else []
    if details:
        summary = "How it differs from the paper" if claim.deviation else "Why this margin"
        text += f"<details><summary>{summary}</summary>{''.join(details)}</details>"
    return text


def _variation(varied: Mapping[str, Any]) -> str:
    told = [f"{name} {', '.join(map(str, varied[name]))}" for name in ("seeds", "only") if name in varied]
    told += [f"{name} = {value}" for name, value in varied["fields"].items()]
    left = [f"`{claim}` ({reason})" for claim, reason in varied["left_out"].items()]
    out = f" Claims left out: {'; '.join(left)}." if left else ""
    return f"A variation of the preset: {'; '.join(told)}.{out} The captions are written for the preset."


def _flags(claim: str, provenance: Mapping[str, Any]) -> Iterator[str]:
    if claim in provenance.get("criteria_age_unknown", ()):
        yield "It is not recorded whether the criterion is older than these runs."
    if younger := provenance.get("criteria_younger_than_runs", {}).get(claim):
        yield f"The criterion is younger than these runs: {', '.join(younger)}."


def _figure(figure: Figure, found: Found) -> Iterator[str]:
    yield f'<figure id="{figure.name}-{found.preset}" markdown="1">'
    yield ""
    path = f"{SERVED}/{found.slug}/{found.preset}/figures/{figure.name}.svg"
    yield f"![{cell(figure.alt)}]({path}){{ loading=lazy }}"
    yield ""
    yield f'<figcaption markdown="span">{figure.caption}</figcaption>'
    yield ""
    yield "</figure>"


def _made(found: Found, provenance: Mapping[str, Any]) -> Iterator[str]:
    """How the rows that this study shows were made, in small print: also those of runs that belong to another study."""
    claims, figures = found.study.claims, found.study.figures
    shown = dict.fromkeys(
        [
            *(each.name for each in found.study.experiments),
            *(quantity.experiment.name for claim in claims for quantity in claim.quantities),
            *(each.name for figure in figures for each in figure.experiments),
        ]
    )
    costs = [provenance["experiments"].get(name) for name in shown]
    runs = sum(cost["runs"] for cost in costs if cost)
    seconds = sum(cost["wall_seconds"] for cost in costs if cost)
    words = [f"{runs} {'run' if runs == 1 else 'runs'}, {duration(seconds)} in all"]
    if found.missing:
        words.append(f"not complete: {found.missing} more would be")
    stale = [name for name in shown if name in provenance.get("stale", ())]
    if stale:
        words.append(f"made by older code: {', '.join(stale)}")
    if "varied" in provenance:
        words.append(f"a variation of the preset: `{provenance['command'].partition(' && ')[0]}`")
    folder = f"{SERVED}/{found.slug}/{found.preset}"
    words += [f"[rows]({folder}/runs.csv)", f"[how they were made]({folder}/provenance.json)"]
    yield f'<p class="made" markdown="span">{" · ".join(words)}</p>'
