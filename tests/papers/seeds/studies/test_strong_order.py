"""Strong orders: rows of a few paths, what claims and the figure read, and that no convergence turns the verdict."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from papers.seeds.studies.looks import SOLVERS
from papers.seeds.studies.strong_order import CLAIMS, COMPARED, COUPLED, FIGURES, LAWS, StrongConfig, strong
from tests.papers.fake_run import FakeRun
from tests.papers.flow_matching.studies.made import made
from tests.papers.flow_matching.studies.planted import MadeUp, Row, lines, table, verdict, wobble

OF = {claim.id: claim for claim in CLAIMS}
SMALL = {"steps": (12, 48), "reference_steps": 96, "n_samples": 150}


def keys(config: StrongConfig) -> list[Row]:
    return [{"solver": s, "path": p, "n_steps": n} for s in COMPARED for p in COUPLED for n in config.steps]


def of_order(
    one: float = 1.0, two: float = 0.5, flips: float = 1.0, uncoupled: float = 0.0
) -> Callable[[Row], dict[str, float]]:
    def plant(row: Row) -> dict[str, float]:
        steps = row["n_steps"] ** (1 + 0.002 * (row["seed"] - 1))
        if row["path"] == "another path":
            return {"rms": 0.4 * wobble(row) * steps**-uncoupled}
        order = one if row["law"] == "one mode" else two
        return {"rms": steps**-order, "mean_abs": steps**-flips, "flipped": steps**-flips}

    return plant


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    found: list[Row] = []
    for law in LAWS:
        run = FakeRun(Path(tmp_path_factory.mktemp("strong")))
        (own,) = made(strong, StrongConfig(law, **SMALL), (1,), (run,))
        found += [{**row, "law": law} for row in own]
    return pd.DataFrame(found)


def test_on_the_same_path_errors_fall_and_on_another_they_do_not(rows: pd.DataFrame) -> None:
    for (law, solver, path), own in rows.groupby(["law", "solver", "path"]):
        few, many = own.sort_values("n_steps")["rms"]
        if path == "another path":
            assert 0.5 < few / many < 2
            assert many > 0.1
        elif law == "one mode":
            assert few / many > 2.5, solver
        else:
            assert few > many


def test_flips_are_counted_where_there_are_two_modes(rows: pd.DataFrame) -> None:
    same = rows[(rows["path"] == "same path") & (rows["n_steps"] == 12) & (rows["solver"] == "seeds-1-data")]
    flipped = same.set_index("law")["flipped"]
    assert flipped["one mode"] <= 0.02
    assert flipped["two modes"] > 0.02
    # Each errs by the distance of the modes, which is nearly all of the square error.
    square = float(same.set_index("law")["rms"]["two modes"]) ** 2
    assert square == pytest.approx(4 * flipped["two modes"], rel=0.4)


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
def test_claims_hold_at_the_orders_and_fail_at_others(preset: str) -> None:
    def judged(claim: str, **orders: float) -> str:
        return verdict(OF[claim], (strong, table(strong, preset, keys, of_order(**orders))))

    assert {judged(claim) for claim in OF} == {"holds"}
    assert judged("strong-order", one=0.5) == "fails"
    assert judged("no-coupling", uncoupled=1.0) == "fails"
    assert judged("separated-modes", two=1.0) == "fails"
    assert judged("separated-modes", flips=0.5) == "fails"


def test_the_claim_reads_every_solver() -> None:
    for solver in COMPARED:

        def plant(row: Row, solver: str = solver) -> dict[str, float]:
            return of_order(one=0.5 if row["solver"] == solver else 1.0)(row)

        assert verdict(OF["strong-order"], (strong, table(strong, "quick", keys, plant))) == "fails"


def test_the_figure_has_the_means_of_the_same_path() -> None:
    rows = table(strong, "quick", keys)
    panels = FIGURES[0].draw(MadeUp({strong: rows})).axes
    assert [panel.get_title() for panel in panels] == list(LAWS)
    for panel, law in zip(panels, LAWS, strict=True):
        for solver in COMPARED:
            own = rows[(rows["law"] == law) & (rows["solver"] == solver) & (rows["path"] == "same path")]
            means = own.groupby("n_steps")["rms"].mean()
            (curve,) = lines(panel, SOLVERS[solver].name)
            np.testing.assert_allclose(curve, np.stack([means.index, means], axis=1))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"law": "three modes"}, "law is one of"),
        ({"law": "one mode", "steps": (10,)}, "six times each must divide"),
        ({"law": "one mode", "n_samples": 0}, "n_samples"),
    ],
)
def test_settings_out_of_range_are_named(fields: Row, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StrongConfig(**fields)
