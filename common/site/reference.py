"""The API reference, one page per package, read from the source without importing it: signatures and docstrings."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path

from common.site.schedule import write_if_changed

Definition = ast.FunctionDef | ast.ClassDef


def write_reference(root: Path, folder: Path) -> None:
    """Write `index.md` and one page for every package below `papers` and `common` of `root`."""
    inits = [path for room in ("papers", "common") for path in (root / room).rglob("*/__init__.py")]
    packages = {".".join(path.parent.relative_to(root).parts): path.parent for path in sorted(inits)}
    pages = {name: text for name, package in packages.items() if (text := _page(name, package))}
    for stale in folder.glob("*.*.md"):
        if stale.stem not in pages:
            stale.unlink()
    for name, text in pages.items():
        write_if_changed(folder / f"{name}.md", text)
    index = [
        "# API reference",
        "",
        "Made from the source at each build: every public name, its signature and docstring.",
        "",
    ]
    index += [
        f"- [`{name}`]({name}.md): {_prose(_summary(packages[name] / '__init__.py'))}"
        for name in sorted(pages, key=lambda name: (name.startswith("common"), name))
    ]
    write_if_changed(folder / "index.md", "\n".join(index) + "\n")


def _page(name: str, package: Path) -> str:
    """The page of one package; '' where it defines nothing public."""
    sections = [section for path in sorted(package.glob("*.py")) for section in _module(path, name)]
    if not sections:
        return ""
    doc = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8"))) or ""
    return "\n".join([f"# {name}", "", *_docstring(doc), *sections])


def _module(path: Path, package: str) -> Iterator[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    public = [node for node in tree.body if isinstance(node, Definition) and not node.name.startswith("_")]
    if not public:
        return
    yield from (f"## {path.stem}", "")
    yield from _docstring(ast.get_docstring(tree) or "")
    for node in public:
        yield from _definition(node, f"{package}.{path.stem}", "###")
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if (
                    isinstance(member, ast.FunctionDef)
                    and not member.name.startswith("_")
                    and ast.get_docstring(member)
                ):
                    yield from _definition(member, f"{package}.{path.stem}.{node.name}", "####")


def _definition(node: Definition, owner: str, level: str) -> Iterator[str]:
    anchor = f"{owner}.{node.name}".replace("_", "-")
    yield from (f"{level} `{node.name}` {{ #{anchor} }}", "", "``` { .python .no-copy }", _signature(node), "```", "")
    yield from _docstring(ast.get_docstring(node) or "")


def _signature(node: Definition) -> str:
    if isinstance(node, ast.FunctionDef):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        line = f"{node.name}({ast.unparse(node.args)}){returns}"
        if len(line) <= 80:
            return line
        arguments = ast.unparse(node.args)
        return f"{node.name}(\n" + "".join(f"    {part},\n" for part in _split(arguments)) + f"){returns}"
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    fields = [ast.unparse(item) for item in node.body if isinstance(item, ast.AnnAssign)]
    return "\n".join([f"class {node.name}" + (f"({bases})" if bases else ""), *(f"    {field}" for field in fields)])


def _split(arguments: str) -> list[str]:
    """Split at the commas outside brackets and quotes."""
    parts, depth, start, quote = [], 0, 0, ""
    for position, character in enumerate(arguments):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "([{":
            depth += 1
        elif character in ")]}":
            depth -= 1
        elif character == "," and not depth:
            parts.append(arguments[start:position].strip())
            start = position + 1
    return [*parts, arguments[start:].strip()]


def _summary(path: Path) -> str:
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(doc.split("\n\n")[0].split())


def _docstring(doc: str) -> list[str]:
    """A docstring as it was written: paragraphs as prose, indented or listed blocks line for line."""
    if not doc:
        return []
    lines: list[str] = []
    for block in doc.split("\n\n"):
        if any(line.startswith((" ", "|", "- ", "* ")) for line in block.splitlines()):
            lines += [f'<pre class="docstring">{escape(block, quote=False)}</pre>', ""]
        else:
            lines += [_prose(block), ""]
    return lines


def _prose(text: str) -> str:
    """Escape what Markdown would read into formulas such as `alpha * x0 + sigma * eps`, outside code spans."""
    parts = re.split(r"(`+[^`]*`+)", text)
    parts[::2] = [re.sub(r"([*_\[\]$\\|])", r"\\\1", escape(part, quote=False)) for part in parts[::2]]
    return "".join(parts)
