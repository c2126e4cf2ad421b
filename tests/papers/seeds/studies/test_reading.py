"""Evaluations and crossings, read off curves whose values are known."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd
import pytest

from common.harness.studies.measures import NotReached
from papers.seeds.studies.reading import (
    DETERMINISTIC,
    PLATEAU,
    WITHIN,
    best,
    crossing,
    crossings,
    over_best,
    plateau,
    saved,
)

NFES = (8, 16, 32, 64)


def rows(curves: Mapping[str, tuple[float, ...]]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"seed": seed, "sampler": name, "nfe": nfe, "distance": (1 + seed) * value}
            for seed in (0, 1)
            for name, values in curves.items()
            for nfe, value in zip(NFES, values, strict=True)
        ]
    )


HALVING = (8.0, 4.0, 2.0, 1.0)
"""64/nfe: it has the value v with 64/v evaluations."""


def test_evaluations_to_a_distance_are_read_between_those_that_were_measured() -> None:
    table = rows({"seeds-3-data": HALVING, "ddpm": tuple(2 * value for value in HALVING)})
    assert saved("seeds-3-data", "ddpm", 3.0)(table[table["seed"] == 0]).to_list() == pytest.approx([2.0])
    assert saved("ddpm", "seeds-3-data", 3.0)(table[table["seed"] == 0]).to_list() == pytest.approx([0.5])


@pytest.mark.parametrize("target", [9.0, 0.5])
def test_nothing_is_read_outside_of_a_curve(target: float) -> None:
    table = rows({"seeds-3-data": HALVING, "ddpm": HALVING})
    with pytest.raises(NotReached):
        saved("seeds-3-data", "ddpm", target)(table[table["seed"] == 0])


def test_the_plateau_is_that_of_all_stochastic_solvers_of_a_seed() -> None:
    ends = dict(zip(PLATEAU, (1.0, 2.0, 4.0, 8.0), strict=True))
    table = rows({name: (9.0, 9.0, 9.0, end) for name, end in ends.items()} | {"heun": (1.0, 1.0, 1.0, 1e-9)})
    for seed in (0, 1):
        assert plateau(table[table["seed"] == seed]) == pytest.approx(WITHIN * (1 + seed) * 64**0.25)


def test_the_best_deterministic_solver_is_sought_at_each_number_of_evaluations() -> None:
    curves = dict.fromkeys(DETERMINISTIC, (5.0, 5.0, 5.0, 5.0))
    curves |= {DETERMINISTIC[0]: (1.0, 5.0, 5.0, 6.0), DETERMINISTIC[1]: (5.0, 2.0, 3.0, 5.0)}
    table = rows({**curves, "seeds-3-data": (0.1, 0.1, 0.1, 0.1)})
    assert best(table[table["seed"] == 1]).to_list() == [2.0, 4.0, 6.0, 10.0]


def test_the_crossing_is_where_a_solver_is_first_as_good_as_the_best_at_as_many_evaluations() -> None:
    flat = dict.fromkeys(DETERMINISTIC, (2.0, 2.0, 2.0, 2.0))
    table = rows({**flat, "seeds-3-data": HALVING, "ddpm": tuple(1.5 * value for value in HALVING)})
    assert crossing(table[table["seed"] == 0], "seeds-3-data") == pytest.approx(32)
    assert crossing(table[table["seed"] == 1], "ddpm") == pytest.approx(48)
    assert crossings("seeds-3-data", "ddpm")(table).to_list() == pytest.approx([2 / 3, 2 / 3])
    assert over_best("seeds-3-data", 8)(table).to_list() == pytest.approx([4.0, 4.0])
    with pytest.raises(NotReached):
        crossing(rows({**flat, "ddpm": (9.0, 8.0, 7.0, 6.0)}), "ddpm")


def test_a_solver_without_a_crossing_has_it_at_the_most_evaluations_at_the_least() -> None:
    flat, above = dict.fromkeys(DETERMINISTIC, (2.0, 2.0, 2.0, 2.0)), (9.0, 8.0, 7.0, 6.0)
    table = rows({**flat, "seeds-3-data": HALVING, "ddpm": above})
    assert crossings("seeds-3-data", "ddpm")(table).to_list() == pytest.approx([32 / 64, 32 / 64])
    with pytest.raises(NotReached):
        crossings("ddpm", "seeds-3-data")(table)
    with pytest.raises(NotReached):  # ahead from the first: where it came to be so was not measured
        crossings("seeds-3-data", "ddpm")(rows({**flat, "seeds-3-data": HALVING, "ddpm": (1.0, 1.0, 1.0, 1.0)}))
