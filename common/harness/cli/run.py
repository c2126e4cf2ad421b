"""`repro run`: make what is not finished, judge the claims, say where the report is."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from common.harness.cli.launching import prepare, start
from common.harness.cli.wishes import check_device, default_device, paper_has, variation
from common.harness.cli.workplace import REPORTS, ROOT, check_preset, find_paper, runs_folder, shown
from common.harness.reports import index
from common.harness.reports.compare import recorded_failures
from common.harness.reports.findings import Findings, Variation, collect, is_current, report_command
from common.harness.reports.lines import print_claims, tally
from common.harness.reports.report import write
from common.harness.reports.swap import recover
from common.harness.runs import terminal
from common.harness.runs.launch import Outcome
from common.harness.runs.plan import RunSpec, plain, plan
from common.harness.runs.store import Store
from common.harness.studies.errors import UsageError
from common.harness.studies.paper import discover

TO_DO = {"stale": "made by older code: to run again"}
"""What `--dry-run` says of a run that is not taken as finished, by its state; else it is to run."""


def run(options: Namespace) -> int:
    """`repro run`: launch what is not finished, judge the claims, say where the report is."""
    if bool(options.slug) == options.all:
        raise UsageError("name one paper, or --all; `repro list` shows them")
    preset = check_preset(options.preset or "quick")
    papers = list(discover().values()) if options.all else [find_paper(options.slug)]
    device = options.device or default_device(preset)
    varied = variation(papers, options)
    if options.offline:
        os.environ["REPRO_OFFLINE"] = "1"
    store = Store(runs_folder(), accept_stale=options.accept_stale)
    planned = {
        paper.slug: plan(paper, preset, seeds=varied.seeds, only=varied.only, overrides=varied.fields, device=device)
        for paper in papers
        if options.slug or paper_has(paper, preset)
    }
    specs = [spec for of_paper in planned.values() for spec in of_paper]
    if options.dry_run:
        return _dry_run(specs, store, options.json)
    check_device(device, options.address)
    prepare(papers, [spec for spec in specs if not store.finished(spec)])
    outcome = start(specs, store, options, as_typed(options.argv, options.address))
    findings = [collect(paper, preset, planned[paper.slug], store, varied) for paper in papers if paper.slug in planned]
    # What other configs show is no verdict on the paper's claim; `repro report` says what they show.
    judged = [found for found in findings if found.judgements and not varied.fields]
    records = [{"paper": found.paper.slug, "preset": preset, **record} for found in judged for record in found.records]
    if options.json:
        terminal.as_json(records)
    for found in judged:
        if not options.json:
            print_claims(f"{found.paper.slug} {preset}", found.judgements, options.long)
        for line in found.unmeasured:
            terminal.warn(line)
    for line in (line for found in findings for line in found.remarks):
        terminal.warn(line)
    if not varied:
        _leave_reports(findings, store, bool(outcome.finished))
    for slug in planned:
        recover(REPORTS / slug / preset)
    failing = [record for record in records if record["verdict"] == "fails"]
    news = [record for record in failing if record["id"] not in recorded_failures(REPORTS / record["paper"] / preset)]
    if not options.json:
        _closing_words(outcome, store, varied, findings)
        _say_what_fails(failing, news)
        for found in judged:
            terminal.say(f"{found.paper.slug} {preset}: {tally(each.verdict for each in found.judgements)}")
    return 1 if outcome.failed or news else 0


def _say_what_fails(failing: Sequence[Mapping[str, Any]], news: Sequence[Mapping[str, Any]]) -> None:
    for record in failing:
        where = f"{shown(REPORTS / record['paper'] / record['preset'])}"
        what = f"new: {where} does not have it so" if record in news else f"a recorded finding: {where} says so too"
        terminal.say(f"fails   {record['paper']} {record['id']}, {what}")


def as_typed(argv: Sequence[str], address: str | None = None) -> str:
    """The command as `run.json` and reports have it: without the address of anyone's machine."""
    command = shlex.join(["repro", *argv])
    return command if address in (None, "auto") else command.replace(address, "HEAD:PORT")


def _leave_reports(findings: Sequence[Findings], store: Store, something_ran: bool) -> None:
    """Write reports beside the runs, not into reports/: a run leaves a clone clean, `repro report` is on purpose."""
    root = store.root / "reports"
    for found in findings:
        if something_ran or not is_current(found, root):
            write(found, store, root)
    index.rebuild(root)


def _closing_words(outcome: Outcome, store: Store, varied: Variation, findings: Sequence[Findings]) -> None:
    done, kept, failed = len(outcome.finished), len(outcome.reused), len(outcome.failed)
    terminal.say(f"\n{done} runs made, {kept} reused" + (f", {failed} failed" if failed else ""))
    for failure in outcome.failed:
        terminal.say(f"failed  {failure.spec}: {failure.message}")
    if varied.fields:
        terminal.say("fields were changed, so the claims are not judged here")
    terminal.say(f"runs    {shown(store.root)}")
    for found in findings if varied else ():
        terminal.say(f"report  `{report_command(found)}` reports on these runs")
    if not varied:
        terminal.say(f"report  {shown(store.root / 'reports')}")
        terminal.say("        `repro report` writes it into reports/, which the site shows")
        site = ROOT / "site" / "index.html"
        built = shown(site) if site.exists() else "`repro site` builds it; then open site/index.html"
        terminal.say(f"site    {built}")


def _dry_run(specs: Sequence[RunSpec], store: Store, as_json: bool) -> int:
    records = [
        {
            "paper": spec.slug,
            "experiment": spec.experiment,
            "config": plain(spec.config),
            "seed": spec.seed,
            "address": spec.address,
            "finished": bool(store.finished(spec)),
            "state": store.state(spec),
        }
        for spec in specs
    ]
    if as_json:
        terminal.as_json(records)
        return 0
    terminal.table(
        ("Run", "Address", "State"),
        [
            (str(spec), spec.address, TO_DO.get(record["state"], "to run") if not record["finished"] else "finished")
            for spec, record in zip(specs, records, strict=True)
        ],
    )
    left = sum(not record["finished"] for record in records)
    terminal.say(f"{len(records)} runs, {left} to make; nothing was run")
    return 0
