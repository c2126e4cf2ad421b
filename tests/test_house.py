"""The rules of the house, kept by tools: style, types, who imports whom, and how long a module may be."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from common.harness.studies.claims import incomplete
from common.harness.studies.paper import discover

ROOT = Path(__file__).resolve().parents[1]
BIN = Path(sys.executable).parent
LONGEST = 320
LINTERS = {
    "ruff check": "ruff check .",
    "ruff format": "ruff format --check .",
    "mypy": "mypy",
    "import contracts": "lint-imports",
}


@pytest.mark.parametrize("command", LINTERS.values(), ids=LINTERS)
def test_tools_find_nothing(command: str) -> None:
    tool, *arguments = command.split()
    done = subprocess.run([BIN / tool, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hooks_of_pre_commit_are_these_tools() -> None:
    (local,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    assert local["repo"] == "local"
    assert {hook["name"]: hook["entry"] for hook in local["hooks"]} == {
        name: f".venv/bin/{command}" for name, command in LINTERS.items()
    }
    assert all((hook["language"], hook["pass_filenames"]) == ("system", False) for hook in local["hooks"])


def test_no_module_is_too_long() -> None:
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for room in ("common", "papers")
        for path in (ROOT / room).rglob("*.py")
    }
    assert {path: length for path, length in lengths.items() if length > LONGEST} == {}


def test_no_module_is_a_drawer_for_odds_and_ends() -> None:
    drawers = {"utils.py", "util.py", "helpers.py", "misc.py"}
    assert [
        path for room in ("common", "papers", "tests") for path in (ROOT / room).rglob("*.py") if path.name in drawers
    ] == []


@pytest.mark.parametrize("slug", discover())
def test_every_paper_has_the_same_skeleton(slug: str) -> None:
    paper = discover()[slug]
    package = ROOT / "papers" / slug
    assert (package / "__init__.py").read_text().startswith('"""')
    studies = {path.stem for path in (package / "studies").glob("*.py")}
    assert set(paper.studies) <= studies
    assert (ROOT / "docs" / "weeks" / f"{paper.week:02d}-{slug}.md").exists()
    assert list(paper.load()) == list(paper.studies)
    leftovers = ("experiments", "claims", "figures", "measures")
    assert [path.name for path in package.glob("*.py") if path.stem.partition("_")[0] in leftovers] == []


@pytest.mark.parametrize("slug", discover())
def test_every_claim_says_what_it_excludes(slug: str) -> None:
    assert incomplete(discover()[slug].claims) == []
