"""Regression: what a preset gives now, against the report that was committed.

A check fails where

- a run raised, or is missing;
- the grid is another: other runs, or other seeds, than the report was made from;
- a claim says otherwise: statement, source, kind, headline, what it excludes, published and expected numbers, and the
  criterion with its reason. So a bound that was loosened shows, though every verdict stays;
- a verdict turns;
- a number moves: its value of any one seed, by more than a factor of 1 + tolerance, either way. The same seed is
  compared with itself, so chance plays no part, and no statistics are needed.

Claims that only one side has fail too: the report then is not of this code. `bless` puts the new report in the old
one's place.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from common.harness.reports.lines import Record
from common.harness.runs.execute import Failure
from common.harness.runs.plan import RunSpec
from common.harness.studies.claims import Judgement, Measurement, Quantity, plain
from common.harness.studies.errors import UsageError
from common.harness.studies.statistics import student_t

TOLERANCE = 1e-4
"""Where nothing is trained: another vendor's processor moves such numbers by at most 6e-6."""
ROUNDING = 1e-6
"""A move that is not worth a line: sums taken in another order, on another processor."""
STATED = ("kind", "headline", "statement", "source", "published", "expected", "criterion", "excludes")
"""What a claim says, as against what is measured."""


@dataclass(frozen=True)
class Baseline:
    """A committed report; without arguments, none."""

    records: Mapping[str, Record] = field(default_factory=dict)
    """The claims as `claims.json` has them, by id."""
    values: Mapping[tuple[str, str], Mapping[int, float]] = field(default_factory=dict)
    """Value by seed, by claim and quantity."""
    addresses: frozenset[str] = frozenset()
    experiments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """How many `runs` and `seeds` it has of each experiment."""


@dataclass(frozen=True)
class Change:
    """One line of the comparison: a claim's verdict, what it says, one of its quantities, or the runs."""

    claim: str | None
    """None where the line is about runs."""
    what: str
    before: str
    now: str
    failed: bool
    why: str
    """Empty where nothing moved."""

    def as_record(self) -> dict[str, Any]:
        return dict(vars(self))


def read_baseline(folder: Path) -> Baseline:
    """Read a report's folder; UsageError where there is none."""
    if not (folder / "claims.json").exists():
        raise UsageError(f"no committed report at {folder}; `repro bless` makes one")
    try:
        records = {record["id"]: record for record in json.loads((folder / "claims.json").read_text())}
        if any("verdict" not in record for record in records.values()):
            raise ValueError("a claim has no verdict")
        values: dict[tuple[str, str], dict[int, float]] = {}
        with (folder / "values.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                values.setdefault((row["claim"], row["quantity"]), {})[int(row["seed"])] = float(row["value"])
        provenance = json.loads((folder / "provenance.json").read_text())
        return Baseline(records, values, frozenset(provenance["addresses"]), provenance["experiments"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"the committed report at {folder} cannot be read ({error}); restore it from git") from error


def recorded_failures(folder: Path) -> set[str]:
    """The claims that the report in `folder` itself says fail: findings, published as such. None without a report."""
    if not (folder / "claims.json").exists():
        return set()
    return {claim for claim, record in read_baseline(folder).records.items() if record["verdict"] == "fails"}


def unmade(missing: Sequence[RunSpec], failed: Sequence[Failure]) -> list[Change]:
    """A line that fails for every run that raised, or is not there. No claim need read it: it was asked for."""
    why = {spec.address: (spec, "not run") for spec in missing}
    why |= {failure.spec.address: (failure.spec, failure.message) for failure in failed}
    return [Change(None, str(spec), "–", "failed", True, message) for spec, message in why.values()]


def compare_grid(specs: Sequence[RunSpec], baseline: Baseline) -> list[Change]:
    """A line for every experiment, which fails where the runs planned today are not those of the committed report."""
    planned: dict[str, list[RunSpec]] = {}
    for spec in specs:
        planned.setdefault(spec.experiment, []).append(spec)
    changes = []
    for name in dict.fromkeys([*planned, *baseline.experiments]):
        now, committed = planned.get(name, []), baseline.experiments.get(name, {"runs": 0, "seeds": 0})
        new = [spec for spec in now if spec.address not in baseline.addresses]
        gone = committed["runs"] - (len(now) - len(new))
        parts = [f"{len(new)} of today's are not in the report, as {new[0]}"] if new else []
        parts += [f"{gone} of the report's are not planned today"] if gone else []
        before, after = _runs(committed["runs"], committed["seeds"]), _runs(len(now), len({spec.seed for spec in now}))
        changes.append(Change(None, f"runs of {name}", before, after, bool(parts), "; ".join(parts)))
    return changes


def _runs(runs: int, seeds: int) -> str:
    return f"{runs} run{'s' * (runs != 1)} of {seeds} seed{'s' * (seeds != 1)}"


def compare(judgements: Sequence[Judgement], baseline: Baseline, tolerance: float | None = None) -> list[Change]:
    """Every verdict, whatever a claim says otherwise, and every quantity, before and now, with what fails and why.

    `tolerance` replaces those of the quantities and experiments.
    """
    changes = []
    for judgement in judgements:
        claim = judgement.claim.id
        committed = baseline.records.get(claim)
        before = None if committed is None else committed["verdict"]
        turned = before != judgement.verdict
        why = "" if not turned else "not in the committed report" if before is None else "the verdict turned"
        changes.append(Change(claim, "verdict", before or "–", judgement.verdict, turned, why))
        if committed is not None:
            changes += _stated_otherwise(claim, committed, judgement.as_record("", ""))
        changes += [
            _compare_quantity(claim, measured, baseline.values.get((claim, measured.quantity.name), {}), tolerance)
            for measured in judgement.measurements
        ]
        names = {measured.quantity.name for measured in judgement.measurements}
        changes += [
            Change(claim, name, _text(list(values.values())), "–", True, "no longer measured")
            for (of, name), values in baseline.values.items()
            if of == claim and name not in names
        ]
    current = {judgement.claim.id for judgement in judgements}
    changes += [
        Change(claim, "verdict", record["verdict"], "–", True, "no longer claimed")
        for claim, record in baseline.records.items()
        if claim not in current
    ]
    return changes


def _stated_otherwise(claim: str, before: Record, now: Record) -> Iterator[Change]:
    for key in STATED:
        for name, was, says in _parts(before.get(key), now[key]):
            if was != says and _shown(was) != _shown(says):
                what = f"{key} of {name}" if name else key
                yield Change(claim, what, _shown(was), _shown(says), True, "not as in the committed report")


def _parts(before: Any, now: Any) -> Iterator[tuple[str, Any, Any]]:
    """What belongs together: by quantity where both sides have several, or one of them nothing."""
    sides = [{} if side is None else side for side in (before, now)]
    if (before or now) and all(isinstance(side, Mapping) for side in sides):
        for name in dict.fromkeys([*sides[0], *sides[1]]):
            yield name, sides[0].get(name), sides[1].get(name)
    else:
        yield "", before, now


def _shown(value: Any) -> str:
    return "–" if value in (None, "") else str(value)


def _compare_quantity(claim: str, now: Measurement, before: Mapping[int, float], tolerance: float | None) -> Change:
    def change(failed: bool, why: str) -> Change:
        was, is_now = (_text(list(values.values()), now.quantity) for values in (before, now.values))
        return Change(claim, now.quantity.name, was, is_now, failed, why)

    if bool(before) != bool(now.values):
        return change(True, "measured on one side only")
    if other := sorted(before.keys() ^ now.values.keys()):
        return change(True, f"measured on one side only in seed {', '.join(map(str, other))}")
    moves = {seed: _move(now.quantity, value, now.values[seed]) for seed, value in before.items()}
    allowed = allowance(now.quantity) if tolerance is None else tolerance
    far = [seed for seed, move in moves.items() if move > allowed]
    if far:
        seed = max(far, key=lambda seed: moves[seed])
        how = f"from {before[seed]:.6g} to {now.values[seed]:.6g}"
        return change(True, f"seed {seed} moved {how}, by more than its tolerance of {allowed:g}")
    return change(False, "within its tolerance" if max(moves.values(), default=0) > ROUNDING else "")


def allowance(quantity: Quantity) -> float:
    """The tolerance of a quantity: its own, else its experiment's, else that of what is not trained."""
    for stated in (quantity.tolerance, quantity.experiment.tolerance):
        if stated is not None:
            return stated
    return TOLERANCE


def _move(quantity: Quantity, before: float, now: float) -> float:
    """The factor by which a value moved, less 1, either way; infinite where a sign turned or a side is not finite."""
    if repr(before) == repr(now) or max(abs(before), abs(now)) <= quantity.zero:
        return 0.0
    if not (isfinite(before) and isfinite(now)) or before * now <= 0:
        return float("inf")
    return max(before / now, now / before) - 1


def _text(values: Sequence[float], quantity: Quantity | None = None) -> str:
    mean = student_t(values, quantity.scale if quantity else "linear").mean
    return "not run" if not values else f"{mean:.6g}" if isinstance(plain(mean), float) else str(mean)
