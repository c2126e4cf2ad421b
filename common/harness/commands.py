"""The commands that run experiments and write reports: `run` and `report`."""

from __future__ import annotations

import os
import re
import shlex
from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from common.harness import index, show
from common.harness import report as reports
from common.harness.check import recorded_failures
from common.harness.claims import VERDICTS
from common.harness.errors import UsageError
from common.harness.experiment import PRESETS
from common.harness.launch import Outcome, launch
from common.harness.overrides import check_fields, fields_of
from common.harness.paper import Paper, discover
from common.harness.plan import RunSpec, plain, plan
from common.harness.store import Store
from common.harness.swap import check_writable, recover
from common.harness.workplace import REPORTS, ROOT, check_preset, find_paper, runs_folder, shown

MOST_SEEDS = 10_000
"""More are a slip of the finger."""


def run(options: Namespace) -> int:
    """`repro run`: launch what is not finished, judge the claims, say where the report is."""
    if bool(options.slug) == options.all:
        raise UsageError("name one paper, or --all; `repro list` shows them")
    preset = check_preset(options.preset or "quick")
    papers = list(discover().values()) if options.all else [find_paper(options.slug)]
    device = options.device or default_device(preset)
    only = None if options.only is None else options.only.split(",")
    if options.overrides:
        check_overrides(papers, only, options)
    if options.offline:
        os.environ["REPRO_OFFLINE"] = "1"
    seeds = parse_seeds(options.seeds)
    store = Store(runs_folder())
    planned = {
        paper.slug: plan(paper, preset, seeds=seeds, only=only, overrides=options.overrides, device=device)
        for paper in papers
        if options.slug or paper_has(paper, preset)
    }
    specs = [spec for of_paper in planned.values() for spec in of_paper]
    if options.dry_run:
        return _dry_run(specs, store, options.json)
    check_device(device, options.address)
    prepare(papers, [spec for spec in specs if not store.finished(spec)])
    outcome = start(specs, store, options, as_typed(options.argv, options.address))
    findings = [reports.collect(paper, preset, planned[paper.slug], store) for paper in papers if paper.slug in planned]
    records = [
        {"paper": found.paper.slug, "preset": preset, **record}
        for found in findings
        for judgement, record in zip(found.judgements, found.records, strict=True)
        if not options.overrides and (only is None or any(measured.values for measured in judgement.measurements))
    ]
    whole = seeds is None and only is None and not options.overrides
    if options.json:
        show.as_json(records)
    elif records:
        show.claims(records)
    for line in (line for found in findings for line in found.unmeasured if records):
        show.warn(line)
    if whole:
        _leave_reports(findings, store, bool(outcome.finished))
    for slug in planned:
        recover(REPORTS / slug / preset)
    failing = [record for record in records if record["verdict"] == "fails"]
    news = [record for record in failing if record["id"] not in recorded_failures(REPORTS / record["paper"] / preset)]
    if not options.json:
        _closing_words(outcome, store, whole, bool(options.overrides))
        _say_what_fails(failing, news)
    return 1 if outcome.failed or news else 0


def _say_what_fails(failing: Sequence[Mapping[str, Any]], news: Sequence[Mapping[str, Any]]) -> None:
    for record in failing:
        where = f"{shown(REPORTS / record['paper'] / record['preset'])}"
        what = f"new: {where} does not have it so" if record in news else f"a recorded finding: {where} says so too"
        show.say(f"fails   {record['paper']} {record['id']}, {what}")


def as_typed(argv: Sequence[str], address: str | None = None) -> str:
    """The command as `run.json` and reports have it: without the address of anyone's machine."""
    command = shlex.join(["repro", *argv])
    return command if address in (None, "auto") else command.replace(address, "HEAD:PORT")


def _leave_reports(findings: Sequence[reports.Findings], store: Store, something_ran: bool) -> None:
    """Write reports beside the runs, not into reports/: a run leaves a clone clean, `repro report` is on purpose."""
    root = store.root / "reports"
    for found in findings:
        if something_ran or not reports.is_current(found, root):
            reports.write(found, store, root)
    index.rebuild(root)


def _closing_words(outcome: Outcome, store: Store, whole: bool, changed: bool) -> None:
    done, kept, failed = len(outcome.finished), len(outcome.reused), len(outcome.failed)
    show.say(f"\n{done} runs made, {kept} reused" + (f", {failed} failed" if failed else ""))
    for failure in outcome.failed:
        show.say(f"failed  {failure.spec}: {failure.message}")
    if changed:
        show.say("fields were changed, so the claims are not judged; the rows are with the runs")
    show.say(f"runs    {shown(store.root)}")
    if whole:
        show.say(f"report  {shown(store.root / 'reports')}")
        show.say("        `repro report` writes it into reports/, from where the site takes it")
        site = ROOT / "site" / "index.html"
        built = shown(site) if site.exists() else "`repro site` builds it; then open site/index.html"
        show.say(f"site    {built}")


def report(options: Namespace) -> int:
    """`repro report`: write reports/ from finished runs."""
    root = Path(options.into) if options.into else REPORTS
    check_writable(root)
    papers = [find_paper(options.slug)] if options.slug else list(discover().values())
    presets = [check_preset(options.preset)] if options.preset else list(PRESETS)
    store = Store(runs_folder())
    written: list[dict[str, Any]] = []
    left: list[str] = []
    for paper in papers:
        for preset in presets:
            if not paper_has(paper, preset):
                continue
            found = reports.collect(
                paper, preset, plan(paper, preset, device=options.device or default_device(preset)), store
            )
            if not found.finished:
                continue
            if not options.partial and reports.is_fuller(root, found):
                # A part of a preset, left by another or by a run cut short, must not replace a fuller report unasked.
                left.append(f"{paper.slug} {preset}: left as it is, {len(found.missing)} of its runs are not here")
                continue
            folder = reports.write(found, store, root)
            written.append({"paper": paper.slug, "preset": preset, "folder": str(folder), **_completeness(found)})
    if options.preset and left and not written:
        run = f"`repro run {options.slug or '--all'} --preset {options.preset}`"
        raise UsageError(f"{left[0]} and the report there has more; {run} makes them, --partial writes all the same")
    if not written and not left:
        which = f"{options.slug or 'any paper'} in {options.preset or 'any preset'}"
        raise UsageError(f"no finished runs of {which}; `repro run {options.slug or '--all'}` makes them")
    index.rebuild(root)
    if options.json:
        show.as_json(written)
        return 0
    for text in left:
        show.say(f"{text}; --partial writes it all the same")
    for line in written:
        show.say(f"{line['paper']} {line['preset']}: {shown(Path(line['folder']))}, {line['verdicts']}")
        for missing in line["missing"]:
            show.say(f"  not run: {missing}")
        if line["missing"]:
            show.say(f"  `repro run {line['paper']} --preset {line['preset']}` makes what is missing")
    return 0


def _completeness(found: reports.Findings) -> dict[str, Any]:
    verdicts = [judgement.verdict for judgement in found.judgements]
    return {
        "runs": len(found.finished),
        "missing": [str(spec) for spec in found.missing],
        "verdicts": ", ".join(f"{verdicts.count(v)} {v}" for v in VERDICTS if v in verdicts) or "no claims",
    }


def _dry_run(specs: Sequence[RunSpec], store: Store, as_json: bool) -> int:
    records = [
        {
            "paper": spec.slug,
            "experiment": spec.experiment,
            "config": plain(spec.config),
            "seed": spec.seed,
            "address": spec.address,
            "finished": bool(store.finished(spec)),
        }
        for spec in specs
    ]
    if as_json:
        show.as_json(records)
        return 0
    show.table(
        ("Run", "Address", "State"),
        [
            (str(spec), spec.address, "finished" if record["finished"] else "to run")
            for spec, record in zip(specs, records, strict=True)
        ],
    )
    left = sum(not record["finished"] for record in records)
    show.say(f"{len(records)} runs, {left} to make; nothing was run")
    return 0


def start(specs: Sequence[RunSpec], store: Store, options: Namespace, command: str) -> Outcome:
    """Launch on as many workers as the command line asks for."""
    workers = parse_workers(options.workers, sum(not store.finished(spec) for spec in specs))
    address = getattr(options, "address", None)
    return launch(specs, store, workers=workers, address=address, command=command)


def prepare(papers: Sequence[Paper], specs: Sequence[RunSpec]) -> None:
    """Let every experiment fetch or check the data that its configs read, before anything is launched."""
    for paper in papers:
        wanted = [spec for spec in specs if spec.slug == paper.slug]
        experiments = paper.load_experiments() if wanted else {}
        seen: list[tuple[str, Any]] = []
        for spec in wanted:
            look = experiments[spec.experiment].prepare
            if look is None or (spec.experiment, spec.config) in seen:
                continue
            seen.append((spec.experiment, spec.config))
            try:
                look(spec.config)
            except (OSError, ValueError) as error:
                raise UsageError(f"{paper.slug} {spec.experiment}: {error}") from error


def check_overrides(papers: Sequence[Paper], only: Sequence[str] | None, options: Namespace) -> None:
    """UsageError for an option that is neither ours nor a field of any chosen experiment's config."""
    fields = {
        f"{paper.slug}/{experiment.name}" if options.all else experiment.name: fields_of(experiment.config)
        for paper in papers
        for experiment in paper.load_experiments().values()
        if only is None or experiment.name in only
    }
    if fields:  # else --only names no experiment, which planning refuses
        ours = [name.removeprefix("--").replace("-", "_") for name in options.known if name.startswith("--")]
        check_fields(options.overrides, fields, ours)


def check_device(device: str, address: str | None) -> None:
    """UsageError where this machine has no such device; what a cluster has, Ray knows."""
    if device == "cpu" or address is not None:
        return
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise UsageError(f"device '{device}' is not here: torch finds no CUDA GPU; use --device cpu")
    if int(device.partition(":")[2] or 0) >= count:
        raise UsageError(f"device '{device}' is not here: there are cuda:0 to cuda:{count - 1}")


def paper_has(paper: Paper, preset: str) -> bool:
    """Whether any experiment of the paper has a grid for the preset."""
    return any(preset in experiment.presets for experiment in paper.load_experiments().values())


def parse_seeds(text: str | None) -> list[int] | None:
    """'0..4' (both included) or '0,2,7' as a list; None where the preset decides."""
    if text is None:
        return None
    if match := re.fullmatch(r"(\d{1,9})\.\.(\d{1,9})", text):
        first, last = map(int, match.groups())
        if last < first:
            raise UsageError(f"--seeds '{text}' runs backwards; write {last}..{first}")
        if last < first + MOST_SEEDS:
            return list(range(first, last + 1))
    elif re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        return sorted({int(seed) for seed in text.split(",")})
    raise UsageError(
        f"--seeds '{text}' is not a range of seeds; write 0..4 or 0,2,7, at most {MOST_SEEDS} of at most nine digits"
    )


def parse_workers(text: str | None, to_run: int) -> int:
    """The number of workers: as asked, else none for a single run and at most one per core."""
    if text is None:
        return 0 if to_run <= 1 else min(to_run, os.cpu_count() or 1)
    if not re.fullmatch(r"\d+", text):
        raise UsageError(f"--workers '{text}' is not a number of processes; write 0, 1, 2, …")
    return int(text)


def default_device(preset: str) -> str:
    """Where a preset runs unless one says otherwise; a run's address depends on it."""
    return "cuda" if preset == "gpu" else "cpu"
