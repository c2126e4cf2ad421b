"""Tables of EDM's experiments made by hand: the rows that a preset would give, with numbers that a test plants.

Every number that is not planted is a decoy: its own for each column, configuration, row and seed, and spread over six
decades. A claim or a figure that reads another column, method, data set or seed than it says then shows it.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from common.harness.studies.experiment import Experiment
from papers.edm.studies.churn import CHURNS, churn
from papers.edm.studies.convergence import convergence
from papers.edm.studies.cost import sampling_cost
from papers.edm.studies.curvature import CURVES, curvature
from papers.edm.studies.methods import SOLVERS
from papers.edm.studies.official import official_fid
from papers.edm.studies.preconditioning import PRECONDS, preconditioning
from papers.edm.studies.rho import rho_sweep
from papers.edm.studies.training import training

Row = dict[str, Any]
Plant = Callable[[Row, int], Mapping[str, float]]
"""What a row, told by its config's fields and its keys, has in a seed; what it leaves out is a decoy."""

KEYS: Mapping[Experiment, Callable[[Any], list[Row]]] = {
    convergence: lambda config: [
        {"solver": solver, "n_steps": n, "nfe": n if solver == "euler" else 2 * n - 1}
        for solver in SOLVERS
        for n in config.steps
    ],
    sampling_cost: lambda config: [{"nfe": 2 * n - 1 if config.sampler == "edm" else n} for n in config.steps],
    rho_sweep: lambda config: [{"rho": rho} for rho in config.rhos],
    curvature: lambda config: [{"schedule": schedule} for schedule in CURVES],
    preconditioning: lambda config: [{"precond": name, "sigma": sigma} for sigma in config.sigmas for name in PRECONDS],
    training: lambda config: [{"n": config.n_samples, "nfe": 35}],
    churn: lambda config: [{"amount": amount, "n": config.n_samples, "nfe": 159} for amount in CHURNS],
    official_fid: lambda config: [{"n": config.n_samples, "nfe": 35}],
}
"""The rows of one run, by what tells them apart."""


def table(experiment: Experiment, preset: str, plant: Plant = lambda row, seed: {}) -> pd.DataFrame:
    """The rows of `experiment` in `preset`, with the config's fields and `seed`, as the harness hands them on."""
    grid = experiment.presets[preset]
    rows = []
    for config in grid.configs:
        for seed in seeds_of(experiment, preset):
            for keys in KEYS[experiment](config):
                row = {**vars(config), **keys}
                decoys = _decoys(experiment, {**row, "seed": seed})
                rows.append({**row, **decoys, **plant(row, seed), "seed": seed})
    return pd.DataFrame(rows)


def seeds_of(experiment: Experiment, preset: str) -> range:
    """At least three: the official networks have no seeds where their files are not."""
    return range(max(3, experiment.presets[preset].seeds))


def _decoys(experiment: Experiment, row: Row) -> dict[str, float]:
    columns = [name for name, values in experiment.columns.items() if values is float and name not in row]
    return {
        name: 10 ** random.Random(f"{experiment.name} {name} {sorted(map(str, row.items()))}").uniform(-3, 3)
        for name in columns
    }


def wobble(seed: int) -> float:
    """Seeds differ by a per cent, so that intervals have a width."""
    return 1 + 0.01 * (seed - 1)
