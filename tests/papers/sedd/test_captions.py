"""What the captions of SEDD's figures say is so in the committed rows, of `quick` and of `small`."""

import re
from collections.abc import Callable
from itertools import pairwise
from math import log
from pathlib import Path

import pandas as pd
import pytest

from papers.sedd.paper import PAPER
from papers.sedd.published import TEXT8_BPC

REPORTS = Path(__file__).parents[3] / "reports" / "sedd"
PRESETS = [preset for preset in ("quick", "small") if (REPORTS / preset / "runs.csv").exists()]
CAPTIONS = {figure.name: figure.caption for study in PAPER.load().values() for figure in study.figures}
Rows = Callable[[str], pd.DataFrame]


@pytest.fixture(params=PRESETS)
def rows(request: pytest.FixtureRequest) -> Rows:
    """The rows of an experiment, as they are committed."""
    table = pd.read_csv(REPORTS / request.param / "runs.csv", low_memory=False)
    return lambda name: table[table["experiment"] == name].dropna(axis=1, how="all")


def _mean(table: pd.DataFrame, by: str, column: str, **where: object) -> pd.Series:
    for name, value in where.items():
        table = table[table[name] == value]
    assert len(table)
    return table.groupby(by)[column].mean()


def _says(figure: str, *sentences: str) -> None:
    """The caption says this; otherwise the test that follows is of another caption."""
    for sentence in sentences:
        assert sentence in CAPTIONS[figure]


def test_bits(rows: Rows) -> None:
    _says("bits", "No model takes fewer bits than the source itself", "D3PM's mean is below SEDD's here")
    table = rows("training")
    if "excess" in table:
        assert (table["excess"] > 0).all()
        # The source's own bits are below its entropy on some test sets, and their mean over sets tends to it.
        own = (table["bpc"] - table["excess"] / table["length"] / log(2)).groupby(table["seed"]).mean()
        assert abs(own.mean() - table["entropy_bpc"].mean()) < 4 * own.std() / len(own) ** 0.5
    table = table[table["language"] != "tinyshakespeare"]
    mean = table.groupby("model")["bpc"].mean()
    for graph in ("absorb", "uniform"):
        assert TEXT8_BPC[f"d3pm-{graph}"] > TEXT8_BPC[f"sedd-{graph}"]
        if f"d3pm-{graph}" in mean:
            assert mean[f"d3pm-{graph}"] < mean[f"sedd-{graph}"]


def test_steps(rows: Rows) -> None:
    _says("steps", "Twice as many steps, half the error", "drawn on the uniform graph it falls faster")
    errors = rows("sampler_error")
    errors = errors[errors["noise"] == "loglinear"]
    drawn = rows("quality").assign(above=lambda table: table["nll"] - table["entropy"])
    for table, column in ((errors, "tv"), (drawn, "above")):
        tweedie, euler = (
            _mean(table, "n_steps", column, graph="uniform", sampler=sampler) for sampler in ("tweedie", "euler")
        )
        assert (tweedie < euler).all()
        absorbing = _mean(table, "n_steps", column, graph="absorb", sampler="tweedie")
        for curve in (absorbing, *([tweedie, euler] if column == "tv" else [])):
            for more, less in pairwise(curve):
                assert more / less == pytest.approx(2, rel=0.1)
    for sampler in ("tweedie", "euler"):
        above = _mean(drawn, "n_steps", "above", graph="uniform", sampler=sampler)
        assert all(more / less > 2.2 for more, less in pairwise(above))
    ours = errors[errors["graph"] == "absorb"].pivot_table(index=["seed", "n_steps"], columns="sampler", values="tv")
    assert (ours["euler"] / ours["tweedie"] - 1).abs().max() < 1e-9


def test_evaluations(rows: Rows) -> None:
    _says("evaluations", "in `quick` and `small` none does", "likelier than the data, and has less entropy")
    table = rows("generation")
    writers, ar = table[table["model"] != "ar"], table[table["model"] == "ar"]
    unannealed, nucleus = (ar[ar["top_p"] == top_p] for top_p in (1.0, 0.9))
    means = writers.groupby(["model", "sampler", "nfe"])["nll"].mean()
    assert means.min() > unannealed["nll"].mean()
    assert nucleus["nll"].mean() < nucleus["data_nll"].mean()
    assert nucleus["token_entropy_ratio"].mean() < 0.99
    _says("evaluations", "In `quick` uniform SEDD lacks variety")
    uniform = writers[writers["model"] == "sedd-uniform"].groupby("nfe")["token_entropy_ratio"].mean()
    assert (uniform < 0.98).all() == (table["language"].iloc[0] == "markov")


def test_infilling(rows: Rows) -> None:
    _says("infilling", "falls as the inverse of the steps", "hardly falls beyond 32 steps")
    absorbing, uniform = (_mean(rows("infilling"), "n_steps", "tv", graph=graph) for graph in ("absorb", "uniform"))
    scaled = absorbing * absorbing.index
    assert scaled.max() / scaled.min() < 1.02
    assert 0.9 < uniform[128] / uniform[32] < 1


def test_truncation(rows: Rows) -> None:
    _says("truncation", "tokens are cut off, as derived", "in float16 the entropy of samples falls")
    race, samples = rows("race"), rows("truncation")
    half = race[race["dtype"] == "float16"]
    drawn = half.groupby("ratio")["rate"].mean()
    assert (drawn / half.groupby("ratio")["derived"].mean()).between(0.85, 1.15).all()
    assert drawn[0.25] < 0.1
    of = {dtype: _mean(samples, "n_steps", "drawn_entropy", dtype=dtype) for dtype in ("float16", "float64")}
    assert of["float16"][192] < of["float16"][48] - 0.03
    assert of["float64"][192] == pytest.approx(samples["entropy"].mean(), abs=0.01)


def test_sentences(rows: Rows) -> None:
    _says("sentence-absorb", "In `quick` the scores are exact", "in `small` a network's")
    _says("sentence-uniform", "exact in `quick`, a network's in `small`")
    of = {preset: {config.language for config in PAPER.experiments["sentence"].presets[preset].configs}
          for preset in ("quick", "small")}  # fmt: skip
    assert of == {"quick": {"letters"}, "small": {"tinyshakespeare27"}}


def test_no_caption_speaks_of_colours_or_lines_that_are_not_there() -> None:
    """Red and dotted slopes were, once."""
    for caption in CAPTIONS.values():
        assert not re.search(r"\b(red|green|blue|orange)\b", caption)
        for sentence in re.split(r"[.;] ", caption):
            assert len(sentence.split()) <= 30
