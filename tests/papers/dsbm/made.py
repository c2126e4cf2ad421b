"""Tables of made-up runs, from the grids of the experiments: each number is one of its own, and says nothing true."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from itertools import count, product
from typing import Any

import numpy as np
import pandas as pd

from common.harness.studies.experiment import Experiment
from papers.dsbm.paper import PAPER
from papers.dsbm.studies.energy import plane_sigma
from papers.dsbm.studies.exact import exact_iterates
from papers.dsbm.studies.gaussian import gaussian
from papers.dsbm.studies.iterates import exact_euler
from papers.dsbm.studies.limits import exact_limits
from papers.dsbm.studies.methods import BRIDGES, ONE_PASS
from papers.dsbm.studies.pairs import PAIRS
from papers.dsbm.studies.plan import plan_distance
from papers.dsbm.studies.plane import plane
from papers.dsbm.studies.transfer import transfer

Row = dict[str, Any]
SDE = ("DSB", "DSBM-IPF", "DSBM-IMF", "DSBM-IMF+")
"""Methods that have a process beside their ODE."""


def passes(number: int) -> list[Row]:
    return [{"pass_number": n, "direction": "b" if n % 2 else "f"} for n in range(1, number + 1)]


def keys(experiment: Experiment, config: Any) -> list[Row]:
    """What tells the rows of one run apart."""
    if experiment is gaussian:
        made = passes(1 if config.method in ONE_PASS else config.passes)
        return [row | {"final": row is made[-1]} for row in made]
    if experiment in (plan_distance, transfer):
        return passes(config.passes)
    if experiment is exact_iterates:
        return [
            {"pair": pair, "sigma": sigma, "method": method, "iterate": n}
            for pair, sigma, method, n in product(PAIRS, config.sigmas, ("imf", "ipf"), range(config.iterates + 1))
        ]
    if experiment is exact_limits:
        return [{"pair": pair, "sigma": sigma} for pair, sigma in product(PAIRS, config.sigmas)]
    if experiment is exact_euler:
        return [{"method": method, **row} for method in ("ipf", "imf") for row in passes(config.passes)]
    return [{}]


def absent(experiment: Experiment, row: Row, column: str) -> bool:
    """Whether such a run has no number there."""
    if experiment is exact_iterates:
        late = row["iterate"] >= row["identities"]
        imf_alone = ("transport_cost", "entropic_cost", "kl_projection", "kl_markov")
        return (column in imf_alone and row["method"] == "ipf") or (column in imf_alone[2:] and late)
    if experiment in (plane, plane_sigma):
        return column == "w2_sde" and row["method"] not in BRIDGES
    return experiment is gaussian and column == "drift_error" and row["method"] in ONE_PASS


def junk() -> Iterator[float]:
    """Numbers that are all different, far from any criterion, and in no order."""
    random = np.random.default_rng(0)
    return (1e4 + 1e3 * float(random.random()) for _ in count())


def table(experiment: Experiment, preset: str, fill: Callable[[Row], Mapping[str, float]] = lambda row: {}) -> Any:
    """The rows of `experiment` in `preset`; `fill` says of a row what is not made up."""
    numbers, rows = junk(), []
    grid = experiment.presets[preset]
    for config, seed in product(grid.configs, grid.each_seed):
        for key in keys(experiment, config):
            row: Row = {**dataclasses.asdict(config), **key, "seed": seed}
            made = {
                column: np.nan if absent(experiment, row, column) else next(numbers)
                for column, values in experiment.columns.items()
                if values in (float, int) and column not in key
            }
            rows.append(row | made | dict(fill(row)))
    return pd.DataFrame(rows)


class Made:
    """Results as figures get them, in one preset. Arrays of a run are told apart by method, task, seed and name."""

    def __init__(self, preset: str) -> None:
        self.preset = preset
        self.tables: dict[str, pd.DataFrame] = {}

    def table(self, experiment: Experiment) -> pd.DataFrame:
        if experiment.name not in self.tables:
            self.tables[experiment.name] = table(experiment, self.preset)
        return self.tables[experiment.name]

    def arrays(self, experiment: Experiment, **where: Any) -> list[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]]:
        seed = where.pop("seed", None)
        grid = experiment.presets[self.preset]
        found: list[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]] = []
        for number, config in enumerate(grid.configs):
            fields = dataclasses.asdict(config)
            if all(fields[name] == value for name, value in where.items()):
                seeds = grid.each_seed if seed is None else (seed,)
                found += [(fields, arrays_of(experiment, fields, 100 * number + of)) for of in seeds]
        return found


def arrays_of(experiment: Experiment, config: Mapping[str, Any], number: int) -> dict[str, np.ndarray]:
    """Arrays of a run, whose values are its own by `number`."""
    if experiment is gaussian:
        names = ("fitted_mean", "fitted_var", "exact_mean", "exact_var")
        made = {name: number + 0.1 * place + np.linspace(0, 0.05, 21) for place, name in enumerate(names)}
        return made | {"t": np.linspace(0, 1, 21)}
    if experiment is plane:
        points = np.linspace(0, 1, 500)[:, None] + [number, number + 0.1]
        made = {name: points + 0.2 * place for place, name in enumerate(("data_0", "data_1", "generated"))}
        steps = np.arange(21)[:, None, None] / 100
        made["flow_path"] = points[:200] + steps
        if config["method"] in SDE:
            made["sde_path"] = points[:200] + 5 + steps
        return made
    names = ("start_f", "transferred_f", "start_b", "transferred_b")
    images = np.arange(32.0)[:, None, None, None] / 100 + np.zeros((1, 1, 8, 8))
    return {name: (images + place + 10 * (number // 100)) / 100 for place, name in enumerate(names)}


CLAIMS = [(claim, preset) for claim in PAPER.claims for preset in claim.presets]
