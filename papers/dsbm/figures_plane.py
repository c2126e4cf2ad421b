"""Figures of the experiments in the plane, and of images."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure

from common.harness.studies.figure import Figure, Results
from common.harness.studies.panels import COLOURS, finish, panels, where
from papers.dsbm.figure_style import MARKER, beside, dots, present
from papers.dsbm.published import PLANE_ENERGY, PLANE_W2

TASKS = ("moons", "scurve", "8gaussians", "moons-8gaussians")
TELLING = "moons-8gaussians"
"""The task on which methods differ most: shown alone where there is room for one."""


def _tasks(results: Results) -> list[str]:
    found = set(results.tables["plane"]["task"])
    return [task for task in TASKS if task in found]


def _bare(axes: Axes, reach: float) -> None:
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])


def paths(results: Results) -> MatplotlibFigure:
    tasks = _tasks(results)
    task = TELLING if TELLING in tasks else tasks[0]
    methods = present(where(results.tables["plane"], task=task))
    runs = {method: results.arrays("plane", method=method, task=task, seed=0)[0][1] for method in methods}
    kinds = [("flow_path", "ODE")] + [("sde_path", "SDE")] * any("sde_path" in run for run in runs.values())
    figure, axes = panels("dsbm", len(kinds), len(methods), width=2.7 * len(methods), height=2.9 * len(kinds) + 0.3)
    for column, (method, run) in enumerate(runs.items()):
        reach = 1.1 * float(max(np.abs(run["data_0"]).max(), np.abs(run["data_1"]).max()))
        for row, (key, name) in enumerate(kinds):
            panel = axes[row, column]
            _bare(panel, reach)
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


def generated(results: Results) -> MatplotlibFigure:
    tasks, methods = _tasks(results), present(results.tables["plane"])
    figure, axes = panels("dsbm", len(tasks), len(methods), width=2.2 * len(methods), height=2.4 * len(tasks) + 0.2)
    for row, task in enumerate(tasks):
        for column, method in enumerate(methods):
            panel = axes[row, column]
            runs = results.arrays("plane", method=method, task=task, seed=0)
            if not runs:
                panel.axis("off")
                continue
            arrays = runs[0][1]
            panel.scatter(*arrays["data_0"].T, s=3, color="0.75", rasterized=True)
            panel.scatter(*arrays["generated"].T, s=3, color=COLOURS[3], rasterized=True)
            _bare(panel, 1.25 * float(np.abs(arrays["data_0"]).max()))
            panel.set_title(f"{method}\n{task}" if row == 0 else task, fontsize="small")
    return finish(figure, despine=False)


def distances(results: Results) -> MatplotlibFigure:
    table, floor, tasks = results.tables["plane"], results.tables["plane_floor"], _tasks(results)
    shape = (2, len(tasks)) if len(tasks) > 1 else (1, 2)
    figure, axes = panels("dsbm", *shape, width=4.3 * shape[1] + 2, height=4.2 * shape[0])
    axes = axes.reshape(2, -1)
    for column, task in enumerate(tasks):
        rows = where(table, task=task)
        methods = present(rows)
        for panel, value, published in zip(
            axes[:, column], ("w2", "path_energy"), (PLANE_W2, PLANE_ENERGY), strict=True
        ):
            dots(panel, rows, value, methods)
            for place, method in enumerate(methods):
                if (method, task) in published:
                    beside(panel, place, method, published[method, task])
            panel.set(title=task, ylim=(0, None), xlabel="")
        axes[0, column].axhline(where(floor, task=task)["w2"].mean(), color="0.4", ls=":", lw=1.5)
    axes[0, 0].set_ylabel("W₂ to the data, 20 Euler steps")
    axes[1, 0].set_ylabel("path energy")
    return finish(figure)


def sigma(results: Results) -> MatplotlibFigure:
    swept = results.tables["plane_sigma"]
    tasks = [task for task in TASKS if task in set(swept["task"])]
    table = pd.concat([swept, where(results.tables["plane"], method="DSBM-IMF")])
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


def plan_distance(results: Results) -> MatplotlibFigure:
    table = results.tables["plan_distance"]
    sigmas = sorted(table["sigma"].unique())
    figure, axes = panels("dsbm", 2, len(sigmas), width=4.4 * len(sigmas) + 1, height=7.6)
    for column, sigma in enumerate(sigmas):
        for panel, value, floor in zip(
            axes[:, column], ("joint_w2", "map_error"), ("joint_floor", "map_floor"), strict=True
        ):
            rows = where(table, sigma=sigma)
            for method, colour in (("DSBM-IPF", COLOURS[0]), ("DSBM-IMF", COLOURS[3])):
                seeds = where(rows, method=method).groupby("pass_number")[value]
                mean, style = seeds.mean(), "--" if method == "DSBM-IPF" else "-"
                panel.plot(mean.index, mean, color=colour, marker=MARKER[method], ls=style, label=method)
                panel.fill_between(mean.index, seeds.min(), seeds.max(), color=colour, alpha=0.2, lw=0)
            floors = rows.groupby("pass_number")[floor].mean()
            panel.plot(floors.index, floors, color="0.4", ls=":", lw=1.5)
            panel.set(title=f"σ = {sigma:g}", xlabel="pass", ylim=(0, None))
    axes[0, 0].set_ylabel("W₂ of pairs to the plan")
    axes[1, 0].set_ylabel("error of the mean end")
    axes[0, -1].legend(frameon=False)
    return finish(figure)


def transfer(results: Results) -> MatplotlibFigure:
    runs = results.arrays("transfer", seed=0)
    grids = ("start_f", "transferred_f", "start_b", "transferred_b")
    figure, axes = panels("dsbm", len(runs), len(grids), width=16, height=2.4 * len(runs))
    for (config, arrays), row in zip(runs, axes, strict=True):
        for panel, key in zip(row, grids, strict=True):
            images = arrays[key][:32, 0]
            tiles = images.reshape(-1, 8, *images.shape[1:]).transpose(0, 2, 1, 3)
            panel.imshow(tiles.reshape(-1, 8 * images.shape[-1]), cmap="gray_r", vmin=-1, vmax=1)
            word, direction = key.split("_")
            panel.set_title(f"{config['method']}, {word}, {'forward' if direction == 'f' else 'backward'}")
            panel.axis("off")
    return finish(figure, despine=False)


PLANE_FIGURES = (
    Figure(
        "paths",
        "Sixty paths of each method in the plane, from its start (dots) to what it generates (crosses).",
        "All methods start in the same points. Independent pairs give paths that first run to the middle and then "
        "turn; matching again on a process's own pairs straightens them. Lower row, where a method has a stochastic "
        "process: its paths by simulation.",
        ("plane",),
        paths,
    ),
    Figure(
        "generated",
        "Generated points of each method (coloured) over data (grey), for every task.",
        "Look for points between the shapes, where there is no data, and for parts of a shape that are left out.",
        ("plane",),
        generated,
    ),
    Figure(
        "distances",
        "W2 to the data and path energy of each method and task, with published values beside them.",
        "Coloured: here, with seeds in grey and 95 % intervals. White: published. Dotted: the distance of two samples "
        "of the data, which depends on how many points are compared: below it there is nothing to see. A method can "
        "be close to the data and still go long ways: compare the two measures.",
        ("plane", "plane_floor"),
        distances,
    ),
    Figure(
        "sigma",
        "W2 to the data and path energy of DSBM-IMF against a factor on sigma, relative to their values at factor 1.",
        "What the choice of σ decides, which the paper does not state: more noise, longer ways. Each task is a line; a "
        "factor of 1 is what all other figures show.",
        ("plane_sigma", "plane"),
        sigma,
    ),
    Figure(
        "plan-distance",
        "Distance of the learned pairs to the entropic optimal plan by pass, for DSBM-IPF and DSBM-IMF at several "
        "sigma.",
        "The plan is Sinkhorn's, on samples; dotted is what two such plans differ by that start in the same points, "
        "so it depends on the direction of a pass. The less noise, the more passes does a start from the reference "
        "(dashed) need; a start from independent pairs needs few. Bands are all seeds.",
        ("plan_distance",),
        plan_distance,
    ),
    Figure(
        "transfer",
        "Grids of images before and after the transfer, in both directions.",
        "Each image starts from the one in the same place on the grid to its left: what is kept of its shape shows "
        "how little the bridge moves.",
        ("transfer",),
        transfer,
    ),
)
