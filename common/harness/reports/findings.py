"""What the finished runs of a preset say about the claims of a paper."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.harness.runs.plan import RunSpec
from common.harness.runs.provenance import said_of_libraries
from common.harness.runs.store import Store
from common.harness.studies.claims import Claim, Judgement, Quantity, judge, judge_all
from common.harness.studies.criteria import younger
from common.harness.studies.paper import Paper
from common.harness.studies.wording import duration

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Variation:
    """What one's own runs have otherwise than the preset; false where they are the preset's own."""

    seeds: Sequence[int] | None = None
    only: Sequence[str] | None = None
    """Names of experiments."""
    fields: Mapping[str, str] = field(default_factory=dict)
    """Fields of configs, as texts."""

    def __bool__(self) -> bool:
        return self.seeds is not None or self.only is not None or bool(self.fields)

    def as_options(self) -> str:
        """As one types it after `repro run foo`: ' --seeds 0..9 --steps 18'; empty for the preset itself."""
        options = [] if self.seeds is None else ["--seeds", _worded(self.seeds)]
        options += [] if self.only is None else ["--only", ",".join(self.only)]
        options += [word for name, text in self.fields.items() for word in (f"--{name.replace('_', '-')}", text)]
        return f" {shlex.join(options)}" if options else ""

    def as_record(self) -> dict[str, Any]:
        """As `provenance.json` has it."""
        chosen = {"seeds": self.seeds, "only": self.only}
        return {**{name: list(each) for name, each in chosen.items() if each is not None}, "fields": dict(self.fields)}


def _worded(seeds: Sequence[int]) -> str:
    first, last = min(seeds), max(seeds)
    whole = len(seeds) > 1 and list(seeds) == list(range(first, last + 1))
    return f"{first}..{last}" if whole else ",".join(map(str, seeds))


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
    variation: Variation = field(default_factory=Variation)
    left_out: Mapping[str, str] = field(default_factory=dict)
    """Of a variation: the claims that cannot be judged on it, and why."""
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
        """That makes the runs."""
        return f"repro run {self.paper.slug} --preset {self.preset}{self.variation.as_options()}"

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
    def younger(self) -> set[tuple[str, str]]:
        """Claim and quantity, where the criterion is not the one that each run stored when it was made."""
        return {
            (judgement.claim.id, measurement.quantity.name)
            for judgement in self.judgements
            for measurement in judgement.measurements
            if younger(judgement.claim, measurement.quantity, self._stored(measurement.quantity))
        }

    @property
    def of_unknown_age(self) -> list[str]:
        """The claims that rest on runs which stored no criteria: those made before runs did."""
        return [
            judgement.claim.id
            for judgement in self.judgements
            if any(None in self._stored(measurement.quantity) for measurement in judgement.measurements)
        ]

    def _stored(self, quantity: Quantity) -> list[Mapping[str, str] | None]:
        """The criteria that each run behind `quantity` was made under."""
        runs = [spec for spec in self.finished if spec.asked and spec.experiment == quantity.experiment.name]
        return [self.about[spec.address].get("criteria") for spec in runs]

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


def collect(
    paper: Paper, preset: str, specs: Sequence[RunSpec], store: Store, variation: Variation | None = None
) -> Findings:
    """Read the finished runs among `specs` and judge the claims of `preset` on them.

    The runs of a `variation` may lack what a claim picks: such a claim is left out.
    """
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
    of_runs: dict[str, Any] = {
        "about": {spec.address: store.record(spec) for spec in finished},
        "stale": list(dict.fromkeys(spec.experiment for spec in finished if store.stale(spec))),
        "refused": [spec for spec in missing if store.stale(spec)],
    }
    if not variation:
        judgements, left_out = judge_all(paper.claims, preset, tables), dict[str, str]()
    else:
        judgements, left_out = _judge_what_is_there(paper.claims, preset, tables)
    return Findings(
        paper,
        preset,
        finished,
        missing,
        tables,
        judgements,
        variation=variation or Variation(),
        left_out=left_out,
        **of_runs,
    )


def _judge_what_is_there(
    claims: Sequence[Claim], preset: str, tables: Mapping[str, pd.DataFrame]
) -> tuple[list[Judgement], dict[str, str]]:
    judged, left_out = [], {}
    for claim in claims:
        if preset not in claim.presets:
            continue
        if not {quantity.experiment.name for quantity in claim.quantities} <= tables.keys():
            left_out[claim.id] = "not run"
            continue
        try:
            judged.append(judge(claim, tables))
        except Exception as error:
            # A measure is written for the grid of the preset. On another it may find nothing, in ways of its own.
            left_out[claim.id] = " ".join(str(error).split()) or type(error).__name__
    return judged, left_out


def report_command(findings: Findings, into: str = "FOLDER") -> str:
    """That writes the report: into reports/, or a variation's into a folder of one's own."""
    command = f"repro report {findings.paper.slug} --preset {findings.preset}{findings.variation.as_options()}"
    return f"{command} --into {into}" if findings.variation else command


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
