"""What the figures of DSBM share: one colour and one mark for each method, never the colour alone, and one size."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from common.harness.studies.panels import panels, where
from common.harness.studies.statistics import student_t
from papers.dsbm.published import Published
from papers.dsbm.studies.methods import LOOKS
from papers.dsbm.studies.tasks import tasks_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 8.0
"""Inches of every figure: in a column of 700 pixels a point is 1.2 of them."""
SMALL = 9.0
"""Points of the smallest text."""
DASHES = ("-", "--", ":", "-.")
GREY, DARK = "0.65", "0.3"


def sheet(rows: int, columns: int, height: float) -> tuple[Figure, np.ndarray]:
    """A figure with so many panels, two a row at most, each row `height` inches high."""
    return panels("dsbm", rows, columns, width=WIDTH, height=rows * height)


def shade(place: int, count: int) -> str:
    """A colour that belongs to no method, from dark to light, for one of `count` values of a number."""
    import matplotlib

    return matplotlib.colors.to_hex(matplotlib.colormaps["cividis"](0.85 * place / max(count - 1, 1)))


def key(figure: Figure, handles: Sequence[Artist] = (), columns: int = 3) -> None:
    """One legend below all panels, of `handles`, or of what is labelled in the panels, each label once."""
    drawn: dict[str, Artist] = {}
    for axes in figure.axes:
        drawn |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    named = {str(handle.get_label()): handle for handle in handles} or drawn
    figure.legend(
        list(named.values()), list(named), loc="outside lower center", ncols=columns, frameon=False, fontsize="small"
    )


def present(table: pd.DataFrame) -> list[str]:
    """The methods that `table` has, in the order of all figures."""
    found = set(table["method"])
    return [method for method in LOOKS if method in found]


def by_pass(axes: Axes, table: pd.DataFrame, column: str, method: str) -> None:
    """Mean over seeds after each pass, with its 95 % interval, as in the claims table."""
    passes = np.sort(table["pass_number"].unique())
    estimates = [student_t(list(where(table, pass_number=number)[column])) for number in passes]
    means = [estimate.mean for estimate in estimates]
    bars = [estimate.high - estimate.mean for estimate in estimates]
    look = LOOKS[method]
    axes.errorbar(passes, means, bars, color=look.colour, marker=look.marker, ls="none", label=method)


def dots(axes: Axes, table: pd.DataFrame, column: str, methods: list[str]) -> None:
    """A row of dots for each method: its seeds in grey; in colour their geometric mean and its 95 % interval, the
    claims table's for what is positive."""
    for place, method in enumerate(methods):
        values = where(table, method=method)[column].astype(float)
        estimate, look = student_t(list(values), scale="log"), LOOKS[method]
        bars = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]]
        axes.scatter(values, [place] * len(values), color=GREY, s=14, zorder=1)
        axes.errorbar([estimate.mean], [place], xerr=bars, color=look.colour, marker=look.marker, capsize=4, zorder=2)
    axes.set_yticks(range(len(methods)), methods)
    axes.set_ylim(len(methods) - 0.4, -0.6)


def beside(axes: Axes, place: int, method: str, cell: Published) -> None:
    """A published value in white, below `method`'s own row of dots."""
    marker = LOOKS[method].marker
    axes.errorbar([cell.mean], [place + 0.3], xerr=[cell.spread or 0.0], color=DARK, marker=marker, mfc="white")


def key_of_dots(figure: Figure, published: bool, floor: str) -> None:
    """The legend of `dots` and `beside`, and of the dotted line, which is `floor` if there is one."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color="black", marker="o", label="here: mean, 95 % interval (colour: method)"),
        Line2D([], [], color=GREY, marker="o", ls="none", ms=4, label="here: each seed"),
        *([Line2D([], [], color=DARK, marker="o", mfc="white", label="published: mean, one s.d.")] * published),
        *([Line2D([], [], color="0.4", ls=":", label=floor)] * bool(floor)),
    ]
    key(figure, handles, columns=2)


Cells = Mapping[tuple[str, Any], Published]
"""A published table, by method and dimension or task."""


def rows_of_dots(axes: Axes, table: pd.DataFrame, column: str, of: object, published: Cells) -> None:
    """`dots` of all methods of `table`, and `beside` them the published cells `of` this dimension or task."""
    methods = present(table)
    dots(axes, table, column, methods)
    for place, method in enumerate(methods):
        if (method, of) in published:
            beside(axes, place, method, published[method, of])
    axes.set_xlim(0, None)


def fits(
    table: pd.DataFrame, floors: pd.DataFrame, fit: str, published: Cells
) -> tuple[Figure, list[int], Axes | None]:
    """The KL of every method by a "diagonal" or "full" fit, and what the same fit says of exact samples: a panel for
    each dimension. Returns the figure, the dimensions, and an empty panel at the end where there are several."""
    dims = sorted(table["dim"].unique())
    figure, axes = sheet(*((-(-len(dims) // 2), 2) if len(dims) > 1 else (1, 1)), height=3.4)
    for panel, dim in zip(axes.flat, dims, strict=False):
        rows_of_dots(panel, where(table, dim=dim), f"kl_{fit}", dim, published)
        panel.axvline(where(floors, dim=dim)[f"floor_{fit}"].mean(), color="0.4", ls=":", lw=1.5)
        panel.set(title=f"d = {dim}", xlabel=f"mean KL × 10³, {fit} fit")
    key_of_dots(figure, bool(published), "exact samples of the bridge, same fit")
    left = axes.flat[len(dims) :]
    for panel in left:
        panel.axis("off")
    return figure, dims, left[0] if len(left) else None


def by_task(
    table: pd.DataFrame, column: str, word: str, published: Cells, floors: pd.DataFrame | None = None
) -> Figure:
    """`column` of every method in the plane, a panel for each task. floors: what is least to see in it."""
    tasks = tasks_of(table)
    height = 0.36 * table["method"].nunique() + 1.3
    figure, axes = sheet(-(-len(tasks) // 2), min(2, len(tasks)), height)
    for panel, task in zip(axes.flat, tasks, strict=False):
        rows_of_dots(panel, where(table, task=task), column, task, published)
        if floors is not None:
            panel.axvline(where(floors, task=task)[column].mean(), color="0.4", ls=":", lw=1.5)
        panel.set(title=task, xlabel=word)
    key_of_dots(figure, True, "two samples of the data" if floors is not None else "")
    return figure


def thumbnails(axes: Axes, names: Sequence[str], columns: int) -> list[Axes]:
    """Small square pictures within `axes`, `columns` a row, each with its name above it."""
    rows = -(-len(names) // columns)
    axes.axis("off")
    pictures = []
    for number, name in enumerate(names):
        row, column = divmod(number, columns)
        picture = axes.inset_axes((column / columns, 1 - (row + 0.98) / rows, 0.97 / columns, 0.86 / rows))
        picture.set_title(name, fontsize=SMALL, pad=2)
        picture.set_rasterization_zorder(1)  # clouds of points lie below, and come out as one image
        picture.spines[:].set_linewidth(0.8)
        pictures.append(picture)
    return pictures


def clouds(axes: Axes, runs: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """What each method generated, in its colour, over data, in grey."""
    for picture, (method, arrays) in zip(thumbnails(axes, list(runs), columns=3), runs.items(), strict=True):
        for name, colour, zorder in (("data_0", "0.82", 0.1), ("generated", LOOKS[method].colour, 0.2)):
            x, y = arrays[name].T
            # Squares of whole pixels: round points would make the file three times as large.
            picture.scatter(x, y, s=2, marker="s", lw=0, color=colour, zorder=zorder)
        bare(picture, 1.25 * float(np.abs(arrays["data_0"]).max()))


def bare(axes: Axes, reach: float) -> None:
    """A square of the plane, without ticks."""
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", xticks=[], yticks=[])
