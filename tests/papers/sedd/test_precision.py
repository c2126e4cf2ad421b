"""Races of clocks at tiny settings, beside the derived rates."""

import pytest

from papers.sedd.studies.precision import RaceConfig, TruncationConfig, race, truncation


def test_race_in_float16_follows_the_formula_and_float64_the_truth(run):
    for row in race(RaceConfig("float16", (0.5, 2.0), trials=2**22), 0, run):
        # Four standard errors of the count.
        assert float(row["rate"]) / float(row["derived"]) == pytest.approx(1, abs=4 / float(row["drawn"]) ** 0.5)
    (right,) = race(RaceConfig("float64", (2.0**42,), trials=2**21), 0, run)
    assert right["derived"] == pytest.approx(1, abs=1e-9)
    assert right["rate"] == pytest.approx(1, abs=4 / float(right["drawn"]) ** 0.5)


def test_truncation_loses_the_derived_entropy_in_float16_and_none_in_float64(run):
    (half,) = truncation(TruncationConfig("float16", steps=(150,), n=5000), 0, run)
    (double,) = truncation(TruncationConfig("float64", steps=(30,), n=8000), 0, run)
    # The standard deviation of −log p is below 1, so an entropy of 5000 draws is known to 0.014.
    assert half["drawn_entropy"] == pytest.approx(half["derived_entropy"], abs=0.045)
    assert float(half["entropy"]) - float(half["derived_entropy"]) > 0.06
    assert double["drawn_entropy"] == pytest.approx(double["entropy"], abs=0.035)
    assert double["derived_entropy"] == pytest.approx(double["entropy"], abs=1e-9)
