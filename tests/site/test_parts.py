"""The parts of the build: formulas to MathML, docstrings to pages, the schedule from its file and the reports."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import markdown
import pytest

from common.site.mathml import to_mathml
from common.site.prepare import copy_reports
from common.site.reference import write_reference
from common.site.schedule import write_schedule


def render(text: str) -> str:
    return markdown.markdown(text, extensions=["common.site.mathml", "tables"])


def tags(mathml: str) -> list[str]:
    return [element.tag for element in ElementTree.fromstring(mathml).iter()]


def test_aligned_lines_are_rows_of_a_table() -> None:
    found = tags(to_mathml(r"\begin{aligned} a &= b \\ &= c \end{aligned}", display=True))
    assert (found.count("mtable"), found.count("mtr")) == (1, 2)
    assert "&amp;" not in to_mathml(r"\begin{aligned} a &= b \end{aligned}", display=True)


def test_a_tag_is_shown_in_brackets() -> None:
    assert "".join(ElementTree.fromstring(to_mathml(r"x \tag{7}", display=True)).itertext()).endswith("(7)")


def test_shorthands_are_what_they_stand_for() -> None:
    assert to_mathml(r"\sdata", display=False) == to_mathml(r"\sigma_{\text{data}}", display=False)


@pytest.mark.parametrize("formula", [r"\frac{1}", r"\nosuchcommand", r"\left( x", r"x^"])
def test_a_formula_that_does_not_parse_is_named(formula: str) -> None:
    with pytest.raises(ValueError, match=r"^formula ") as raised:
        to_mathml(formula, display=False)
    assert repr(formula) in str(raised.value)


def test_where_a_dollar_is_a_formula() -> None:
    assert render("so $x$, and").count("<math") == 1
    assert '<span class="unbroken"><math>' in render("so $x$, and")
    assert render("$$\nx\n$$").startswith('<div class="formula"><math display="block">')
    for text in ("it costs $5 and $6", r"\$x\$", "`$x$`", "    $x$", "one $ alone"):
        assert "<math" not in render(text), text


def test_a_formula_survives_a_table_and_emphasis_beside_it() -> None:
    html = render("| a | b |\n|---|---|\n| $x_1*y_1$ | *so* $x_2*y_2$ |")
    assert html.count("<math") == 2
    assert "<em>so</em>" in html


def test_the_reference_shows_what_is_public(tmp_path: Path) -> None:
    package = tmp_path / "papers" / "foo"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text('"""A paper on `x_0`, for 0 < t < 1."""\n')
    (package / "method.py").write_text(
        'def step(x: Tensor, /, *, h: float = 0.5) -> Tensor:\n    """x * h for x (B, *D), a < b."""\n'
        'def _hidden() -> None:\n    """Not shown."""\n'
    )
    write_reference(tmp_path, tmp_path / "docs")
    page = render((tmp_path / "docs" / "papers.foo.md").read_text())
    assert "step(x: Tensor, /, *, h: float=0.5) -&gt; Tensor" in page
    assert "x * h for x (B, *D), a &lt; b." in page
    assert "hidden" not in page
    assert "0 &lt; t &lt; 1" in render((tmp_path / "docs" / "index.md").read_text())


def test_the_reference_has_a_page_for_every_package_however_deep(tmp_path: Path) -> None:
    for name in ("papers/foo", "papers/foo/studies", "common/harness", "common/harness/runs"):
        package = tmp_path / name
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(f'"""About {name}."""\n')
    (tmp_path / "papers" / "foo" / "studies" / "cost.py").write_text('def cost() -> int:\n    """Its cost."""\n')
    (tmp_path / "common" / "harness" / "runs" / "plan.py").write_text("class Plan:\n    n: int\n")
    write_reference(tmp_path, tmp_path / "docs")
    assert {path.stem for path in (tmp_path / "docs").iterdir()} == {
        "index",
        "papers.foo.studies",
        "common.harness.runs",
    }
    assert "Its cost." in (tmp_path / "docs" / "papers.foo.studies.md").read_text()
    index = (tmp_path / "docs" / "index.md").read_text()
    assert index.index("[`papers.foo.studies`](papers.foo.studies.md): About papers/foo/studies.") < index.index("runs")


def test_what_pages_serve_of_reports_is_copied_and_what_is_gone_goes(tmp_path: Path) -> None:
    reports, served = tmp_path / "reports", tmp_path / "served"
    figures = reports / "foo" / "quick" / "figures"
    figures.mkdir(parents=True)
    for name in ("a.svg", "b.svg"):
        (figures / name).write_text(name)
    (reports / "foo" / "glance.md").write_text("included, not served")
    (reports / "foo" / "quick" / "runs.csv").write_text("1")
    copy_reports(reports, served)
    assert {path.name for path in served.rglob("*") if path.is_file()} == {"a.svg", "b.svg", "runs.csv"}
    before = (served / "foo" / "quick" / "figures" / "a.svg").stat().st_mtime_ns
    (figures / "b.svg").unlink()
    (reports / "foo" / "quick" / "runs.csv").write_text("2")
    copy_reports(reports, served)
    assert {path.name for path in served.rglob("*") if path.is_file()} == {"a.svg", "runs.csv"}
    assert (served / "foo" / "quick" / "runs.csv").read_text() == "2"
    assert (served / "foo" / "quick" / "figures" / "a.svg").stat().st_mtime_ns == before, "an equal file is left alone"


def test_the_reference_of_a_package_that_is_gone_goes(tmp_path: Path) -> None:
    package = tmp_path / "common" / "foo"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("def f() -> None: ...\n")
    write_reference(tmp_path, tmp_path / "docs")
    assert (tmp_path / "docs" / "common.foo.md").exists()
    (package / "__init__.py").unlink()
    write_reference(tmp_path, tmp_path / "docs")
    assert not (tmp_path / "docs" / "common.foo.md").exists()


def test_the_schedule_knows_what_is_built_from_the_reports(tmp_path: Path) -> None:
    docs, reports = tmp_path / "docs", tmp_path / "reports"
    (docs / "weeks").mkdir(parents=True)
    (docs / "weeks" / "01-foo.md").touch()
    (reports / "foo").mkdir(parents=True)
    (reports / "foo" / "chips.md").write_text('<span class="verdict holds">2 hold</span>\n')
    (docs / "schedule.toml").write_text(
        '[[week]]\nnumber = 1\ndate = "02.10."\ntheme = "T"\nrecap = "Ada"\n'
        '[[week.paper]]\nslug = "foo"\ntitle = "Foo"\narxiv = "2401.00001"\n'
        '[[week]]\nnumber = 2\ndate = "09.10."\ntheme = "U"\n'
        '[[week.paper]]\nslug = "bar"\ntitle = "Bar"\narxiv = "2401.00002"\n'
    )
    write_schedule(docs / "schedule.toml", reports, docs / "generated")
    foo, bar = (docs / "generated" / "schedule.md").read_text().splitlines()[2:]
    assert "[Foo](weeks/01-foo.md)" in foo
    assert "| Ada | open |" in foo
    assert "2 hold" in foo
    assert "not yet built" not in foo
    assert "weeks/02-bar" not in bar
    assert "not yet built" in bar
