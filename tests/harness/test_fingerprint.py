"""Fingerprints: what an experiment's rows can depend on changes its own, and nothing else does."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from common.harness.runs import today
from common.harness.runs.fingerprint import Code, Unit, fingerprint
from common.harness.studies import experiment as protocol
from common.harness.studies.paper import discover

ROOT = Path(__file__).resolve().parents[2]

TREE = {
    "lab/__init__.py": '"""A laboratory."""\n',
    "lab/maths/__init__.py": "from lab.maths.core import scaled as rescaled\nfrom . import sums\n",
    "lab/maths/core.py": '''
"""What is shared."""
import numpy as np

RATE = 0.5
"""How fast."""
LOW, HIGH = 1, 2
TABLE = {"a": LOW}
TABLE["b"] = HIGH


def scaled(x: float, by: float = RATE) -> float:
    """x, scaled."""
    # a comment
    return x * by


def trace(function):
    return function
''',
    "lab/maths/sums.py": '''
import numpy


class Base:
    """A base."""

    power = 2

    def norm(self, x):
        def inner(y):
            return numpy.abs(y) ** self.power

        return inner(x)


class Sum(Base):
    def total(self, x):
        return self.norm(x) + 1


def unused(x):
    return x - 3


def first(x):
    return x + unused_constant


unused_constant = 7
''',
    "lab/maths/wide.py": """
from lab.maths.core import *

try:
    import fast
except ImportError:
    fast = None


def through_star(x):
    return scaled(x)


def plain(x):
    return x + 10


def conditional(x):
    return fast or x
""",
    "lab/registry.py": """
KINDS = {}


def register(function):
    KINDS[function.__name__] = function
    return function


def look(name):
    return KINDS[name]
""",
    "lab/kinds.py": """
from lab.registry import register


@register
def square(x):
    return x * x


def cube(x):
    return x**3
""",
    "lab/counter.py": """
count = 0


def counted():
    global count
    count += 1
    return count


def other():
    return 1
""",
    "lab/studies/one.py": '''
"""A question."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import lab.maths.sums as s
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Need, Resources, experiment
from common.harness.studies.figure import Figure
from common.harness.studies.measures import value_at
from common.harness.studies.study import Study
from lab import maths
from lab.maths.core import LOW as LEAST, TABLE

STEPS = (1, 2)
Kind = Literal["normal", "uniform"]


@dataclass(frozen=True)
class Config:
    n: int = LEAST
    """Draws."""
    kind: Kind = "normal"


def grid(n):
    return [Config(n)]


def look(config):
    return None


@experiment(Config, {"quick": Grid(grid(3), seeds=2)}, {"y": float}, resources={"small": Resources(2)}, prepare=look)
def alias(config: Config, seed: int, run: Run) -> list[Row]:
    """Through a module alias."""
    error = seed  # local, like the figure's function below
    return [{"y": s.Sum().total(config.n) + error}]


@experiment(Config, {"quick": Grid([Config()])}, {"y": float})
def exported(config, seed, run):
    return [{"y": maths.rescaled(config.n)}]


def error(results):
    return results.table(alias)


def needs(config, seed):
    return {"first": Need(alias, Config(TABLE["a"]), seed)}


@experiment(Config, {"quick": Grid([Config()])}, {"y": float}, needs=needs)
def second(config, seed, run):
    from lab.maths.sums import first as begin

    return [{"y": begin(config.n)}]


RISES = Claim("rises", "It rises.", "Table 1", (Quantity("y", alias, value_at("y"), Criterion(0.1, 0.2, "so")),))
FIGURES = (Figure("error", "A line.", "It rises.", (alias,), error),)
STUDY = Study("One", "Why?", (alias, exported, second), (RISES,), FIGURES)
''',
    "lab/studies/two.py": """
from lab import kinds
from lab.counter import counted
from lab.maths import wide
from lab.registry import look
from common.harness.studies.experiment import Grid, experiment


class Config:
    pass


@experiment(Config, {"quick": Grid([Config()])}, {})
def star(config, seed, run):
    return wide.through_star(1)


@experiment(Config, {"quick": Grid([Config()])}, {})
def narrow(config, seed, run):
    return wide.plain(1)


@experiment(Config, {"quick": Grid([Config()])}, {})
def dynamic(config, seed, run):
    return getattr(wide, config.name)(1)


@experiment(Config, {"quick": Grid([Config()])}, {})
def registered(config, seed, run):
    return look(config.name)(1)


@experiment(Config, {"quick": Grid([Config()])}, {})
def counting(config, seed, run):
    return counted()
""",
}
ONE = {"alias", "exported", "second"}
TWO = {"star", "narrow", "dynamic", "registered", "counting"}


def plant(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def fingerprints(folder: Path) -> dict[str, str]:
    code = Code({"lab": folder / "lab"})
    studies = [f"lab.studies.{path.stem}" for path in sorted((folder / "lab/studies").glob("*.py"))]
    return {name: code.fingerprint((study, name)) for study in studies for name in code.makes(study)}


def stale_after(folder: Path, file: str, old: str, new: str) -> set[str]:
    """The experiments whose fingerprints an edit changes."""
    before = fingerprints(plant(folder, TREE))
    assert TREE[file].count(old) == 1, "the edit is of one place"
    after = fingerprints(plant(folder, {file: TREE[file].replace(old, new)}))
    assert before.keys() == after.keys() == ONE | TWO
    return {name for name in before if before[name] != after[name]}


CORE, SUMS, STUDY = "lab/maths/core.py", "lab/maths/sums.py", "lab/studies/one.py"


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        (CORE, '"""x, scaled."""', '"""x, scaled by a factor.\n\n    Twice."""'),
        (CORE, '    """x, scaled."""\n', ""),
        (CORE, '"""What is shared."""', ""),
        (CORE, '"""How fast."""', '"""How slow."""'),
        (CORE, "# a comment", "# another"),
        (CORE, "\n\n\ndef scaled", "\n\n\n\n\n# far away\ndef scaled"),
        (CORE, "(x: float, by: float = RATE) -> float", "(\n    x: int,\n    by=RATE,\n) -> int"),
        (CORE, "return x * by", "return (x\n        * by)"),
        (CORE, 'TABLE = {"a": LOW}', "TABLE = {'a': LOW}"),
        (SUMS, '    """A base."""\n\n', ""),
        (SUMS, "return x - 3", "return x - 4"),  # which nobody uses
        (STUDY, '"""Through a module alias."""', ""),
        (STUDY, '"""Draws."""', ""),
        (STUDY, "grid(3)", "grid(4)"),
        (STUDY, "    return [Config(n)]", "    return [Config(n), Config()]"),
        (STUDY, "seeds=2", "seeds=7"),
        (STUDY, "Resources(2)", "Resources(1)"),
        (STUDY, "prepare=look", "together=4"),
        (STUDY, "    return None", "    return config"),
        (STUDY, '"It rises.", "Table 1"', '"It falls.", "Table 2"'),
        (STUDY, "Criterion(0.1, 0.2", "Criterion(0.1, 0.3"),
        (STUDY, 'value_at("y")', 'value_at("y", n=3)'),
        (STUDY, '"A line.", "It rises."', '"A curve.", "It falls."'),
        (STUDY, "    return results.table(alias)", "    return None"),
        (STUDY, "STEPS = (1, 2)", "STEPS = (1, 2, 3)"),
        (STUDY, '"One", "Why?"', '"1", "How?"'),
    ],
)
def test_what_no_row_depends_on_makes_nothing_stale(tmp_path: Path, file: str, old: str, new: str) -> None:
    assert stale_after(tmp_path, file, old, new) == set()


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        # second needs alias; `wide` takes the whole of `core` by a star.
        (SUMS, "return self.norm(x) + 1", "return self.norm(x) + 2", {"alias", "second"}),  # a class, by an alias
        (SUMS, "power = 2", "power = 3", {"alias", "second"}),  # a base class
        (SUMS, "numpy.abs(y)", "numpy.square(y)", {"alias", "second"}),  # a nested function in a method
        (SUMS, "import numpy\n", "import scipy as numpy\n", {"alias", "second"}),  # what a name stands for
        (SUMS, "class Sum(Base)", "class Sum", {"alias", "second"}),
        (SUMS, "unused_constant = 7", "unused_constant = 8", {"second"}),  # an import inside of the function
        (CORE, "return x * by", "return x / by", {"exported", "star", "dynamic"}),
        (CORE, "RATE = 0.5", "RATE = 0.4", {"exported", "star", "dynamic"}),  # a default argument, by a re-export
        (CORE, "LOW, HIGH = 1, 2", "LOW, HIGH = 1, 3", {"alias", "exported", "second", "star", "dynamic"}),
        (CORE, 'TABLE["b"] = HIGH', 'TABLE["b"] = LOW', {"second", "star", "dynamic"}),  # a later change of a table
        ("lab/maths/__init__.py", "scaled as rescaled", "trace as rescaled", {"exported"}),
        (STUDY, "n: int = LEAST", "n: int = LEAST + 1", {"alias", "exported", "second"}),  # a field's default
        (STUDY, "n: int", "n: float", {"alias", "exported", "second"}),  # a field's type
        (STUDY, '"uniform"', '"uniform", "cauchy"', {"alias", "exported", "second"}),  # and what its name stands for
        (STUDY, "@dataclass(frozen=True)", "@dataclass", {"alias", "exported", "second"}),  # a decorator
        (STUDY, "error = seed ", "error = seed + 1 ", {"alias", "second"}),
        (STUDY, 'Config(TABLE["a"])', 'Config(TABLE["b"])', {"second"}),  # which run it needs
        (STUDY, 'return [{"y": begin(config.n)}]', 'return [{"y": -begin(config.n)}]', {"second"}),
        (STUDY, "import first as begin", "import unused as begin", {"second"}),
    ],
)
def test_a_formula_makes_exactly_those_stale_that_reach_it(
    tmp_path: Path, file: str, old: str, new: str, stale: set[str]
) -> None:
    assert stale_after(tmp_path, file, old, new) == stale


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        # A star import, and an attribute that is only known when it runs: the whole of the file.
        ("lab/maths/wide.py", "return x + 10", "return x + 11", {"star", "narrow", "dynamic"}),
        ("lab/maths/wide.py", "fast = None", "fast = 0", {"star", "dynamic"}),
        ("lab/maths/wide.py", "return fast or x", "return fast and x", {"star", "dynamic"}),
        # What a file does when it is imported counts for all that is imported with it, here through a registry.
        ("lab/kinds.py", "return x * x", "return x * x * x", TWO),
        ("lab/kinds.py", "return x**3", "return x**4", set()),
        # A name that a function binds anew.
        ("lab/counter.py", "return 1", "return 2", {"counting"}),
    ],
)
def test_what_the_text_does_not_tell_falls_back_to_the_whole_file(
    tmp_path: Path, file: str, old: str, new: str, stale: set[str]
) -> None:
    assert stale_after(tmp_path, file, old, new) == stale


@pytest.mark.parametrize(
    ("body", "other"),
    [
        ("import importlib\n\n\ndef f():\n    return importlib.import_module('lab.kinds').cube", True),
        ("from importlib import import_module as load\n\n\ndef f(name):\n    return load(name)", False),
        ("def f():\n    return globals()['g']", False),
        ("def f():\n    return missing", False),
        ("if f_is_wanted:\n    def f():\n        return 1\nelse:\n    f = None", False),
        ("def f():\n    return 1\n\n\ndef f():\n    return 2", False),
        ("import lab.kinds as kinds\n\n\ndef f(name):\n    return kinds.absent", True),
        ("import lab.kinds as kinds\n\n\ndef f(name):\n    return vars(kinds)[name]", True),
        ("for f in ():\n    pass", False),
        ("f = 1\ndel f", False),
        ("f = 1\nf += 1", False),
    ],
)
def test_more_that_the_text_does_not_tell(tmp_path: Path, body: str, other: bool) -> None:
    """`g` stands beside `f` and is not named; with `other`, so does `cube` in another file."""
    study = (
        "from common.harness.studies.experiment import experiment\nfrom lab.more import f\n\n\n"
        "@experiment(int, {}, {})\ndef more(config, seed, run):\n    return f()\n"
    )

    def seen() -> str:
        return fingerprints(tmp_path)["more"]

    plant(tmp_path, {**TREE, "lab/studies/three.py": study, "lab/more.py": f"{body}\n\n\ndef g():\n    return 1\n"})
    before = seen()
    plant(tmp_path, {"lab/kinds.py": TREE["lab/kinds.py"].replace("x**3", "x**4")})
    assert (seen() != before) is other
    if not other:
        plant(tmp_path, {"lab/more.py": f"{body}\n\n\ndef g():\n    return 2\n"})
        assert seen() != before


def test_code_may_move_and_the_tree_may_lie_anywhere(tmp_path: Path) -> None:
    before = fingerprints(plant(tmp_path / "here", TREE))
    assert fingerprints(plant(tmp_path / "there", TREE)) == before
    new = {name.replace("sums", "additions"): text.replace("sums", "additions") for name, text in TREE.items()}
    assert fingerprints(plant(tmp_path / "moved", new)) == before


def test_two_definitions_that_change_places_are_seen(tmp_path: Path) -> None:
    """The same definitions are reached, each by the other's name."""
    files = {
        "lab/a.py": "def f():\n    return 1\n",
        "lab/b.py": "def f():\n    return 2\n",
        "lab/studies/one.py": "from common.harness.studies.experiment import experiment\n"
        "from lab.a import f as first\nfrom lab.b import f as second\n\n\n"
        "@experiment(int, {}, {})\ndef both(config, seed, run):\n    return first() - second()\n",
    }
    before = fingerprints(plant(tmp_path, files))
    study = files["lab/studies/one.py"].replace("lab.a", "lab.x").replace("lab.b", "lab.a").replace("lab.x", "lab.b")
    assert fingerprints(plant(tmp_path, {"lab/studies/one.py": study})) != before


def test_two_processes_agree(toy: Any) -> None:
    from toy.experiments import student

    code = (
        "from toy.experiments import student; "
        "from common.harness.runs.fingerprint import fingerprint; print(fingerprint(student))"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            env={**toy.environment, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    ]
    assert told == [fingerprint(student)] * 2


def test_experiments_made_without_the_decorator_have_one_too(tmp_path: Path) -> None:
    from toy.experiments import Mood, Noise, moody, noise

    def function(config: Noise, seed: int, run: Any) -> list[Any]:
        return []

    made = protocol.Experiment(function, Noise, {}, {})
    assert fingerprint(made) != fingerprint(protocol.Experiment(function, Mood, {}, {}))
    assert len({fingerprint(each) for each in (made, noise, moody)}) == 3


# A generated tree, whose references are known

FORMS = {
    "from": "from lab.m{module} import {name} as {alias}",
    "alias": "import lab.m{module} as q{module}",
    "plain": "import lab.m{module}",
    "relative": "from .m{module} import {name} as {alias}",
    "package": "from lab import m{module}",
}


def generated(seed: int, edited: str = "") -> tuple[dict[str, str], dict[str, set[str]]]:
    """Modules of definitions that name others, earlier or later, by every form of import; and who names whom.

    The definition `edited` has another constant in its formula.
    """
    draw = random.Random(seed)
    names = {module: [f"d{module}{number}" for number in range(4)] for module in range(5)}
    every = [(module, name) for module, of in names.items() for name in of]
    graph: dict[str, set[str]] = {}
    files = {"lab/__init__.py": ""}
    for module, of in names.items():
        imports, text = set(), []
        for name in of:
            used = []
            for other, target in draw.sample(every, draw.choice((0, 1, 1, 2))):
                form = draw.choice(list(FORMS))
                if other != module:
                    imports.add(FORMS[form].format(module=other, name=target, alias=f"x_{target}"))
                prefix = {"alias": f"q{other}.", "plain": f"lab.m{other}.", "package": f"m{other}."}.get(form, "x_")
                used.append(target if other == module else f"{prefix}{target}")
                graph.setdefault(name, set()).add(target)
            graph.setdefault(name, set())
            sum_ = " + ".join(["2" if name == edited else "1", *used])
            text.append(
                draw.choice(
                    [
                        f"def {name}(x=0):\n    return lambda y: {sum_}",
                        f"def {name}(x={sum_}):\n    return x",
                        f"class {name}:\n    def method(self):\n        return {sum_}",
                        f"{name} = lambda: [{sum_} for _ in range(2)]",
                        f"@(lambda f: f)\ndef {name}():\n    def inner():\n        return {sum_}\n    return inner",
                    ]
                )
            )
        files[f"lab/m{module}.py"] = "\n".join([*sorted(imports), *text, ""])
    starts = draw.sample(every, 6)
    study = ["from common.harness.studies.experiment import experiment"]
    for number, (module, name) in enumerate(starts):
        study += [f"from lab.m{module} import {name} as s{number}", "@experiment(int, {}, {})"]
        study += [f"def e{number}(config, seed, run):", f"    return s{number}"]
        graph[f"e{number}"] = {name}
    files["lab/studies/one.py"] = "\n".join([*study, ""])
    return files, graph


def reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found, waiting = {start}, [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


@pytest.mark.parametrize("seed", range(6))
def test_in_a_generated_tree_an_edit_is_seen_by_those_who_reach_it(tmp_path: Path, seed: int) -> None:
    files, graph = generated(seed)
    before = fingerprints(plant(tmp_path, files))
    for name in graph:
        after = fingerprints(plant(tmp_path, generated(seed, edited=name)[0]))
        stale = {each for each in before if before[each] != after[each]}
        assert stale == {each for each in before if name in reachable(graph, each) - {each}}, name


SLUGS = sorted(card.parent.name for card in (ROOT / "papers").glob("*/paper.py"))


@pytest.mark.parametrize("slug", SLUGS)
def test_what_is_read_from_files_alone_is_what_runs_record_for_every_experiment(slug: str) -> None:
    """Also where studies share an experiment that is made in a module beside them."""
    paper = discover()[slug]
    from_files = today.fingerprints(paper)
    assert {name: from_files.get(name) for name in paper.experiments} == {
        name: fingerprint(each) for name, each in paper.experiments.items()
    }


@pytest.mark.parametrize("slug", SLUGS)
def test_papers_take_nothing_of_the_harness_but_the_protocol(slug: str) -> None:
    """So the harness need not count: what it gives to an experiment decides no number."""
    code = Code({name: ROOT / name for name in ("common", "papers")})
    for path in sorted((ROOT / "papers" / slug / "studies").glob("*.py")):
        module = f"papers.{slug}.studies.{path.stem}"
        for name in code.makes(module):
            leads = [to for unit in code.reached((module, name)) for to in code._read(unit).leads.values()]
            taken = {to.removeprefix(".") for to in leads if isinstance(to, str) and to.startswith(".")}
            assert taken <= set(vars(protocol)), f"{module}.{name}"
            assert Unit(module, "") not in code.reached((module, name)), f"{module}.{name} counts its whole file"
