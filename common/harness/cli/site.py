"""`repro site`: build the site with every warning an error, or serve it while it is being written."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from argparse import Namespace

from common.harness.cli.workplace import ROOT
from common.harness.runs import terminal
from common.harness.studies.errors import UsageError


def site(options: Namespace) -> int:
    """Build into site/; with --serve, serve on this machine and rebuild on every change."""
    if importlib.util.find_spec("mkdocs") is None:
        raise UsageError("mkdocs is not installed; run `make setup`")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}  # the theme's advertisement of its successor
    # Not --quiet: it would keep back the warnings that --strict fails for.
    mkdocs = [sys.executable, "-m", "mkdocs"]
    if options.serve:
        # In the place of this process, so that what stops the one stops the server.
        os.chdir(ROOT)
        os.execve(sys.executable, [*mkdocs, "serve"], environment)
    code = subprocess.run([*mkdocs, "build", "--strict"], cwd=ROOT, env=environment).returncode
    if code == 0:
        terminal.say(f"open {ROOT / 'site' / 'index.html'}")
    return int(code != 0)
