"""The larger figures of the studies in the plane, drawn from their tables and arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from common.harness.studies.looks import Look, ticks
from common.harness.studies.panels import COLOURS, finish, panels, where
from common.harness.studies.statistics import student_t
from papers.flow_matching.studies.looks import PATHS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure


def theorem(
    gradients: pd.DataFrame, targets: Mapping[str, Look], ways: pd.DataFrame, looks: Mapping[str, Look], equal: float
) -> MatplotlibFigure:
    """Differences of gradients against draws, and likelihood against evaluations; `equal` is where they are read."""
    figure, axes = panels("flow_matching", columns=2, width=8, height=4.6)
    left, right = axes[0]
    for target, look in targets.items():
        mean = where(gradients, target=target).groupby("n")["difference"].mean()
        left.plot(mean.index, mean, **look.line())
        if target == "cfm":
            slope = mean.iloc[0] * (mean.index / mean.index[0]) ** -0.5
            left.plot(mean.index, slope, color="0.85", lw=7, zorder=0, label="slope −½")
    left.set(xscale="log", yscale="log", xlabel="draws n", ylabel="difference from the FM gradient")
    for way, look in looks.items():
        rows = where(ways, way=way).groupby("train_steps")[["evaluations", "excess_nll"]].mean()
        right.plot(rows["evaluations"], rows["excess_nll"], **look.line())
    right.axhline(equal, color="0.6", lw=0.8, zorder=0)
    right.set(xscale="log", yscale="log", xlabel="evaluations in training", ylabel="NLL − entropy (nats)")
    for panel in (left, right):
        panel.legend(frameon=False, fontsize="small", loc="lower center", bbox_to_anchor=(0.5, 1.0))
    return finish(figure)


def trajectories(exact: Mapping[str, Mapping[str, np.ndarray]], paired: np.ndarray, title: str) -> MatplotlibFigure:
    """Conditional and marginal trajectories on the OT path, marginal ones on VP, and, under `title`, those of a network
    that was trained with pairs of noise and data; each (steps, n, 2)."""
    drawn = [(f"{PATHS[path].name}, exact field", PATHS[path].colour, of["marginal"]) for path, of in exact.items()]
    drawn.insert(0, (f"{PATHS['ot'].name}, conditional", PATHS["ot"].colour, exact["ot"]["conditional"]))
    drawn.append((title, COLOURS[2], paired))
    figure, axes = panels("flow_matching", 2, 2, width=8, height=8)
    for panel, (name, colour, x) in zip(axes.flat, drawn, strict=True):
        panel.plot(x[::4, :, 0], x[::4, :, 1], color=colour, lw=0.8, alpha=0.7, rasterized=True)
        panel.scatter(x[-1, :, 0], x[-1, :, 1], s=12, color="0.2", zorder=3, rasterized=True)
        panel.set(title=name, xlim=(-3, 3), ylim=(-3, 3), xlabel="x₁", ylabel="x₂", aspect="equal")
    return finish(figure)


def curvature(exact: pd.DataFrame, laws: Mapping[str, Look], by_pairs: Any) -> MatplotlibFigure:
    """Curvature of exact marginal trajectories by law and path, and of networks' by the size of the mini-batch."""
    figure, axes = panels("flow_matching", columns=2, width=8, height=3.8)
    left, right = axes[0]
    for place, law in enumerate(laws):
        for path, shift in (("ot", -0.12), ("vp", 0.12)):
            estimate = student_t(list(where(exact, trajectories="marginal", law=law, path=path)["curvature"]), "log")
            kind = PATHS[path]
            left.plot([place + shift] * 2, [estimate.low, estimate.high], color=kind.colour, lw=2.5)
            left.plot(
                place + shift, estimate.mean, ls="", color=kind.colour, marker=kind.marker,
                label=kind.name if place == 0 else None,
            )  # fmt: skip
    left.set(yscale="log", ylabel="curvature", xlabel="exact fields", xlim=(-0.5, len(laws) - 0.5))
    left.set_xticks(range(len(laws)), [look.name for look in laws.values()])
    left.legend(frameon=False, fontsize="small")
    mean, low, high = by_pairs.mean(), by_pairs.min(), by_pairs.max()
    right.plot(mean.index, mean, **PATHS["ot"].line())
    right.fill_between(mean.index, low, high, color=PATHS["ot"].colour, alpha=0.2, lw=0)
    ticks(right, mean.index, yscale="log", xlabel="pairs by optimal transport among")
    return finish(figure)


def error_curve(panel: Axes, rows: pd.DataFrame, look: Look, label: str, unit: float) -> None:
    """Means over seeds: at each NFE, or at each tolerance, where NFE differ from seed to seed."""
    adaptive = (rows["solver"] == "dopri5").all()
    # From the widest tolerance on, or from the fewest evaluations.
    means = (
        rows.groupby("tolerance" if adaptive else "nfe", sort=True)[["nfe", "rmse"]]
        .mean()
        .iloc[:: -1 if adaptive else 1]
    )
    panel.plot(means["nfe"], means["rmse"] / unit, **look.line() | {"label": label})
