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
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from papers.dsbm.published import PLANE_ENERGY
from papers.dsbm.studies.drawing import DARK, DASHES, WIDTH, bare, by_task, key, present, sheet, thumbnails
from papers.dsbm.studies.methods import LOOKS, TRAINED
from papers.dsbm.studies.plane import COLUMNS, DATA, MIXED, SIGN, SOURCE, PlaneConfig, plane
from papers.dsbm.studies.tasks import TASKS, tasks_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

PATHS = 30
"""Of each method that are drawn: more cannot be told apart."""
SWEEP = [PlaneConfig("DSBM-IMF", task, sigma_factor=factor) for task in ("moons", MIXED) for factor in (0.25, 0.5, 2.0)]


@experiment(PlaneConfig, {"small": Grid(SWEEP, 2), "gpu": Grid(SWEEP, 5)}, COLUMNS, tolerance=TRAINED)
def plane_sigma(config: PlaneConfig, seed: int, run: Run) -> Sequence[Row]:
    """`plane` at other σ than the task's: what our choice of it, which the paper does not give, decides."""
    return plane(config, seed, run)


TWICE = Criterion(2.0, reason="at least twice, of a published ratio of 2.8")
CALIBRATED = (
    " σ = 7 between data sets was settled by a pilot in which DSBM's path energy came near the published one, which "
    "therefore is not judged itself. CFM's ratio to it is in part calibrated with it: greater at a smaller σ, and "
    "about 1 at twice this one (plane_sigma)."
)
ENERGY = "∫ E‖v‖² dt along the probability flow"
OPTIMAL = "flow matching on optimal pairs (OT-CFM), which takes less energy than independent pairs"


def _ratio(better: str, task: str, criterion: Criterion) -> Quantity:
    cells = (PLANE_ENERGY.get(("CFM", task)), PLANE_ENERGY.get((better, task)))
    return Quantity(
        f"CFM over {better}, {task}",
        plane,
        paired_ratio("path_energy", first={"method": "CFM"}, second={"method": better}, task=task),
        criterion,
        expected=cells[0].mean / cells[1].mean if cells[0] and cells[1] else None,
        metric=f"ratio of {ENERGY}",
        unit="×",
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
            metric=ENERGY,
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
        headline=True,
        excludes=OPTIMAL,
    ),
    Claim(
        "plane-energy-order",
        "Between data sets, flow matching on independent pairs takes far more energy than the Schrödinger bridge.",
        SOURCE,
        tuple(_ratio(method, MIXED, TWICE) for method in ("DSBM-IPF", "DSBM-IMF")),
        presets=("small", "gpu"),
        deviation=DATA + CALIBRATED,
        headline=True,
        excludes=OPTIMAL,
    ),
    Claim(
        "plane-energy",
        "For each method and task that is judged, the path energy of the probability flow is within a factor of one "
        "and a half of the published one.",
        SOURCE,
        _table(),
        presets=("small", "gpu"),
        deviation=DATA + CALIBRATED,
        excludes="CFM and OT-CFM in each other's place between data sets; from N(0, I), DSB's shorter ways to the "
        "moons and the S-curve",
    ),
    Claim(
        "plane-energy-independent",
        "From a Gaussian, too, flow matching on independent pairs takes more energy than the Schrödinger bridge.",
        "beside Table 1",
        tuple(_ratio("DSBM-IMF", task, SIGN) for task in TASKS if task != MIXED),
        presets=("small", "gpu"),
        deviation=DATA + " Added after a review of the first report: the bands of plane-energy are wide enough for the "
        "energies of independent pairs on these tasks, so that only a ratio sees the coupling.",
        kind="ours",
        excludes="optimal pairs (OT-CFM) to the moons and the S-curve, which take less than the bridge",
    ),
)


def energies(results: Results) -> MatplotlibFigure:
    return finish(by_task(results.table(plane), "path_energy", "path energy", PLANE_ENERGY))


def paths(results: Results) -> MatplotlibFigure:
    table = results.table(plane)
    tasks = tasks_of(table)
    task = MIXED if MIXED in tasks else tasks[0]  # where there is room for one: methods differ most between data sets
    methods = present(where(table, task=task))
    runs = {method: results.arrays(plane, method=method, task=task, seed=0)[0][1] for method in methods}
    kinds = {"flow_path": f"ODE, {task}", "sde_path": f"SDE, {task}"}
    groups = {key: [method for method in methods if key in runs[method]] for key in kinds}
    groups = {key: found for key, found in groups.items() if found}
    columns = min(5, len(methods))
    rows = [-(-len(found) // columns) for found in groups.values()]
    figure, axes = panels(
        "dsbm", len(groups), 1, width=WIDTH, height=sum(rows) * (WIDTH / columns + 0.1) + 0.5 * len(rows),
        height_ratios=rows,
    )  # fmt: skip
    for panel, (name, found) in zip(axes.flat, groups.items(), strict=True):
        panel.set_title(kinds[name])
        for picture, method in zip(thumbnails(panel, found, columns), found, strict=True):
            run = runs[method]
            lines = run[name][::2, :PATHS]  # every other step: a smaller file, the same picture
            picture.scatter(run["data_1"][:, 0], run["data_1"][:, 1], s=1, marker="s", lw=0, color="0.8", zorder=0.1)
            picture.plot(*broken(lines), color=LOOKS[method].colour, lw=0.6)
            picture.plot(*lines[0].T, color="0.35", marker="o", ms=2, mew=0, ls="none", zorder=3)
            picture.plot(*lines[-1].T, color="black", marker="x", ms=3, mew=0.7, ls="none", zorder=4)
            bare(picture, 1.1 * float(max(np.abs(run["data_0"]).max(), np.abs(run["data_1"]).max())))
    return finish(figure, despine=False)


def broken(lines: np.ndarray) -> np.ndarray:
    """Paths (T, n, 2) as one line with gaps, (2, n (T + 1)): one element of the file."""
    return np.concatenate([lines, np.full_like(lines[:1], np.nan)]).transpose(2, 1, 0).reshape(2, -1)


def sigma(results: Results) -> MatplotlibFigure:
    import pandas as pd

    swept = results.table(plane_sigma)
    tasks = tasks_of(swept)
    table = pd.concat([swept, where(results.table(plane), method="DSBM-IMF")])
    figure, axes = sheet(1, 2, height=3.6)
    for task, style, marker in zip(tasks, DASHES, "osD^", strict=False):
        for panel, value in zip(axes[0], ("w2", "path_energy"), strict=True):
            mean = where(table, task=task).groupby("sigma_factor")[value].mean()
            panel.plot(mean.index, mean / mean[1.0], ls=style, marker=marker, color=DARK, label=f"DSBM-IMF, {task}")
    for panel, word in zip(axes[0], ("W₂ to the data", "path energy"), strict=True):
        panel.set(title=word, xscale="log", xlabel="factor on σ", ylim=(0, None))
        panel.set_xticks(sorted(table["sigma_factor"].unique()), sorted(table["sigma_factor"].unique()))
        panel.set_xticks([], minor=True)
    axes[0, 0].set_ylabel("relative to factor 1")
    key(figure)
    return finish(figure)


STUDY = Study(
    title="Energy of the paths",
    question="How much energy do the paths of each method take, and what does the choice of σ decide?",
    experiments=(plane_sigma,),
    claims=CLAIMS,
    figures=(
        Figure(
            "energies",
            "Path energy of each method and task, with published values beside them.",
            "Each dot is one training; the white marks are the paper's. A flow that arrives takes at least W₂² of its "
            "two ends. A method can be close to the data and still go long ways: compare with the distances.",
            (plane,),
            energies,
        ),
        Figure(
            "paths",
            "Thirty paths of each method in the plane, from its start (dots) to what it generates (crosses).",
            "All methods start in the same points. Above, paths of the ODE: those of CFM, which learns on independent "
            "pairs, run to the middle first and then turn; those of methods that learn on their own or on optimal "
            "pairs are straighter. Below, where a method has a stochastic process: its simulated paths.",
            (plane,),
            paths,
        ),
        Figure(
            "sigma",
            "W2 to the data and path energy of DSBM-IMF against a factor on sigma, relative to their values at "
            "factor 1.",
            "What the choice of σ decides, which the paper does not state: more noise, longer ways. A factor of 1 is "
            "what all other figures show.",
            (plane_sigma, plane),
            sigma,
        ),
    ),
)
