"""SEDD's figures on planted rows, whose every number is another: what is drawn is read back and held against them."""

from collections.abc import Mapping
from io import BytesIO
from math import log
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import same_color
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure as MatplotlibFigure
from matplotlib.patches import Rectangle
from matplotlib.text import Annotation, Text

from common.data.text import LETTERS
from common.harness.studies.experiment import Experiment
from common.harness.studies.figure import Figure
from common.harness.studies.statistics import student_t
from papers.sedd.paper import PAPER
from papers.sedd.published import TEXT8_BPC
from papers.sedd.studies import looks
from papers.sedd.studies.sentence import ADVANCE, SENTENCE
from tests.papers.sedd.planted import Tables, world

FIGURES = {figure.name: figure for study in PAPER.load().values() for figure in study.figures}
PRESETS = ("quick", "small")
LENGTH, STATES = len(SENTENCE), 8


class Planted:
    """The planted rows of a preset, and the states of a sentence."""

    def __init__(self, preset: str) -> None:
        self.tables: Tables = world(preset)

    def table(self, experiment: Experiment) -> pd.DataFrame:
        return self.tables[experiment.name]

    def arrays(self, experiment: Experiment, **where: Any) -> list[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]]:
        """Letters that are another with each graph, state and way, with masks on the absorbing graph."""
        assert experiment is PAPER.experiments["sentence"]
        rng = np.random.default_rng(len(where["graph"]))
        forward, reverse = rng.integers(0, 27 + (where["graph"] == "absorb"), (2, STATES, LENGTH))
        x0, filled = rng.integers(0, 27, (2, LENGTH))
        forward[0], reverse[-1] = x0, rng.integers(0, 27, LENGTH)
        given = np.arange(LENGTH) % 7 < 3
        states = {"x0": x0, "forward": forward, "reverse": reverse, "filled": filled, "given": given}
        return [(where, states | {"t": np.linspace(0, 1, STATES)})]


def _draw(name: str, preset: str) -> tuple[MatplotlibFigure, Tables]:
    results = Planted(preset)
    return FIGURES[name].draw(results), results.tables


def _of(table: pd.DataFrame, **where: Any) -> pd.DataFrame:
    for column, value in where.items():
        table = table[table[column] == value]
    assert len(table)
    return table


def _mean(table: pd.DataFrame, by: str, column: str, **where: Any) -> list[tuple[float, float]]:
    """Written out: the mean over seeds, and whatever else is left, at each of `by`."""
    rows = _of(table, **where)
    return [(float(x), float(np.mean(rows[column][rows[by] == x]))) for x in sorted(set(rows[by]))]


def _lines(axes: Axes) -> dict[str, list[tuple[float, float]]]:
    """The points of each line by its name in the legend."""
    named = [line for line in axes.lines if not str(line.get_label()).startswith("_")]
    return {str(line.get_label()): [(float(x), float(y)) for x, y in np.asarray(line.get_xydata())] for line in named}


def _dots(axes: Axes) -> list[tuple[str, list[tuple[float, float]]]]:
    return [
        (str(dots.get_label()), [(float(x), float(y)) for x, y in np.asarray(dots.get_offsets())])
        for dots in axes.collections
        if len(np.asarray(dots.get_offsets())) and not str(dots.get_label()).startswith("_nolegend")
    ]


def _bars(axes: Axes) -> list[ErrorbarContainer]:
    return [container for container in axes.containers if isinstance(container, ErrorbarContainer)]


def _close(found: Any, wanted: list[tuple[float, float]]) -> None:
    np.testing.assert_allclose(np.asarray(found, float), np.array(wanted), rtol=1e-9)


@pytest.mark.parametrize("preset", PRESETS)
def test_bits_are_those_of_the_table_beside_those_of_the_paper(preset: str) -> None:
    drawn, tables = _draw("bits", preset)
    ours, published = drawn.axes
    language = {"quick": "markov", "small": "tinyshakespeare27"}[preset]
    rows = _of(tables["training"], language=language)
    names = [tick.get_text() for tick in ours.get_yticklabels()]
    models = [model for model in looks.MODELS if model in set(rows["model"])]
    assert names == [looks.MODELS[model].name for model in models]
    assert language in ours.get_title()
    seeds = [points for label, points in _dots(ours) if label == "a seed"]
    for place, (model, dots, bars) in enumerate(zip(models, seeds, _bars(ours), strict=True)):
        values = list(_of(rows, model=model)["bpc"])
        _close(dots, [(value, place) for value in values])
        estimate = student_t(values)
        middle, _, (bar,) = bars.lines
        _close(middle.get_xydata(), [(estimate.mean, place)])
        _close(bar.get_segments()[0], [(estimate.low, place), (estimate.high, place)])
        assert same_color(middle.get_color(), looks.MODELS[model].colour)
        assert middle.get_marker() == looks.MODELS[model].marker
    shown = {float(np.asarray(dots.get_offsets())[0, 1]): float(np.asarray(dots.get_offsets())[0, 0])
             for dots in published.collections if len(np.asarray(dots.get_offsets()))}  # fmt: skip
    assert shown == {place: TEXT8_BPC[model] for place, model in enumerate(models) if model in TEXT8_BPC}
    labels = {text.xy[1]: text.get_text() for text in published.texts if isinstance(text, Annotation)}
    assert labels == {place: f"{value:.2f}" for place, value in shown.items()}
    assert published.get_ylim() == ours.get_ylim()
    line = _lines(ours).get("the source itself, on the same sequences")
    if preset == "quick":
        own = [bpc - excess / 32 / log(2) for bpc, excess in zip(rows["bpc"], rows["excess"], strict=True)]
        assert line is not None
        assert [x for x, _ in line] == pytest.approx([np.mean(own)] * 2)
    else:
        assert line is None


@pytest.mark.parametrize("preset", PRESETS)
def test_steps_are_log_linear_noise_and_nats_above_the_entropy(preset: str) -> None:
    drawn, tables = _draw("steps", preset)
    left, right = drawn.axes
    above = tables["quality"].assign(above=tables["quality"]["nll"] - tables["quality"]["entropy"])
    for axes, table, column, more in (
        (left, tables["sampler_error"], "tv", {"noise": "loglinear"}),
        (right, above, "above", {}),
    ):
        lines = _lines(axes)
        for (graph, sampler), name in {
            ("absorb", "tweedie"): "absorbing (either sampler)",
            ("uniform", "tweedie"): "uniform, Tweedie",
            ("uniform", "euler"): "uniform, Euler",
        }.items():
            _close(lines[name], _mean(table, "n_steps", column, graph=graph, sampler=sampler, **more))
        (first, value), *_ = lines["absorbing (either sampler)"]
        _close(lines["slope −1"], [(n, value * first / n) for n, _ in lines["absorbing (either sampler)"]])
        assert axes.get_xscale() == axes.get_yscale() == "log"


@pytest.mark.parametrize("preset", PRESETS)
def test_evaluations_are_likelihood_and_entropy_of_each_writer(preset: str) -> None:
    drawn, tables = _draw("evaluations", preset)
    table = tables["generation"]
    for axes, column in zip(drawn.axes, ("nll", "token_entropy_ratio"), strict=True):
        lines, dots = _lines(axes), dict(_dots(axes))
        for name, graph, sampler in (
            ("absorbing (either sampler)", "absorb", "tweedie"),
            ("uniform, Tweedie", "uniform", "tweedie"),
            ("uniform, Euler", "uniform", "euler"),
        ):
            if (preset, sampler) == ("quick", "euler"):
                assert name not in lines
                continue
            _close(lines[name], _mean(table, "nfe", column, model=f"sedd-{graph}", sampler=sampler))
        for name, top_p in (("autoregressive", 1.0), ("autoregressive, nucleus 0.9", 0.9)):
            _close(dots[name], _mean(table, "nfe", column, model="ar", top_p=top_p))
    levels = {name: points[0][1] for name, points in _lines(drawn.axes[0]).items()}
    unannealed = _of(table, model="ar", top_p=1.0)
    assert levels["as likely as autoregressive"] == pytest.approx(unannealed["nll"].mean())
    assert levels["data"] == pytest.approx(unannealed["data_nll"].mean())
    (band,) = [patch for patch in drawn.axes[1].patches if patch.get_label() == "within 2 % of the data"]
    assert isinstance(band, Rectangle)
    assert (band.get_y(), band.get_y() + band.get_height()) == pytest.approx((0.98, 1.02))
    assert str(table["language"].iloc[0]) in drawn.axes[0].get_title()


@pytest.mark.parametrize("preset", PRESETS)
def test_infilling_is_a_mean_over_patterns_and_seeds(preset: str) -> None:
    drawn, tables = _draw("infilling", preset)
    lines = _lines(drawn.axes[0])
    for graph, name in (("absorb", "absorbing"), ("uniform", "uniform")):
        _close(lines[name], _mean(tables["infilling"], "n_steps", "tv", graph=graph))
    (first, value), *_ = lines["absorbing"]
    _close(lines["slope −1"], [(n, value * first / n) for n, _ in lines["absorbing"]])


@pytest.mark.parametrize("preset", PRESETS)
def test_truncation_has_the_derived_numbers_and_the_drawn_ones(preset: str) -> None:
    drawn, tables = _draw("truncation", preset)
    rate, entropy = drawn.axes
    curve = np.array(_lines(rate)["derived"])
    np.testing.assert_allclose(curve[:, 1], (1 / curve[:, 0]) / np.expm1(1 / curve[:, 0]), rtol=1e-12)
    assert {y for _, y in _lines(rate)["right"]} == {1.0}
    bars = {str(container.get_label()): container for container in _bars(rate)}
    assert set(bars) & set(looks.DTYPES) == {"float16", "float32"} & set(tables["race"]["dtype"])
    for dtype in set(bars) & set(looks.DTYPES):
        rows = _of(tables["race"], dtype=dtype)
        wanted = _mean(rows, "ratio", "rate")
        points, _, (spread,) = bars[dtype].lines
        _close(points.get_xydata(), wanted)
        for (ratio, mean), segment in zip(wanted, spread.get_segments(), strict=True):
            half = mean / rows["drawn"][rows["ratio"] == ratio].sum() ** 0.5
            _close(segment, [(ratio, mean - half), (ratio, mean + half)])
        assert same_color(points.get_color(), looks.DTYPES[dtype].colour)
    samples = tables["truncation"]
    lines = _lines(entropy)
    for dtype in ("float16", "float64"):
        _close(lines[dtype], _mean(samples, "n_steps", "drawn_entropy", dtype=dtype))
    derived = [np.asarray(line.get_xydata()) for line in entropy.lines if line.get_label() == "derived"]
    for curve, dtype in zip(derived, ("float16", "float64"), strict=True):
        _close(curve, _mean(samples, "n_steps", "derived_entropy", dtype=dtype))
    assert [y for _, y in lines["right"]] == pytest.approx([samples["entropy"].mean()] * 2)


def _letters(axes: Axes, row: int) -> list[tuple[str, Text]]:
    """Each letter of a line, with the piece of text that it is in."""
    found: dict[int, tuple[str, Text]] = {}
    for text in axes.texts:
        if isinstance(text, Annotation) and text.xy[1] == -row:
            first = round(text.xyann[0] / ADVANCE)
            found |= {first + k: (sign, text) for k, sign in enumerate(text.get_text())}
    assert sorted(found) == list(range(LENGTH))
    return [found[column] for column in range(LENGTH)]


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_sentences_are_their_states_letter_by_letter(graph: str) -> None:
    drawn, _ = _draw(f"sentence-{graph}", "quick")
    ((_, arrays),) = Planted("quick").arrays(PAPER.experiments["sentence"], graph=graph)
    x0, reverse, blank = arrays["x0"], arrays["reverse"], ~arrays["given"]
    above, middle, below = drawn.axes
    for axes, states, bold in (
        (above, arrays["forward"], arrays["forward"] != x0),
        (middle, reverse, reverse != reverse[-1]),
        (below, np.stack([x0, arrays["filled"]]), np.stack([blank, blank])),
    ):
        for row, state in enumerate(states):
            for token, marked, (sign, text) in zip(state, bold[row], _letters(axes, row), strict=True):
                masked = token == len(LETTERS)
                assert sign == ("_" if masked else LETTERS[token].replace(" ", "·"))
                ink = "0.7" if masked else looks.GRAPHS[graph].colour if marked else "black"
                assert same_color(text.get_color(), ink)
                assert (text.get_fontweight() == "bold") == (marked and not masked)
    ticks = [[tick.get_text() for tick in axes.get_yticklabels()] for axes in drawn.axes]
    times = [f"t = {t:.2f}" for t in np.linspace(0, 1, STATES)]
    assert ticks == [times, times[::-1], ["sentence", "filled in"]]


@pytest.mark.parametrize("figure", FIGURES.values(), ids=lambda figure: figure.name)
def test_a_figure_fits_the_column(figure: Figure) -> None:
    """700 px: two panels a row, no text below 9 px, names for all that is drawn, a file below 200 kB."""
    drawn = figure.draw(Planted("small" if "sentence" not in figure.name else "quick"))
    width, height = drawn.get_size_inches() * 72
    left_edges = {round(axes.get_position().x0, 3) for axes in drawn.axes}
    assert len(left_edges) <= 2
    assert height < width
    texts = [text for text in drawn.findobj(Text) if text.get_text().strip()]
    assert min(text.get_fontsize() for text in texts) * 700 / (width + 20) >= 9
    for axes in drawn.axes:
        assert axes.get_title() or axes.get_title(loc="left") or axes.get_ylabel()
    named = {label for axes in drawn.axes for label in axes.get_legend_handles_labels()[1]}
    assert named == {text.get_text() for legend in drawn.legends for text in legend.get_texts()}
    file = BytesIO()
    drawn.savefig(file, format="svg", bbox_inches="tight")
    assert len(file.getvalue()) < 200_000
    assert figure.alt.endswith(".")
    assert figure.caption.endswith(".")


def test_a_colour_is_one_method_in_all_figures() -> None:
    for graph, look in looks.GRAPHS.items():
        assert look.colour == looks.MODELS[f"sedd-{graph}"].colour
        assert {each.colour for (of, _), each in looks.SAMPLERS.items() if of == graph} == {look.colour}
    colours = [look.colour for look in (*looks.MODELS.values(), *looks.DTYPES.values())]
    assert len(set(colours)) == len(colours)
