"""Figures of the Gaussian experiments, where the exact answer is known at every pass."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure

from common.harness.studies.figure import Figure, Results
from common.harness.studies.panels import COLOURS, finish, panels, where
from papers.dsbm.figure_style import COLOUR, MARKER, beside, by_pass, dots, present
from papers.dsbm.published import GAUSSIAN_KL, Published

IPF_METHODS, IMF_METHODS = ("DSB", "DSBM-IPF"), ("DSBM-IMF",)


def _learned_and_exact(
    table: pd.DataFrame, euler: pd.DataFrame, learned: str, exact: str, ylabel: str
) -> MatplotlibFigure:
    """What networks learned after each pass beside what they should have: IPF on the left, IMF on the right.

    euler: what exact drifts make of `learned` in 20 steps.
    """
    dim = int(table["dim"].max())
    figure, ((*axes,),) = panels("dsbm", 1, 2, width=12.5, height=4.4)
    for panel, name, methods in zip(axes, ("IPF", "IMF"), (IPF_METHODS, IMF_METHODS), strict=True):
        for method in present(table, methods):
            rows = where(table, dim=dim, method=method)
            by_pass(panel, rows, learned, method)
            line = rows.groupby("pass_number")[exact].mean()
        panel.plot(line.index, line, color="0.3", lw=1.2, zorder=1, label=f"exact {name}")
        steps = where(euler, method=name.lower()).set_index("pass_number")[learned].loc[line.index]
        panel.plot(steps.index, steps, color="0.3", lw=1.2, ls=":", zorder=1, label="its drift in 20 steps")
        panel.set(title=f"{name}, d = {dim}", xlabel="pass (odd: backward)", ylabel=ylabel)
        panel.xaxis.get_major_locator().set_params(integer=True)
        panel.legend(frameon=False)
    low, high = min(panel.get_ylim()[0] for panel in axes), max(panel.get_ylim()[1] for panel in axes)
    for panel in axes:
        panel.set_ylim(low, high)
    return finish(figure)


def covariances(results: Results) -> MatplotlibFigure:
    gaussian, euler = results.tables["gaussian"], results.tables["exact_euler"]
    return _learned_and_exact(gaussian, euler, "correlation", "exact_correlation", "covariance of the ends")


def variances(results: Results) -> MatplotlibFigure:
    """The end of each pass's simulation: x_0 after a backward pass, x_1 after a forward one."""
    table = results.tables["gaussian"]
    backward = table["direction"] == "b"
    table = table.assign(
        var_free=table["var_0"].where(backward, table["var_1"]),
        exact_var_free=table["exact_var_0"].where(backward, table["exact_var_1"]),
    )
    euler = results.tables["exact_euler"]
    return _learned_and_exact(table, euler, "var_free", "exact_var_free", "variance at the free end")


def _last_pass(results: Results) -> pd.DataFrame:
    table = results.tables["gaussian"]
    return table[table["final"].astype(bool)]


def _fit(panel: Axes, results: Results, dim: int, fit: str, published: Mapping[tuple[str, int], Published]) -> None:
    """The KL of every method by a "diagonal" or "full" fit, above what the same fit says of exact samples."""
    table = where(_last_pass(results), dim=dim)
    methods = present(table)
    dots(panel, table, f"kl_{fit}", methods)
    for place, method in enumerate(methods):
        if (method, dim) in published:
            beside(panel, place, method, published[method, dim])
    floor = where(results.tables["gaussian_floor"], dim=dim)[f"floor_{fit}"].mean()
    panel.axhline(floor, color="0.4", ls=":", lw=1.5)
    panel.set(title=f"d = {dim}", xlabel="", ylim=(0, None))


def kl(results: Results) -> MatplotlibFigure:
    table = _last_pass(results)
    dims, methods = sorted(table["dim"].unique()), present(table)
    grows = len(dims) > 1
    figure, ((*axes,),) = panels("dsbm", 1, len(dims) + grows, width=4.4 * (len(dims) + grows) + 1.5, height=4.8)
    for panel, dim in zip(axes, dims, strict=False):
        _fit(panel, results, dim, "diagonal", GAUSSIAN_KL)
    axes[0].set_ylabel("mean KL × 10³, diagonal fit")
    if grows:
        panel = axes[-1]
        for method in methods:
            mean = where(table, method=method).groupby("dim")["kl_diagonal"].mean()
            panel.plot(mean.index, mean, color=COLOUR[method], marker=MARKER[method], label=method)
            published = [GAUSSIAN_KL[method, int(dim)].mean for dim in dims]
            panel.plot(dims, published, color=COLOUR[method], marker=MARKER[method], mfc="white", ls=":", lw=1)
        panel.set(title="growth (dotted: published)", xscale="log", yscale="log", xlabel="dimension d")
        panel.set_xticks(dims, [str(dim) for dim in dims])
        panel.set_xticks([], minor=True)
        panel.legend(frameon=False, fontsize="small")
    return finish(figure)


def kl_full(results: Results) -> MatplotlibFigure:
    """The other estimator: a fit with full covariance, whose bias is many times as large."""
    dims = sorted(_last_pass(results)["dim"].unique())
    figure, ((*axes,),) = panels("dsbm", 1, len(dims), width=4.4 * len(dims) + 1.5, height=4.8)
    for panel, dim in zip(axes, dims, strict=True):
        _fit(panel, results, dim, "full", {})
    axes[0].set_ylabel("mean KL × 10³, full fit")
    return finish(figure)


def marginals(results: Results) -> MatplotlibFigure:
    table = results.tables["gaussian"]
    dim = int(table["dim"].max())
    figure, ((*axes,),) = panels("dsbm", 1, 2, width=12.5, height=4.4)
    for method in present(table):
        runs = [arrays for _, arrays in results.arrays("gaussian", method=method, dim=dim)]
        for panel, quantity in zip(axes, ("mean", "var"), strict=True):
            mean = np.mean([run[f"fitted_{quantity}"] for run in runs], axis=0)
            panel.plot(runs[0]["t"], mean, color=COLOUR[method], marker=MARKER[method], markevery=2, label=method)
    for panel, quantity, word in zip(axes, ("mean", "var"), ("mean", "variance"), strict=True):
        panel.plot(runs[0]["t"], runs[0][f"exact_{quantity}"], color="black", lw=1.5, ls="--", label="exact bridge")
        panel.set(title=f"{word} of a coordinate, d = {dim}", xlabel="t", ylabel=word)
    axes[1].legend(frameon=False, fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    return finish(figure)


def exact_convergence(results: Results) -> MatplotlibFigure:
    table = where(results.tables["exact_iterates"], pair="unit")
    sigmas = sorted(table["sigma"].unique())
    figure, ((*axes,),) = panels("dsbm", 1, 2, width=12.5, height=4.6)
    for panel, method in zip(axes, ("ipf", "imf"), strict=True):
        for sigma, colour, marker in zip(sigmas, COLOURS, "osD^vPX", strict=False):
            rows = where(table, method=method, sigma=sigma)
            rows = rows[rows["kl"] > 1e-14]
            panel.plot(rows["iterate"], rows["kl"], color=colour, marker=marker, label=f"σ = {sigma:g}")
        panel.set(title=method.upper(), xlabel="iterate", ylabel="KL to the bridge (nats)", yscale="log")
        panel.set_ylim(1e-14, 100)
    axes[1].legend(frameon=False)
    return finish(figure)


def identity(results: Results) -> MatplotlibFigure:
    table = where(results.tables["exact_iterates"], pair="general", method="imf", sigma=1.0)
    rows = table.dropna(subset=["kl_projection"])
    figure, ((left, right),) = panels("dsbm", 1, 2, width=12.5, height=4.4)
    left.bar(rows["iterate"], rows["kl_projection"], color=COLOURS[0], label="to its Markovian projection")
    left.bar(
        rows["iterate"], rows["kl_markov"], bottom=rows["kl_projection"], color=COLOURS[1], hatch="//",
        label="from there to the bridge",
    )  # fmt: skip
    left.scatter(rows["iterate"], rows["kl"], color="black", marker="_", s=900, zorder=3, label="to the bridge")
    left.set(title="Pythagoras, σ = 1", xlabel="iterate of IMF", ylabel="KL (nats)", xticks=list(rows["iterate"]))
    right.plot(table["iterate"], table["entropic_cost"], color=COLOUR["DSBM-IMF"], marker="D")
    right.set(title="regularised transport cost", xlabel="iterate of IMF", ylabel="entropic cost")
    left.legend(frameon=False)
    return finish(figure)


LIMITS = {
    "first_to_rectified": ("one pass of IMF to rectified flow", COLOUR["RF"], "d", "-"),
    "bridge_to_transport": ("bridge to optimal transport", COLOUR["OT-CFM"], "v", "-"),
    "bridge_to_independent": ("bridge to independent ends", COLOUR["DSBM-IMF"], "D", "--"),
}


def limits(results: Results) -> MatplotlibFigure:
    table = where(results.tables["exact_limits"], pair="general")
    figure, ((axes,),) = panels("dsbm", 1, 1, width=8, height=4.6)
    for column, (label, colour, marker, style) in LIMITS.items():
        axes.plot(table["sigma"], table[column], color=colour, marker=marker, ls=style, label=label)
    axes.set(xscale="log", yscale="log", xlabel="σ of the reference", ylabel="relative distance of couplings")
    axes.legend(frameon=False, fontsize="small")
    return finish(figure)


GAUSSIAN_FIGURES = (
    Figure(
        "covariances",
        "Covariance of the two ends after each pass: networks beside the exact iterates of IPF and of IMF.",
        "Full lines are exact arithmetic, dotted ones exact drifts simulated in the 20 steps that networks have too; "
        "marks are trained networks with 95 % intervals. IPF swings around the bridge's "
        "value from pass to pass, IMF climbs to it from independent ends and is there after two or three.",
        ("gaussian", "exact_euler"),
        covariances,
    ),
    Figure(
        "variances",
        "Variance at the end of each pass's simulation, which should be 1, for DSB, DSBM-IPF and DSBM-IMF.",
        "Each pass starts in true data at one end; shown is the variance at the other. In exact arithmetic IMF keeps "
        "it at 1 in all passes, while IPF reaches it only in the limit. What departs from the full lines is the error "
        "of 20 steps (dotted: exact drifts) and of what was learned.",
        ("gaussian", "exact_euler"),
        variances,
    ),
    Figure(
        "kl",
        "Mean KL divergence to the Schrödinger bridge over 21 times for each method and dimension, with published "
        "values.",
        "Coloured: here, with seeds in grey and 95 % intervals. White: published, with one standard deviation. "
        "Dotted: what the estimator says of exact samples of the bridge. At a fraction of the paper's training the "
        "values differ; look at the order, and where there are several dimensions at the growth.",
        ("gaussian", "gaussian_floor"),
        kl,
    ),
    Figure(
        "kl-full",
        "The same mean KL divergence by a Gaussian fit with full covariance, for each method and dimension.",
        "Coloured: here, with seeds in grey and 95 % intervals. Dotted: what this estimator says of exact samples of "
        "the bridge, a bias that grows with the square of the dimension. It sees correlations between coordinates, "
        "which the diagonal fit above does not. There is no published value to stand beside it.",
        ("gaussian", "gaussian_floor"),
        kl_full,
    ),
    Figure(
        "marginals",
        "Mean and variance of a coordinate over time for each method, beside the exact Schrödinger bridge's.",
        "The bridge widens to the middle, where the reference's noise is largest, and returns to 1. Where a method's "
        "curve ends off 1 it has lost a marginal; where it is off in the middle its coupling is not the bridge's.",
        ("gaussian",),
        marginals,
    ),
    Figure(
        "exact-convergence",
        "KL divergence of the exact Gaussian iterates to the bridge against the iterate, for several sigma; IPF and "
        "IMF.",
        "Straight lines are geometric convergence. The less noise, the slower is IPF, while IMF needs a few passes at "
        "every σ. At the very start IPF may be ahead, for with little noise the reference is nearer to the bridge "
        "than independent pairs are.",
        ("exact_iterates",),
        exact_convergence,
    ),
    Figure(
        "identity",
        "Left: the two parts of the Pythagorean identity, stacked, reach the whole divergence. Right: the cost falls.",
        "Between Gaussians with full covariances, without any training. Black bars are the divergence of an iterate "
        "to the bridge, computed on its own; the two parts below are integrals of drift errors. They agree: each "
        "projection comes closer by exactly its own length.",
        ("exact_iterates",),
        identity,
    ),
    Figure(
        "limits",
        "Relative distances between couplings against sigma on logarithmic axes, for Gaussians with full covariances.",
        "To the left, one pass of IMF becomes rectified flow and the bridge becomes optimal transport; to the right "
        "the bridge loses all relation between its ends.",
        ("exact_limits",),
        limits,
    ),
)
