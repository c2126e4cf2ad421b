"""How numbers and times are worded, the same on a terminal and on a page."""

from __future__ import annotations

from math import floor, isfinite, log10


def number(value: float | str | None) -> str:
    """Four significant digits; '–' for no value; the name of what is not finite."""
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    return f"{value:.4g}" if isfinite(value) else str(value)


def interval(measured: float | str | None, ci: list[float] | None) -> str:
    """'2.012 ± 0.034', rounded to two digits of the half-width; '7.1 (5.2 to 9.4)' where the interval is skew."""
    if measured is None:
        return "not run"
    if isinstance(measured, str):
        return measured
    if ci is None:
        return f"{number(measured)} (one seed)"
    low, high = ci
    above, below = high - measured, measured - low
    if not (isfinite(low) and isfinite(high)) or abs(above - below) > 0.02 * (above + below):
        return f"{measured:.3g} ({low:.3g} to {high:.3g})"
    if above == 0:
        return f"{number(measured)} ± 0"
    decimals = 1 - floor(log10(above))
    if decimals > 6 or decimals < -3:
        return f"{measured:.4g} ± {above:.2g}"
    places = max(decimals, 0)
    return f"{measured:.{places}f} ± {above:.{places}f}"


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
