"""Why a claim does not hold, in one plain sentence made from the numbers."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf, isfinite
from typing import TYPE_CHECKING

from common.harness.studies.wording import number

if TYPE_CHECKING:
    from common.harness.studies.claims import Criterion, Judgement, Measurement


def reason(judgement: Judgement) -> str:
    """The sentence, which names the quantity that decides; empty where the claim holds."""
    if judgement.verdict == "holds":
        return ""
    if all(measured.estimate.n == 0 for measured in judgement.measurements):
        return "Not run."
    return _of(judgement.deciding)


def _of(measured: Measurement) -> str:
    name, estimate, criterion = measured.quantity.name, measured.estimate, measured.quantity.criterion
    if measured.error:
        return f"{_begun(name)} could not be measured: {measured.error.rstrip('.')}."
    if estimate.n == 0:
        return f"{_begun(name)} was not run."
    if not isfinite(estimate.mean):
        finite = all(isfinite(value) for value in measured.values.values())
        return f"{_begun(name)} is not {'positive' if finite else 'finite'} in every seed; {_asked(criterion)}."
    if not estimate.has_interval:
        (mean,) = _told([estimate.mean], criterion)
        return f"{_begun(name)} is {mean} in its one seed, which leaves no interval; {_asked(criterion)}."
    if measured.verdict == "inconclusive":
        low, high = _told([estimate.low, estimate.high], criterion)
        return f"The interval of {name}, {low} to {high}, straddles {_crossed(measured)}."
    low, mean, high = _told([estimate.low, estimate.mean, estimate.high], criterion)
    spread = "" if low == high else f" ({low} to {high})"
    return f"{_begun(name)} is {mean}{spread}; {_asked(criterion)}."


def _begun(name: str) -> str:
    """A name at the beginning of a sentence. A first word of few letters may be a symbol, and stays as it is."""
    first = name.split(" ")[0]
    return name[0].upper() + name[1:] if len(first) > 3 and first.isalpha() and first.islower() else name


def _asked(criterion: Criterion) -> str:
    if criterion.lower == -inf:
        return f"at most {number(criterion.upper)} was asked"
    if criterion.upper == inf:
        return f"at least {number(criterion.lower)} was asked"
    return f"{number(criterion.lower)} to {number(criterion.upper)} was asked"


def _crossed(measured: Measurement) -> str:
    estimate, criterion = measured.estimate, measured.quantity.criterion
    return " and ".join(
        number(bound) for bound in (criterion.lower, criterion.upper) if estimate.low <= bound <= estimate.high
    )


def _told(values: Sequence[float], criterion: Criterion) -> list[str]:
    """Numbers that rise, rounded as far as they stay apart from each other and on their side of each bound."""
    for digits in range(2, 17):
        rounded = [float(f"{value:.{digits}g}") for value in values]
        words = [number(value) if digits <= 4 else f"{value:.{digits}g}" for value in rounded]
        apart = len(set(rounded)) == len(set(values))
        if apart and all(
            _side(value, bound) == _side(exact, bound)
            for value, exact in zip(rounded, values, strict=True)
            for bound in (criterion.lower, criterion.upper)
        ):
            break
    return words


def _side(value: float, bound: float) -> int:
    return (value > bound) - (value < bound)
