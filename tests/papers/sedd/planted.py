"""A world in which all that the paper claims is true, as tables of rows, and what may be planted in it.

The rows are those of the grids. Every number has a factor of its own, by experiment, column, config and key, and each
seed one besides: whatever reads another column, method or seed reads another number.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import cache
from itertools import product
from math import exp, log2
from typing import Any
from zlib import crc32

import pandas as pd

from papers.sedd.graph import GRAPHS
from papers.sedd.paper import PAPER
from papers.sedd.sampler import STEPS
from papers.sedd.studies.infilling import PATTERNS
from papers.sedd.studies.models import TRAINED

Tables = dict[str, pd.DataFrame]
Edit = Callable[[Tables], Tables]
BITS = {
    "ar": 1.23, "sedd-absorb": 1.39, "d3pm-absorb": 1.45, "sedd-uniform": 1.47, "d3pm-uniform": 1.61, "csm-absorb": 1.9,
}  # fmt: skip
SEEDS = 3
"""Fewer than most grids have, for each costs time, and an interval needs no more."""
MEETS = 16
"""The evaluations at which absorbing SEDD writes as likely text as the autoregressive model."""


def keys(experiment: str, config: Any) -> list[dict[str, Any]]:
    """What tells the rows of one run apart."""
    if experiment in ("exact_bound", "sampled_bound"):
        return [{"graph": graph, "error": error} for graph, error in product(GRAPHS, config.errors)]
    if experiment == "sampler_error":
        return [{"sampler": sampler, "n_steps": n} for n, sampler in product(config.steps, STEPS)]
    if experiment == "infilling":
        return [{"n_steps": n, "pattern": pattern} for n, pattern in product(config.steps, PATTERNS)]
    if experiment in ("quality", "truncation"):
        return [{"n_steps": n} for n in config.steps]
    if experiment == "race":
        return [{"ratio": ratio} for ratio in config.p_over_h]
    if experiment == "generation":
        length = TRAINED[config.language].length
        return [{"nfe": length}] if config.model == "ar" else [{"nfe": n + 1} for n in config.steps]
    return [{}]


def _cut(ratio: float) -> float:
    """x/(e^x − 1) with x = 1/ratio."""
    return 1 / ratio / (exp(1 / ratio) - 1)


def _worse(row: Mapping[str, Any]) -> float:
    """Euler is half as bad again, but where the two samplers are one."""
    return 1.5 if row["sampler"] == "euler" and (row["graph"], row.get("noise")) != ("absorb", "loglinear") else 1.0


VALUES: Mapping[str, Callable[[Mapping[str, Any], int], dict[str, float]]] = {
    "exact_bound": lambda row, seed: {
        "relative_gap": row["error"] / 3 or 1e-9, "entropy": 3.7, "diffusion": 3.6, "information": 1e-5, "prior": 2e-5,
    },
    "sampled_bound": lambda row, seed: {
        "over_entropy": 1 + row["error"] / 2, "z": 40 * row["error"] or 0.5, "excess": 3.0, "standard_error": 0.3,
    },
    "masked_identity": lambda row, seed: {"loss_difference": 1e-15, "gradient_difference": 2e-15},
    "sampler_error": lambda row, seed: {
        "tv": 0.5 / row["n_steps"], "kl": _worse(row) / row["n_steps"] ** 2, "entropy_ratio": 0.9,
    },
    "quality": lambda row, seed: {
        "entropy": 1.5, "nll": 1.5 + _worse(row) / row["n_steps"], "next_token_entropy_ratio": 1 + 1 / row["n_steps"],
        "token_entropy_ratio": 1.0,
    },
    "infilling": lambda row, seed: {"tv": 0.12 / row["n_steps"]},
    "long_infilling": lambda row, seed: {"tv": 0.09, "floor": 0.09},
    "race": lambda row, seed: {
        "rate": _cut(row["ratio"]), "derived": _cut(row["ratio"]), "drawn": 1000 * _cut(row["ratio"]),
    },
    "truncation": lambda row, seed: {
        "entropy": 1.3,
        "derived_entropy": 1.3 - (0.1 * log2(row["n_steps"] / 24) if row["dtype"] == "float16" else 0),
        "drawn_entropy": 1.3 - (0.1 * log2(row["n_steps"] / 24) if row["dtype"] == "float16" else 0),
    },
    "training": lambda row, seed: {
        # Seeds differ much more than models do: only pairing them shows the order. On text8 values are absolute.
        "bpc": BITS[row["model"]] * (1 if row["language"] == "text8" else 1.5**seed),
        "parameters": 1e5,
        **({"csm-absorb": {"invalid": 0.05}, "sedd-absorb": {"invalid": 0.0}}.get(row["model"], {})),
        **({"entropy_bpc": 1.1, "excess": 2.5, "standard_error": 0.8, "z": 3.0} if row["language"] == "markov" else {}),
    },
    "generation": lambda row, seed: {
        "nll": (2.0 if row["top_p"] == 1 else 1.5) if row["model"] == "ar"
        else (2.0 + 0.2 * log2(MEETS / row["nfe"]) + 0.5 * (row["model"] == "sedd-uniform"))
        * (1.1 if row["sampler"] == "euler" else 1),
        "data_nll": 1.8, "token_entropy_ratio": 1.0, "next_token_entropy_ratio": 1.2,
    },
    "sentence": lambda row, seed: {"changed_back": 0.9},
}  # fmt: skip
EXACT = {"quality": ("entropy", "nll"), "truncation": ("entropy", "derived_entropy", "drawn_entropy")}
"""Columns of which differences are read: their factors are a hundred times as near to 1."""


def factor(experiment: str, column: str, row: Mapping[str, Any], seed: int) -> float:
    """Between 1 and 1.003, another for each number; but one for both samplers where they are one."""
    same = experiment == "sampler_error" and (row["graph"], row["noise"]) == ("absorb", "loglinear")
    # The source's entropy is one number in all rows of a seed.
    told = {} if (experiment, column) in (("quality", "entropy"), ("truncation", "entropy")) else row
    text = repr((experiment, column, seed, sorted((k, v) for k, v in told.items() if not (same and k == "sampler"))))
    size = 3e-5 if column in EXACT.get(experiment, ()) else 3e-3
    return 1 + size * (crc32(text.encode()) % 9973) / 9973


@cache
def _made(preset: str) -> Tables:
    tables: Tables = {}
    for name, experiment in PAPER.experiments.items():
        if preset not in experiment.presets:
            continue
        rows = []
        for config, seed in product(experiment.presets[preset].configs, range(SEEDS)):
            for key in keys(name, config):
                row = asdict(config) | key
                values = VALUES[name](row, seed)
                rows.append(row | {"seed": seed} | {c: v * factor(name, c, row, seed) for c, v in values.items()})
        tables[name] = pd.DataFrame(rows)
    return tables


def world(preset: str) -> Tables:
    """Rows of every experiment in a preset, as the paper would have them. Tables are shared: an edit makes its own."""
    return dict(_made(preset))


def _chosen(table: pd.DataFrame, where: Mapping[str, Any]) -> pd.Series:
    chosen = pd.Series(True, index=table.index)
    for column, wanted in where.items():
        chosen &= table[column] == wanted
    assert chosen.any(), f"nothing is planted: no row has {where}"
    return chosen


def planted(experiment: str, column: str, change: Callable[[pd.DataFrame], Any], /, **where: Any) -> Edit:
    """`column` := change(rows) in the rows that `where` picks, and nowhere else."""

    def edit(tables: Tables) -> Tables:
        table = tables[experiment].copy()
        chosen = _chosen(table, where)
        table.loc[chosen, column] = change(table[chosen])
        return {**tables, experiment: table}

    return edit


def scaled(experiment: str, column: str, by: float, /, **where: Any) -> Edit:
    """`column` times `by`."""
    return planted(experiment, column, lambda rows: rows[column] * by, **where)


def constant(experiment: str, column: str, value: float, /, **where: Any) -> Edit:
    """`column` := `value`, and a little more for each row and seed."""
    return planted(experiment, column, lambda rows: [value * (1 + 1e-4 * n) for n in range(len(rows))], **where)


def copied(experiment: str, column: str, /, into: Mapping[str, Any], source: Mapping[str, Any], **where: Any) -> Edit:
    """`column` of `into` := that of `source`, both sorted by seed."""

    def edit(tables: Tables) -> Tables:
        table = tables[experiment].copy()
        to, of = (
            table[_chosen(table, {**where, **which})].sort_values("seed", kind="stable").index
            for which in (into, source)
        )
        table.loc[to, column] = table.loc[of, column].to_numpy()
        return {**tables, experiment: table}

    return edit


def exchanged(experiment: str, column: str, one: Mapping[str, Any], other: Mapping[str, Any], /, **where: Any) -> Edit:
    """The numbers of two methods exchanged."""

    def edit(tables: Tables) -> Tables:
        there = copied(experiment, column, into=one, source=other, **where)(tables)
        back = copied(experiment, column, into=other, source=one, **where)(tables)
        table = there[experiment].copy()
        of_other = _chosen(table, {**where, **other})
        table.loc[of_other, column] = back[experiment].loc[of_other, column]
        return {**tables, experiment: table}

    return edit


def together(*edits: Edit) -> Edit:
    def edit(tables: Tables) -> Tables:
        for each in edits:
            tables = each(tables)
        return tables

    return edit
