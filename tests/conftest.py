"""One torch thread in every test: results do not depend on the machine's cores, and small tensors are faster."""

import os

# Before torch is imported anywhere, and for the processes that tests start.
for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
