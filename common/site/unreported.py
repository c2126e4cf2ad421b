"""What pages include of reports that are not there yet: a paper's studies are written before they are run.

A page includes `reports/<slug>/glance.md` and `reports/<slug>/studies/<study>.md` from its first day. Where such a file
is missing, and the paper or the study is there, a note takes its place, with the anchor that the report will have.
Any other missing file stops the build.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from common.site.schedule import write_if_changed

INCLUDE = re.compile(r'^--8<-- "(reports/(\w+)/(?:glance|studies/(\w+))\.md)"$', re.MULTILINE)
GLANCE = (
    '!!! note "Not measured yet"\n    The studies of this paper are still to be run, so this page makes no claim yet.\n'
)
STUDY = "*Not measured yet.*\n"


def write_unreported(root: Path, folder: Path) -> None:
    """Write below `folder` what pages of `root` include of reports and `root/reports` does not have."""
    wanted = dict(_notes(root))
    for path in (folder / "reports").rglob("*.md"):
        if str(path.relative_to(folder)) not in wanted:
            path.unlink()
    for name, text in wanted.items():
        write_if_changed(folder / name, text)


def _notes(root: Path) -> Iterator[tuple[str, str]]:
    for page in sorted((root / "docs" / "weeks").glob("*.md")):
        for name, slug, study in INCLUDE.findall(page.read_text(encoding="utf-8")):
            package = root / "papers" / slug
            if (root / name).exists():
                continue
            if not study and package.is_dir():
                yield name, GLANCE
            if study and (module := package / "studies" / f"{study}.py").is_file():
                title, question = _question(module)
                yield name, f"### {title} {{ #study-{study} }}\n\n{question}\n\n{STUDY}"


def _question(module: Path) -> tuple[str, str]:
    """Title and question of a study, read without importing it: the first arguments of `STUDY = Study(...)`."""
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and ast.unparse(node.targets[0]) == "STUDY"
        ):
            title, question = (ast.literal_eval(given) for given in node.value.args[:2])
            return title, question
    raise ValueError(f"{module}: no STUDY = Study(title, question, ...)")
