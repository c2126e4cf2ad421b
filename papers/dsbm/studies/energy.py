"""How much energy do the paths take, with and without the Schrödinger bridge's pairs (Section 6, beside Table 1)?

On the runs of the study `plane`: the energy E ∫ ‖v‖² dt along the probability flow, by method and task. It depends on
σ, which the paper does not give, so that DSBM-IMF is trained at other σ too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Row, Run, experiment
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import paired_ratio, value_at
from common.harness.studies.panels import COLOURS, finish, panels, where
from common.harness.studies.study import Study
from papers.dsbm.published import PLANE_ENERGY
from papers.dsbm.studies.drawing import bare, present
from papers.dsbm.studies.plane import COLUMNS, DATA, MIXED, SIGN, SOURCE, PlaneConfig, plane
from papers.dsbm.studies.tasks import TASKS, tasks_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

SWEEP = [PlaneConfig("DSBM-IMF", task, sigma_factor=factor) for task in ("moons", MIXED) for factor in (0.25, 0.5, 2.0)]


@experiment(PlaneConfig, {"small": Grid(SWEEP, 2), "gpu": Grid(SWEEP, 5)}, COLUMNS)
def plane_sigma(config: PlaneConfig, seed: int, run: Run) -> Sequence[Row]:
    """`plane` at other σ than the task's: what our choice of it, which the paper does not give, decides."""
    return plane(config, seed, run)


TWICE = Criterion(2.0, reason="at least twice, of a published ratio of 2.8")
CALIBRATED = (
    " σ = 7 between data sets was settled by a pilot in which DSBM's path energy came near the published one, which "
    "therefore is not judged itself. CFM's ratio to it is in part calibrated with it: greater at a smaller σ, and "
    "about 1 at twice this one (plane_sigma)."
)


def _ratio(better: str, task: str, criterion: Criterion) -> Quantity:
    cells = (PLANE_ENERGY.get(("CFM", task)), PLANE_ENERGY.get((better, task)))
    published = cells[0].mean / cells[1].mean if cells[0] and cells[1] else None
    return Quantity(
        f"CFM over {better}, {task}",
        plane,
        paired_ratio("path_energy", first={"method": "CFM"}, second={"method": better}, task=task),
        criterion,
        published,
        unit="×",
        floor=0.1,
        scale="log",
    )


def _table() -> tuple[Quantity, ...]:
    """Without those that σ was chosen by: of the bridges between data sets."""
    return tuple(
        Quantity(
            f"{method}, {task}",
            plane,
            value_at("path_energy", method=method, task=task),
            Criterion(cell.mean / 1.5, cell.mean * 1.5, "half as much again: σ is ours, and moves it"),
            published=cell.mean,
            floor=0.1,
            scale="log",
        )
        for (method, task), cell in PLANE_ENERGY.items()
        if task != MIXED or method in ("CFM", "OT-CFM")
    )


CLAIMS = (
    Claim(
        "plane-energy-cfm",
        "Between data sets, flow matching on independent pairs takes far more energy than the Schrödinger bridge.",
        SOURCE,
        (_ratio("DSBM-IMF", MIXED, TWICE),),
        presets=("quick",),
        deviation=DATA + CALIBRATED,
    ),
    Claim(
        "plane-energy-order",
        "Between data sets, flow matching on independent pairs takes far more energy than the Schrödinger bridge.",
        SOURCE,
        tuple(_ratio(method, MIXED, TWICE) for method in ("DSBM-IPF", "DSBM-IMF")),
        presets=("small", "gpu"),
        deviation=DATA + CALIBRATED,
    ),
    Claim(
        "plane-energy-independent",
        "From a Gaussian, too, flow matching on independent pairs takes more energy than the Schrödinger bridge.",
        "beside Table 1",
        tuple(_ratio("DSBM-IMF", task, SIGN) for task in TASKS if task != MIXED),
        presets=("small", "gpu"),
        deviation=DATA + " Added after a review of the first report: the bands of plane-energy are wide enough for the "
        "energies of independent pairs on these tasks, so that only a ratio sees the coupling.",
    ),
    Claim(
        "plane-energy",
        "The path energy of the probability flow, by method and task.",
        SOURCE,
        _table(),
        presets=("small", "gpu"),
        deviation=DATA + CALIBRATED,
    ),
)


def paths(results: Results) -> MatplotlibFigure:
    table = results.table(plane)
    tasks = tasks_of(table)
    task = MIXED if MIXED in tasks else tasks[0]  # where there is room for one: methods differ most between data sets
    methods = present(where(table, task=task))
    runs = {method: results.arrays(plane, method=method, task=task, seed=0)[0][1] for method in methods}
    kinds = [("flow_path", "ODE")] + [("sde_path", "SDE")] * any("sde_path" in run for run in runs.values())
    figure, axes = panels("dsbm", len(kinds), len(methods), width=2.7 * len(methods), height=2.9 * len(kinds) + 0.3)
    for column, (method, run) in enumerate(runs.items()):
        reach = 1.1 * float(max(np.abs(run["data_0"]).max(), np.abs(run["data_1"]).max()))
        for row, (key, name) in enumerate(kinds):
            panel = axes[row, column]
            bare(panel, reach)
            panel.set_title(f"{method}, {name}")
            if key not in run:
                panel.axis("off")
                panel.set_title("")
                continue
            lines = run[key][:, :60]
            panel.scatter(*run["data_1"].T, s=2, color="0.8", rasterized=True)
            panel.plot(lines[:, :, 0], lines[:, :, 1], color=COLOURS[0], lw=0.7, alpha=0.7)
            panel.scatter(*lines[0].T, s=9, color="0.35", marker="o", zorder=3)
            panel.scatter(*lines[-1].T, s=12, color=COLOURS[3], marker="x", zorder=3)
    return finish(figure, despine=False)


def sigma(results: Results) -> MatplotlibFigure:
    import pandas as pd

    swept = results.table(plane_sigma)
    tasks = tasks_of(swept)
    table = pd.concat([swept, where(results.table(plane), method="DSBM-IMF")])
    figure, axes = panels("dsbm", 1, 2, width=12.5, height=4.4)
    for task, style, colour in zip(tasks, ("-", "--", ":", "-."), COLOURS, strict=False):
        for panel, value in zip(axes[0], ("w2", "path_energy"), strict=True):
            mean = where(table, task=task).groupby("sigma_factor")[value].mean()
            panel.plot(mean.index, mean / mean[1.0], ls=style, marker="o", color=colour, label=task)
    for panel, word in zip(axes[0], ("W₂ to the data", "path energy"), strict=True):
        panel.set(title=word, xscale="log", xlabel="factor on σ", ylabel="relative to factor 1", ylim=(0, None))
        panel.set_xticks(sorted(table["sigma_factor"].unique()), sorted(table["sigma_factor"].unique()))
        panel.set_xticks([], minor=True)
    axes[0, 0].legend(frameon=False)
    return finish(figure)


STUDY = Study(
    title="Energy of the paths",
    question="How much energy do the paths of each method take, and what does the choice of σ decide?",
    experiments=(plane_sigma,),
    claims=CLAIMS,
    figures=(
        Figure(
            "paths",
            "Sixty paths of each method in the plane, from its start (dots) to what it generates (crosses).",
            "All methods start in the same points. Independent pairs give paths that first run to the middle and then "
            "turn; matching again on a process's own pairs straightens them. Lower row, where a method has a "
            "stochastic process: its paths by simulation.",
            (plane,),
            paths,
        ),
        Figure(
            "sigma",
            "W2 to the data and path energy of DSBM-IMF against a factor on sigma, relative to their values at "
            "factor 1.",
            "What the choice of σ decides, which the paper does not state: more noise, longer ways. Each task is a "
            "line; a factor of 1 is what all other figures show.",
            (plane_sigma, plane),
            sigma,
        ),
    ),
)
