"""The commands that keep results as they are: `check` compares with the committed reports, `bless` replaces them."""

from __future__ import annotations

import tempfile
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from common.harness.cli.launching import prepare, start
from common.harness.cli.wishes import check_device, default_device
from common.harness.cli.workplace import REPORTS, check_preset, find_paper, runs_folder, shown
from common.harness.reports import compare as regression
from common.harness.reports import index
from common.harness.reports.findings import Findings, collect
from common.harness.reports.report import write
from common.harness.reports.swap import check_writable, recover
from common.harness.runs import terminal
from common.harness.runs.plan import plan
from common.harness.runs.store import Store
from common.harness.studies.errors import UsageError
from common.harness.studies.paper import Paper, discover


def check(options: Namespace) -> int:
    """`repro check`: make what is not finished and compare with the committed reports; 1 where something moved."""
    failed = False
    everything = []
    for paper, preset in _committed(options):
        baseline = regression.read_baseline(REPORTS / paper.slug / preset)

        def compare(found: Findings, store: Store, known: regression.Baseline = baseline) -> list[Any]:
            return regression.compare(found.judgements, known)

        changes = _rerun(paper, preset, options, compare)
        everything += [{"paper": paper.slug, "preset": preset, **change.as_record()} for change in changes]
        failed |= any(change.failed for change in changes)
        if not options.json:
            print_changes(paper, preset, changes)
    if options.json:
        terminal.as_json(everything)
    elif not everything:
        terminal.say("no committed report to compare with; `repro bless PAPER` makes one")
    return int(failed)


def bless(options: Namespace) -> int:
    """`repro bless`: make what is not finished, show what moved, and make the new report the committed one."""
    root = Path(options.into) if options.into else REPORTS
    check_writable(root)
    chosen = [(find_paper(options.slug), check_preset(options.preset or "quick"))] if options.slug else None
    for paper, preset in chosen or _committed(options):
        folder = root / paper.slug / preset
        known = regression.read_baseline(folder) if (folder / "claims.json").exists() else regression.Baseline({}, {})

        def replace(found: Findings, store: Store, known: regression.Baseline = known) -> list[regression.Change]:
            if found.missing:
                raise UsageError(f"{len(found.missing)} runs failed, so the committed report stays as it is")
            changes = regression.compare(found.judgements, known)
            write(found, store, root)
            return changes

        changes = _rerun(paper, preset, options, replace)
        if options.json:
            terminal.as_json([change.as_record() for change in changes])
        else:
            print_changes(paper, preset, changes)
            terminal.say(f"the committed report now is {shown(folder)}")
    index.rebuild(root)
    return 0


def _committed(options: Namespace) -> list[tuple[Paper, str]]:
    """The papers and presets that a check is about: those named, or every paper with a committed quick report."""
    preset = check_preset(options.preset or "quick")
    for slug in discover():
        recover(REPORTS / slug / preset)
    if options.slug:
        return [(find_paper(options.slug), preset)]
    return [(paper, preset) for slug, paper in discover().items() if (REPORTS / slug / preset / "claims.json").exists()]


def _rerun(
    paper: Paper, preset: str, options: Namespace, then: Callable[[Findings, Store], list[regression.Change]]
) -> list[regression.Change]:
    """Make the runs of a preset and do `then` with them.

    Finished runs are taken where today's code and today's libraries made them, and what is made is kept with them. With
    --fresh all are made in a store of their own, which goes after `then`.
    """
    device = options.device or default_device(preset)
    specs = plan(paper, preset, device=device)
    check_device(device, None)
    with tempfile.TemporaryDirectory(prefix="repro-check-") as fresh:
        store = Store(fresh) if options.fresh else Store(runs_folder(), same_libraries=True)
        prepare([paper], [spec for spec in specs if not store.finished(spec)])
        start(specs, store, options, f"repro run {paper.slug} --preset {preset}")
        return then(collect(paper, preset, specs, store), store)


def print_changes(paper: Paper, preset: str, changes: Sequence[regression.Change]) -> None:
    """Print what moved, and one line that sums up."""
    moved = [change for change in changes if change.failed or change.why]
    failed = [change for change in changes if change.failed]
    if moved:
        rows = [
            (change.claim, change.what, change.before, change.now, ("FAILED: " if change.failed else "") + change.why)
            for change in moved
        ]
        terminal.table(("Claim", "What", "Committed", "Now", ""), rows, title=f"{paper.slug} {preset}")
    terminal.say(f"{paper.slug} {preset}: {len(changes)} compared, {len(moved)} moved, {len(failed)} of them too far")
