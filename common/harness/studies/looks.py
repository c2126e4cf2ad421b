"""How what is compared looks in figures: names, colours and marks, one legend, ticks, and images side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Look:
    name: str
    colour: str
    marker: str
    dash: str | tuple[float, tuple[float, ...]] = "-"
    """A line style of matplotlib."""

    def line(self) -> dict[str, Any]:
        """The arguments of matplotlib's `plot` that draw it, with its name in the legend."""
        return {"label": self.name, "color": self.colour, "marker": self.marker, "ls": self.dash}


def legend(figure: Figure, columns: int) -> None:
    """One legend for all panels, below them: each name once."""
    named = [axes.get_legend_handles_labels() for axes in figure.axes]
    by_name = {label: handle for handles, labels in named for handle, label in zip(handles, labels, strict=True)}
    settings = {"ncols": columns, "frameon": False, "fontsize": "small"}
    figure.legend([*by_name.values()], [*by_name], loc="outside lower center", **settings)


def ticks(axes: Axes, places: Iterable[float], **settings: object) -> None:
    """A logarithmic horizontal axis of whole numbers, with a tick at each of `places` and nowhere else."""
    from matplotlib.ticker import NullLocator

    numbers = sorted({round(place) for place in places})
    axes.set(xscale="log", **settings)
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.xaxis.set_minor_locator(NullLocator())


def tiles(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (n, C, H, W) side by side with a white border of one pixel, (H', W') or (H', W', C)."""
    import numpy as np

    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)
    n, C, H, W = padded.shape
    rows = padded.reshape(n // columns, columns, C, H, W).transpose(0, 3, 1, 4, 2)
    return rows.reshape(n // columns * H, columns * W, C).squeeze()
