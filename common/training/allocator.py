"""Keeping freed memory in the process: a tenth of a CPU training step would otherwise go into page faults."""

from __future__ import annotations

import ctypes
import functools
import sys

# Names and numbers of glibc's malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3


@functools.cache
def keep_freed_memory() -> bool:
    """Ask glibc to serve activations (megabytes each) from its heap and not to return freed ones to the system.

    By default each is mapped and unmapped anew, so that every step touches tens of thousands of fresh zeroed pages. The
    process keeps the memory of its largest step until it ends. Returns whether it was done: only glibc (Linux) has it.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 2**30)) and bool(mallopt(M_TRIM_THRESHOLD, 2**31 - 1))
