"""How numbers and times are worded for people, the same on a terminal and on a page.

At most four significant digits; whole numbers up to 100 000 in full. No exponent from 0.001 to 100 000, and a power of
ten beyond: 5.6 × 10⁻¹⁶. Thousands are set apart by a space that does not break, from 10 000 on.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import floor, inf, isfinite, log10

SMALL, LARGE = 1e-3, 1e5
"""Below and from here on a number is written with a power of ten."""
ZERO = 1e-12
"""What is smaller than this in every end of its interval is zero but for rounding."""
SHOWN = 5e-6
"""An interval narrower than this share of its value is not shown: nobody reads the seventh digit."""
SKEW = 0.02
"""An interval whose sides differ by more than this share of its width is given by its ends."""
WORDS = {"nan": "not measured", "inf": "infinite", "-inf": "minus infinite"}
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_TIMES = "\u00a0×\u00a0"


LEAST = 1e-300
"""Below it a bound is the number next to 0: what must be above it must be above 0."""


def number(value: float | str | None) -> str:
    """'2.85', '8192', '12 350', '5.6 × 10⁻¹⁶'; '–' for no value; words for what is not finite."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return WORDS.get(value, value)
    if not isfinite(value):
        return WORDS[str(value)]
    size = abs(float(f"{value:.3e}"))
    if size < LEAST:
        return "0"
    if SMALL <= size < LARGE:
        digits = 3 - floor(log10(size))
        text = _fixed(value, 0) if value == round(value) else _fixed(value, digits)
        return _trimmed(text)
    mantissa, _, exponent = f"{value:.{1 if size < SMALL else 3}e}".partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".").replace("-", "−")
    return _power(int(exponent)) if mantissa == "1" else f"{mantissa}{_TIMES}{_power(int(exponent))}"


def interval(measured: float | str | None, ci: Sequence[float] | None) -> str:
    """'2.012 ± 0.034', rounded to two digits of the half-width; '2.1 (0.48 to 4.4)' where the interval is skew.

    A value that is known, or known better than anyone reads, stands alone; what is zero but for rounding is
    '0 (< 10⁻¹⁵)'.
    """
    if measured is None:
        return "not run"
    if isinstance(measured, str) or not isfinite(measured):
        return number(measured)
    if ci is None:
        return f"{number(measured)} (one seed)"
    low, high = ci
    largest, half = max(abs(measured), abs(low), abs(high)), (high - low) / 2
    if largest < ZERO:
        return "0" if largest == 0 else f"0 (< {_power(floor(log10(largest)) + 1)})"
    if half <= SHOWN * abs(measured):
        return number(measured)
    if not isfinite(half) or abs((high - measured) - (measured - low)) > SKEW * 2 * half:
        places = _places(half) if isfinite(half) else 0
        return f"{_end(measured, places)} ({_end(low, places)} to {_end(high, places)})"
    if SMALL <= largest < LARGE:
        return f"{_fixed(measured, _places(half))} ± {_fixed(half, _places(half))}"
    exponent = floor(log10(largest))
    scaled, width = measured / 10.0**exponent, half / 10.0**exponent
    return f"({_fixed(scaled, _places(width))} ± {_fixed(width, _places(width))}){_TIMES}{_power(exponent)}"


def criterion(lower: float, upper: float) -> str:
    """'≤ 0.01', '≥ 1', '0.48 to 4.4': two bounds are rounded to two digits of half their distance."""
    if lower == -inf:
        return f"≤ {number(upper)}"
    if upper == inf:
        return f"{'>' if 0 < lower < LEAST else '≥'} {number(lower)}"
    if lower == upper:
        return f"= {number(lower)}"
    places = _places((upper - lower) / 2)
    return " to ".join(_trimmed(_end(bound, places)) for bound in (lower, upper))


def _end(value: float, places: int) -> str:
    """One end of an interval: two significant digits at least."""
    if value == 0 or not SMALL <= abs(value) < LARGE:
        return number(value)
    return _fixed(value, max(places, _places(abs(value))))


def _places(width: float) -> int:
    """The decimals that two significant digits of `width` take; negative for tens and hundreds."""
    return 1 - floor(log10(float(f"{width:.1e}")))


def _fixed(value: float, places: int) -> str:
    text = f"{abs(round(value, places)):.{max(places, 0)}f}"
    whole, dot, decimals = text.partition(".")
    if len(whole) > 4:
        whole = f"{int(whole):,}".replace(",", "\u00a0")
    return ("−" if value < 0 and float(text) else "") + whole + dot + decimals


def _trimmed(text: str) -> str:
    return text.rstrip("0").rstrip(".") if "." in text and "×" not in text else text


def _power(exponent: int) -> str:
    return f"10{str(exponent).translate(_SUPERSCRIPTS)}"


def duration(seconds: float) -> str:
    """'0.4 s', '42 s', '7 min', '3.5 h'."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if seconds < 99.5 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"


def size(count: float) -> str:
    """Bytes in the unit that suits: '12 kB', '3.4 MB'."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit in ("B", "kB") else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
