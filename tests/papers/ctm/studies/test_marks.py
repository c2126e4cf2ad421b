"""What figures show beside their curves: floors, intervals and bands, each of its own rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from papers.ctm.studies import gamma, guidance, losses, one_step
from papers.ctm.studies.gamma import gamma_sampled
from papers.ctm.studies.image_quality import digit_quality, mnist_quality
from papers.ctm.studies.looks import GAMMAS, METHODS
from tests.papers.planted import MadeUp, Row, lines, shows, table

DRAWN = {figure.name: figure.draw for study in (gamma, guidance, losses, one_step) for figure in study.FIGURES}
FLOOR = "same-distribution floor"


def keys(config: Any) -> list[Row]:
    return [{"gamma": g, "nfe": nfe} for g in config.gammas for nfe in config.nfes if g == 0 or nfe > 1]


def scales(config: Any) -> list[Row]:
    return [{"scale": scale} for scale in config.scales]


QUALITY = {experiment: table(experiment, "small", keys) for experiment in (digit_quality, mnist_quality)}


@pytest.mark.parametrize(
    ("figure", "experiment"),
    [("one-step-curves", digit_quality), ("one-step-mnist", mnist_quality), ("losses-curves", digit_quality)],
)
def test_the_floor_of_curves_is_that_of_the_same_rows(figure: str, experiment: Any) -> None:
    rows = QUALITY[experiment]
    (panel,) = DRAWN[figure](MadeUp(QUALITY)).axes
    (line,) = lines(panel, FLOOR)
    np.testing.assert_allclose(line[:, 1], rows[rows["gamma"] == 0]["floor"].mean())


def test_one_step_has_its_floor_and_intervals_of_logarithms() -> None:
    rows = QUALITY[digit_quality]
    at_one = rows[rows["nfe"] == 1]
    (panel,) = DRAWN["one-step-methods"](MadeUp(QUALITY)).axes
    (line,) = lines(panel, FLOOR)
    np.testing.assert_allclose(line[:, 0], at_one["floor"].mean())
    names = [label.get_text() for label in panel.get_yticklabels()]
    for method, own in at_one.groupby("method"):
        logs, place = np.log(own["fd"]), names.index(METHODS[str(method)].name)
        interval = np.exp(stats.t.interval(0.95, len(logs) - 1, logs.mean(), logs.sem()))
        assert shows(panel, [(value, place) for value in interval], METHODS[str(method)].colour)
        assert shows(panel, [(np.exp(logs.mean()), place)], METHODS[str(method)].colour)


def test_guidance_has_its_floor_and_chance() -> None:
    rows = table(guidance.guidance, "small", scales)
    left, right = DRAWN["guidance-trade"](MadeUp({guidance.guidance: rows})).axes
    np.testing.assert_allclose(lines(left, "chance")[0][:, 1], 0.1)
    np.testing.assert_allclose(lines(right, FLOOR)[0][:, 1], rows["floor"].mean())
    for _, own in rows.groupby("seed"):
        assert shows(left, own[["scale", "accuracy"]])
        assert shows(right, own[["scale", "fd"]])


def test_bands_of_gamma_are_between_the_quartiles_of_seeds() -> None:
    rows = table(gamma_sampled, "small", lambda c: [{"gamma": g, "nfe": n} for g in c.gammas for n in c.nfes])
    (panel,) = DRAWN["gamma"](MadeUp({gamma_sampled: rows})).axes
    for band, value in zip(panel.collections, GAMMAS, strict=True):
        by_nfe = rows[rows["gamma"] == value].groupby("nfe")["distance"]
        edges = pd.concat([by_nfe.quantile(0.25), by_nfe.quantile(0.75)]).reset_index().to_numpy()
        (path,) = band.get_paths()
        assert {(x, f"{y:.6g}") for x, y in path.vertices} == {(x, f"{y:.6g}") for x, y in edges}
