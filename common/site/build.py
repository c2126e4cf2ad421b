"""The site from its sources: first what is generated, then the builder, with every warning an error."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from common.site.prepare import prepare

QUIET = {"NO_MKDOCS_2_WARNING": "1"}
"""Keeps the theme's advertisement of its successor off the terminal."""


def build(root: Path, folder: Path | None = None, *, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Build the site of the repository at `root` into `folder` (default: `root`/site); `capture` keeps what is said."""
    prepare(root)
    # Not --quiet: it would keep back the warnings that --strict fails for.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    command += ["--site-dir", str(folder)] if folder else []
    return subprocess.run(command, cwd=root, env={**os.environ, **QUIET}, capture_output=capture, text=True)


def serve(root: Path) -> None:
    """Serve the site on this machine, in the place of this process, so that what stops the one stops the server.

    Pages, styles and the tables of reports are built anew when they change. What is generated is written once: figures,
    schedule and reference are those of the start.
    """
    prepare(root)
    os.chdir(root)
    os.execve(
        sys.executable,
        [sys.executable, "-m", "mkdocs", "serve", "--watch", "reports"],
        {**os.environ, **QUIET},
    )
