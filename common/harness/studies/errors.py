"""The one error that is the user's to mend."""

from __future__ import annotations

from collections.abc import Iterable


class UsageError(Exception):
    """Bad input: its message is one line that names what was wrong and what is allowed. The CLI exits with code 2."""


def unknown(what: str, given: str, allowed: Iterable[str], where: str = "") -> UsageError:
    """The error for a name that is not one of `allowed`: "unknown preset 'quik' (perhaps you meant 'quick'); ..."."""
    names = list(allowed)
    near = nearest(given, names)
    hint = f" (perhaps you meant {near!r})" if near else ""
    place = f" {where}" if where else ""
    return UsageError(f"unknown {what} {given!r}{place}{hint}; allowed: {', '.join(names) or 'none'}")


def nearest(given: str, names: Iterable[str]) -> str | None:
    """The name that `given` may have been meant to be."""
    from difflib import get_close_matches

    return next(iter(get_close_matches(given, list(names), n=1)), None)
