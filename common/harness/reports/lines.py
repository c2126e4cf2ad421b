"""Claims as the lines of a table, the same on a terminal and on a page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import Any

from common.harness.runs import terminal
from common.harness.studies.claims import VERDICTS, Judgement, Measurement, plain
from common.harness.studies.wording import criterion, interval, number

Record = Mapping[str, Any]
"""A claim as `claims.json` has it."""


def bound(text: str) -> str:
    """A criterion of `claims.json` without its reason, its numbers rounded for people."""
    stated = text.partition(", ")[0]
    sign, _, value = stated.partition(" ")
    if sign in ("≤", "≥"):
        return criterion(-inf, float(value)) if sign == "≤" else criterion(float(value), inf)
    lower, to, upper = stated.partition(" to ")
    return criterion(float(lower), float(upper)) if to else stated


def print_claims(title: str, judgements: Sequence[Judgement], long: bool = False) -> None:
    """Print the claims of a paper, headlines first: a line each with the quantity that decides, or all if `long`."""
    ordered = sorted(judgements, key=lambda judgement: not judgement.claim.headline)
    title = f"{title}: measured ± 95 % CI over seeds"
    if long:
        _print_quantities(title, ordered)
        return
    columns = ("", "Claim", "Decided by", "Measured", "Asked", "Published")
    rows = [(terminal.marked(each.verdict), each.claim.id, *_told(each.deciding)) for each in ordered]
    terminal.one_line_each(columns, rows, cut=("Claim", "Decided by"), title=title)


def _print_quantities(title: str, judgements: Sequence[Judgement]) -> None:
    made = terminal.empty(("Claim", "Measured", "Asked", "Published", "Verdict"), title)
    for judgement in judgements:
        below = [(f"· {name}", *rest) for name, *rest in map(_told, judgement.measurements)]
        beside: Sequence[str] = ("", "all of these", "")
        if len(below) == 1:  # a claim that one number makes has one line
            beside, below = below[0][1:], []
        made.add_row(*map(terminal.coloured, (judgement.claim.statement, *beside, judgement.verdict)))
        for line in below:
            made.add_row(*map(terminal.coloured, line))
        made.add_section()
    terminal.show(made)


def _told(measurement: Measurement) -> tuple[str, str, str, str]:
    """Its name, what was measured, what was asked, and what was published."""
    quantity, estimate = measurement.quantity, measurement.estimate
    measured = interval(
        plain(estimate.mean) if estimate.n else None, [estimate.low, estimate.high] if estimate.has_interval else None
    )
    return quantity.name, measured, str(quantity.criterion), number(quantity.published)


def tally(verdicts: Iterable[str]) -> str:
    """'6 hold, 1 fails, 2 inconclusive'; 'no claims' for none."""
    counts = Counter(verdicts)
    words = {"holds": ("holds", "hold"), "fails": ("fails", "fail"), "inconclusive": ("inconclusive",) * 2}
    parts = [f"{counts[verdict]} {words[verdict][counts[verdict] != 1]}" for verdict in VERDICTS if counts[verdict]]
    return ", ".join(parts) or "no claims"
