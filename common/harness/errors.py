"""The one error that is the user's to mend."""


class UsageError(Exception):
    """Bad input: its message is one line that names what was wrong and what is allowed. The CLI exits with code 2."""
