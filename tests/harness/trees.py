"""A working tree of its own with one new paper in it, for the tests of whole commands."""

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]


def make_tree(folder: Path) -> Path:
    """Copy what the command needs into `folder`."""
    # On its first day on a machine matplotlib looks for fonts, and says so on standard error if that takes long.
    import matplotlib.font_manager  # noqa: F401

    for name in ("common", "papers", "docs", "reports"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("mkdocs.yml", "pyproject.toml", "requirements.lock"):
        shutil.copy(ROOT / name, folder)
    return folder


@cache
def warm() -> list[str]:
    """What a command begins with to be a process that has the slow libraries already (`warm.py`), not Python's own."""
    program, folder = str(Path(__file__).with_name("warm.py")), tempfile.mkdtemp(prefix="warm-")
    atexit.register(shutil.rmtree, folder)
    server = subprocess.Popen(
        [sys.executable, program, "serve", f"{folder}/door"],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        stdin=subprocess.PIPE,  # ends with this process, and the server with it
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "open\n"
    return [sys.executable, "-I", "-S", program, "enter", f"{folder}/door"]


def python(
    tree: Path, *arguments: str, said: str = "", cold: bool = False, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run Python in `tree`, with the tree's own packages before the installed ones; `said` is its standard input.

    A `cold` process is Python's own from the start.
    """
    clean = {name: value for name, value in os.environ.items() if not name.startswith("REPRO_")}
    return subprocess.run(
        [*([sys.executable] if cold else warm()), *arguments],
        cwd=tree,
        env={**clean, "OMP_NUM_THREADS": "1", "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(tree), **environment},
        input=said,
        capture_output=True,
        text=True,
        timeout=300,
    )


def repro(tree: Path, *arguments: str, cold: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `repro` in `tree`."""
    return python(tree, "-m", "common.harness.cli", *arguments, cold=cold, **environment)


class Answer(NamedTuple):
    """What a command did."""

    code: int
    out: str
    err: str
    written: list[str]


SESSION = """
import contextlib, io, json, sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from common.harness.cli.main import main
from trees import files
answers = []
for arguments in json.load(sys.stdin):
    before, out, err = files(Path.cwd()), io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(arguments)
    answers.append((code, out.getvalue(), err.getvalue(), sorted(files(Path.cwd()) - before)))
json.dump(answers, sys.stdout)
"""


def session(tree: Path, *commands: Sequence[str], cold: bool = False, **environment: str) -> list[Answer]:
    """Run `repro` commands one after another in one process in `tree`."""
    path = os.pathsep.join((str(tree), str(Path(__file__).parent)))
    done = python(tree, "-c", SESSION, said=json.dumps(commands), cold=cold, **{"PYTHONPATH": path, **environment})
    assert done.returncode == 0, done.stderr
    return [Answer(*answer) for answer in json.loads(done.stdout)]


def files(tree: Path) -> set[str]:
    """Every file and folder below `tree` but compiled ones."""
    return {str(path.relative_to(tree)) for path in tree.rglob("*") if "__pycache__" not in path.parts}
