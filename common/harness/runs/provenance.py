"""What `run.json` says of how a run was made: by which command and code, on what machine. Never by whom."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "numpy", "scipy", "pandas", "scikit-learn", "pot", "ray")
COMPUTING = ("torch", "torchvision", "numpy", "scipy", "scikit-learn", "pot")
"""Those whose version may change numbers."""
TREE = Path(__file__).resolve().parents[3]
"""The working tree that this code lies in."""


def git_state(tree: Path = TREE) -> dict[str, Any] | None:
    """The commit and whether the tree differs from it; None where there is no git or no repository."""
    try:
        commit = _git(tree, "rev-parse", "HEAD")
        return {"commit": commit, "dirty": bool(_git(tree, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(tree: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=tree, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


@cache
def versions() -> Mapping[str, str]:
    """Of Python and of the packages that results may depend on, without importing them."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def other_libraries(made_with: Mapping[str, str]) -> list[str]:
    """How the libraries that compute differ today: ['torch 2.13.0 (now 2.14.1)']. A build (+cpu) is no difference."""
    now = versions()
    return [
        f"{package} {made_with[package]} (now {now.get(package, 'missing')})"
        for package in COMPUTING
        if package in made_with and _release(made_with[package]) != _release(now.get(package, ""))
    ]


def said_of_libraries(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """One line where some of the finished runs with these `run.json` were made with other libraries than today's."""
    differ = [found for record in records if (found := other_libraries(record.get("versions", {})))]
    if not differ:
        return []
    which = ", ".join(sorted({each for found in differ for each in found}))
    were = "run was" if len(differ) == 1 else "runs were"
    return [f"{len(differ)} finished {were} made with other libraries: {which}"]


def _release(version: str) -> str:
    return version.partition("+")[0]


@cache
def machine(device: str) -> Mapping[str, Any]:
    """The CPU model, its core count, the operating system, and the GPU where the run used one."""
    # The kernel's release is left out: it may bear the name of whoever built it, and says nothing of results.
    system = " ".join(filter(None, (platform.system(), platform.machine(), *platform.libc_ver())))
    about: dict[str, Any] = {"cpu": cpu_model(), "cores": os.cpu_count(), "platform": system}
    if device.startswith("cuda"):
        import torch

        about["gpu"] = torch.cuda.get_device_name(device)
    return about


@cache
def cpu_model() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


class PeakMemory:
    """The largest resident memory of this process since this object was made, in bytes.

    Linux can reset its high-water mark; elsewhere it is the peak of the whole process.
    """

    def __init__(self) -> None:
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")

    def read(self) -> int:
        try:
            lines = Path("/proc/self/status").read_text().splitlines()
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        except (OSError, StopIteration):
            import resource

            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            return peak if sys.platform == "darwin" else 1024 * peak
