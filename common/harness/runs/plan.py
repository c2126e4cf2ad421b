"""From a card, a preset and the user's wishes to the list of runs: what would be run, in an order that can be run.

Planning imports the paper's studies (and with them torch), but runs nothing and writes nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from common.harness.runs.fingerprint import fingerprint
from common.harness.runs.overrides import override
from common.harness.studies.criteria import criterion_hashes
from common.harness.studies.errors import UsageError, unknown
from common.harness.studies.experiment import PRESETS, Experiment, Grid, Resources
from common.harness.studies.study import StudyError

if TYPE_CHECKING:
    from common.harness.studies.paper import Paper


@dataclass(frozen=True, eq=False)
class RunSpec:
    """One run, before it is made: everything that its results depend on, and what it takes to make it.

    Two specs are the same run when their addresses agree. A spec is pickled to the process that makes the run, which
    finds the function by importing `module`.
    """

    slug: str
    module: str
    """The study that has the experiment, e.g. 'papers.edm.studies.convergence'."""
    experiment: str
    config: Any
    seed: int
    version: int = 1
    device: str = "cpu"
    resources: Resources = field(default_factory=Resources)
    needs: Mapping[str, RunSpec] = field(default_factory=dict)
    asked: bool = True
    """False for a run that is here only because another run needs it: its rows are no result of the preset."""
    criteria: Mapping[str, str] = field(default_factory=dict)
    """The hashes of the criteria that will judge its rows: kept with the run, and no part of its address."""
    fingerprint: str = ""
    """Of today's code of the experiment."""
    together: int = 1
    """With how many seeds of its config, itself included, it may be made as one."""

    @cached_property
    def address(self) -> str:
        """16 hex digits: SHA-256 of what the results depend on. A device other than the CPU counts by its type."""
        identity = {
            "slug": self.slug,
            "experiment": self.experiment,
            "config": plain(self.config),
            "seed": self.seed,
            "version": self.version,
            "needs": {key: need.address for key, need in self.needs.items()},
        }
        if (device := device_type(self.device)) != "cpu":
            identity["device"] = device
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:16]

    def __str__(self) -> str:
        """'edm/convergence(steps=18) seed 0': only the fields that differ from the config's defaults."""
        told = [
            f"{f.name}={getattr(self.config, f.name)}"
            for f in dataclasses.fields(self.config)
            if getattr(self.config, f.name) != f.default
        ]
        return f"{self.slug}/{self.experiment}({', '.join(told)}) seed {self.seed}"


def device_type(device: str) -> str:
    """'cuda' of 'cuda:1'."""
    return device.partition(":")[0]


def plain(value: Any) -> Any:
    """`value` as JSON can hold it; equal configs give equal JSON. TypeError where a value is not plain."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {"class": type(value).__qualname__, **fields}
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return int(value)  # 1.0 == 1, so both must be one address
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, tuple | list):
        return [plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    raise TypeError(f"a config holds plain values and dataclasses of them, not {type(value).__name__}: {value!r}")


def plan(
    paper: Paper,
    preset: str,
    *,
    seeds: Sequence[int] | None = None,
    only: Sequence[str] | None = None,
    overrides: Mapping[str, str] | None = None,
    device: str = "cpu",
) -> list[RunSpec]:
    """The runs of `paper` in `preset`, each once, and each after the runs that it needs.

    `seeds` replaces the preset's seeds, `only` names experiments, `overrides` sets config fields from text in every
    chosen experiment that has them. Raises UsageError for a name, a seed, a value or a device that is not allowed.
    """
    experiments = paper.experiments
    grids = _chosen(paper, experiments, preset, only)
    if seeds is not None and (not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds)):
        raise UsageError(f"seeds are different whole numbers from 0, at least one; not {list(seeds)}")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UsageError(f"unknown device {device!r}; allowed: cpu, cuda, cuda:N")
    expand = _Expansion(paper, preset, device)
    configs = override({name: list(grid.configs) for name, grid in grids.items()}, overrides or {})
    for name, grid in grids.items():
        for config in configs[name]:
            for seed in grid.each_seed if seeds is None else seeds:
                expand(experiments[name], config, seed)
    return expand.in_order()


def _chosen(
    paper: Paper, experiments: Mapping[str, Experiment], preset: str, only: Sequence[str] | None
) -> dict[str, Grid]:
    if preset not in PRESETS:
        raise unknown("preset", preset, PRESETS)
    grids = {
        name: experiment.presets[preset] for name, experiment in experiments.items() if preset in experiment.presets
    }
    if not grids:
        has = [name for name in PRESETS if any(name in experiment.presets for experiment in experiments.values())]
        raise UsageError(f"{paper.slug} has no preset {preset!r}; it has: {', '.join(has) or 'none'}")
    for name in only or ():
        if name not in grids:
            raise unknown("experiment", name, grids, f"of {paper.slug} in preset {preset!r}")
    return {name: grid for name, grid in grids.items() if only is None or name in only}


class _Expansion:
    """Collects runs with what they need, each once, needs first."""

    def __init__(self, paper: Paper, preset: str, device: str) -> None:
        self.paper, self.preset, self.device = paper, preset, device
        self.known = set(paper.experiments.values())
        self.criteria = criterion_hashes(paper.claims)
        self.specs: dict[str, RunSpec] = {}
        self.asked: set[str] = set()

    def __call__(self, experiment: Experiment, config: Any, seed: int) -> None:
        self.asked.add(self.add(experiment, config, seed, ()).address)

    def add(self, experiment: Experiment, config: Any, seed: int, needed_by: tuple[Experiment, ...]) -> RunSpec:
        name = experiment.name
        if experiment in needed_by:
            circle = " → ".join(each.name for each in (*needed_by, experiment))
            raise ValueError(f"{self.paper.slug}: experiments need each other in a circle: {circle}")
        if experiment not in self.known:
            raise StudyError(f"{self.paper.slug}: no study has experiment '{name}', needed by {needed_by[-1].name!r}")
        if not isinstance(config, experiment.config):
            raise TypeError(f"{self.paper.slug}/{name} takes a {experiment.config.__name__}, not {config!r}")
        needs = {
            key: self.add(need.experiment, need.config, need.seed, (*needed_by, experiment))
            for key, need in experiment.needs(config, seed).items()
        }
        resources = experiment.resources.get(self.preset, Resources())
        if device_type(self.device) != "cuda":
            resources = Resources(cpus=resources.cpus)
        elif resources.gpus == 0:
            resources = Resources(cpus=resources.cpus, gpus=1.0)
        spec = RunSpec(
            self.paper.slug,
            experiment.module,
            name,
            config,
            seed,
            experiment.version,
            self.device,
            resources,
            needs,
            criteria=self.criteria.get(name, {}),
            fingerprint=fingerprint(experiment),
            together=experiment.together,
        )
        return self.specs.setdefault(spec.address, spec)

    def in_order(self) -> list[RunSpec]:
        return [
            spec if address in self.asked else dataclasses.replace(spec, asked=False)
            for address, spec in self.specs.items()
        ]
