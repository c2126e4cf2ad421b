"""Tables of made-up runs from the grids of the experiments, and figures drawn from them.

What a test does not plant is a decoy: a number of its own for each column, config, row and seed. A claim or a figure
that reads another column, config or seed than it says then shows it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from common.harness.studies.claims import Claim, judge
from common.harness.studies.experiment import Experiment

Row = dict[str, Any]
Keys = Callable[[Any], Sequence[Row]]
"""The rows of one run by its config: what tells them apart."""
Plant = Callable[[Row], Mapping[str, float]]
"""What a row, told by its config's fields, its keys and its seed, holds."""


def table(experiment: Experiment, preset: str, keys: Keys, plant: Plant = lambda row: {}) -> pd.DataFrame:
    grid, rows = experiment.presets[preset], []
    for config in grid.configs:
        fields = dataclasses.asdict(config)
        for seed in grid.each_seed:
            for key in keys(config):
                row = {**fields, **key, "seed": seed}
                rows.append({**row, **decoys(experiment, row, f"{config} {seed} {key}"), **plant(row)})
    return pd.DataFrame(rows)


def decoys(experiment: Experiment, row: Row, which: str) -> dict[str, float]:
    columns = [name for name, values in experiment.columns.items() if values in (float, int) and name not in row]
    return {name: number(f"{experiment.name} {name} {which}") for name in columns}


def number(what: str) -> float:
    """A number of its own for each word, over six decades."""
    share = int.from_bytes(hashlib.blake2b(what.encode(), digest_size=8).digest()) / 2**64
    return 10 ** (6 * share - 3)


def wobble(row: Row) -> float:
    """Seeds differ by a per cent, so that intervals have a width."""
    return 1 + 0.01 * (row["seed"] - 1)


def verdict(claim: Claim, *tables: tuple[Experiment, pd.DataFrame]) -> str:
    return judge(claim, {experiment.name: rows for experiment, rows in tables}).verdict


class MadeUp:
    """Results as figures get them: tables that are given, and arrays by a function of config and seed."""

    def __init__(self, tables: Mapping[Experiment, pd.DataFrame], arrays: Callable[..., Any] = dict) -> None:
        self.tables, self.of = tables, arrays

    def table(self, experiment: Experiment) -> pd.DataFrame:
        return self.tables[experiment]

    def arrays(self, experiment: Experiment, **where: Any) -> list[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]]:
        rows = self.tables[experiment]
        for column, value in where.items():
            rows = rows[rows[column] == value]
        fields = [field.name for field in dataclasses.fields(experiment.config)]
        runs: list[Row] = rows[[*fields, "seed"]].drop_duplicates().to_dict("records")  # type: ignore[assignment]
        return [(run, self.of(run)) for run in runs]


def lines(axes: Any, label: str) -> list[np.ndarray]:
    """The lines of a label, each as (points, 2)."""
    return [np.asarray(line.get_xydata()) for line in axes.lines if line.get_label() == label]


def shows(axes: Any, points: Any, colour: str | None = None) -> bool:
    """Whether one of the lines goes through just these points (in this colour)."""
    from matplotlib.colors import to_rgba

    wanted = np.asarray(points, float)
    return any(
        line.get_xydata().shape == wanted.shape
        and np.allclose(line.get_xydata(), wanted)
        and (colour is None or to_rgba(line.get_color()) == to_rgba(colour))
        for line in axes.lines
    )
