"""`repro new`: a paper's package, page, test and nav entry, which run and pass at once; the presenter fills them in."""

from __future__ import annotations

import importlib
import re
from argparse import Namespace
from collections.abc import Mapping, Sequence
from datetime import date
from keyword import iskeyword
from pathlib import Path
from string import Template

from common.harness.cli.workplace import REPORTS, ROOT, find_paper, runs_folder, shown
from common.harness.reports import index
from common.harness.reports.findings import collect
from common.harness.reports.lines import print_claims
from common.harness.reports.report import write
from common.harness.runs import terminal
from common.harness.runs.launch import launch
from common.harness.runs.plan import RunSpec, plan
from common.harness.runs.store import Store
from common.harness.studies.errors import UsageError
from common.harness.studies.paper import Paper

TEMPLATES = Path(__file__).parent / "templates"
NAV_ENTRY = re.compile(r"^(?P<indent>\s+)- .*\bweeks/(?P<week>\d+)-[\w-]+\.md\s*$")


def new(options: Namespace) -> int:
    """Write the files, run the quick preset once and write its report, so that the page has something to show."""
    week, slug = parse_name(options.name)
    if not re.fullmatch(r"\d{4}\.\d{4,5}", options.arxiv):
        raise UsageError(f"--arxiv '{options.arxiv}' is not an arXiv number; write it as 2206.00364, without a version")
    title = " ".join(options.title.split())
    if not title or '"' in title or "\\" in title:
        raise UsageError("--title is some text without double quotes and backslashes")
    written = create(ROOT, week, slug, title, options.arxiv)
    importlib.invalidate_caches()
    paper, store = find_paper(slug), Store(runs_folder())
    specs = plan(paper, "quick")
    outcome = launch(specs, store, progress=False, command=f"repro run {slug}")
    for failure in outcome.failed:
        terminal.say(f"failed  {failure.spec}: {failure.message}")
    if not outcome.failed:
        written += report_on(paper, specs, store)
    for path in written:
        terminal.say(f"wrote   {shown(path)}")
    terminal.say(f"ran     {len(outcome.finished)} runs of the quick preset, kept in {shown(store.root / slug)}")
    terminal.say(f"next    fill in papers/{slug}, and name the session in docs/schedule.toml")
    return int(bool(outcome.failed))


def report_on(paper: Paper, specs: Sequence[RunSpec], store: Store) -> list[Path]:
    """Write the report of the first runs; returns every file that is new or written anew."""
    found = collect(paper, "quick", specs, store)
    folder = write(found, store, REPORTS)
    index.rebuild(REPORTS)
    print_claims(f"{paper.slug} quick", found.judgements)
    files = sorted(path for path in folder.parent.rglob("*") if path.is_file())
    return [*files, REPORTS / "results.md", REPORTS / "index.json"]


def parse_name(name: str) -> tuple[int, str]:
    """(11, 'foo') of 'week11-foo'."""
    match = re.fullmatch(r"week(\d{1,2})-([a-z][a-z0-9_]*)", name)
    if match is None or iskeyword(match[2]):
        raise UsageError(
            f"'{name}' is not a week and a name; write week11-foo, the name of a-z, 0-9 and _, and no word of Python's"
        )
    return int(match[1]), match[2]


def create(root: Path, week: int, slug: str, title: str, arxiv: str) -> list[Path]:
    """Write everything below `root`; UsageError, and nothing written, where something is in the way."""
    package = root / "papers" / slug
    places = {
        "study.py": package / "studies" / "convergence.py",
        "studies.py": package / "studies" / "__init__.py",
        "page.md": root / "docs" / "weeks" / f"{week:02d}-{slug}.md",
        "test.py": root / "tests" / "papers" / slug / f"test_{slug}.py",
    }
    templates = {path.name.removesuffix(".tmpl"): path for path in sorted(TEMPLATES.glob("*.tmpl"))}
    targets = {templates[name]: places.get(name, package / name) for name in templates}
    for target in (package, *targets.values()):
        if target.exists():
            raise UsageError(f"{target.relative_to(root)} is there already; choose another name, or delete it first")
    name = slug.replace("_", " ").capitalize()
    configuration = root / "mkdocs.yml"
    nav = with_nav_entry(configuration.read_text(), week, f"W{week} {name}: weeks/{week:02d}-{slug}.md")
    words: Mapping[str, object] = {
        "week": week,
        "slug": slug,
        "name": name,
        "title": title,
        "arxiv": arxiv,
        "date": date.today().isoformat(),
    }
    for template, target in targets.items():
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(Template(template.read_text()).substitute(words))
    configuration.write_text(nav)
    return [*targets.values(), configuration]


def with_nav_entry(configuration: str, week: int, entry: str) -> str:
    """The text of mkdocs.yml with `entry` after the last page of a week not later than `week`.

    The file is edited as text: it has comments, and tags that a YAML reader would want to import.
    """
    text = configuration.splitlines()
    found = [(number, match) for number, line in enumerate(text) if (match := NAV_ENTRY.match(line))]
    if not found:
        raise UsageError("mkdocs.yml has no nav entry of a week (weeks/NN-name.md) to put the new one beside")
    earlier = [number for number, match in found if int(match["week"]) <= week]
    place = earlier[-1] + 1 if earlier else found[0][0]
    return "\n".join([*text[:place], f"{found[0][1]['indent']}- {entry}", *text[place:]]) + "\n"
