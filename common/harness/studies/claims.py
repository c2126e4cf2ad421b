"""A claim: what the paper says, what we measured over seeds, and the verdict by a criterion stated before the run.

A claim has one or more quantities. `Quantity.measure` maps the tidy rows of an experiment to one value per seed; the
harness adds a Student-t 95 % confidence interval over seeds, compares it with the criterion, and decides:

- holds: the interval satisfies the criterion everywhere,
- fails: it violates it everywhere, or a value is not finite,
- inconclusive: it straddles the boundary (or there are fewer than two seeds where seeds differ, or it was not run).

A criterion with both bounds is an equivalence margin. It holds where the whole 95 % interval lies inside, which is the
two one-sided tests procedure (TOST) at level 2.5 %, stricter than the customary 5 % (a 90 % interval).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, nan
from typing import TYPE_CHECKING, Any, Literal

from common.harness.studies.measures import Measure, NotReached
from common.harness.studies.reasons import reason
from common.harness.studies.statistics import Estimate, Scale, student_t
from common.harness.studies.wording import LEAST

if TYPE_CHECKING:
    import pandas as pd

    from common.harness.studies.experiment import Experiment

Kind = Literal["theorem", "scaled", "ours"]
KINDS: Mapping[Kind, str] = {
    "theorem": "a closed form or an identity of the paper",
    "scaled": "the paper's experiment at our size",
    "ours": "not in the paper",
}
Verdict = Literal["holds", "fails", "inconclusive"]
VERDICTS: tuple[Verdict, ...] = ("holds", "fails", "inconclusive")


@dataclass(frozen=True)
class Criterion:
    """`lower <= value <= upper`, with the reason for its margin."""

    lower: float = -inf
    upper: float = inf
    reason: str = ""

    def __post_init__(self) -> None:
        if not self.lower <= self.upper or (self.lower, self.upper) == (-inf, inf):
            raise ValueError(
                f"a criterion needs lower <= upper and at least one of them, not {self.lower}, {self.upper}"
            )

    def __str__(self) -> str:
        if self.lower == -inf:
            return f"≤ {self.upper:.4g}"
        if self.upper == inf:
            return "> 0" if 0 < self.lower < LEAST else f"≥ {self.lower:.4g}"
        return f"{self.lower:.4g} to {self.upper:.4g}"

    def room(self, estimate: Estimate) -> float:
        """How far an interval stays from the nearest bound, as a part of the larger of the two: 0 at the bound."""
        pairs = [(estimate.low, self.lower), (estimate.high, self.upper)]
        rooms = [abs(end - bound) / (max(abs(end), abs(bound)) or 1.0) for end, bound in pairs if isfinite(bound)]
        return min(rooms)

    def judge(self, estimate: Estimate) -> Verdict:
        """The verdict for an interval: inside the criterion, outside it, or across its boundary."""
        if estimate.n == 0:
            return "inconclusive"
        if not isfinite(estimate.mean):
            return "fails"
        if not estimate.has_interval:
            return "inconclusive"
        if self.lower <= estimate.low and estimate.high <= self.upper:
            return "holds"
        if estimate.high < self.lower or estimate.low > self.upper:
            return "fails"
        return "inconclusive"


@dataclass(frozen=True)
class Quantity:
    """One number of a claim.

    `measure(table)` returns a Series indexed by seed: `table` holds the rows of `experiment` in the preset at hand,
    with the config's fields and `seed` as columns. `common.harness.studies.measures` has the usual ones.

    `scale="log"` is for ratios: geometric mean, multiplicative interval. `deterministic=True` says that no randomness
    enters, so that one seed is enough for a verdict.
    """

    name: str
    experiment: Experiment
    measure: Measure
    criterion: Criterion
    published: float | None = None
    """The paper's own number, and nothing that we derive."""
    expected: float | None = None
    """What we derive: a closed form's value, or an order that theory gives."""
    metric: str = ""
    """What is measured, where the name does not say it: "mean KL × 10³, diagonal fit"."""
    unit: str = ""
    scale: Scale = "linear"
    deterministic: bool = False
    tolerance: float | None = None
    """How far `repro check` lets the value of a seed move: by a factor of 1 + tolerance, either way. None: as far as
    the experiment says."""
    zero: float = 0.0
    """For a number that is zero but for rounding: whatever is no larger counts as zero in `repro check`."""


@dataclass(frozen=True)
class Claim:
    """One claim of a paper, in one sentence as the paper makes it, with its source (section, table, figure, theorem).

    `presets` says where it is judged: a claim that takes MNIST is not judged by `quick`.
    """

    id: str
    statement: str
    source: str
    quantities: tuple[Quantity, ...]
    presets: tuple[str, ...] = ("quick", "small")
    deviation: str = ""
    """How our set-up differs from the paper's, in one sentence."""
    kind: Kind = "scaled"
    headline: bool = False
    """Whether the paper's abstract makes it."""
    excludes: str = ""
    """The negative control: what does not meet the criterion, in words ("Euler's method", "independent pairs")."""

    def __post_init__(self) -> None:
        names = [quantity.name for quantity in self.quantities]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"claim '{self.id}' has more than one quantity named '{twice[0]}'; reports tell them by name"
            )


@dataclass(frozen=True)
class Measurement:
    """A quantity measured: its value per seed, the estimate over seeds, and its own verdict."""

    quantity: Quantity
    values: Mapping[int, float]
    estimate: Estimate
    verdict: Verdict
    error: str = ""
    """Why the measure could not be taken, if it could not."""


@dataclass(frozen=True)
class Judgement:
    """A claim judged: one measurement per quantity; the claim holds if all do, and fails if any fails."""

    claim: Claim
    measurements: tuple[Measurement, ...]

    @property
    def verdict(self) -> Verdict:
        verdicts = {measurement.verdict for measurement in self.measurements}
        if verdicts == {"holds"}:
            return "holds"
        return "fails" if "fails" in verdicts else "inconclusive"

    @property
    def deciding(self) -> Measurement:
        """The first quantity that fails, else the first that is inconclusive, else the one nearest its bound."""
        for verdict in ("fails", "inconclusive"):
            for measurement in self.measurements:
                if measurement.verdict == verdict:
                    return measurement
        return min(self.measurements, key=lambda each: each.quantity.criterion.room(each.estimate))

    @property
    def n_seeds(self) -> int:
        """The number of seeds of the quantity that has fewest."""
        return min(measurement.estimate.n for measurement in self.measurements)

    def as_record(self, command: str, budget: str) -> dict[str, Any]:
        """The claim as `claims.json` has it; with several quantities the numbers are objects by the quantity's name."""

        def each(value: Callable[[Measurement], Any]) -> Any:
            if len(self.measurements) == 1:
                return value(self.measurements[0])
            return {measurement.quantity.name: value(measurement) for measurement in self.measurements}

        return {
            "id": self.claim.id,
            "kind": self.claim.kind,
            "headline": self.claim.headline,
            "statement": self.claim.statement,
            "source": self.claim.source,
            "published": each(lambda m: m.quantity.published),
            "expected": each(lambda m: m.quantity.expected),
            "measured": each(lambda m: plain(m.estimate.mean) if m.estimate.n else None),
            "ci": each(lambda m: [m.estimate.low, m.estimate.high] if m.estimate.has_interval else None),
            "n_seeds": self.n_seeds,
            "criterion": each(lambda m: state(m.quantity.criterion)),
            "excludes": self.claim.excludes,
            "verdict": self.verdict,
            "reason": reason(self),
            "command": command,
            "budget": budget,
            "deviation": self.claim.deviation,
        }


def incomplete(claims: Sequence[Claim]) -> list[str]:
    """What claims leave out that each must say, a line each: theorems too can be met by a wrong method."""
    return [f"claim '{claim.id}' does not say what it excludes" for claim in claims if not claim.excludes.strip()]


def plain(value: float) -> float | str:
    """The number itself, or its name where JSON has none for it: 'nan', 'inf', '-inf'."""
    return value if isfinite(value) else str(value)


def state(criterion: Criterion) -> str:
    """A criterion with its reason, as one line."""
    return f"{criterion}, {criterion.reason}" if criterion.reason else str(criterion)


def judge(claim: Claim, tables: Mapping[str, pd.DataFrame]) -> Judgement:
    """Measure every quantity of `claim` on `tables` (rows by experiment) and decide.

    An experiment that has no rows is not run: its quantities have no value and are inconclusive. A measure that raises
    NotReached finds nothing to measure in the rows (a curve that never reaches its target): its value is NaN, which
    fails, and `error` says why. Any other error is a fault of the study, and is raised with the claim's name.
    """
    return Judgement(claim, tuple(_measure(claim, quantity, tables) for quantity in claim.quantities))


def judge_all(claims: Sequence[Claim], preset: str, tables: Mapping[str, pd.DataFrame]) -> list[Judgement]:
    """Judge the claims that are judged in `preset`, in the order of the card."""
    return [judge(claim, tables) for claim in claims if preset in claim.presets]


def _measure(claim: Claim, quantity: Quantity, tables: Mapping[str, pd.DataFrame]) -> Measurement:
    table = tables.get(quantity.experiment.name)
    if table is None or not len(table):
        return Measurement(quantity, {}, student_t([]), "inconclusive")
    try:
        series = quantity.measure(table)
        values = {int(seed): float(value) for seed, value in zip(series.index, series, strict=True)}
    except NotReached as error:
        return Measurement(quantity, {}, Estimate(nan, nan, nan, table["seed"].nunique()), "fails", str(error))
    except Exception as error:
        error.add_note(f"while measuring '{quantity.name}' of claim '{claim.id}' on '{quantity.experiment.name}'")
        raise
    estimate = student_t(list(values.values()), quantity.scale, quantity.deterministic)
    return Measurement(quantity, values, estimate, quantity.criterion.judge(estimate))
