"""Tests see the machine that they need and no more: one thread, and none of what its user has set for other work."""

import os

# Before torch is imported anywhere, and for the processes that tests start. One thread in every test: results do not
# depend on the machine's cores, and small tensors are faster.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = "1"

# Where data and finished runs lie is wanted: what needs data is left out without, and what is run need not run again.
KEPT = {"REPRO_DATA", "REPRO_RUNS"}
# The width and colours of a terminal, a cluster that the user has joined, a repository whose hook runs the tests.
OTHERS = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "MPLBACKEND")
for variable in list(os.environ):
    if variable in OTHERS or (variable.startswith(("REPRO_", "RAY_", "GIT_")) and variable not in KEPT):
        del os.environ[variable]
