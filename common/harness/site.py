"""`repro site`: build the site with every warning an error, or serve it while it is being written."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from argparse import Namespace

from common.harness import show
from common.harness.errors import UsageError
from common.harness.workplace import ROOT


def site(options: Namespace) -> int:
    """Build into site/; with --serve, serve on this machine and rebuild on every change."""
    if importlib.util.find_spec("mkdocs") is None:
        raise UsageError("mkdocs is not installed; run `make setup`")
    if options.serve:
        return subprocess.run([sys.executable, "-m", "mkdocs", "serve"], cwd=ROOT).returncode
    code = subprocess.run([sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"], cwd=ROOT).returncode
    if code == 0:
        show.say(f"open {ROOT / 'site' / 'index.html'}")
    return int(code != 0)
