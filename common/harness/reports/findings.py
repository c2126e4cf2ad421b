"""What the finished runs of a preset say about the claims of a paper."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.harness.runs.plan import RunSpec
from common.harness.runs.provenance import said_of_libraries
from common.harness.runs.store import Store
from common.harness.studies.claims import Judgement, judge_all
from common.harness.studies.paper import Paper
from common.harness.studies.wording import duration

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Findings:
    """What the finished runs among `specs` say about the claims of `paper`."""

    paper: Paper
    preset: str
    finished: Sequence[RunSpec]
    missing: Sequence[RunSpec]
    tables: Mapping[str, pd.DataFrame]
    """Rows by experiment, of the seeds whose every config has run: a claim never sees half a seed."""
    judgements: Sequence[Judgement]
    about: Mapping[str, Mapping[str, Any]]
    """The `run.json` of every finished run, by address."""
    stale: Sequence[str] = ()
    """The experiments of which runs by older code were taken, as was asked for."""
    refused: Sequence[RunSpec] = ()
    """Those of `missing` that are there, made by older code."""

    @property
    def records(self) -> list[dict[str, Any]]:
        """The claims as `claims.json` has them."""
        return [judgement.as_record(self.command, self._budget(judgement)) for judgement in self.judgements]

    @property
    def command(self) -> str:
        return f"repro run {self.paper.slug} --preset {self.preset}"

    @property
    def unmeasured(self) -> list[str]:
        """The quantities whose measure could not be taken, and why."""
        return [
            f"{judgement.claim.id}: {measurement.quantity.name} could not be measured: {measurement.error}"
            for judgement in self.judgements
            for measurement in judgement.measurements
            if measurement.error
        ]

    @property
    def fingerprints(self) -> dict[str, str | None]:
        """Of the code of each experiment's runs; None where they are not all of one code."""
        found: dict[str, set[str | None]] = {}
        for spec in self.finished:
            found.setdefault(spec.experiment, set()).add(self.about[spec.address].get("fingerprint"))
        return {name: next(iter(of)) if len(of) == 1 else None for name, of in found.items()}

    @property
    def remarks(self) -> list[str]:
        """What is to be known of the runs, a line each: older code, other libraries."""
        said = said_of_libraries(self.about.values())
        if self.stale:
            said.append(f"runs by older code are taken: {', '.join(self.stale)}")
        if self.refused:
            were = "run was" if len(self.refused) == 1 else "runs were"
            said.append(f"{len(self.refused)} {were} made by older code, and not taken; --accept-stale takes them")
        return [f"{self.paper.slug} {self.preset}: {line}" for line in said]

    def _budget(self, judgement: Judgement) -> str:
        used = {measurement.quantity.experiment.name for measurement in judgement.measurements}
        runs = [spec for spec in self.finished if spec.experiment in used]
        if not runs:
            return "not run"
        seconds = sum(self.about[spec.address]["seconds"] for spec in runs)
        return f"{len(runs)} {'run' if len(runs) == 1 else 'runs'}, {duration(seconds)} in all"


def collect(paper: Paper, preset: str, specs: Sequence[RunSpec], store: Store) -> Findings:
    """Read the finished runs among `specs` and judge the claims of `preset` on them."""
    there = {spec.address for spec in specs if store.finished(spec)}
    finished = [spec for spec in specs if spec.address in there]
    # A run that is only needed by others may have been cleared away since.
    missing = [spec for spec in specs if spec.address not in there and spec.asked]
    half = {(spec.experiment, spec.seed) for spec in missing}
    whole: dict[str, list[RunSpec]] = {}
    for spec in finished:
        if spec.asked and (spec.experiment, spec.seed) not in half:
            whole.setdefault(spec.experiment, []).append(spec)
    tables = {experiment: store.table(runs) for experiment, runs in whole.items()}
    return Findings(
        paper,
        preset,
        finished,
        missing,
        tables,
        judge_all(paper.claims, preset, tables),
        about={spec.address: store.record(spec) for spec in finished},
        stale=list(dict.fromkeys(spec.experiment for spec in finished if store.stale(spec))),
        refused=[spec for spec in missing if store.stale(spec)],
    )


def is_current(findings: Findings, root: Path) -> bool:
    """Whether the report below `root` already is made of these very runs and says the same of the claims."""
    folder = root / findings.paper.slug / findings.preset
    try:
        provenance = json.loads((folder / "provenance.json").read_text())
        records = json.loads((folder / "claims.json").read_text())
    except (OSError, ValueError):
        return False
    same = provenance["addresses"] == sorted(findings.about)
    same &= provenance.get("fingerprints") == findings.fingerprints and provenance.get("stale") == list(findings.stale)
    return bool(same and records == findings.records)


def is_fuller(root: Path, findings: Findings) -> bool:
    """Whether the report below `root` lacks fewer of the preset's runs than `findings` do."""
    try:
        provenance = json.loads((root / findings.paper.slug / findings.preset / "provenance.json").read_text())
    except (OSError, ValueError):
        return False
    return bool(provenance["missing"] < len(findings.missing))
