"""`repro report`: write reports/ from finished runs."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from common.harness.cli.wishes import default_device, paper_has
from common.harness.cli.workplace import REPORTS, check_preset, find_paper, runs_folder, shown
from common.harness.reports import index
from common.harness.reports.findings import Findings, collect, is_fuller
from common.harness.reports.report import write
from common.harness.reports.swap import check_writable
from common.harness.runs import terminal
from common.harness.runs.plan import plan
from common.harness.runs.store import Store
from common.harness.studies.claims import VERDICTS
from common.harness.studies.errors import UsageError
from common.harness.studies.experiment import PRESETS
from common.harness.studies.paper import discover


def report(options: Namespace) -> int:
    """`repro report`: write reports/ from finished runs."""
    root = Path(options.into) if options.into else REPORTS
    check_writable(root)
    papers = [find_paper(options.slug)] if options.slug else list(discover().values())
    presets = [check_preset(options.preset)] if options.preset else list(PRESETS)
    store = Store(runs_folder(), accept_stale=options.accept_stale)
    written: list[dict[str, Any]] = []
    left: list[str] = []
    remarks: list[str] = []
    refused = False
    for paper in papers:
        for preset in presets:
            if not paper_has(paper, preset):
                continue
            found = collect(paper, preset, plan(paper, preset, device=options.device or default_device(preset)), store)
            refused |= bool(found.refused)
            if not found.finished:
                continue
            remarks += found.remarks
            if not options.partial and is_fuller(root, found):
                # A part of a preset, left by another or by a run cut short, must not replace a fuller report unasked.
                left.append(f"{paper.slug} {preset}: left as it is, {len(found.missing)} of its runs are not here")
                continue
            folder = write(found, store, root)
            written.append({"paper": paper.slug, "preset": preset, "folder": str(folder), **_completeness(found)})
    if options.preset and left and not written:
        run = f"`repro run {options.slug or '--all'} --preset {options.preset}`"
        raise UsageError(f"{left[0]} and the report there has more; {run} makes them, --partial writes all the same")
    if not written and not left:
        which = f"{options.slug or 'any paper'} in {options.preset or 'any preset'}"
        run = f"`repro run {options.slug or '--all'}`"
        if refused:
            raise UsageError(
                f"the runs of {which} are of older code; {run} makes them again, --accept-stale takes them"
            )
        raise UsageError(f"no finished runs of {which}; {run} makes them")
    index.rebuild(root)
    for remark in remarks:
        terminal.warn(remark)
    if options.json:
        terminal.as_json(written)
        return 0
    for text in left:
        terminal.say(f"{text}; --partial writes it all the same")
    for line in written:
        terminal.say(f"{line['paper']} {line['preset']}: {shown(Path(line['folder']))}, {line['verdicts']}")
        for missing in line["missing"]:
            terminal.say(f"  not run: {missing}")
        if line["missing"]:
            terminal.say(f"  `repro run {line['paper']} --preset {line['preset']}` makes what is missing")
    return 0


def _completeness(found: Findings) -> dict[str, Any]:
    verdicts = [judgement.verdict for judgement in found.judgements]
    return {
        "runs": len(found.finished),
        "missing": [str(spec) for spec in found.missing],
        "verdicts": ", ".join(f"{verdicts.count(v)} {v}" for v in VERDICTS if v in verdicts) or "no claims",
    }
