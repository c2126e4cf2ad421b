"""Regression: what a preset gives now, against the report that was committed.

A check fails where a verdict turns, or where a quantity differs both statistically (Welch's test over the values per
seed, 5 %) and by more than its floor. Claims that only one side has fail too: the report then is not of this code.
`bless` puts the new report in the old one's place.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isclose
from pathlib import Path
from typing import Any

from common.harness.runs.execute import Failure
from common.harness.runs.plan import RunSpec
from common.harness.studies.claims import Judgement, Measurement, plain
from common.harness.studies.errors import UsageError
from common.harness.studies.statistics import excess, student_t, welch

SIGNIFICANCE = 0.05
ROUNDING = 1e-6
"""Relative difference that is no difference: sums taken in another order, on another processor."""


@dataclass(frozen=True)
class Baseline:
    """A committed report: verdict by claim, values per seed by claim and quantity."""

    verdicts: Mapping[str, str]
    values: Mapping[tuple[str, str], Mapping[int, float]]


@dataclass(frozen=True)
class Change:
    """One line of the comparison: a claim's verdict, one of its quantities, or a run."""

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
    try:
        records = json.loads((folder / "claims.json").read_text())
        values: dict[tuple[str, str], dict[int, float]] = {}
        with (folder / "values.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                values.setdefault((row["claim"], row["quantity"]), {})[int(row["seed"])] = float(row["value"])
        return Baseline({record["id"]: record["verdict"] for record in records}, values)
    except FileNotFoundError as error:
        raise UsageError(f"no committed report at {folder}; `repro bless` makes one") from error
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"the committed report at {folder} cannot be read ({error}); restore it from git") from error


def recorded_failures(folder: Path) -> set[str]:
    """The claims that the report in `folder` itself says fail: findings, published as such. None without a report."""
    if not (folder / "claims.json").exists():
        return set()
    return {claim for claim, verdict in read_baseline(folder).verdicts.items() if verdict == "fails"}


def unmade(missing: Sequence[RunSpec], failed: Sequence[Failure]) -> list[Change]:
    """A line that fails for every run that raised, or is not there. No claim need read it: it was asked for."""
    why = {spec.address: (spec, "not run") for spec in missing}
    why |= {failure.spec.address: (failure.spec, failure.message) for failure in failed}
    return [Change(None, str(spec), "–", "failed", True, message) for spec, message in why.values()]


def compare(judgements: Sequence[Judgement], baseline: Baseline) -> list[Change]:
    """Every verdict and every quantity, before and now, with what fails and why."""
    changes = []
    for judgement in judgements:
        claim = judgement.claim.id
        before = baseline.verdicts.get(claim)
        turned = before != judgement.verdict
        why = "" if not turned else "not in the committed report" if before is None else "the verdict turned"
        changes.append(Change(claim, "verdict", before or "–", judgement.verdict, turned, why))
        changes += [
            _compare_quantity(claim, measurement, baseline.values.get((claim, measurement.quantity.name), {}))
            for measurement in judgement.measurements
        ]
    current = {judgement.claim.id for judgement in judgements}
    changes += [
        Change(claim, "verdict", verdict, "–", True, "no longer claimed")
        for claim, verdict in baseline.verdicts.items()
        if claim not in current
    ]
    return changes


def _compare_quantity(claim: str, now: Measurement, before: Mapping[int, float]) -> Change:
    quantity = now.quantity
    was = student_t(list(before.values()), quantity.scale, quantity.deterministic)
    texts = (_text(was.mean, was.n), _text(now.estimate.mean, now.estimate.n))
    if not before or not now.values:
        gone = bool(before) != bool(now.values)
        return Change(claim, quantity.name, *texts, failed=gone, why="measured on one side only" if gone else "")
    if excess(was.mean, now.estimate.mean, quantity.scale, _floor(quantity.floor, was.mean, quantity.scale)) <= 0:
        moved = before.keys() != now.values.keys() or any(
            not isclose(value, now.values[seed], rel_tol=ROUNDING) for seed, value in before.items()
        )
        return Change(claim, quantity.name, *texts, failed=False, why="within its floor" if moved else "")
    p = welch(*(_on_scale(values, quantity.scale) for values in (list(before.values()), list(now.values.values()))))
    if p >= SIGNIFICANCE:
        return Change(claim, quantity.name, *texts, failed=False, why=f"within the spread of seeds (p = {p:.2g})")
    return Change(claim, quantity.name, *texts, failed=True, why=f"moved by more than its floor (p = {p:.2g})")


def _floor(floor: float, mean: float, scale: str) -> float:
    return max(floor, ROUNDING if scale == "log" else ROUNDING * abs(mean))


def _on_scale(values: Sequence[float], scale: str) -> list[float]:
    from math import log, nan

    return [log(value) if value > 0 else nan for value in values] if scale == "log" else list(values)


def _text(mean: float, n: int) -> str:
    return "not run" if n == 0 else f"{mean:.6g}" if isinstance(plain(mean), float) else str(mean)
