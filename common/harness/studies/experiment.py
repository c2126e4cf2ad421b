"""What a study runs: experiments, their grids of configs, and the run that they see.

An experiment is a pure function `(config, seed, run) -> rows`. `config` is a frozen dataclass of plain values, `seed`
is the only source of randomness, and `run` is where the function finds its device and the artifacts of the experiments
that it needs, and leaves arrays, checkpoints and training metrics. Rows are flat dicts of numbers and strings; the
harness adds the config's fields and the seed to each.

An experiment with `together=8` takes up to eight seeds at once: `(config, seeds, runs) -> rows of each seed`, where
`runs[i]` is the run of `seeds[i]`. Small networks train so as one batched network in a fraction of the time. Each seed
keeps its own address, folder, rows and artifacts: another seed is made alone, and a need names one seed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, overload

Row = Mapping[str, float | int | str | bool]

PRESETS = ("quick", "small", "gpu")


class Run(Protocol):
    """What an experiment sees of the run that it is."""

    folder: Path
    """The run's folder while it is being written: checkpoints go here, and survive a killed run."""
    device: str
    """A torch device string: 'cpu', 'cuda', 'cuda:1'."""
    needs: Mapping[str, Path]
    """The finished run folder of each `Need`, by the need's key."""

    def log(self, **metrics: float) -> None:
        """Append one line to `metrics.jsonl` (training curves; never results)."""

    def save_arrays(self, **arrays: Any) -> None:
        """Write `arrays.npz` for figures; call once."""


@dataclass(frozen=True)
class Resources:
    """What one run takes; Ray schedules by it, and `cpus` is the thread count that a run sets before anything else."""

    cpus: int = 1
    gpus: float = 0.0


@dataclass(frozen=True)
class Grid:
    """The configs of one experiment in one preset, and how many seeds each is run with: first .. first + seeds − 1.

    A criterion that was written after the numbers of some seeds is judged on others: then `first` is above theirs.
    """

    configs: Sequence[Any]
    seeds: int = 1
    first: int = 0

    @property
    def each_seed(self) -> range:
        return range(self.first, self.first + self.seeds)


@dataclass(frozen=True)
class Need:
    """A run whose artifacts another run reads: the experiment, its config and seed."""

    experiment: Experiment
    config: Any
    seed: int


def at_least(lowest: float, config: Any, *fields: str) -> None:
    """For a config's `__post_init__`: ValueError where a field, or an item of a tuple in one, is below `lowest`."""
    for name in fields:
        value = getattr(config, name)
        for item in value if isinstance(value, tuple) else (value,):
            if not item >= lowest:
                raise ValueError(f"{name} is at least {lowest}, not {item}")


def positive(config: Any, *fields: str) -> None:
    """For a config's `__post_init__`: ValueError where a field, or an item of a tuple in one, is not above 0."""
    for name in fields:
        value = getattr(config, name)
        if not all(item > 0 for item in (value if isinstance(value, tuple) else (value,))):
            raise ValueError(f"{name} is {value}; it must be positive")


def one_of(allowed: Collection[str], config: Any, field: str) -> None:
    """For a config's `__post_init__`: ValueError where a field is none of `allowed`."""
    if (value := getattr(config, field)) not in allowed:
        raise ValueError(f"{field} is one of {', '.join(allowed)}, not {value!r}")


def _nothing_needed(config: Any, seed: int) -> Mapping[str, Need]:
    return {}


Function = Callable[..., Sequence[Any]]
"""`(config, seed, run) -> rows`, or `(config, seeds, runs) -> rows of each seed`."""
Values = type | Collection[float | int | str | bool]
"""What a column may hold: anything of a type (float, int, str, bool), or one of some values."""


def may_hold(values: Values, value: object) -> bool:
    """Whether a column declared by `values` may hold `value`. An int is a float here; a truth value is neither."""
    if isinstance(values, type):
        kinds = (float, int) if values is float else (values,)
        return isinstance(value, kinds) and (values is bool or not isinstance(value, bool))
    return value in values


@dataclass(frozen=True, eq=False)
class Experiment:
    """One experiment of a paper: a pure function with its grids, made by the decorator `experiment`.

    It can be called as the function that it is. `needs` maps a config and seed to the runs whose folders the function
    will find in `run.needs` under the same keys.

    With `together` above 1 the function takes a tuple of seeds. Which seeds are made with which differs from command to
    command, so a seed's rows must not depend on the others: every seed draws from generators of its own. Then a seed
    alone gives what it gives among others to rounding, and not bit for bit, for batched linear algebra may sum in
    another order. A batch that is killed starts anew; one that raises fails all of its seeds.
    """

    function: Function
    config: type
    presets: Mapping[str, Grid]
    columns: Mapping[str, Values]
    """What its rows may have, and what each column may hold. A run whose rows have anything else fails."""
    version: int = 1
    """A part of the address, kept for runs made before fingerprints; never raised by hand."""
    resources: Mapping[str, Resources] = field(default_factory=dict)
    """By preset; `Resources()` where a preset is not named. They are those of one task: of all the seeds of a batch."""
    needs: Callable[[Any, int], Mapping[str, Need]] = _nothing_needed
    prepare: Callable[[Any], object] | None = None
    """Called with each config before anything is launched: fetches or checks the data that the config reads. A
    FileNotFoundError or ValueError of it is bad input, and nothing runs."""
    together: int = 1
    """The greatest number of seeds that are made as one; above 1 the function takes tuples of seeds and runs."""

    tolerance: float | None = None
    """How far `repro check` lets each number made from its rows move, seed by seed: by a factor of 1 + tolerance,
    either way. State it, and why in a comment, where something is trained, fitted or counted adaptively, for there
    another processor's rounding grows. None: 1e-4, enough for all else, which moves by at most 6e-6."""

    def __post_init__(self) -> None:
        if self.together < 1:
            raise ValueError(f"{self.name}: together is at least 1, not {self.together}")

    @overload
    def __call__(self, config: Any, seed: int, run: Run) -> Sequence[Row]: ...
    @overload
    def __call__(self, config: Any, seed: tuple[int, ...], run: tuple[Run, ...]) -> Sequence[Sequence[Row]]: ...
    def __call__(self, config: Any, seed: Any, run: Any) -> Sequence[Any]:
        return self.function(config, seed, run)

    @property
    def name(self) -> str:
        return self.function.__name__

    @property
    def module(self) -> str:
        """The study that a worker imports to find it."""
        return self.function.__module__


def experiment(
    config: type, presets: Mapping[str, Grid], columns: Mapping[str, Values], **others: Any
) -> Callable[[Function], Experiment]:
    """Make the function below an `Experiment`, which bears the function's name and takes its place in the module.

        @experiment(ConvergenceConfig, {"quick": Grid(CONFIGS, seeds=5)}, {"solver": SOLVERS, "error": float})
        def convergence(config: ConvergenceConfig, seed: int, run: Run) -> Sequence[Row]: ...

    `others` are further fields of `Experiment`: resources, needs, prepare, together, tolerance.
    """
    return lambda function: Experiment(function, config, presets, columns, **others)
