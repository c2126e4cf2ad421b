"""Several seeds as one run: small networks that are multiplied as one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from common.harness.studies.experiment import Grid, Resources, Row, Run, experiment
from common.harness.studies.study import Study
from toy.experiments import hold, say


@dataclass(frozen=True)
class Stack:
    width: int = 48
    layers: int = 6
    pause: float = 0.0
    raises: int = -1
    """The seed at which a batch raises."""
    wrong: int = -1
    """The seed whose rows cannot be taken."""
    short: bool = False
    """Whether the rows of the last seed are left out."""


@experiment(
    Stack,
    {"quick": Grid((Stack(),), seeds=5), "small": Grid((Stack(), Stack(width=16)), seeds=2)},
    {"norm": float, "layer": int},
    resources={"small": Resources(cpus=2)},
    together=3,
)
def stacks(config: Stack, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> Sequence[Sequence[Row]]:
    for run in runs:
        say(f"of {len(seeds)}", run)
    print(f"a batch of {seeds}")
    if config.raises in seeds:
        raise ArithmeticError(f"seed {config.raises} went wrong")
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def draw(*shape: int) -> torch.Tensor:
        return torch.stack([torch.randn(*shape, generator=generator) for generator in generators])

    x = draw(200, config.width)
    rows: list[list[Row]] = [[] for _ in seeds]
    for layer in range(config.layers):
        x = torch.tanh(x @ draw(config.width, config.width) * 2 / config.width**0.5)
        for run, each, of_seed in zip(runs, x, rows, strict=True):
            run.log(layer=layer, loss=float(each.square().mean()))
            (run.folder / "layer").write_text(str(layer))
            of_seed.append({"norm": float(each.norm()), "layer": layer})
        for seed in seeds:
            hold(seed)
        time.sleep(config.pause)
    for seed, run, each, of_seed in zip(seeds, runs, x, rows, strict=True):
        run.save_arrays(x=each)
        if seed == config.wrong:
            of_seed.append({"norm": float("nan"), "layer": -1})
    return rows[: len(rows) - config.short]


STUDY = Study("Batches", "Is a seed among others what it is alone?", (stacks,))
