"""The figures of SEDD, drawn from finished runs. Colours are seaborn's colour-blind palette, and never the only
difference."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.ticker import NullLocator

from common.data.text import LETTERS, MASK_SIGN
from common.harness.studies.figure import Figure, Results
from common.harness.studies.panels import COLOURS, finish, panels, where
from common.harness.studies.statistics import student_t
from papers.sedd.published import TEXT8_BPC

NAMES = {
    "ar": "autoregressive",
    "sedd-absorb": "SEDD, absorbing",
    "d3pm-absorb": "D3PM, absorbing",
    "sedd-uniform": "SEDD, uniform",
    "d3pm-uniform": "D3PM, uniform",
    "csm-absorb": "concrete score matching",
}
COLOUR = dict(zip(NAMES, [COLOURS[i] for i in (7, 0, 2, 3, 1, 4)], strict=True))
MARKER = dict(zip(NAMES, "oDsv^X", strict=True))
GRAPHS = {"absorb": "absorbing", "uniform": "uniform"}


def _axes(columns: int = 1, width: float = 7.0, height: float = 4.2) -> tuple[MatplotlibFigure, list[Axes]]:
    figure, axes = panels("sedd", columns=columns, width=width, height=height)
    return figure, list(axes[0])


def _dot(axes: Axes, place: float, values: pd.Series, model: str) -> None:
    """Seeds in grey, and their mean with the claims table's interval."""
    estimate = student_t([float(value) for value in values])
    spread = [[estimate.mean - estimate.low], [estimate.high - estimate.mean]] if estimate.has_interval else None
    axes.scatter(values, [place] * len(values), color="0.65", s=16, zorder=1)
    axes.errorbar([estimate.mean], [place], xerr=spread, color=COLOUR[model], marker=MARKER[model], capsize=4)


def bits(results: Results) -> MatplotlibFigure:
    table = results.tables["training"]
    language = "tinyshakespeare27" if "tinyshakespeare27" in set(table["language"]) else table["language"].iloc[0]
    table = where(table, language=language)
    models = [model for model in NAMES if model in set(table["model"])]
    figure, (ours, published) = _axes(2, width=12.5, height=4.2)
    for place, model in enumerate(models):
        _dot(ours, place, where(table, model=model)["bpc"], model)
    if "entropy_bpc" in table:
        ours.axvline(table["entropy_bpc"].mean(), color="0.4", ls=":", lw=1.5, label="entropy of the source")
        ours.legend(frameon=False, loc="upper right")
    ours.set(title=f"here: {language}", xlabel="bits per token, test set", ylim=(len(models) - 0.5, -0.5))
    ours.set_yticks(range(len(models)), [NAMES[model] for model in models])
    for place, model in enumerate(models):
        if model in TEXT8_BPC:
            published.scatter([TEXT8_BPC[model]], [place], color=COLOUR[model], marker=MARKER[model])
            published.annotate(
                f"{TEXT8_BPC[model]:.2f}", (TEXT8_BPC[model], place), (9, -5), textcoords="offset points"
            )
    published.set(title="published: text8", xlabel="bits per character", xlim=(1.15, 1.72), ylim=ours.get_ylim())
    published.set_yticks(range(len(models)), [])
    for axes in (ours, published):
        axes.grid(axis="y", color="0.9")
    return finish(figure)


SAMPLERS = {
    ("absorb", "tweedie"): ("absorbing (either sampler)", COLOURS[0], "D"),
    ("uniform", "tweedie"): ("uniform, Tweedie", COLOURS[3], "v"),
    ("uniform", "euler"): ("uniform, Euler", COLOURS[1], "^"),
}


def steps(results: Results) -> MatplotlibFigure:
    figure, (left, right) = _axes(2, width=12.5)
    errors = where(results.tables["sampler_error"], noise="loglinear")
    quality = results.tables["quality"].assign(excess=lambda rows: rows["nll"] - rows["entropy"])
    for (graph, sampler), (label, colour, marker) in SAMPLERS.items():
        for axes, table, column in ((left, errors, "tv"), (right, quality, "excess")):
            mean = where(table, graph=graph, sampler=sampler).groupby("n_steps")[column].mean()
            ls = "--" if sampler == "euler" else "-"
            axes.plot(mean.index, mean, ls=ls, marker=marker, color=colour, label=label)
            if sampler == "tweedie" and graph == "absorb":
                axes.plot(mean.index, mean.iloc[0] * mean.index[0] / mean.index, ls=":", color="0.4", label="slope −1")
    left.set(title="enumerated: 3 tokens, L = 4", ylabel="total variation to the source")
    right.set(title="drawn: 8 tokens, L = 32", ylabel="nats per token above the entropy")
    _log_steps(left, right)
    return finish(figure)


def _log_steps(*panels: Axes) -> None:
    for axes in panels:
        axes.set(xscale="log", yscale="log", xlabel="steps")
        ticks = sorted({int(x) for line in axes.lines for x in np.asarray(line.get_xdata())})
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
        axes.legend(frameon=False)


def evaluations(results: Results) -> MatplotlibFigure:
    table = results.tables["generation"]
    figure, (likelihood, entropy) = _axes(2, width=12.5)
    ar = where(table, model="ar", top_p=1.0)
    for (graph, sampler), (label, colour, marker) in SAMPLERS.items():
        rows = where(table, model=f"sedd-{graph}", sampler=sampler)
        if not len(rows):
            continue
        ls = "--" if sampler == "euler" else "-"
        for axes, column in ((likelihood, "nll"), (entropy, "token_entropy_ratio")):
            mean = rows.groupby("nfe")[column].mean()
            axes.plot(mean.index, mean, ls=ls, marker=marker, color=colour, label=label)
    for axes, column in ((likelihood, "nll"), (entropy, "token_entropy_ratio")):
        for top_p, marker in ((1.0, "o"), (0.9, "*")):
            rows = where(table, model="ar", top_p=top_p)
            name = "autoregressive" if top_p == 1 else f"autoregressive, nucleus {top_p:g}"
            axes.scatter(
                [rows["nfe"].mean()], [rows[column].mean()], color=COLOUR["ar"], marker=marker, zorder=3, label=name
            )
    likelihood.axhline(ar["nll"].mean(), color=COLOUR["ar"], ls=":", lw=1.2)
    likelihood.axhline(ar["data_nll"].mean(), color="0.4", ls="-.", lw=1.2, label="data")
    entropy.axhspan(0.98, 1.02, color="0.9", zorder=0)
    likelihood.set(title=f"likelihood, {table['language'].iloc[0]}", ylabel="nats per token under source or judge")
    entropy.set(title="diversity", ylabel="entropy of tokens over the data's")
    for axes in (likelihood, entropy):
        axes.set(xscale="log", xlabel="network evaluations (NFE)")
        ticks = sorted(set(where(table, model="sedd-absorb")["nfe"]))
        axes.set_xticks(ticks, [str(tick) for tick in ticks])
        axes.xaxis.set_minor_locator(NullLocator())
    handles, labels = likelihood.get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, fontsize="small", ncols=3, loc="outside lower center")
    return finish(figure)


def _text(axes: Axes, states: np.ndarray, highlight: np.ndarray) -> None:
    """One line of letters for each state: grey where masked, coloured where `highlight`, black where as in `final`."""
    signs = LETTERS.replace(" ", "·") + MASK_SIGN
    for row, (state, coloured) in enumerate(zip(states, highlight, strict=True)):
        for column, token in enumerate(state):
            masked = token == len(LETTERS)
            colour = "0.75" if masked else COLOURS[3] if coloured[column] else "black"
            axes.text(
                column,
                -row,
                signs[token],
                color=colour,
                family="monospace",
                fontsize=9.5,
                ha="center",
                va="center",
                fontweight="bold" if coloured[column] and not masked else "normal",
            )
    axes.set(xlim=(-1, states.shape[1]), ylim=(-len(states) + 0.4, 0.6), xticks=[])
    for side in axes.spines.values():
        side.set_visible(False)


def _sentences(results: Results, graph: str) -> MatplotlibFigure:
    _, arrays = results.arrays("sentence", graph=graph)[0]
    figure, ((above,), (middle,), (below,)) = panels("sedd", 3, width=12.5, height=7.4, height_ratios=(8, 8, 2))
    forward, reverse, x0, t = arrays["forward"], arrays["reverse"], arrays["x0"], arrays["t"]
    _text(above, forward, forward != x0)
    _text(middle, reverse, reverse != reverse[-1])
    filled = np.stack([x0, arrays["filled"]])
    _text(below, filled, np.stack([~arrays["given"], ~arrays["given"]]))
    names = ("forward: noise comes", "reverse: text comes", "infilling: the middle, between what is given")
    labels = ([f"t = {time:.2f}" for time in t], [f"t = {time:.2f}" for time in t[::-1]], ["sentence", "filled in"])
    for axes, name, ticks in zip((above, middle, below), names, labels, strict=True):
        axes.set_title(name, loc="left")
        axes.set_yticks([-row for row in range(len(ticks))], ticks, fontsize=9)
        axes.tick_params(axis="y", length=0)
    return finish(figure, despine=False)


def sentence_absorb(results: Results) -> MatplotlibFigure:
    return _sentences(results, "absorb")


def sentence_uniform(results: Results) -> MatplotlibFigure:
    return _sentences(results, "uniform")


def infilling(results: Results) -> MatplotlibFigure:
    table = results.tables["infilling"]
    figure, (axes,) = _axes(width=8)
    for graph, colour, marker in (("absorb", COLOURS[0], "D"), ("uniform", COLOURS[3], "v")):
        mean = where(table, graph=graph).groupby("n_steps")["tv"].mean()
        axes.plot(mean.index, mean, color=colour, marker=marker, label=GRAPHS[graph])
        if graph == "absorb":
            axes.plot(mean.index, mean.iloc[0] * mean.index[0] / mean.index, ls=":", color="0.4", label="slope −1")
    axes.set(ylabel="total variation to the conditional law")
    _log_steps(axes)
    return finish(figure)


def truncation(results: Results) -> MatplotlibFigure:
    races, samples = results.tables["race"], results.tables["truncation"]
    figure, (rate, entropy) = _axes(2, width=12.5)
    x = np.geomspace(0.15, 8, 200)
    rate.plot(x, (1 / x) / np.expm1(1 / x), color="0.4", label="derived, x/(eˣ − 1) with x = h/p")
    for dtype, colour, marker in (("float16", COLOURS[0], "D"), ("float32", COLOURS[3], "v")):
        drawn = where(races, dtype=dtype).groupby("ratio")["drawn"].sum()
        mean_rate = where(races, dtype=dtype).groupby("ratio")["rate"].mean()
        spread = mean_rate / np.sqrt(drawn.clip(lower=1))
        rate.errorbar(mean_rate.index, mean_rate, spread, color=colour, marker=marker, ls="none", label=dtype)
    rate.axhline(1, color="0.4", ls=":", lw=1.2)
    rate.set(xscale="log", xlabel="probability p, in units of h", ylabel="drawn over right", title="one draw")
    rate.set_xticks([0.25, 0.5, 1, 2, 4], ["¼", "½", "1", "2", "4"])
    rate.xaxis.set_minor_locator(NullLocator())
    for dtype, colour, marker in (("float64", COLOURS[2], "s"), ("float16", COLOURS[0], "D")):
        mean = where(samples, dtype=dtype).groupby("n_steps")[["derived_entropy", "drawn_entropy"]].mean()
        entropy.plot(mean.index, mean["derived_entropy"], color=colour, ls="-", label=f"{dtype}, derived")
        entropy.plot(mean.index, mean["drawn_entropy"], color=colour, ls="none", marker=marker, label=f"{dtype}, drawn")
    entropy.set(xscale="log", xlabel="steps", ylabel="entropy of samples, nats", title="samples of many steps")
    ticks = sorted(samples["n_steps"].unique())
    entropy.set_xticks(ticks, [str(tick) for tick in ticks])
    entropy.xaxis.set_minor_locator(NullLocator())
    for axes in (rate, entropy):
        axes.legend(frameon=False)
    return finish(figure)


FIGURES = (
    Figure(
        "bits",
        "Bits per character of each model with its interval over seeds, beside the published values on text8.",
        "Grey dots are seeds, bars 95 % intervals. The scales cannot be compared across the panels: what can is the "
        "order, and the ratios.",
        ("training",),
        bits,
    ),
    Figure(
        "steps",
        "Two log-log plots of the error of samples by exact scores against steps: total variation on enumerated "
        "sequences, and nats per token above the entropy.",
        "Twice as many steps, half the error or less (dotted: slope −1). Nothing is learned here: what is wrong comes "
        "from positions that move independently within a step. On the absorbing graph Euler and Tweedie are one step.",
        ("sampler_error", "quality"),
        steps,
    ),
    Figure(
        "evaluations",
        "Likelihood and token entropy of generated sequences against network evaluations, for absorbing and uniform "
        "SEDD and for autoregression.",
        "Where a curve crosses the dotted line, SEDD writes as likely text as the un-annealed autoregressive model. "
        "Likelihood alone can be bought with less variety, as the nucleus does; the right panel shows who does (grey: "
        "within 2 % of the data).",
        ("generation",),
        evaluations,
    ),
    Figure(
        "sentence-absorb",
        "A sentence masked letter by letter, another revealed from nothing but masks, and one with its middle filled "
        "in.",
        "Grey: masked. Once a letter is there it stays. In `quick` the scores are exact, of a source that knows pairs "
        "of letters only; in `small` a network's.",
        ("sentence",),
        sentence_absorb,
    ),
    Figure(
        "sentence-uniform",
        "A sentence whose letters turn into random ones, another that comes out of random letters, and one with its "
        "middle filled in.",
        "Bold red: letters that differ from the sentence at the end of either way. A letter may change more than once.",
        ("sentence",),
        sentence_uniform,
    ),
    Figure(
        "infilling",
        "Total variation between filled-in tokens and their conditional law against steps, on logarithmic axes, for "
        "both graphs.",
        "Exact scores and no draw. The absorbing graph's error falls as the inverse of the steps. The uniform graph's "
        "stays: its ratios take the tokens given for noisy ones.",
        ("infilling",),
        infilling,
    ),
    Figure(
        "truncation",
        "Left: how often a rare token is drawn by a race of clocks, over how often it should be, against its "
        "probability. Right: entropy of samples against steps.",
        "Below the precision's resolution h tokens are cut off, as derived. More steps make each token rarer in every "
        "step, and the entropy falls; in float64 it does not.",
        ("race", "truncation"),
        truncation,
    ),
)
