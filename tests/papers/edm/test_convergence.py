"""Convergence at tiny settings: what it measures, by cases whose answer is known."""

import pandas as pd
import pytest

from papers.edm.studies.convergence import ConvergenceConfig, convergence
from tests.papers.edm.made import by, made
from tests.papers.fake_run import FakeRun


def test_convergence_halves_the_error_of_euler_and_quarters_that_of_heun(run: FakeRun) -> None:
    config = ConvergenceConfig("mixture", steps=(64, 128), reference_steps=1024, n_samples=32)
    rows = by(made(convergence, config, 0, run), "solver", "n_steps")
    assert [rows["euler", n]["nfe"] for n in (64, 128)] == [64, 128]
    assert [rows["heun", n]["nfe"] for n in (64, 128)] == [127, 255]
    # The next term of the error is smaller by the step's size: 10 % of the ratio at these steps.
    assert float(rows["euler", 64]["error"]) / float(rows["euler", 128]["error"]) == pytest.approx(2, rel=0.1)
    assert float(rows["heun", 64]["error"]) / float(rows["heun", 128]["error"]) == pytest.approx(4, rel=0.15)


def test_rows_hold_plain_numbers_and_no_field_of_the_config(run: FakeRun) -> None:
    config = ConvergenceConfig("mixture", steps=(8, 16), reference_steps=32, n_samples=4)
    table = pd.DataFrame(made(convergence, config, 0, run))
    assert not set(table.columns) & set(vars(config))
    assert not table.isna().any().any()
