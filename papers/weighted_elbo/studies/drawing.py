"""The figures of trained weightings, from the tables and arrays of an experiment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from common.harness.studies.looks import legend, tiles
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.statistics import student_t
from papers.weighted_elbo.studies.images import DATASETS, LOG_SNR_MIN
from papers.weighted_elbo.studies.looks import WEIGHTINGS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from common.harness.studies.experiment import Experiment
    from common.harness.studies.figure import Results


def _trained(results: Results, each: Experiment) -> list[str]:
    there = set(results.table(each)["weighting"])
    return [name for name in WEIGHTINGS if name in there]


def _metric(each: Experiment, results: Results) -> str:
    table = results.table(each)
    return f"{DATASETS[table['dataset'].iloc[0]].metric}, n = {table['n_samples'].iloc[0]}"


def quality(each: Experiment, results: Results) -> Figure:
    figure, axes = panels("weighted_elbo", 1, 1, width=7.0, height=4.6)
    panel, table = axes[0, 0], results.table(each)
    for name in _trained(results, each):
        rows, look = where(table, weighting=name), WEIGHTINGS[name]
        fd, bits = student_t([*rows["fd"]], "log"), student_t([*rows["bpd"]])
        panel.plot([bits.low, bits.high], [fd.mean] * 2, color=look.colour, lw=1.5)
        panel.plot([bits.mean] * 2, [fd.low, fd.high], color=look.colour, lw=1.5)
        panel.plot(bits.mean, fd.mean, ls="", marker=look.marker, ms=8, color=look.colour, label=look.name)
    panel.axhline(table["floor"].mean(), color="0.4", ls=":", lw=1.5, label="same-distribution floor")
    panel.set(xlabel="bits per dimension", ylabel=_metric(each, results), ylim=(0, None))
    legend(figure, columns=3)
    return finish(figure)


def by_level(each: Experiment, results: Results) -> Figure:
    figure, axes = panels("weighted_elbo", columns=2, width=8, height=4.4)
    config = results.arrays(each)[0][0]
    low, high = LOG_SNR_MIN, DATASETS[config["dataset"]].log_snr_max
    base = _mean(results, each, "edm", "error")
    for name in _trained(results, each):
        look = WEIGHTINGS[name]
        error, density = (_mean(results, each, name, key) for key in ("error", "density"))
        _by_level(axes[0, 0], error / base, low, high, label=look.name, color=look.colour, ls=look.dash)
        density = density * len(density) / (high - low)
        _by_level(axes[0, 1], density, low, high, label=look.name, color=look.colour, ls=look.dash)
    axes[0, 0].set(ylabel="error of ε̂ over that of EDM")
    axes[0, 1].set(ylabel="density of λ in training", ylim=(0, None))
    for panel in axes.flat:
        panel.set(xlabel="log-SNR λ")
    legend(figure, columns=3)
    return finish(figure)


def _mean(results: Results, each: Experiment, name: str, key: str) -> np.ndarray:
    return np.mean([arrays[key] for _, arrays in results.arrays(each, weighting=name)], axis=0)


def _by_level(panel: Axes, values: np.ndarray, low: float, high: float, **look: Any) -> None:
    """A line through the middles of equal bins of [low, high]."""
    width = (high - low) / len(values)
    panel.plot(low + width * (np.arange(len(values)) + 0.5), values, **look)


def samples(each: Experiment, results: Results) -> Figure:
    names = _trained(results, each)
    rows = -(-len(names) // 2)
    figure, axes = panels("weighted_elbo", rows, 2, width=7.5, height=2.2 * rows)
    for panel in axes.flat:
        panel.axis("off")
    seed = int(results.table(each)["seed"].min())
    for panel, name in zip(axes.flat, names, strict=False):
        _, arrays = results.arrays(each, weighting=name, seed=seed)[0]
        panel.imshow(tiles(arrays["samples"], columns=8), cmap="gray_r", vmin=-1, vmax=1, interpolation="none")
        panel.set_title(WEIGHTINGS[name].name)
    return finish(figure, despine=False)
