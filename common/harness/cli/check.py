"""The commands that keep results as they are: `check` compares with the committed reports, `bless` replaces them."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from common.harness.cli.launching import prepare, start
from common.harness.cli.wishes import check_device, default_device
from common.harness.cli.workplace import REPORTS, check_preset, find_paper, runs_folder, shown
from common.harness.reports import compare as regression
from common.harness.reports import index
from common.harness.reports.compare import Change
from common.harness.reports.findings import Findings, collect
from common.harness.reports.report import write
from common.harness.reports.swap import check_writable, recover
from common.harness.runs import terminal
from common.harness.runs.plan import plan
from common.harness.runs.store import Store
from common.harness.studies.paper import Paper, discover

Then = Callable[[Findings, Store, list[Change]], list[Change]]
"""What is done with what a preset gives now: its findings, where the runs lie, and the runs that could not be made."""


def check(options: Namespace) -> int:
    """`repro check`: rerun and compare with the committed reports; 1 where something moved or a run is not there."""
    everything: list[tuple[Paper, str, Change]] = []
    for paper, preset in _committed(options):
        baseline = regression.read_baseline(REPORTS / paper.slug / preset)

        def compare(
            found: Findings, store: Store, unmade: list[Change], known: regression.Baseline = baseline
        ) -> list[Change]:
            return unmade + regression.compare(found.judgements, known)

        changes = _rerun(paper, preset, options, compare)
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
    """`repro bless`: rerun, show what moved, and make the new report the committed one; 1 where a run is not there."""
    root = Path(options.into) if options.into else REPORTS
    check_writable(root)
    chosen = [(find_paper(options.slug), check_preset(options.preset or "quick"))] if options.slug else None
    left = False
    for paper, preset in chosen or _committed(options):
        folder = root / paper.slug / preset
        known = regression.read_baseline(folder) if (folder / "claims.json").exists() else regression.Baseline({}, {})

        def replace(
            found: Findings, store: Store, unmade: list[Change], known: regression.Baseline = known
        ) -> list[Change]:
            if unmade:
                return unmade
            changes = regression.compare(found.judgements, known)
            write(found, store, root)
            return changes

        changes = _rerun(paper, preset, options, replace)
        stays = any(change.claim is None for change in changes)
        left |= stays
        if options.json:
            terminal.as_json([change.as_record() for change in changes])
        else:
            print_changes(paper, preset, changes)
            terminal.say(
                f"the committed report stays as it is: {shown(folder)}"
                if stays
                else f"the committed report now is {shown(folder)}"
            )
    index.rebuild(root)
    return int(left)


def _committed(options: Namespace) -> list[tuple[Paper, str]]:
    """The papers and presets that a check is about: those named, or every paper with a committed quick report."""
    preset = check_preset(options.preset or "quick")
    for slug in discover():
        recover(REPORTS / slug / preset)
    if options.slug:
        return [(find_paper(options.slug), preset)]
    return [(paper, preset) for slug, paper in discover().items() if (REPORTS / slug / preset / "claims.json").exists()]


def _rerun(paper: Paper, preset: str, options: Namespace, then: Then) -> list[Change]:
    """Run a preset in a store of its own (with --reuse, take finished runs), and do `then` before that store goes."""
    device = options.device or default_device(preset)
    specs = plan(paper, preset, device=device)
    check_device(device, None)
    with tempfile.TemporaryDirectory(prefix="repro-check-") as fresh:
        store = Store(runs_folder() if options.reuse else Path(fresh))
        prepare([paper], [spec for spec in specs if not store.finished(spec)])
        outcome = start(specs, store, options, f"repro run {paper.slug} --preset {preset}")
        found = collect(paper, preset, specs, store)
        return then(found, store, regression.unmade(found.missing, outcome.failed))


def print_changes(paper: Paper, preset: str, changes: Sequence[Change]) -> None:
    """Print what moved, the runs that are not there, and one line that sums up."""
    moved = [change for change in changes if change.failed or change.why]
    failed = [change for change in changes if change.failed]
    rows = [
        (change.claim, change.what, change.before, change.now, ("FAILED: " if change.failed else "") + change.why)
        for change in moved
        if change.claim is not None
    ]
    if rows:
        terminal.table(("Claim", "What", "Committed", "Now", ""), rows, title=f"{paper.slug} {preset}")
    for change in failed:
        if change.claim is None:
            terminal.say(f"FAILED  {change.what}: {change.why}")
    terminal.say(f"{paper.slug} {preset}: {len(changes)} compared, {len(moved)} moved, {len(failed)} of them too far")
