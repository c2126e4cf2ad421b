"""Preconditioning on digits: the identities hold within the Monte Carlo error."""

from math import sqrt

import pandas as pd
import pytest

from papers.edm.studies import preconditioning as preconditioning_study
from papers.edm.studies.preconditioning import PreconditioningConfig, preconditioning, worst_deviation
from tests.papers.edm.made import by, made
from tests.papers.fake_run import FakeRun


def test_preconditioning_rows_are_the_identities(run: FakeRun) -> None:
    rows = by(made(preconditioning, PreconditioningConfig(sigmas=(0.01, 80.0), repeats=1), 0, run), "precond", "sigma")
    for sigma in (0.01, 80.0):
        edm = rows["edm", sigma]
        # Four standard errors, √(2/n) each, of a variance of n nearly Gaussian values.
        tolerance = 4 * sqrt(2 / float(edm["n"]))
        assert float(edm["var_input"]) == pytest.approx(1, abs=tolerance)
        assert float(edm["var_target"]) == pytest.approx(1, abs=tolerance)
        assert float(edm["effective_weight"]) == pytest.approx(1, abs=1e-9)
        assert float(rows["ve", sigma]["var_input"]) == pytest.approx(0.25 + sigma**2, rel=tolerance)


def test_the_other_preconditionings_do_not_meet_the_criterion(run: FakeRun) -> None:
    """The negative control, among the rows of the study: VP, VE and iDDPM leave the variance of ¼ of the data."""
    rows = pd.DataFrame(made(preconditioning, PreconditioningConfig(repeats=1), 0, run)).assign(seed=0)
    (claim,) = preconditioning_study.CLAIMS
    limit = claim.quantities[0].criterion.upper
    assert worst_deviation("var_input")(rows).item() < limit
    for precond in ("vp", "ve", "iddpm"):
        assert worst_deviation("var_input", precond)(rows).item() > 50 * limit
