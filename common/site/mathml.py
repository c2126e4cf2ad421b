r"""A Markdown extension: `$...$` and `$$...$$` become MathML while the site is built; no script in the browser.

A display formula starts and ends its own block. `\tag{7}` at its end numbers it. A formula that does not parse stops
the build with the formula and the reason.
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree

from markdown import Markdown
from markdown.blockprocessors import BlockProcessor
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from math_core import LatexError, LatexToMathML

INLINE = r"(?<![\\$])\$(?![\s$])((?:\\.|[^\\$])+?)(?<!\s)\$(?![\d$])([,.;:!?)]*)"
DISPLAY = re.compile(r"\A\$\$(.+?)\$\$\s*\Z", re.DOTALL)
TAG = re.compile(r"\\tag\{[^}]*\}\s*\Z")

MACROS = {
    "E": r"\mathbb{E}",
    "R": r"\mathbb{R}",
    "Normal": r"\mathcal{N}",
    "I": r"\mathbf{I}",
    "Var": r"\operatorname{Var}",
    "dd": r"\mathrm{d}",
    "pdata": r"p_{\text{data}}",
    "sdata": r"\sigma_{\text{data}}",
    "cskip": r"c_{\text{skip}}",
    "cout": r"c_{\text{out}}",
    "cin": r"c_{\text{in}}",
    "cnoise": r"c_{\text{noise}}",
}
"""Shorthands that every page shares; each stands for the symbol of the notation page."""

_CONVERTER = LatexToMathML(macros=MACROS, fancy_error=False)


def to_mathml(latex: str, *, display: bool) -> str:
    """The MathML of one formula.

    Raises:
        ValueError: if the formula does not parse, with the formula and the place.
    """
    if display and TAG.search(latex):
        latex = rf"\begin{{equation}}{latex}\end{{equation}}"
    try:
        return _CONVERTER.convert_with_local_state(latex, displaystyle=display)
    except LatexError as error:
        raise ValueError(f"formula {latex.strip()!r}: {error}") from error


class _Inline(InlineProcessor):
    def handleMatch(self, m: re.Match[str], data: str) -> tuple[str, int, int]:
        html = to_mathml(m.group(1), display=False)
        if m.group(2):  # no line begins with a comma
            html = f'<span class="unbroken">{html}{m.group(2)}</span>'
        return self.md.htmlStash.store(html), m.start(0), m.end(0)


class _Display(BlockProcessor):
    def __init__(self, md: Markdown) -> None:
        super().__init__(md.parser)
        self.md = md

    def test(self, parent: ElementTree.Element, block: str) -> bool:
        return DISPLAY.match(block) is not None

    def run(self, parent: ElementTree.Element, blocks: list[str]) -> None:
        match = DISPLAY.match(blocks.pop(0))
        assert match is not None
        html = f'<div class="formula">{to_mathml(match.group(1), display=True)}</div>'
        ElementTree.SubElement(parent, "p").text = self.md.htmlStash.store(html)


class MathML(Extension):
    """Register both patterns: after code spans (priority 190), before backslash escapes (180)."""

    def extendMarkdown(self, md: Markdown) -> None:
        md.inlinePatterns.register(_Inline(INLINE, md), "mathml-inline", 189.9)
        md.parser.blockprocessors.register(_Display(md), "mathml-display", 79.9)
        md.ESCAPED_CHARS.append("$")


def makeExtension(**kwargs: Any) -> MathML:
    return MathML(**kwargs)
