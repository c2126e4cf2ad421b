"""`repro doctor`: what this machine has, what is wrong with it, and what to do about it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from common.harness.cli.workplace import REPORTS, ROOT, runs_folder
from common.harness.runs import terminal
from common.harness.studies.wording import size

State = Literal["ok", "note", "wrong"]
NEEDED_DISK = 5e9


@dataclass(frozen=True)
class Finding:
    """One thing looked at: 'wrong' stops something from working, a 'note' is good to know."""

    what: str
    state: State
    found: str
    do: str = ""


def doctor(options: Namespace) -> int:
    """Print all findings; 1 where something is wrong."""
    findings = [look() for look in LOOKS]
    if options.json:
        terminal.as_json([vars(finding) for finding in findings])
    else:
        terminal.table(("", "Found", "", "What to do"), [(f.what, f.found, f.state, f.do) for f in findings])
    return int(any(finding.state == "wrong" for finding in findings))


def _python() -> Finding:
    return Finding("Python", "ok", f"{platform.python_version()} in {sys.prefix}")


def _packages() -> Finding:
    from packaging.requirements import Requirement

    locked = [Requirement(line) for line in _lock() if line.strip() and not line.startswith((" ", "#"))]
    here = [package for package in locked if package.marker is None or package.marker.evaluate()]
    found = {package.name: _installed(package.name) for package in here}
    # '==2.14.1' takes 2.14.1+cpu too.
    wrong = [
        package.name
        for package in here
        if (version := found[package.name]) is None or not package.specifier.contains(version, prereleases=True)
    ]
    if wrong:
        names = ", ".join(wrong[:4]) + (f" and {len(wrong) - 4} more" if len(wrong) > 4 else "")
        return Finding("Packages", "wrong", f"not as locked: {names}", "run `make setup`")
    return Finding("Packages", "ok", "as requirements.lock has them")


def _lock() -> list[str]:
    try:
        return (ROOT / "requirements.lock").read_text().splitlines()
    except FileNotFoundError:
        return []


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("torch", "wrong", str(error), "run `make setup`")
    return Finding("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads, {os.cpu_count()} cores")


def _gpu() -> Finding:
    try:
        import torch
    except ImportError:
        return Finding("GPU", "note", "not looked for without torch", "see torch")
    if not torch.cuda.is_available():
        return Finding("GPU", "note", "none that torch can use", "nothing, unless you want the gpu preset")
    names = ", ".join(torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count()))
    return Finding("GPU", "ok", names, "add --device cuda")


def _ray() -> Finding:
    version = _installed("ray")
    if version is None:
        return Finding("Ray", "wrong", "not installed", "run `make setup`, or use --workers 0")
    return Finding("Ray", "ok", version)


def _disk() -> Finding:
    folder = next(parent for parent in (runs_folder(), *runs_folder().parents) if parent.exists())
    free = shutil.disk_usage(folder).free
    if free < NEEDED_DISK:
        return Finding("Disk", "wrong", f"{size(free)} free at {folder}", "make room, or set REPRO_RUNS")
    return Finding("Disk", "ok", f"{size(free)} free at {folder}")


def _writable() -> Finding:
    for folder in (runs_folder(), REPORTS):
        there = next(parent for parent in (folder, *folder.parents) if parent.exists())
        if not os.access(there, os.W_OK):
            return Finding("Folders", "wrong", f"{there} is not writable", "mend its permissions, or set REPRO_RUNS")
    return Finding("Folders", "ok", f"runs {runs_folder()}, reports {REPORTS}")


def _data() -> Finding:
    named = os.environ.get("REPRO_DATA")
    if named and not Path(named).expanduser().is_dir():
        return Finding("Data", "wrong", f"REPRO_DATA={named} is no folder", "make it, or unset REPRO_DATA")
    return Finding("Data", "ok", named or "downloaded when first used; `quick` needs none")


def _chromium() -> Finding:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return Finding("Chromium", "ok", path)
    return Finding("Chromium", "note", "not found", "the browser tests are left out; install the package chromium")


def _git() -> Finding:
    try:
        commit = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=10
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return Finding("git", "note", "no repository here", "reports will not name their commit")
    return Finding("git", "ok", f"commit {commit}")


LOOKS: tuple[Callable[[], Finding], ...] = (
    _python,
    _packages,
    _torch,
    _gpu,
    _ray,
    _disk,
    _writable,
    _data,
    _chromium,
    _git,
)
