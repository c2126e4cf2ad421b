"""The figures of EDM, drawn from finished runs. Colours are seaborn's colour-blind palette, and never the only
difference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.ticker import NullLocator

from common.harness.studies.figure import Figure, Results
from common.harness.studies.panels import COLOURS, finish, panels, where
from papers.edm.configs import VP_CONFIGS
from papers.edm.measures import BASELINE_NFE

NAMES = {"vp": "VP", "ve": "VE", "iddpm": "iDDPM", "edm": "EDM", "cosine": "iDDPM (cosine)"}
COLOUR = {"vp": COLOURS[0], "ve": COLOURS[1], "iddpm": COLOURS[2], "cosine": COLOURS[2], "edm": COLOURS[3]}
METRIC = {"digits": "fd_digits", "mnist": "fd_mnist", "cifar10": "FID"}
MARKER = {"vp": "o", "ve": "s", "iddpm": "^", "edm": "D"}


def _axes(columns: int = 1, width: float = 7.0, height: float = 4.2) -> tuple[MatplotlibFigure, list[Axes]]:
    figure, axes = panels("edm", columns=columns, width=width, height=height)
    return figure, list(axes[0])


def trajectories(results: Results) -> MatplotlibFigure:
    _, arrays = results.arrays("curvature", field="mixture", sigma_max=80.0)[0]
    figure, (plane, *panels) = _axes(5, width=15, height=3.9)
    x = arrays["unscaled"][:, :40]
    plane.plot(x[:, :, 0], x[:, :, 1], color="0.6", lw=0.8)
    plane.scatter(x[-1, :, 0], x[-1, :, 1], s=14, color=COLOUR["edm"], zorder=3, label="σ = 0.02")
    plane.set(xlim=(-2, 2), ylim=(-2, 2), xlabel="x₁", ylabel="x₂", title="in the plane", aspect="equal")
    for axes, schedule in zip(panels, ("vp", "ve", "cosine", "edm"), strict=True):
        t, curves = arrays[f"t_{schedule}"], arrays[f"x_{schedule}"][:, :24]
        axes.plot(t, curves, color=COLOUR[schedule], lw=0.9)
        axes.set(title=NAMES[schedule], xlabel="t", ylabel="s(t) x₁" if schedule == "vp" else "")
    return finish(figure)


def error_against_nfe(results: Results) -> MatplotlibFigure:
    table = where(results.tables["convergence"], field="digits")
    figure, (left, right) = _axes(2, width=12.5)
    for solver, name, colour, marker, order in (
        ("euler", "Euler", COLOURS[0], "o", 1),
        ("heun", "Heun", COLOURS[3], "D", 2),
    ):
        mean = where(table, solver=solver).groupby("nfe")["error"].mean()
        left.plot(mean.index, mean, marker=marker, color=colour, label=name)
        left.plot(mean.index, mean.iloc[-1] * (mean.index / mean.index[-1]) ** -float(order), ls=":", color=colour)
        left.annotate(
            f"slope −{order}", (mean.index[1], mean.iloc[1]), (6, 6), textcoords="offset points", color=colour
        )
    left.set(title="Order on the EDM time steps", ylabel="median error, data std 0.5")
    cost = results.tables["sampling_cost"]
    for sampler in ("vp", "ve", "iddpm", "edm"):
        mean = where(cost, sampler=sampler).groupby("nfe")["error"].mean()
        label = "Heun, EDM steps" if sampler == "edm" else f"Euler, {NAMES[sampler]} steps"
        right.plot(mean.index, mean, marker=MARKER[sampler], color=COLOUR[sampler], label=label)
        if sampler in BASELINE_NFE:
            nfe = BASELINE_NFE[sampler]
            right.scatter([nfe], [mean[nfe]], s=220, facecolors="none", edgecolors="black", zorder=4)
    right.set(title="Each sampler on its own schedule (circled: published NFE)", ylim=(1e-4, 2))
    for axes in (left, right):
        axes.set(xscale="log", yscale="log", xlabel="network evaluations (NFE)")
        axes.legend(frameon=False)
    left.set_xticks([64, 128, 256, 384], ["64", "128", "256", "384"])
    left.xaxis.set_minor_locator(NullLocator())
    return finish(figure)


def rho_sweep(results: Results) -> MatplotlibFigure:
    table = results.tables["rho_sweep"]
    figure, panels = _axes(2, width=12.5)
    for axes, column, label in zip(
        panels, ("error", "fd_digits"), ("median error, data std 0.5", "fd_digits"), strict=True
    ):
        sns.lineplot(table, x="rho", y=column, marker="o", color=COLOUR["edm"], errorbar=("ci", 95), seed=0, ax=axes)
        axes.axvspan(5, 10, color="0.9", zorder=0)
        axes.set(yscale="log", xscale="log", xlabel="ρ", ylabel=label)
        axes.set_xticks([1, 2, 3, 5, 7, 10, 20, 40], ["1", "2", "3", "5", "7", "10", "20", "40"], minor=False)
        axes.xaxis.set_minor_locator(NullLocator())
    panels[0].set_title("distance to the exact solutions")
    panels[1].set_title("quality, 18 steps of Heun")
    return finish(figure)


def curvature(results: Results) -> MatplotlibFigure:
    table = where(results.tables["curvature"], sigma_max=80.0).assign(
        schedule=lambda rows: rows["schedule"].map(NAMES),
        law=lambda rows: rows["field"].map({"mixture": "mixture (2-D)", "digits": "digits (64-D)"}),
    )
    figure, (axes,) = _axes(width=8)
    order = [NAMES[schedule] for schedule in ("ve", "vp", "cosine", "edm")]
    sns.pointplot(
        table, x="curvature", y="schedule", hue="law", order=order, dodge=0.3, linestyle="none", markers=["o", "s"],
        palette=COLOURS[:2], errorbar=("ci", 95), seed=0, ax=axes,
    )  # fmt: skip
    axes.set(xscale="log", xlabel="curvature: variance of dx/dt over its squared mean", ylabel="")
    axes.legend(title="", frameon=False, loc="upper left")
    axes.grid(axis="x", color="0.9")
    return finish(figure)


def _ablation_runs(results: Results) -> tuple[pd.DataFrame, Sequence[str], str]:
    """The rows of `training` on one data set (the paper's, where there are several), its letters, and its name."""
    table = results.tables["training"]
    dataset = "cifar10" if "cifar10" in set(table["dataset"]) else str(table["dataset"].iloc[0])
    table = where(table, dataset=dataset)
    return table, sorted(table["letter"].unique()), dataset


def loss_by_noise_level(results: Results) -> MatplotlibFigure:
    figure, (axes,) = _axes(width=8, height=4.6)
    _, letters, dataset = _ablation_runs(results)
    for letter, style in zip(letters, ("-", "--", "-.", ":", "-", "--"), strict=False):
        runs = [arrays for _, arrays in results.arrays("training", letter=letter, dataset=dataset)]
        mean = np.mean([run["loss_final"] for run in runs], axis=0)
        spread = np.std([run["loss_final"] for run in runs], axis=0)
        colour = COLOURS["ABCDEF".index(letter)]
        axes.plot(runs[0]["sigma"], mean, ls=style, color=colour, label=f"{letter}, trained")
        axes.fill_between(runs[0]["sigma"], mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)
    axes.plot(
        runs[0]["sigma"], runs[0]["loss_initial"], color="0.5", ls=(0, (1, 1)), label=f"{letters[-1]}, at the start"
    )
    density = np.exp(-0.5 * ((np.log(runs[0]["sigma"]) + 1.2) / 1.2) ** 2)
    axes.fill_between(runs[0]["sigma"], 0, 0.25 * density, color="0.88", label="where E draws σ")
    axes.set(xscale="log", xlabel="noise level σ (data std 0.5)", ylabel="mean squared error × λ(σ) of E", ylim=(0, 2))
    axes.legend(frameon=False, ncols=3, loc="upper left", fontsize="small")
    return finish(figure)


def samples(results: Results) -> MatplotlibFigure:
    _, letters, dataset = _ablation_runs(results)
    figure, panels = _axes(len(letters), width=2.4 * len(letters) + 0.5, height=5.2)
    for axes, letter in zip(panels, letters, strict=True):
        _, arrays = results.arrays("training", letter=letter, dataset=dataset, seed=0)[0]
        axes.imshow(_tiles(arrays["samples"][:32], columns=4), cmap="gray_r", vmin=-1, vmax=1)
        axes.set_title(letter)
        axes.axis("off")
    return finish(figure, despine=False)


def _tiles(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (n, C, H, W) side by side with a white border of one pixel, (H', W') or (H', W', C)."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)
    n, C, H, W = padded.shape
    rows = padded.reshape(n // columns, columns, C, H, W).transpose(0, 3, 1, 4, 2)
    return rows.reshape(n // columns * H, columns * W, C).squeeze()


def ablation(results: Results) -> MatplotlibFigure:
    table, letters, dataset = _ablation_runs(results)
    figure, (ours, published) = _axes(2, width=12.5, height=0.55 * len(letters) + 1.8)
    labels = [f"{letter}  {VP_CONFIGS[letter].change}" for letter in letters]
    sns.pointplot(
        table, x="fd", y="letter", order=letters, linestyle="none", color=COLOURS[3], errorbar=_student, capsize=0.25,
    ax=ours )  # fmt: skip
    sns.stripplot(table, x="fd", y="letter", order=letters, color="0.5", size=5, jitter=0, ax=ours)
    ours.axvline(table["floor"].mean(), color="0.4", ls=":", lw=1.5)
    ours.annotate("floor", (table["floor"].mean(), -0.35), (5, 0), textcoords="offset points", color="0.3")
    ours.set(xlabel=f"{METRIC[dataset]}, n = {table['n'].iloc[0]}, 35 NFE", ylabel="", title="here", xlim=(0, None))
    ours.set_yticks(range(len(letters)), labels)
    fid = [VP_CONFIGS[letter].fid_unconditional for letter in letters]
    published.scatter(fid, range(len(letters)), color=COLOURS[0], marker="D")
    for row, value in enumerate(fid):
        published.annotate(f"{value:.2f}", (value, row), (8, -4), textcoords="offset points")
    published.set(xlabel="FID, CIFAR-10 unconditional, 35 NFE", title="published (VP)", yticks=range(len(letters)))
    published.set(yticklabels=letters, ylim=ours.get_ylim(), xlim=(1.85, 3.2))
    for axes in (ours, published):
        axes.grid(axis="y", color="0.9")
    return finish(figure)


def churn(results: Results) -> MatplotlibFigure:
    table = results.tables["churn"]
    figure, panels = _axes(3, width=14)
    sources = (
        ("trained the original way (C)", {"letter": "C"}),
        ("trained the paper's way (E)", {"letter": "E"}),
        ("exact denoiser", {"denoiser": "exact"}),
    )
    for axes, (title, source) in zip(panels, sources, strict=True):
        rows = where(table, **source)
        sns.lineplot(rows, x="amount", y="fd", units="seed", estimator=None, color="0.75", lw=1.2, ax=axes)
        sns.pointplot(
            rows, x="amount", y="fd", linestyle="none", color=COLOURS[3], errorbar=_student, capsize=0.15, ax=axes
        )  # fmt: skip
        axes.axhline(rows["floor"].mean(), color="0.4", ls=":", lw=1.5, label="same-distribution floor")
        metric = METRIC[rows["dataset"].iloc[0]]
        axes.set(title=title, xlabel="churn", ylabel=f"{metric}, n = {rows['n'].iloc[0]}", ylim=(0, None))
        axes.legend(frameon=False)
    return finish(figure)


def _student(values: pd.Series) -> tuple[float, float]:
    """The same interval as in the claims table."""
    from common.harness.studies.statistics import student_t

    estimate = student_t([float(value) for value in values])
    return (estimate.low, estimate.high)


FIGURES = (
    Figure(
        "trajectories",
        "Exact sampling trajectories of a two-dimensional mixture: in the plane, and one coordinate over time under "
        "the VP, VE, cosine and EDM schedules.",
        "The solutions are the same in all panels; only the clock and the scale differ. Under EDM (σ = t, s = 1) they "
        "are straight until close to t = 0; under VP and the cosine schedule they bend all the way, and under VE they "
        "turn within a sliver of time.",
        ("curvature",),
        trajectories,
    ),
    Figure(
        "curvature",
        "Curvature of exact trajectories under four schedules, for the two-dimensional mixture and for digits, on a "
        "logarithmic axis.",
        "Further left is straighter. Bars are 95 % intervals over seeds, smaller than the markers where not seen.",
        ("curvature",),
        curvature,
    ),
    Figure(
        "error-against-nfe",
        "Two log-log plots of the error against network evaluations: Euler and Heun on the same time steps, and the "
        "four samplers of Table 1 on their own.",
        "Left: Heun falls with slope −2 in the number of steps, Euler with −1 (dotted). Right: Heun on the EDM steps "
        "reaches the error of each baseline at its published NFE (circled) with a fraction of the evaluations; read "
        "along a horizontal line.",
        ("convergence", "sampling_cost"),
        error_against_nfe,
    ),
    Figure(
        "rho-sweep",
        "Error and fd_digits of 18 Heun steps against rho from 1 to 40.",
        "Uniform steps (ρ = 1) fail, and quality improves steeply up to ρ = 5. In the grey range, the paper's 5 to 10, "
        "error and fd_digits still fall, by about half at most; beyond it fd_digits is flat, with an exact denoiser.",
        ("rho_sweep",),
        rho_sweep,
    ),
    Figure(
        "loss-per-noise-level",
        "Loss against noise level before and after training, for every configuration (the paper's Figure 5a).",
        "All are weighted as in E, where an untrained network has a loss of 1 everywhere. Training lowers the loss at "
        "the middle levels only: at low noise there is nothing to see, at high noise nothing to know. There, in grey, "
        "E draws σ. From A to C the network's error is multiplied by σ: at high noise their curves leave the figure.",
        ("training",),
        loss_by_noise_level,
    ),
    Figure(
        "samples",
        "Grids of generated digits, one for each training configuration.",
        "From the same noise at 35 NFE, so that a column's change from one configuration to the next can be followed.",
        ("training",),
        samples,
    ),
    Figure(
        "ablation",
        "The Frechet distance of each training configuration with its interval over seeds, beside the published FID.",
        "Grey dots are seeds, bars 95 % intervals. The scales cannot be compared across the panels: what can is the "
        "order, and which step brings the most.",
        ("training",),
        ablation,
    ),
    Figure(
        "churn",
        "Frechet distance without churn, with moderate and with excessive churn, for two trained networks and for an "
        "exact denoiser.",
        "A grey line is one seed. Churn can only correct errors that were made: with the exact denoiser there are "
        "none.",
        ("churn",),
        churn,
    ),
)
