"""SEDD's figures on made-up results: each is drawn, labelled, and shows the numbers that it was given."""

from collections.abc import Mapping
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from common.harness.studies.experiment import Experiment
from common.harness.studies.figure import Figure
from common.harness.studies.panels import COLOURS
from papers.sedd.paper import PAPER
from papers.sedd.studies.looks import MODELS

FIGURES = [figure for study in PAPER.load().values() for figure in study.figures]
BY_NAME = {figure.name: figure for figure in FIGURES}
GRAPHS = ("absorb", "uniform")
STEPS = (8, 16)


class MadeUp:
    """Each number says where it belongs: its model, sampler, steps and seed."""

    def __init__(self) -> None:
        seeds = range(3)
        samplers = (("absorb", "tweedie"), ("uniform", "tweedie"), ("uniform", "euler"))
        training = [
            {
                "model": model,
                "language": language,
                "bpc": 1.0 + place + 0.1 * seed + 9 * (language != "text8"),
                "seed": seed,
            }
            for (place, model), language, seed in product(enumerate(MODELS), ("text8", "tinyshakespeare27"), seeds)
        ]
        error = [
            {"graph": g, "sampler": s, "noise": noise, "n_steps": n, "tv": (1 + i) / n, "seed": seed}
            for (i, (g, s)), noise, n, seed in product(enumerate(samplers), ("loglinear", "geometric"), STEPS, seeds)
        ]
        quality = [
            {"graph": g, "sampler": s, "n_steps": n, "nll": 1.5 + 1 / n, "entropy": 1.5, "seed": seed}
            for (g, s), n, seed in product(samplers, STEPS, seeds)
        ]
        common = {"language": "markov", "data_nll": 1.25}
        generation = [
            {
                "model": f"sedd-{g}",
                "sampler": s,
                "top_p": 1.0,
                "nfe": n + 1,
                "nll": 2 + i,
                "token_entropy_ratio": 0.9,
                **common,
            }
            for (i, (g, s)), n in product(enumerate(samplers), STEPS)
        ]
        generation += [
            {
                "model": "ar",
                "sampler": "tweedie",
                "top_p": p,
                "nfe": 32,
                "nll": 1 + p,
                "token_entropy_ratio": p,
                **common,
            }
            for p in (1.0, 0.9)
        ]
        infilling = [
            {"graph": g, "pattern": p, "n_steps": n, "tv": (1 + (g == "uniform")) / n + (0.01 if p == "end" else 0)}
            for g, p, n in product(GRAPHS, ("end", "both ends"), STEPS)
        ]
        race = [
            {"dtype": dtype, "ratio": ratio, "drawn": 4, "rate": 0.5 * ratio, "derived": 0.5}
            for dtype, ratio in (("float16", 0.5), ("float16", 1.0), ("float32", 0.5))
        ]
        truncation = [
            {"dtype": dtype, "n_steps": n, "derived_entropy": 1.0, "drawn_entropy": 0.9 + n / 1000}
            for dtype, n in product(("float16", "float64"), (12, 48))
        ]
        self._tables: Mapping[str, pd.DataFrame] = {
            "training": pd.DataFrame(training),
            "sampler_error": pd.DataFrame(error),
            "quality": pd.DataFrame(quality),
            "generation": pd.DataFrame(generation),
            "infilling": pd.DataFrame(infilling),
            "race": pd.DataFrame(race),
            "truncation": pd.DataFrame(truncation),
            "sentence": pd.DataFrame([{"graph": graph} for graph in GRAPHS]),
        }

    def table(self, experiment: Experiment) -> pd.DataFrame:
        return self._tables[experiment.name]

    def arrays(self, experiment: Experiment, **where: Any) -> list[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]]:
        """'abc' turning into masks or z, and back."""
        assert experiment is PAPER.experiments["sentence"]
        noise = 27 if where["graph"] == "absorb" else 26
        x0 = np.array([1, 2, 3])
        forward = np.array([[1, 2, 3], [1, noise, 3], [noise] * 3])
        return [
            (
                where,
                {
                    "x0": x0, "forward": forward, "reverse": forward[::-1], "t": np.array([0.0, 0.5, 1.0]),
                    "filled": np.array([1, 5, 3]), "given": np.array([True, False, True]),
                },
            )
        ]  # fmt: skip


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
def test_every_panel_says_what_it_shows(figure: Figure) -> None:
    drawn = figure.draw(MadeUp())
    assert figure.alt.endswith(".")
    assert figure.caption.endswith(".")
    for axes in drawn.axes:
        assert axes.get_title() or axes.get_title(loc="left") or axes.get_xlabel()
    assert drawn.get_size_inches()[0] >= 8 or figure.name in ("infilling",)


def test_bits_show_the_text_set_with_its_seeds_and_the_published_values() -> None:
    ours, published = BY_NAME["bits"].draw(MadeUp()).axes
    assert "tinyshakespeare27" in ours.get_title()
    seeds = [
        np.asarray(dots.get_offsets())[:, 0] for dots in ours.collections if len(np.asarray(dots.get_offsets())) == 3
    ]
    assert [list(np.round(values, 6)) for values in seeds] == [
        [10.0 + place, 10.1 + place, 10.2 + place] for place in range(len(MODELS))
    ]
    assert [text.get_text() for text in published.texts] == ["1.23", "1.39", "1.45", "1.47", "1.61"]
    assert [tick.get_text() for tick in ours.get_yticklabels()] == [look.name for look in MODELS.values()]


def test_steps_show_log_linear_noise_and_what_lies_above_the_entropy() -> None:
    left, right = BY_NAME["steps"].draw(MadeUp()).axes
    by_label = {str(line.get_label()): np.asarray(line.get_ydata(), float) for line in left.lines}
    assert by_label["absorbing (either sampler)"] == pytest.approx([1 / 8, 1 / 16])
    assert by_label["uniform, Euler"] == pytest.approx([3 / 8, 3 / 16])
    assert by_label["slope −1"] == pytest.approx([1 / 8, 1 / 16])
    assert np.asarray(right.lines[0].get_ydata(), float) == pytest.approx([1 / 8, 1 / 16])


def test_evaluations_have_the_unannealed_model_and_the_data_as_lines() -> None:
    likelihood, entropy = BY_NAME["evaluations"].draw(MadeUp()).axes
    levels = [float(np.asarray(line.get_ydata())[0]) for line in likelihood.lines if np.size(line.get_ydata()) == 2][
        -2:
    ]
    assert levels == [2.0, 1.25]
    shown = {float(np.asarray(dots.get_offsets())[0, 1]) for dots in entropy.collections if np.size(dots.get_offsets())}
    assert {1.0, 0.9} <= shown


def test_sentences_are_coloured_where_they_differ() -> None:
    for graph, noise in (("absorb", "_"), ("uniform", "z")):
        forward, reverse, filled = BY_NAME[f"sentence-{graph}"].draw(MadeUp()).axes
        rows = [text.get_text() for text in forward.texts]
        assert "".join(rows) == f"abca{noise}c{noise * 3}"
        assert "".join(text.get_text() for text in reverse.texts) == f"{noise * 3}a{noise}cabc"
        changed = [to_hex(str(text.get_color()) if graph == "absorb" else text.get_color()) for text in forward.texts]
        assert changed[0] == to_hex("black")
        assert changed[4] == (to_hex("0.75") if graph == "absorb" else to_hex(COLOURS[3]))
        assert [text.get_fontweight() for text in filled.texts] == ["normal", "bold", "normal"] * 2
        assert "".join(text.get_text() for text in filled.texts) == "abcaec"


def test_infilling_is_a_mean_over_patterns() -> None:
    (axes,) = BY_NAME["infilling"].draw(MadeUp()).axes
    assert np.asarray(axes.lines[0].get_ydata(), float) == pytest.approx([1 / 8 + 0.005, 1 / 16 + 0.005])


def test_truncation_has_the_derived_curve_and_the_counts() -> None:
    rate, entropy = BY_NAME["truncation"].draw(MadeUp()).axes
    x, y = (np.asarray(values, float) for values in rate.lines[0].get_data())
    assert np.interp(1.0, x, y) == pytest.approx(1 / np.expm1(1.0), rel=1e-3)
    assert np.asarray(rate.lines[1].get_ydata(), float) == pytest.approx([0.25, 0.5])
    assert {round(float(np.asarray(line.get_ydata())[-1]), 6) for line in entropy.lines} == {1.0, 0.948}
