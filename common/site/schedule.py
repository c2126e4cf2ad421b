"""The schedule of the home page, from `docs/schedule.toml` and the verdicts in `reports/`.

`schedule.toml` is edited by hand: who presents, who asks. Whether a paper is built, and what its claims came to, is
read from the reports, so the two cannot disagree.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def write_schedule(source: Path, reports: Path, folder: Path) -> None:
    """Write `schedule.md`, the table of all weeks, into `folder`."""
    weeks = tomllib.loads(source.read_text(encoding="utf-8"))["week"]
    write_if_changed(folder / "schedule.md", "\n".join(_table(weeks, reports, source.parent)) + "\n")


def write_if_changed(path: Path, text: str) -> None:
    """Leave an equal file alone: a server that watches the folder would build for ever."""
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _table(weeks: Sequence[Mapping[str, Any]], reports: Path, docs: Path) -> Iterator[str]:
    yield "| Week | Date | Theme and paper | Recap | Questions | Claims |"
    yield "|---|---|---|---|---|---|"
    for week in weeks:
        papers = week.get("paper", ())
        subject = f"**{week['theme']}**" + "".join(f"<br>{_paper(week['number'], paper, docs)}" for paper in papers)
        claims = "<br>".join(_chips(reports / paper["slug"] / "chips.md") for paper in papers) or week.get("note", "–")
        roles = (week.get("recap") or "open", week.get("questions") or "open")
        yield f"| W{week['number']} | {week['date']} | {subject} | {roles[0]} | {roles[1]} | {claims} |"


def _paper(week: int, paper: Mapping[str, str], docs: Path) -> str:
    page = f"weeks/{week:02d}-{paper['slug']}.md"
    title = f"[{paper['title']}]({page})" if (docs / page).exists() else paper["title"]
    return f"{title} · [arXiv {paper['arxiv']}](https://arxiv.org/abs/{paper['arxiv']})"


def _chips(path: Path) -> str:
    """The verdict counts that the report wrote, or that there are none yet."""
    if path.exists():
        return " ".join(path.read_text(encoding="utf-8").split("\n")).strip()
    return '<span class="verdict none">not yet built</span>'
