"""Claims as the lines of a table, the same on a terminal and on a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from common.harness.runs import terminal
from common.harness.studies.wording import criterion, interval, number

Record = Mapping[str, Any]
"""A claim as `claims.json` has it."""


class Line(NamedTuple):
    """One line of a claims table: a claim, or one of the several quantities of the claim above it."""

    text: str
    published: str
    measured: str
    criterion: str
    verdict: str
    """Empty on the lines of single quantities."""


def lines(record: Record) -> Iterator[Line]:
    """The lines of a claims table that one claim takes."""
    if not isinstance(record["criterion"], Mapping):
        measured = interval(record["measured"], record["ci"])
        yield Line(
            record["statement"], number(record["published"]), measured, bound(record["criterion"]), record["verdict"]
        )
        return
    yield Line(record["statement"], "", "", "all of these", record["verdict"])
    for name, stated in record["criterion"].items():
        measured = interval(record["measured"][name], record["ci"][name])
        yield Line(f"· {name}", number(record["published"][name]), measured, bound(stated), "")


def bound(text: str) -> str:
    """A criterion of `claims.json` without its reason, its numbers rounded for people."""
    stated = text.partition(", ")[0]
    sign, _, value = stated.partition(" ")
    if sign in ("≤", "≥"):
        return criterion(-inf, float(value)) if sign == "≤" else criterion(float(value), inf)
    lower, to, upper = stated.partition(" to ")
    return criterion(float(lower), float(upper)) if to else stated


def print_claims(records: Sequence[Mapping[str, Any]]) -> None:
    """Print the claims table; each record is a claim of `claims.json` with its `paper` and `preset`."""
    made = terminal.empty(("Paper", "Claim", "Published", "Measured ± 95 % CI", "Verdict"))
    for record in records:
        first = True
        wording = list(lines(record))
        for line in wording:
            made.add_row(
                terminal.coloured(record["paper"] if first else ""),
                terminal.coloured(line.text),
                line.published,
                line.measured,
                terminal.coloured(line.verdict),
                end_section=line is wording[-1],
            )
            first = False
    terminal.show(made)
