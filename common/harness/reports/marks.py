"""Verdicts and kinds of claims as spans: a word in each, a mark and a colour from the site's style sheet."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from common.harness.studies.claims import KINDS, VERDICTS

Counts = Mapping[str, Mapping[str, int]]
"""How many claims of a kind have a verdict."""


def verdict_chip(verdict: str, words: str = "") -> str:
    """A verdict, or `words` about it, with its mark and colour."""
    return f'<span class="verdict {verdict}">{words or verdict}</span>'


def kind_chip(kind: str, headline: bool) -> str:
    """The kind of a claim, and whether the abstract makes it."""
    first = '<span class="kind headline">headline</span> ' if headline else ""
    return f'{first}<span class="kind">{escape(kind)}</span>'


def unseen(text: str) -> str:
    """Words for those who hear the page."""
    return f'<span class="unseen">{text}</span>'


def tally(counts: Counts) -> str:
    """One chip per kind: 'scaled 7/9', so many hold, in the colour of the worst verdict among them; those who hear the
    page are told in full."""
    chips = []
    for kind in (kind for kind in KINDS if sum(counts.get(kind, {}).values())):
        of_kind = counts[kind]
        worst = next(verdict for verdict in ("fails", "inconclusive", "holds") if of_kind.get(verdict))
        others = ", ".join(
            f"{of_kind[verdict]} {'fail' if (verdict, of_kind[verdict] > 1) == ('fails', True) else verdict}"
            for verdict in VERDICTS[1:]
            if of_kind.get(verdict)
        )
        words = f"{kind} {of_kind.get('holds', 0)}/{sum(of_kind.values())}"
        chips.append(verdict_chip(worst, words + unseen(f" hold{', ' * bool(others)}{others}")))
    return " ".join(chips)
