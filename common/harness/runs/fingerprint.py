"""The fingerprint of an experiment: a hash over the code of this repository that its rows can depend on.

It covers the definitions that the experiment reaches, however indirectly: its function, the class of its config, its
`needs` (and through them the experiments that it needs), and the functions, classes and constants that these name,
through imports, module aliases and re-exports. They are found in the syntax trees, without importing anything. Their
docstrings, comments, layout and the annotations of functions do not count, nor does the file in which they stand.
Neither does what else a study says of an experiment: grids, columns, resources, `prepare`, claims, captions, figures.

Where the text does not tell what a name is (a star import, `getattr(module, name)`, a name that is bound twice or
under a condition), the whole file counts. So does a module-level statement that does more than give a name its value,
in every module that is imported on the way.

`common.harness` does not count: it keeps runs, and their rows do not depend on how they are kept. This stands as long
as an experiment takes nothing from it but the protocol (`studies.experiment`), whose helpers only refuse bad configs.
"""

from __future__ import annotations

import ast
import builtins
import copy
import hashlib
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from common.harness.runs.definitions import Chain, Source, Written, chain_of, free_names, says_nothing, written
from common.harness.runs.provenance import TREE

if TYPE_CHECKING:
    from common.harness.studies.experiment import Experiment

HARNESS = "common.harness"
DECORATOR = ".experiment"
"""What makes an experiment of a function; names of the harness are without their place in it."""
OURS = ("common", "papers")
ANYTHING = {f"builtins.{name}" for name in ("globals", "eval", "exec", "__import__")} | {
    "sys.modules",
    "importlib.import_module",
}
"""Whoever uses one of these, or an attribute of it, may reach any name of its module."""


class Unit(NamedTuple):
    """What counts as one: a name's definition in a file, the whole file (''), or what importing it does ('*')."""

    module: str
    name: str


Target = Unit | str
"""A unit of this repository, or the dotted name of something outside of it."""


class Reading(NamedTuple):
    """A unit read: its text, what each name in it leads to, and which modules it loads when it runs."""

    text: str
    leads: Mapping[str, Target]
    loads: tuple[str, ...]


class Code:
    """The code of some top-level packages, `places` by name. Each file is parsed once."""

    def __init__(self, places: Mapping[str, Path]) -> None:
        self._places = places
        self._sources: dict[str, Source | None] = {}
        self._readings: dict[Unit, Reading] = {}
        self._actions: dict[str, list[ast.stmt]] = {}

    def fingerprint(self, *starts: tuple[str, str]) -> str:
        """16 hex digits for what is reached from these (module, name)."""
        units = self.reached(*starts)
        place = {unit: str(number) for number, unit in enumerate(units)}
        digest = hashlib.sha256()
        for unit in units:
            reading = self._read(unit)
            # Units are told by the order in which they are met: code may move between files.
            leads = [f"{name} {place[to] if isinstance(to, Unit) else to}" for name, to in reading.leads.items()]
            digest.update("\0".join((unit.name, reading.text, *leads, "")).encode())
        return digest.hexdigest()[:16]

    def reached(self, *starts: tuple[str, str]) -> list[Unit]:
        """What is reached from these (module, name), in the order in which it is met."""
        first = [self._resolve(module, (name.partition(".")[0],)) for module, name in starts]
        units = dict.fromkeys(unit for unit in first if isinstance(unit, Unit))
        modules: dict[str, None] = {}
        waiting = list(units)
        while waiting:
            for unit in waiting:  # grows meanwhile
                reading = self._read(unit)
                modules |= dict.fromkeys((unit.module, *reading.loads))
                for to in reading.leads.values():
                    if isinstance(to, Unit) and to not in units:
                        units[to] = None
                        waiting.append(to)
            modules = self._loaded(modules)
            waiting = [unit for name in modules if (unit := Unit(name, "*")) not in units and self._acts(name)]
            units |= dict.fromkeys(waiting)
        return list(units)

    def makes(self, module: str) -> list[str]:
        """The names of the experiments that a study makes with the decorator."""
        source = self._source(module)
        if source is None:
            return []
        return [name for name, found in source.statements.items() if self._decorator(found[0], source) is not None]

    def _source(self, module: str) -> Source | None:
        """The file of a module; None where it is not of this repository, or of the harness."""
        if module not in self._sources:
            self._sources[module] = self._open(module)
        return self._sources[module]

    def _open(self, module: str) -> Source | None:
        top, *rest = module.split(".")
        if top not in self._places or module == HARNESS:
            return None
        if rest and not ((parent := self._source(module.rpartition(".")[0])) and parent.is_package):
            return None
        path = self._places[top].joinpath(*rest)
        for file in (path / "__init__.py", path.with_name(f"{path.name}.py"), path):
            if file.is_file():
                return Source(module, file.read_text(encoding="utf-8"), file.name == "__init__.py")
        return Source(module, "", True) if path.is_dir() else None

    def _resolve(self, module: str, chain: Chain) -> Target:
        """What `chain` is, looked up from `module` on."""
        passed: set[tuple[str, Chain]] = set()
        while (source := self._source(module)) and (module, chain) not in passed:
            passed.add((module, chain))
            name, rest = (chain[0], chain[1:]) if chain else ("", ())
            if name in source.imports and name not in source.uncertain:
                module, attribute = source.imports[name]
                chain = (*filter(None, [attribute]), *rest)
            elif name in source.statements and name not in source.uncertain:
                return Unit(module, name)
            elif name and name not in source.uncertain and self._source(f"{module}.{name}"):
                module, chain = f"{module}.{name}", rest
            else:
                return Unit(module, "")
        if module == HARNESS or module.startswith(f"{HARNESS}."):
            return ".".join(("", *chain[-1:]))  # wherever in the harness it lies
        return ".".join((module, *chain))

    def _own(self, source: Source, chain: Chain) -> Target:
        """What `chain` is in its own file, where names may be built in."""
        name = chain[0]
        known = name in source.imports or name in source.statements or name in source.uncertain
        if known or source.stars or not (hasattr(builtins, name) or name == "__file__"):
            return self._resolve(source.module, chain) if known else Unit(source.module, "")
        return ".".join(("builtins", *chain))

    def _read(self, unit: Unit) -> Reading:
        if unit not in self._readings:
            source = self._source(unit.module)
            assert source is not None
            match unit.name:
                case "":
                    statements = [
                        each
                        for each in source.tree.body
                        if not (isinstance(each, ast.Import | ast.ImportFrom) or says_nothing(each))
                    ]
                case "*":
                    statements = self._acts(unit.module)
                case name:
                    statements = source.statements[name]
            whole = unit.name == ""
            parts = [self._read_statement(each, source, whole) for each in statements]
            leads: dict[str, Target] = {}
            for _, found in parts:
                leads |= found
            if whole:
                leads |= {f"{module}.*": self._resolve(module, ()) for module in source.stars}
            self._readings[unit] = Reading(
                "\n".join(" ".join(piece.text) for piece, _ in parts),
                leads,
                tuple(dict.fromkeys(module for piece, _ in parts for module in piece.loads)),
            )
        return self._readings[unit]

    def _read_statement(self, statement: ast.stmt, source: Source, whole: bool) -> tuple[Written, dict[str, Target]]:
        free = free_names(source.segment(statement))
        piece = written(statement if whole else self._without_grids(statement, source), source)
        free |= piece.of_fields
        leads: dict[str, Target] = {}
        for chain in piece.chains:
            name = ".".join(chain)
            for number, (_, (module, attribute)) in enumerate(each for each in piece.imports if each[0] == chain[0]):
                leads[f"{name} {number}"] = self._resolve(module, (*filter(None, [attribute]), *chain[1:]))
            if chain[0] in free:
                leads[name] = self._own(source, chain)
        if any(isinstance(to, str) and ".".join(to.split(".")[:2]) in ANYTHING for to in leads.values()):
            leads["*"] = Unit(source.module, "")
        for module in piece.by_text:
            leads[f"{module}.*"] = self._resolve(module, ())
        return piece, leads

    def _decorator(self, statement: ast.stmt, source: Source) -> int | None:
        """Which decorator of a function makes an experiment of it."""
        if isinstance(statement, ast.FunctionDef):
            for place, made in enumerate(statement.decorator_list):
                chain = chain_of(made.func) if isinstance(made, ast.Call) else None
                if chain and self._own(source, chain) == DECORATOR:
                    return place
        return None

    def _without_grids(self, statement: ast.stmt, source: Source) -> ast.stmt:
        """A function without what its decorator says beside config and needs; any other statement as it is."""
        place = self._decorator(statement, source)
        if place is None:
            return statement
        assert isinstance(statement, ast.FunctionDef)
        trimmed = copy.copy(statement)
        trimmed.decorator_list = list(statement.decorator_list)
        call = copy.copy(statement.decorator_list[place])
        assert isinstance(call, ast.Call)
        call.args = call.args[:1]
        call.keywords = [each for each in call.keywords if each.arg in ("config", "needs", None)]
        trimmed.decorator_list[place] = call
        return trimmed

    def _acts(self, module: str) -> list[ast.stmt]:
        """What happens when a module is imported, beside names that get their values."""
        if module not in self._actions:
            source = self._source(module)
            assert source is not None
            registered = [
                statement
                for statement in source.decorated
                for decorator in statement.decorator_list
                if (chain := chain_of(decorator.func if isinstance(decorator, ast.Call) else decorator))
                and isinstance(self._own(source, chain), Unit)
            ]
            self._actions[module] = [*source.effects, *dict.fromkeys(registered)]
        return self._actions[module]

    def _loaded(self, modules: Iterable[str]) -> dict[str, None]:
        """These modules, those that they import, and the packages of both."""
        found: dict[str, None] = {}
        waiting = list(modules)
        for module in waiting:  # grows meanwhile
            if module not in found and (source := self._source(module)):
                found[module] = None
                waiting += [*source.loads, module.rpartition(".")[0]]
        return found


@cache
def fingerprint(experiment: Experiment) -> str:
    """16 hex digits of the code that the experiment's rows can depend on, as it is on disk when first asked for."""
    parts = [
        (each.__module__, each.__qualname__) for each in (experiment.function, experiment.config, experiment.needs)
    ]
    code = _code(frozenset(_place(module) for module, _ in parts if module.partition(".")[0] not in OURS))
    # Where the decorator makes it, its text names the config and the needs.
    made = parts[0][1] in code.makes(parts[0][0])
    return code.fingerprint(*(parts[:1] if made else parts))


@cache
def _code(others: frozenset[tuple[str, Path]]) -> Code:
    return Code({name: TREE / name for name in OURS} | dict(others))


def _place(module: str) -> tuple[str, Path]:
    """The top-level package of a module that is imported, and where it lies."""
    top, *rest = module.split(".")
    file = Path(getattr(sys.modules.get(module), "__file__", None) or "")
    if file.name == "__init__.py":
        file = file.parent
    return top, file.parents[len(rest) - 1] if rest else file
