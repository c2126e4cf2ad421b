"""Few evaluations, and the published tables: claims and the figure on made-up curves, and the numbers beside them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from papers.seeds.studies.few_evaluations import CLAIMS, FIGURES, TABLE
from papers.seeds.studies.looks import SAMPLERS
from papers.seeds.studies.network_curves import digit_curves, image_curves
from tests.papers.planted import MadeUp, Row, lines, table, verdict, wobble
from tests.papers.seeds.studies.curved import curves, keys

OF = {claim.id: claim for claim in CLAIMS}
PUBLISHED = {
    "ddpm": {12: 246.3, 15: 197.6, 20: 137.3, 50: 32.6, 200: 4.03, 1000: 3.16},
    "ddim": {12: 11.02, 15: 8.92, 20: 6.94, 50: 4.73, 200: 4.07, 1000: 3.95},
    "dpm-3": {12: 8.20, 15: 5.21, 20: 3.81, 50: 3.49, 200: 3.45, 1000: 3.45},
    "tab3": {10: 7.12, 20: 4.53, 50: 3.78},
}
"""FID on CIFAR-10, the network of DDPM, written down a second time."""


def test_the_published_numbers_are_those_of_the_tables() -> None:
    assert {solver: dict(fids) for solver, fids in TABLE.items()} == PUBLISHED
    for claim, quantity, ratio in (
        ("ten-evaluations-trained", 0, 7.12 / 6.94),
        ("published-order", 0, 8.20 / 11.02),
        ("published-order", 1, 246.3 / 11.02),
        ("published-order", 2, 4.03 / 4.07),
    ):
        assert OF[claim].quantities[quantity].expected == pytest.approx(ratio)


def tables(preset: str, ten: float, twenty: float = 1.0, noise: str = "usual", **others: float) -> list[Any]:
    """Curves that are 1, but for tAB-3 with ten evaluations, DDIM with twenty, and those named 'solver nfe'; and of
    networks of other `noise` quite other ones."""

    def change(row: Row) -> float:
        if row["noise"] != noise:
            return wobble(row) ** (row["nfe"] % 7) * row["nfe"]
        named = {("tab3", 10): ten, ("ddim", 20): twenty}
        return named.get((row["sampler"], row["nfe"]), others.get(f"{row['sampler']} {row['nfe']}", 1.0))

    flat = dict.fromkeys(SAMPLERS, 0.1)
    return [
        (each, curves(each, preset, {}, flat, change))
        for each in (digit_curves, image_curves)
        if preset in each.presets
    ]


@pytest.mark.parametrize(
    ("claim", "preset"),
    [("ten-evaluations-trained", "quick"), ("ten-evaluations-trained", "small"), ("ten-evaluations-usual", "small")],
)
def test_ten_evaluations_are_enough_within_fifteen_per_cent(claim: str, preset: str) -> None:
    assert OF[claim].headline
    noise = "starved" if claim == "ten-evaluations-trained" else "usual"
    for ten, expected in ((1.0, "holds"), (1.1, "holds"), (0.7, "holds"), (1.25, "fails")):
        assert verdict(OF[claim], *tables(preset, ten, noise=noise)) == expected
    assert verdict(OF[claim], *tables(preset, 1.1, 0.9, noise)) == "fails"


def test_ddim_with_as_many_evaluations_is_not_enough() -> None:
    """As a pilot found it: DDIM has 16.2 with 7 and 12.2 with 20."""
    rows = tables("quick", 1.0, noise="starved")[0][1]
    swapped = rows.copy()
    ddim = rows[(rows["sampler"] == "ddim") & (rows["nfe"] == 7)]["distance"].to_numpy() * 16.2 / 12.2
    swapped.loc[(rows["sampler"] == "tab3") & (rows["nfe"] == 10), "distance"] = ddim
    assert verdict(OF["ten-evaluations-trained"], (digit_curves, swapped)) == "fails"


ORDER = {"dpm-3 13": 0.7, "ddpm 13": 6.0}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({}, "holds"),
        ({"ddpm 193": 1.1}, "holds"),
        ({"dpm-3 13": 1.0}, "fails"),
        ({"ddpm 13": 1.0}, "fails"),
        ({"ddpm 193": 6.0}, "fails"),
        ({"ddpm 193": 0.6}, "fails"),
    ],
)
def test_the_order_of_the_tables_is_asked_solver_by_solver(change: dict[str, float], expected: str) -> None:
    assert verdict(OF["published-order"], *tables("small", 1.0, 1.0, "usual", **{**ORDER, **change})) == expected


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_the_figure_has_published_numbers_to_the_left_and_ours_to_the_right(preset: str) -> None:
    rows = table(digit_curves, preset, keys)
    theirs, ours = FIGURES[0].draw(MadeUp({digit_curves: rows})).axes
    shown = rows[rows["noise"] == ("starved" if preset == "quick" else "usual")]
    for solver in set(shown["sampler"]) & set(PUBLISHED):
        (curve,) = lines(theirs, SAMPLERS[solver].name)
        np.testing.assert_allclose(curve, [*PUBLISHED[solver].items()])
        own = shown[shown["sampler"] == solver].groupby("nfe")["distance"]
        (curve,) = lines(ours, SAMPLERS[solver].name)
        np.testing.assert_allclose(curve[:, 1], own.apply(lambda values: np.exp(np.log(values).mean())))
    assert theirs.get_title() == "published"
