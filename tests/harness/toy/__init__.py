"""A paper that is none: experiments that take no time, sleep, raise, crash or fill the disk, to try the harness on.

`means` is another: its claims have numbers, and there is a figure, for the tests of reports.
"""
