"""`python -m common.harness.cli`."""

import sys

from common.harness.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
