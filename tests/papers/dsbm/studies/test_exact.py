"""Exact iterates against the paper's numbers, and the measures on tables whose answer is known."""

from __future__ import annotations

from itertools import islice, pairwise

import pandas as pd
import pytest

from papers.dsbm.divergence import entropic_cost, kl_couplings, kl_markov, kl_projection
from papers.dsbm.gaussian import independent_bridge, ipf, schrodinger_bridge
from papers.dsbm.studies.exact import IteratesConfig, exact_iterates, largest_residual, largest_rise
from papers.dsbm.studies.pairs import PAIRS
from tests.papers.fake_run import FakeRun


def test_exact_rows_have_the_papers_iterates(run: FakeRun) -> None:
    table = pd.DataFrame(exact_iterates(IteratesConfig(sigmas=(1.0,), iterates=4, identities=1), 0, run))
    unit = table[table["pair"] == "unit"].set_index(["method", "iterate"])
    assert unit.loc["imf"]["correlation"].tolist() == pytest.approx([0, 0.5463, 0.6111, 0.6174, 0.6180], abs=5e-5)
    assert unit.loc["ipf"]["correlation"].tolist() == pytest.approx([1, 1 / 2, 2 / 3, 3 / 5, 5 / 8], abs=1e-9)
    assert unit.loc["ipf"]["var_0"].tolist() == pytest.approx([1, 0.75, 1, 0.96, 1], abs=1e-9)
    assert unit.loc["imf"][["var_0", "var_1"]].to_numpy() == pytest.approx(1, abs=1e-12)


def test_a_single_rise_anywhere_is_found() -> None:
    def table(last: float) -> pd.DataFrame:
        costs = {("unit", 1.0): (4.0, 3.0, 2.0), ("general", 2.0): (10.0, 8.0, last)}
        return pd.DataFrame(
            [
                {"seed": 0, "pair": pair, "sigma": sigma, "iterate": n, "cost": cost}
                for (pair, sigma), values in costs.items()
                for n, cost in enumerate(values)
            ]
        )

    assert largest_rise("cost")(table(7.5))[0] == pytest.approx(-0.05)
    assert largest_rise("cost")(table(8.5))[0] == pytest.approx(0.05)


def test_the_residual_is_relative_to_the_first_divergence() -> None:
    rows = [
        {"seed": 0, "pair": "unit", "sigma": 1.0, "method": "imf", "kl": kl, "kl_projection": a, "kl_markov": b}
        for kl, a, b in ((4.0, 3.0, 1.0), (1.0, 0.5, 0.46), (0.1, None, None))
    ]
    assert largest_residual(pd.DataFrame(rows))[0] == pytest.approx(0.01)


@pytest.mark.parametrize("pair", PAIRS)
def test_what_the_claim_of_the_cost_excludes_does_not_meet_it(pair: str) -> None:
    """IPF's cost rises on the way, and KL with its arguments exchanged has parts that do not add up."""
    ends, sigma = PAIRS[pair], 1.0
    costs = [entropic_cost(bridge) for bridge in islice(ipf(*ends, sigma), 4)]
    assert max(after - before for before, after in pairwise(costs)) / costs[0] > 1e-2
    target = schrodinger_bridge(*ends, sigma)
    first = independent_bridge(*ends, sigma)
    exchanged = kl_couplings(target, first) - kl_markov(target, first) - kl_projection(target)
    assert abs(exchanged) / kl_couplings(target, first) > 1e-2
