"""The commands that keep results as they are: `check` compares with the committed reports, `bless` replaces them."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from common.harness.cli.launching import prepare, start
from common.harness.cli.wishes import check_device, default_device
from common.harness.cli.workplace import REPORTS, check_preset, find_paper, runs_folder, shown
from common.harness.reports import compare as regression
from common.harness.reports import index
from common.harness.reports.compare import Baseline, Change, read_baseline
from common.harness.reports.findings import Findings, collect
from common.harness.reports.rejudge import rejudge
from common.harness.reports.report import write
from common.harness.reports.swap import check_writable, recover
from common.harness.runs import terminal
from common.harness.runs.plan import RunSpec, plan
from common.harness.runs.store import Store
from common.harness.studies.errors import UsageError
from common.harness.studies.experiment import PRESETS
from common.harness.studies.paper import Paper, discover


class Today(NamedTuple):
    """What a preset gives now."""

    specs: list[RunSpec]
    found: Findings
    unmade: list[Change]
    """A line for every run that could not be made."""
    store: Store

    def against(self, baseline: Baseline) -> list[Change]:
        """Everything that a check compares."""
        grid = regression.compare_grid(self.specs, baseline)
        return self.unmade + grid + regression.compare(self.found.judgements, baseline)


def check(options: Namespace) -> int:
    """`repro check`: make what is not finished, and compare with the committed reports; 1 where something moved, or a
    run is not there.


    Where no preset is named, `quick` is rerun, and the reports of the others are judged again from their own rows.
    """
    everything: list[tuple[Paper, str, Change]] = []
    for paper, preset in _committed(options) + _others(options):
        folder = REPORTS / paper.slug / preset
        if preset == (options.preset or "quick"):
            baseline = read_baseline(folder)
            with _rerun(paper, preset, options) as today:
                changes = today.against(baseline)
        else:
            changes = rejudge(paper, preset, folder, default_device(preset))
        everything += [(paper, preset, change) for change in changes]
        if not options.json:
            print_changes(paper, preset, changes)
    if options.json:
        terminal.as_json(
            [{"paper": paper.slug, "preset": preset, **change.as_record()} for paper, preset, change in everything]
        )
    elif not everything:
        terminal.say("no committed report to compare with; `repro bless PAPER` makes one")
    return int(any(change.failed for *_, change in everything))


def bless(options: Namespace) -> int:
    """`repro bless`: make what is not finished, show what moved, and make the new report the committed one; 1 where a
    run is not there. It takes one paper, or --all: what it replaces is never a surprise."""
    if bool(options.slug) == options.all:
        raise UsageError("name one paper whose committed report is to be replaced, or --all; `repro list` shows them")
    root = Path(options.into) if options.into else REPORTS
    check_writable(root)
    chosen = [(find_paper(options.slug), check_preset(options.preset or "quick"))] if options.slug else None
    unmade = False
    for paper, preset in chosen or _committed(options):
        folder = root / paper.slug / preset
        known = read_baseline(folder) if (folder / "claims.json").exists() else Baseline()
        with _rerun(paper, preset, options) as today:
            changes = today.against(known)
            if not today.unmade:
                write(today.found, today.store, root)
        unmade |= bool(today.unmade)
        if options.json:
            terminal.as_json([change.as_record() for change in changes])
            continue
        print_changes(paper, preset, changes, blessed=not today.unmade)
        became = "stays as it is:" if today.unmade else "now is"
        terminal.say(f"the committed report {became} {shown(folder)}")
    index.rebuild(root)
    return int(unmade)


def _committed(options: Namespace) -> list[tuple[Paper, str]]:
    """The papers and presets that a check is about: those named, or every paper with a committed quick report."""
    preset = check_preset(options.preset or "quick")
    for slug in discover():
        recover(REPORTS / slug / preset)
    if options.slug:
        return [(find_paper(options.slug), preset)]
    return [(paper, preset) for slug, paper in discover().items() if (REPORTS / slug / preset / "claims.json").exists()]


def _others(options: Namespace) -> list[tuple[Paper, str]]:
    """The other presets that have a committed report, where none is named."""
    papers = [find_paper(options.slug)] if options.slug else list(discover().values())
    return [
        (paper, preset)
        for paper in papers
        for preset in PRESETS
        if options.preset is None and preset != "quick" and (REPORTS / paper.slug / preset / "claims.json").exists()
    ]


@contextmanager
def _rerun(paper: Paper, preset: str, options: Namespace) -> Iterator[Today]:
    """What a preset gives now. Finished runs are taken where today's code and today's libraries made them, and what is
    made is kept with them; with --fresh all are made in a store of their own, which goes afterwards."""
    device = options.device or default_device(preset)
    specs = plan(paper, preset, device=device)
    check_device(device, None)
    with tempfile.TemporaryDirectory(prefix="repro-check-") as fresh:
        store = Store(fresh) if options.fresh else Store(runs_folder(), same_libraries=True)
        prepare([paper], [spec for spec in specs if not store.finished(spec)])
        outcome = start(specs, store, options, f"repro run {paper.slug} --preset {preset}")
        found = collect(paper, preset, specs, store)
        yield Today(specs, found, regression.unmade(found.missing, outcome.failed), store)


def print_changes(paper: Paper, preset: str, changes: Sequence[Change], blessed: bool = False) -> None:
    """Print what moved, the runs that are not there, and one line that sums up. What is `blessed` is no failure."""
    moved = [change for change in changes if change.failed or change.why]
    failed = [change for change in changes if change.failed]
    mark = "" if blessed else "FAILED: "
    rows = [
        (change.claim, change.what, change.before, change.now, (mark if change.failed else "") + change.why)
        for change in moved
        if change.claim is not None
    ]
    if rows:
        terminal.table(("Claim", "What", "Committed", "Now", ""), rows, title=f"{paper.slug} {preset}")
    for change in failed:
        if change.claim is None:
            counts = f" ({change.before}; now {change.now})" if change.before != "–" else ""
            terminal.say(f"{'' if blessed else 'FAILED  '}{change.what}: {change.why}{counts}")
    end = "taken as they are" if blessed else f"{len(failed)} of them too far"
    terminal.say(f"{paper.slug} {preset}: {len(changes)} compared, {len(moved)} moved, {end}")
