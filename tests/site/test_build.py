"""The site builds strict, asks for nothing elsewhere, and every link and anchor in it leads somewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections import Counter
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag

import pytest

if TYPE_CHECKING:
    from tests.site.conftest import Build

ROOT = Path(__file__).parents[2]
ZENSICAL = shutil.which("zensical")
FETCHED = {"src", "srcset", "poster", "data"}
"""Attributes whose address a browser fetches by itself; `href` is fetched in <link> only."""
INVISIBLE = {*range(0x20), 0xA0, 0xAD, 0x200B, *range(0x2061, 0x2065), 0xFE00}
"""Spaces, line ends, and what formulas have for screen readers or to choose a letter's variant."""
HARMLESS_LINKS = {"canonical", "prev", "next"}


class _Addresses(HTMLParser):
    """The addresses of a page: what it fetches, what it links to, and the anchors that it offers."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.linked: list[str] = []
        self.ids: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        self.ids += [values["id"]] if "id" in values else []
        self.fetched += [value for name, value in values.items() if name in FETCHED]
        if "href" in values and (tag != "link" or values.get("rel") in HARMLESS_LINKS):
            self.linked.append(values["href"])
        elif "href" in values:
            self.fetched.append(values["href"])
        self.fetched += re.findall(r"url\(['\"]?([^'\")]+)", values.get("style", ""))


@pytest.fixture(scope="module")
def pages(build: Build) -> dict[str, _Addresses]:
    return {name: _Addresses((build.folder / name).read_text(encoding="utf-8")) for name in build.pages()}


def test_builds_strict(build: Build) -> None:
    assert build.code == 0, build.output
    assert "weeks/01-edm/index.html" in build.pages()


@pytest.mark.skipif(ZENSICAL is None, reason="zensical, the successor of MkDocs, is not installed")
def test_the_successor_of_the_builder_builds_the_same(build: Build, tmp_path: Path) -> None:
    """As many formulas, figures, tables, verdicts, tabs and anchors on every page, from the same configuration."""
    for name in ("docs", "reports", "common"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    assert ZENSICAL is not None
    done = subprocess.run(
        [ZENSICAL, "build", "--strict"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ours = {name: _parts(build.folder / name) for name in build.pages()}
    theirs = {name: _parts(tmp_path / "site" / name) for name in ours if (tmp_path / "site" / name).exists()}
    assert {name: parts for name, parts in theirs.items() if name != "404.html"} == {
        name: parts for name, parts in ours.items() if name != "404.html"
    }


def _parts(page: Path) -> Counter[str]:
    """What the article of a page is made of."""
    found = re.search(r"(?s)<article.*?</article>", page.read_text(encoding="utf-8"))
    text = found.group(0) if found else ""
    marks = ("<math", "<img", "<figure", "<table", "<tr", "tabbed-block", 'class="verdict')
    return Counter({mark: text.count(mark) for mark in marks}) + Counter(re.findall(r'<h\d id="[^"]*"', text))


def test_pages_and_styles_fetch_nothing_elsewhere(build: Build, pages: dict[str, _Addresses]) -> None:
    elsewhere = [f"{name}: {url}" for name, page in pages.items() for url in page.fetched if _external(url)]
    for style in build.folder.rglob("*.css"):
        urls = re.findall(r"(?:url\(\s*|@import\s+)['\"]?([^'\")\s]+)", style.read_text(encoding="utf-8"))
        elsewhere += [f"{style.name}: {url}" for url in urls if _external(url)]
    assert elsewhere == []


def test_scripts_name_no_address_that_they_could_fetch(build: Build, pages: dict[str, _Addresses]) -> None:
    ours = [path for path in build.folder.rglob("*.js") if "assets" not in path.relative_to(build.folder).parts]
    assert ours
    named = {str(path): re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]{2,}", path.read_text("utf-8")) for path in ours}
    assert {path: found for path, found in named.items() if found} == {}
    # The theme's own script holds two addresses: of diagrams and of a repository's stars. Neither is used by any page.
    for name in pages:
        text = (build.folder / name).read_text(encoding="utf-8")
        assert 'class="mermaid"' not in text, name
        assert 'data-md-component="source"' not in text, name


def test_an_id_names_one_place(pages: dict[str, _Addresses]) -> None:
    """A link to an id that two places have leads to the first of them, which may be a figure instead of a section."""
    twice = {name: [key for key, n in Counter(page.ids).items() if n > 1] for name, page in pages.items()}
    assert {name: ids for name, ids in twice.items() if ids} == {}


def test_every_internal_link_and_anchor_leads_somewhere(build: Build, pages: dict[str, _Addresses]) -> None:
    broken = []
    for name, page in pages.items():
        for url in page.linked + page.fetched:
            if _external(url) or url.startswith(("mailto:", "data:", "javascript:")):
                continue
            path, anchor = urldefrag(url)
            target = _resolve(build.folder, name, unquote(path))
            if target is None:
                broken.append(f"{name}: {url}")
                continue
            inside = pages.get(str(target.relative_to(build.folder)))
            if anchor and inside and unquote(anchor) not in inside.anchors:
                broken.append(f"{name}: {url} (no such anchor)")
    assert broken == []


def test_the_fonts_have_every_character_that_pages_use(build: Build) -> None:
    """A character without a glyph is drawn in some other font of the reader's machine, or as a box.

    The reference is left out: it shows docstrings, whatever letters they use.
    """
    from fontTools.ttLib import TTFont

    fonts = build.folder / "generated" / "fonts"
    has = {name: set(TTFont(fonts / f"{name}.woff").getBestCmap()) for name in ("text", "text-italic", "math")}
    has = {"math": has["math"], "text": has["text"] & has["text-italic"] | has["math"]}
    lacking = set()
    for name in (page for page in build.pages() if not page.startswith("reference/")):
        page = re.sub(r"(?s)<(script|style|head|svg)\b.*?</\1>", "", (build.folder / name).read_text(encoding="utf-8"))
        formulas = "".join(re.findall(r"(?s)<math.*?</math>", page))
        prose = re.sub(r"(?s)<(math|pre|code)\b.*?</\1>", "", page)
        for font, text in (("math", formulas), ("text", prose)):
            used = set(map(ord, unescape(re.sub(r"<[^>]*>", "", text)))) - INVISIBLE
            lacking |= {f"{font}: {chr(code)!r} U+{code:04X}, {name}" for code in used - has[font]}
    assert "\n".join(sorted(lacking)) == ""


def _external(url: str) -> bool:
    return re.match(r"(?:[a-z][a-z0-9+.-]*:)?//", url, re.IGNORECASE) is not None


def _resolve(site: Path, page: str, path: str) -> Path | None:
    """The file that `path`, as written on `page`, is served from; None where there is none."""
    if not path:
        return site / page
    target = (site / path.lstrip("/") if path.startswith("/") else (site / page).parent / path).resolve()
    target = target / "index.html" if target.is_dir() else target
    return target if target.is_file() and target.is_relative_to(site.resolve()) else None
