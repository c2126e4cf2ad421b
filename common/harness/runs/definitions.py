"""What the files of this repository define, read from their syntax trees: nothing is imported.

A `Source` is one file: the statements that give each module-level name its value, what its imports stand for, and
which names cannot be told from the text. `written` puts a piece of a tree into a text that does not depend on how the
piece is laid out, and says which names it uses.
"""

from __future__ import annotations

import ast
import symtable
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

Chain = tuple[str, ...]
"""A name with the attributes that are taken of it: ('np', 'linalg', 'norm')."""

COMPOUND = (ast.If, ast.For, ast.While, ast.With, ast.Try, ast.TryStar, ast.Match)
UNWRITTEN = {"ctx", "type_comment", "kind", "returns"}
"""Fields of a tree that change nothing that is computed; nor does `annotation`, but for a field of a class."""


class Imported(NamedTuple):
    """What a name of an import stands for: a module, or a name in it."""

    module: str
    name: str | None


@dataclass
class Written:
    """A piece of a tree as text, the names that it uses, and what it imports for itself."""

    text: list[str] = field(default_factory=list)
    chains: dict[Chain, None] = field(default_factory=dict)
    imports: list[tuple[str, Imported]] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    """The modules that these imports may load."""
    by_text: list[str] = field(default_factory=list)
    """The modules that it imports by their names as texts."""
    of_fields: set[str] = field(default_factory=set)
    """Names in the annotations of a class's fields: in no scope of their own."""


class Source:
    """One file: what its module-level names are, from its text alone."""

    def __init__(self, module: str, text: str, is_package: bool) -> None:
        self.module, self.text, self.is_package = module, text, is_package
        self.lines = text.split("\n")
        self.tree = ast.parse(text)
        self.statements: dict[str, list[ast.stmt]] = {}
        """By name, what binds or changes it; imports are in `imports`."""
        self.imports: dict[str, Imported] = {}
        self.uncertain: set[str] = set()
        """Names whose value the text does not tell: bound twice, under a condition, by a function, deleted."""
        self.decorated: list[ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef] = []
        self.stars: list[str] = []
        self.loads: dict[str, None] = {}
        """Modules that are imported with this one."""
        self.effects: list[ast.stmt] = []
        """Statements that do something else than give a name its value."""
        changes: list[tuple[str | None, ast.stmt]] = []
        for statement in self.tree.body:
            self._take(statement, changes)
        for name, statement in changes:
            if name in self.statements:
                self.statements[name].append(statement)
            else:
                self.effects.append(statement)
        if "global " in text:
            for node in ast.walk(self.tree):
                if isinstance(node, ast.Global):
                    self.uncertain.update(node.names)

    def _take(self, statement: ast.stmt, changes: list[tuple[str | None, ast.stmt]]) -> None:
        match statement:
            case ast.Import() | ast.ImportFrom():
                self._import(statement, loaded=True)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                self._bind(statement.name, statement)
                if statement.decorator_list:
                    self.decorated.append(statement)
            case ast.Assign() | ast.AnnAssign():
                targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
                for target in targets:
                    for name in _stored(target):
                        self._bind(name, statement)
                    changes += [(_root(each), statement) for each in _changed(target)]
            case ast.AugAssign(target=target) if not isinstance(target, ast.Name):
                changes.append((_root(target), statement))
            case ast.AugAssign() | ast.Delete():
                self.uncertain.update(_bound(statement))
            case ast.Expr(value=ast.Constant()) | ast.Pass():
                pass
            case ast.Expr(value=ast.Call(func=ast.Attribute() as method)):
                changes.append((_root(method), statement))
            case ast.If(test=test, body=body, orelse=[]) if ast.unparse(test).endswith("TYPE_CHECKING"):
                for each in body:
                    if isinstance(each, ast.Import | ast.ImportFrom):
                        self._import(each, loaded=False)
                    else:
                        self.uncertain.update(_bound(each))
            case ast.If(test=ast.Compare(left=ast.Name(id="__name__"))):
                pass  # a command: an experiment is imported
            case _:
                self.uncertain.update(_bound(statement))
                if not isinstance(statement, COMPOUND) or any(map(_does, ast.walk(statement))):
                    self.effects.append(statement)

    def _bind(self, name: str, statement: ast.stmt) -> None:
        if name in self.statements or name in self.imports:
            self.uncertain.add(name)
        self.statements.setdefault(name, []).append(statement)

    def _import(self, statement: ast.Import | ast.ImportFrom, loaded: bool) -> None:
        names, modules = imports_of(statement, self)
        if loaded:
            self.loads.update(dict.fromkeys(modules))
        for name, imported in names:
            if name == "*":
                self.stars.append(imported.module)
            elif name in self.statements or self.imports.setdefault(name, imported) != imported:
                self.uncertain.add(name)

    def segment(self, statement: ast.stmt) -> str:
        """The lines of a module-level statement, with its decorators."""
        decorators: Sequence[ast.expr] = getattr(statement, "decorator_list", ())
        first = min([statement.lineno, *(each.lineno for each in decorators)])
        return "\n".join(self.lines[first - 1 : statement.end_lineno])


def imports_of(statement: ast.Import | ast.ImportFrom, source: Source) -> tuple[list[tuple[str, Imported]], list[str]]:
    """The names that an import binds, each with what it stands for ('*' for a star), and the modules it may load."""
    if isinstance(statement, ast.Import):
        names = [
            (alias.asname, Imported(alias.name, None))
            if alias.asname
            else (alias.name.partition(".")[0], Imported(alias.name.partition(".")[0], None))
            for alias in statement.names
        ]
        return names, [alias.name for alias in statement.names]
    module = statement.module or ""
    if statement.level:
        place = source.module.split(".")
        place = place[: len(place) - statement.level + source.is_package]
        module = ".".join([*place, *filter(None, [module])])
    return (
        [(alias.asname or alias.name, Imported(module, alias.name)) for alias in statement.names],
        [module, *(f"{module}.{alias.name}" for alias in statement.names)],
    )


def written(node: ast.AST, source: Source) -> Written:
    """A tree of a file as a text without docstrings, comments, layout and the annotations of functions."""
    found = Written()
    _write(node, found, source, in_class=False)
    return found


def free_names(segment: str) -> set[str]:
    """The names in a piece of a module that are the module's own, or built in, and not local to a function."""
    # So annotations of functions, which nothing runs, lie in no scope.
    table = symtable.symtable(f"from __future__ import annotations\n{segment}\n", "a file", "exec")
    names = set(_loaded(ast.parse(segment), frozenset()))
    inner = list(table.get_children())
    while inner:
        scope = inner.pop()
        inner += scope.get_children()
        whole = scope.get_type() == "class"  # a class's own name may be the module's until it is bound
        names |= {s.get_name() for s in scope.get_symbols() if s.is_referenced() and (whole or s.is_global())}
    return names


def _loaded(node: ast.AST, bound: frozenset[str]) -> Iterator[str]:
    """The names that a piece looks up in its own scope. Not by symtable: from Python 3.12 on it counts the variables of
    a comprehension there among the scope's, and a fingerprint must not depend on the version of Python."""
    match node:
        case ast.Name(id=name, ctx=ast.Load()):
            if name not in bound:
                yield name
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.Lambda():
            defaults = [*node.args.defaults, *filter(None, node.args.kw_defaults)]
            for each in [*defaults, *getattr(node, "decorator_list", ())]:
                yield from _loaded(each, bound)
        case ast.ClassDef():
            for each in [*node.bases, *node.keywords, *node.decorator_list]:
                yield from _loaded(each, bound)
        case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
            yield from _loaded(node.generators[0].iter, bound)
            stored = {name for each in node.generators for name in _stored(each.target)}
            inner = [each for each in ast.iter_child_nodes(node) if not isinstance(each, ast.comprehension)]
            inner += [part for each in node.generators for part in (each.target, *each.ifs)]
            for each in [*inner, *(later.iter for later in node.generators[1:])]:
                yield from _loaded(each, bound | stored)
        case ast.AnnAssign():
            for each in filter(None, (node.target, node.value)):
                yield from _loaded(each, bound)
        case _:
            for each in ast.iter_child_nodes(node):
                yield from _loaded(each, bound)


def _write(node: ast.AST, found: Written, source: Source, in_class: bool) -> None:
    match node:
        case ast.Attribute() | ast.Name():
            if chain := chain_of(node):
                found.chains[chain] = None
                found.text.append(".".join(chain))
                return
        case ast.Import() | ast.ImportFrom():
            names, modules = imports_of(node, source)
            found.text.append(f"import {' '.join(name for name, _ in names)}")
            found.imports += names
            found.loads += modules
            return
        case ast.Constant():
            found.text.append(repr(node.value))
            return
        case ast.Call(func=ast.Attribute(attr="import_module") | ast.Name(id="import_module" | "__import__")):
            found.by_text += [
                each.value for each in node.args[:1] if isinstance(each, ast.Constant) and isinstance(each.value, str)
            ]
    found.text.append(f"({type(node).__name__}")
    for name in node._fields:
        value = getattr(node, name, None)
        if value is None or value == [] or name in UNWRITTEN:
            continue
        if name == "annotation":
            if not in_class or not isinstance(node, ast.AnnAssign):
                continue
            found.of_fields |= {each.id for each in ast.walk(value) if isinstance(each, ast.Name)}
        found.text.append(name)
        if isinstance(value, list):
            inside = isinstance(node, ast.ClassDef) and name == "body"
            for each in value:
                if not isinstance(each, ast.AST):
                    found.text.append(repr(each))
                elif not says_nothing(each):
                    _write(each, found, source, inside)
            found.text.append(";")
        elif isinstance(value, ast.AST):
            _write(value, found, source, in_class=False)
        else:
            found.text.append(repr(value))
    found.text.append(")")


def says_nothing(node: ast.AST) -> bool:
    """Docstrings, also those below a field, and `pass`."""
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    return text or isinstance(node, ast.Pass)


def chain_of(node: ast.AST) -> Chain | None:
    """The name with attributes that an expression is; None for any other expression."""
    attributes: list[str] = []
    while isinstance(node, ast.Attribute):
        attributes.append(node.attr)
        node = node.value
    return (node.id, *reversed(attributes)) if isinstance(node, ast.Name) else None


def _root(node: ast.AST) -> str | None:
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call):
        node = node.func if isinstance(node, ast.Call) else node.value
    return node.id if isinstance(node, ast.Name) else None


def _stored(target: ast.AST) -> list[str]:
    return [node.id for node in ast.walk(target) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)]


def _changed(target: ast.AST) -> list[ast.AST]:
    """The parts of objects that a target of an assignment writes to."""
    return [
        node
        for node in ast.walk(target)
        if isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store)
    ]


def _does(node: ast.AST) -> bool:
    """Whether a node is more than a name that gets its value: a call for its own sake, a part that is written to."""
    if isinstance(node, ast.Expr):
        return not isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Attribute | ast.Subscript) and isinstance(node.ctx, ast.Store)


def _bound(statement: ast.stmt) -> set[str]:
    """Every name that a statement may bind or delete, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(statement):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                names.add(name)
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                names.add(name)
            case ast.Import() | ast.ImportFrom():
                names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                names.add(name)
    return names
