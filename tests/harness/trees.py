"""A working tree of its own with one new paper in it, for the tests of whole commands."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def make_tree(folder: Path) -> Path:
    """Copy what the command needs into `folder`, without any paper."""
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "common", folder / "common", ignore=ignore)
    (folder / "papers").mkdir()
    shutil.copy(ROOT / "papers" / "__init__.py", folder / "papers")
    shutil.copytree(ROOT / "docs", folder / "docs", symlinks=True, ignore=ignore)
    (folder / "reports").mkdir()
    for name in ("mkdocs.yml", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    return folder


def python(tree: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python in `tree`, with the tree's own packages before the installed ones."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("REPRO_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=tree,
        env={**clean, "OMP_NUM_THREADS": "1", "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(tree), **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


def repro(tree: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `repro` in `tree`."""
    return python(tree, "-m", "common.harness.cli", *arguments, **environment)


def files(tree: Path) -> set[str]:
    """Every file below `tree` but compiled ones."""
    return {
        str(path.relative_to(tree)) for path in tree.rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
