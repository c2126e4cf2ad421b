"""`repro report`: write reports/ from finished runs, or a report on one's own variation of a preset elsewhere."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from common.harness.cli.wishes import default_device, paper_has, variation
from common.harness.cli.workplace import REPORTS, check_preset, find_paper, runs_folder, shown
from common.harness.reports import index
from common.harness.reports.findings import Findings, collect, is_fuller
from common.harness.reports.lines import tally
from common.harness.reports.report import write
from common.harness.reports.rewrite import rewrite
from common.harness.reports.swap import check_writable
from common.harness.runs import terminal
from common.harness.runs.plan import plan
from common.harness.runs.provenance import git_state
from common.harness.runs.store import Store
from common.harness.studies.errors import UsageError
from common.harness.studies.experiment import PRESETS
from common.harness.studies.paper import Paper, discover


def report(options: Namespace) -> int:
    """`repro report`: write reports/ from finished runs."""
    papers = [find_paper(options.slug)] if options.slug else list(discover().values())
    varied = variation(papers, options)
    root = Path(options.into) if options.into else REPORTS
    if varied and (not options.into or root.resolve().is_relative_to(REPORTS.resolve())):
        raise UsageError(
            f"a report on{varied.as_options()} is your own; give it a folder outside reports/: --into mine"
        )
    check_writable(root)
    if options.from_rows:
        return _from_rows(papers, options, root)
    # A variation is of one preset, by default that of `repro run`.
    presets = [check_preset(options.preset or "quick")] if options.preset or varied else list(PRESETS)
    store = Store(runs_folder(), accept_stale=options.accept_stale)
    written: list[dict[str, Any]] = []
    left: list[str] = []
    remarks: list[str] = []
    refused = False
    for paper in papers:
        for preset in presets:
            if not paper_has(paper, preset):
                continue
            device = options.device or default_device(preset)
            specs = plan(paper, preset, seeds=varied.seeds, only=varied.only, overrides=varied.fields, device=device)
            found = collect(paper, preset, specs, store, varied)
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
    run = f"repro run {options.slug or '--all'}" + (f" --preset {options.preset}" if options.preset else "")
    run += varied.as_options()
    if options.preset and left and not written:
        raise UsageError(f"{left[0]} and the report there has more; `{run}` makes them, --partial writes all the same")
    if not written and not left:
        which = f"{options.slug or 'any paper'} in {options.preset or (presets[0] if varied else 'any preset')}"
        if refused:
            raise UsageError(
                f"the runs of {which}{varied.as_options()} are of older code; `{run}` makes them again, "
                "--accept-stale takes them"
            )
        raise UsageError(f"no finished runs of {which}{varied.as_options()}; `{run}` makes them")
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
        for why in dict.fromkeys(line["left_out"].values()):
            claims = [claim for claim, reason in line["left_out"].items() if reason == why]
            terminal.say(f"  left out: {', '.join(claims)}: {why}")
        for missing in line["missing"]:
            terminal.say(f"  not run: {missing}")
        if line["missing"]:
            terminal.say(f"  `{line['command']}` makes what is missing")
    return 0


def _from_rows(papers: Sequence[Paper], options: Namespace, root: Path) -> int:
    presets = [check_preset(options.preset)] if options.preset else list(PRESETS)
    there = [
        (paper, preset)
        for paper in papers
        for preset in presets
        if (root / paper.slug / preset / "claims.json").exists()
    ]
    if not there:
        which = f"{options.slug or 'any paper'} in {options.preset or 'any preset'}"
        raise UsageError(f"no report of {which} at {shown(root)}; `repro report` writes one from finished runs")
    git = git_state()  # before the reports change, which git follows too
    for paper, preset in there:
        terminal.say(f"{paper.slug} {preset}: {shown(rewrite(paper, preset, root, git))}, from its own rows")
    index.rebuild(root)
    return 0


def _completeness(found: Findings) -> dict[str, Any]:
    return {
        "runs": len(found.finished),
        "missing": [str(spec) for spec in found.missing],
        "command": found.command,
        "left_out": dict(found.left_out),
        "verdicts": tally(judgement.verdict for judgement in found.judgements),
    }
