"""`repro status`: what there is of every run, and what it takes on disk."""

from __future__ import annotations

from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from common.harness.cli.wishes import default_device, paper_has
from common.harness.cli.workplace import check_preset, find_paper, runs_folder
from common.harness.runs import terminal
from common.harness.runs.plan import RunSpec, plan
from common.harness.runs.provenance import other_libraries, said_of_libraries
from common.harness.runs.store import Store
from common.harness.studies.experiment import PRESETS
from common.harness.studies.paper import discover
from common.harness.studies.wording import size

STATES = ("finished", "stale", "running", "interrupted", "failed", "damaged", "missing")
THERE = ("finished", "stale")


def status(options: Namespace) -> int:
    """Print the states of the planned runs by experiment, then what failed and how much disk is used."""
    papers = [find_paper(options.slug)] if options.slug else list(discover().values())
    presets = [check_preset(options.preset)] if options.preset else list(PRESETS)
    store = Store(runs_folder())
    records: list[dict[str, Any]] = []
    about: list[Mapping[str, Any]] = []
    for paper in papers:
        for preset in presets:
            if not paper_has(paper, preset):
                continue
            by_experiment: dict[str, list[RunSpec]] = {}
            for spec in plan(paper, preset, device=default_device(preset)):
                if spec.asked:
                    by_experiment.setdefault(spec.experiment, []).append(spec)
            for experiment, specs in by_experiment.items():
                states = [store.state(spec) for spec in specs]
                counts = Counter[str](states)
                there = [store.record(spec) for spec, state in zip(specs, states, strict=True) if state in THERE]
                failed = [spec for spec, state in zip(specs, states, strict=True) if state == "failed"]
                about += there
                records.append(
                    {
                        "paper": paper.slug,
                        "preset": preset,
                        "experiment": experiment,
                        **{state: counts[state] for state in STATES},
                        "other_libraries": sum(bool(other_libraries(each.get("versions", {}))) for each in there),
                        "failures": {str(spec): str(store.partial(spec)) for spec in failed},
                    }
                )
    used = disk_use(store.root)
    if options.json:
        terminal.as_json({"runs": records, "folder": str(store.root), "bytes": used})
        return 0
    seen = [state for state in STATES if any(record[state] for record in records)]
    terminal.table(
        ("Paper", "Preset", "Experiment", *(state.capitalize() for state in seen)),
        [
            (record["paper"], record["preset"], record["experiment"], *(str(record[state] or "–") for state in seen))
            for record in records
        ],
    )
    for record in records:
        for run, folder in record["failures"].items():
            terminal.say(f"failed: {run}: {last_line(Path(folder))}\n  {folder}")
    if stale := sum(record["stale"] for record in records):
        were = "run was" if stale == 1 else "runs were"
        terminal.say(f"{stale} {were} made by older code; `repro run` makes them again")
    for line in said_of_libraries(about):
        terminal.say(line)
    terminal.say(f"runs in {store.root}: {size(used)}")
    return 0


def last_line(folder: Path) -> str:
    """The last line of a failed run's error."""
    lines = (folder / "error.txt").read_text().strip().splitlines()
    return lines[-1] if lines else "no message"


def disk_use(root: Path) -> int:
    """Bytes in the files below `root`."""
    return sum(_sizes(root))


def _sizes(root: Path) -> Iterator[int]:
    for path in root.rglob("*"):
        try:
            if path.is_file() and not path.is_symlink():
                yield path.stat().st_size
        except FileNotFoundError:  # a run that is being made
            continue
