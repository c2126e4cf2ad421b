"""Config fields set from text: `--steps 10` becomes `replace(config, steps=10)` by the field's own type.

`parse` is our own. Of the libraries that read typed text, tyro takes every word but True for False and says what is
wrong in several lines, and pydantic splits no tuple, knows no none and reads no number of a Literal.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from common.harness.studies.errors import UsageError, nearest, unknown


def fields_of(config: type) -> dict[str, Any]:
    """Name and type of each field of a config class, with string annotations resolved."""
    hints = typing.get_type_hints(config)
    return {f.name: hints[f.name] for f in dataclasses.fields(config)}


def override(configs: Mapping[str, Sequence[Any]], texts: Mapping[str, str]) -> dict[str, list[Any]]:
    """`configs` (by experiment) with the fields in `texts` set wherever a config has them.

    Configs that thereby become equal are kept once. Raises UsageError for a field that no config has, for text that is
    not of the field's type, and for a value that the config itself refuses.
    """
    fields = {name: [field for config in group for field in fields_of(type(config))] for name, group in configs.items()}
    check_fields(texts, fields)
    return {name: _distinct([_set(name, config, texts) for config in group]) for name, group in configs.items()}


def check_fields(given: Iterable[str], fields: Mapping[str, Iterable[str]], options: Sequence[str] = ()) -> None:
    """UsageError for a name that is no field of any experiment (`fields`, by experiment's name).

    `options` are those of the command itself, which a slip may have been meant to be. All fields of all experiments
    are too many for one line: told are those of the experiment that has what is near, or was asked for alone.
    """
    known = {experiment: list(dict.fromkeys(names)) for experiment, names in fields.items()}
    for name in given:
        if any(name in names for names in known.values()):
            continue
        near = nearest(name, [*dict.fromkeys(field for names in known.values() for field in names), *options])
        having = [experiment for experiment, names in known.items() if near in names]
        hint = f" (perhaps you meant {near!r})" if near else ""
        if len(having) == 1 or len(known) == 1:
            (experiment,) = having or known
            allowed = f"{experiment} has {', '.join(known[experiment]) or 'no fields'}"
        elif having:
            allowed = f"{', '.join(having)} have it"
        elif near:
            allowed = "`repro run --help` shows the options"
        else:
            allowed = f"--only with one of {', '.join(known)} shows its fields"
        what = "option or config field" if options else "config field"
        raise UsageError(f"unknown {what} {name!r}{hint}; {allowed}")


def _set(experiment: str, config: Any, texts: Mapping[str, str]) -> Any:
    kinds = fields_of(type(config))
    values = {name: parse(name, text, kinds[name]) for name, text in texts.items() if name in kinds}
    try:
        return dataclasses.replace(config, **values)
    except ValueError as error:
        raise UsageError(f"{experiment}: {error}") from error


def _distinct(configs: list[Any]) -> list[Any]:
    return [config for index, config in enumerate(configs) if config not in configs[:index]]


def parse(name: str, text: str, kind: Any) -> Any:
    """`text` as a value of type `kind`: int, float, str, bool, Literal, tuple[T, ...], or a union of these and None."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        return _first_that_fits(name, text, arguments, kind)
    if origin is typing.Literal:
        named = {str(value): value for value in arguments}
        if text not in named:
            raise unknown(f"value of {name}", text, named)
        return named[text]
    if origin is tuple:
        items = [item for item in text.strip("()").split(",") if item.strip()]
        kinds = arguments[:1] * len(items) if arguments[-1] is Ellipsis else arguments
        if len(kinds) != len(items):
            raise UsageError(f"{name} takes {len(kinds)} values separated by commas, not {text!r}")
        return tuple(parse(name, item.strip(), each) for item, each in zip(items, kinds, strict=True))
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise UsageError(f"{name} takes true or false, not {text!r}")
        return text.lower() == "true"
    if kind is type(None) and text.lower() == "none":
        return None
    if kind in (int, float, str):
        try:
            return kind(text)
        except ValueError:
            pass
    raise UsageError(f"{name} takes {_worded(kind)}, not {text!r}")


def _first_that_fits(name: str, text: str, kinds: tuple[Any, ...], union: Any) -> Any:
    # None first, so that 'none' is not taken for a string.
    for kind in sorted(kinds, key=lambda kind: kind is not type(None)):
        try:
            return parse(name, text, kind)
        except UsageError:
            continue
    raise UsageError(f"{name} takes {_worded(union)}, not {text!r}")


def _worded(kind: Any) -> str:
    words = {int: "a whole number", float: "a number", str: "text", type(None): "none"}
    if typing.get_origin(kind) in (typing.Union, types.UnionType):
        return " or ".join(_worded(each) for each in typing.get_args(kind))
    return words.get(kind, str(kind))
