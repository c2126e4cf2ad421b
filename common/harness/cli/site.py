"""`repro site`: build the site with every warning an error, or serve it while it is being written."""

from __future__ import annotations

import importlib.util
from argparse import Namespace

from common.harness.cli.workplace import ROOT
from common.harness.runs import terminal
from common.harness.studies.errors import UsageError


def site(options: Namespace) -> int:
    """Build into site/; with --serve, serve on this machine and rebuild when a page changes."""
    if importlib.util.find_spec("mkdocs") is None:
        raise UsageError("mkdocs is not installed; run `make setup`")
    from common.site.build import build, serve

    if options.serve:
        terminal.say("after a new report, or a change of schedule or docstrings, stop this and start it again")
        serve(ROOT)
    code = build(ROOT).returncode
    if code == 0:
        terminal.say(f"open {ROOT / 'site' / 'index.html'}")
    return int(code != 0)
