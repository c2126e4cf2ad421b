"""The one error that is the user's to mend."""

from __future__ import annotations

from collections.abc import Iterable


class UsageError(Exception):
    """Bad input: its message is one line that names what was wrong and what is allowed. The CLI exits with code 2."""


def unknown(what: str, given: str, allowed: Iterable[str]) -> UsageError:
    """The error for a name that is not one of `allowed`: "unknown preset 'quik' (perhaps you meant 'quick'); ..."."""
    from difflib import get_close_matches

    names = list(allowed)
    near = get_close_matches(given, names, n=1)
    hint = f" (perhaps you meant {near[0]!r})" if near else ""
    return UsageError(f"unknown {what} {given!r}{hint}; allowed: {', '.join(names) or 'none'}")
