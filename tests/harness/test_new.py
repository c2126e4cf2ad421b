"""`repro new`: everything it writes runs and passes at once, and it refuses to write over anything."""

import re
from pathlib import Path

import pytest
from trees import ROOT, files, make_tree, python, repro, session

from common.harness.cli.new import create, parse_name, with_nav_entry
from common.harness.studies.errors import UsageError

NEW = ("new", "week11-foo", "--title", "Foo: a study", "--arxiv", "2401.01234")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tree = make_tree(tmp_path_factory.mktemp("tree"))
    before = files(tree)
    made = repro(tree, *NEW, cold=True)
    assert made.returncode == 0, made.stdout + made.stderr
    said = made.stdout.splitlines()
    told = {line.removeprefix("wrote").strip() for line in said if line.startswith("wrote ")}
    new = {path for path in files(tree) - before if (tree / path).is_file()}
    changed = {"mkdocs.yml", "reports/results.md", "reports/index.json"}
    assert {path for path in new if not path.startswith("runs/")} | changed == told, "every file is told"
    assert any(re.fullmatch(r"ran +20 runs of the quick preset, kept in runs/foo", line) for line in said)
    assert made.stderr == "", "no line for every run"
    return tree


def test_it_writes_package_page_test_and_nav_entry(tree: Path) -> None:
    modules = ("__init__", "paper", "published", "estimator", "studies/convergence")
    wanted = {f"papers/foo/{name}.py" for name in modules}
    assert wanted | {"docs/weeks/11-foo.md", "tests/papers/foo/test_foo.py"} <= files(tree)
    assert "- W11 Foo: weeks/11-foo.md" in (tree / "mkdocs.yml").read_text()
    assert {"reports/foo/glance.md", "reports/foo/quick/convergence.md"} <= files(tree)


def test_the_new_paper_is_listed_and_its_claim_holds(tree: Path) -> None:
    listed = repro(tree, "list", "--json")  # a table of 80 columns may break a title over lines
    assert "Foo: a study" in listed.stdout
    assert "1 holds" in " ".join(repro(tree, "list").stdout.split())


def test_its_test_passes(tree: Path) -> None:
    tested = python(tree, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/papers/foo")
    assert tested.returncode == 0, tested.stdout
    assert "5 passed" in tested.stdout


def test_it_keeps_the_rules_of_the_house(tree: Path) -> None:
    for command in (("check",), ("format", "--check")):
        checked = python(tree, "-m", "ruff", *command, "--no-cache", "papers/foo", "tests", cold=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.slow
def test_its_types_are_right(tree: Path) -> None:
    types = ("mypy", "--cache-dir", str(tree / "mypy"), "papers/foo", "tests/papers/foo")
    typed = python(tree, "-m", *types, cold=True)
    assert typed.returncode == 0, typed.stdout


@pytest.mark.slow
def test_the_site_builds_with_its_page(tree: Path) -> None:
    built = repro(tree, "site")
    assert built.returncode == 0, built.stdout + built.stderr
    page = (tree / "site" / "weeks" / "11-foo" / "index.html").read_text()
    assert "error-against-n.svg" in page
    assert 'class="verdict holds"' in page


def test_check_passes_and_a_planted_fault_fails(tree: Path) -> None:
    method = tree / "papers" / "foo" / "estimator.py"
    honest = method.read_text()
    wrong = honest.replace("x.mean(dim=-1)", "x[..., : x.shape[-1] // 4 + 2].mean(dim=-1)")
    assert wrong != honest
    assert repro(tree, "check", "foo", "--workers", "0").returncode == 0
    try:
        method.write_text(wrong)
        found = repro(tree, "check", "foo", "--workers", "0")
    finally:
        method.write_text(honest)
    assert found.returncode == 1
    assert "FAILED" in found.stdout


@pytest.mark.parametrize(
    "name", ["foo", "week-foo", "week11-Foo", "week11-1foo", "week11-import", "week11-a/b", "week11-"]
)
def test_names_that_are_no_package_are_refused(name: str) -> None:
    with pytest.raises(UsageError, match="week11-foo"):
        parse_name(name)


def test_bad_input_is_one_line_and_nothing_is_written(tree: Path) -> None:
    bar = ["new", "week12-bar", "--title", "Bar", "--arxiv", "2401.01234"]
    wrong = ([*bar, "--arxiv", "240101234"], [*bar, "--arxiv", "2401.01234v2"], [*bar, "--title", ""])
    answers = session(tree, NEW, *wrong)
    messages = ("papers/foo is there already", "not an arXiv number", "without a version", "--title")
    for answer, message in zip(answers, messages, strict=True):
        assert (answer.code, len(answer.err.splitlines()), answer.written) == (2, 1, [])
        assert message in answer.err


def test_nothing_is_written_where_the_nav_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "mkdocs.yml").write_text("nav:\n  - Home: index.md\n")
    with pytest.raises(UsageError, match="no nav entry"):
        create(tmp_path, 11, "foo", "Foo", "2401.01234")
    assert files(tmp_path) == {"mkdocs.yml"}


def test_nav_entries_stay_in_order_and_nothing_else_changes() -> None:
    text = (ROOT / "mkdocs.yml").read_text()
    made = with_nav_entry(text, 5, "W5 Foo: weeks/05-foo.md").splitlines()
    place = next(number for number, line in enumerate(made) if "weeks/05-foo.md" in line)
    assert "weeks/04-" in made[place - 1]
    assert "weeks/06-" in made[place + 1]
    assert made[:place] + made[place + 1 :] == text.splitlines()
