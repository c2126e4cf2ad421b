"""SEDD's samplers with exact scores at tiny settings, by cases whose answer is known."""

import pytest

from common.data.markov import MarkovSource, random_source
from papers.sedd.graph import GRAPHS
from papers.sedd.studies.languages import markov_source
from papers.sedd.studies.sampling import QualityConfig, SamplerErrorConfig, quality, sampler_error
from tests.papers.sedd.cases import generator


@pytest.mark.parametrize("graph", GRAPHS)
def test_sampler_error_is_zero_where_positions_are_independent(graph, run, monkeypatch):
    """Then Tweedie's step is exact, and Euler's is not on the uniform graph; the base law is all that is left."""
    one = random_source(3, generator(0), sharpness=1.0).start
    independent = MarkovSource(one.expand(3, 3).contiguous())
    monkeypatch.setattr("papers.sedd.studies.sampling.random_source", lambda *args, **kwargs: independent)
    rows = {r["sampler"]: r for r in sampler_error(SamplerErrorConfig(graph, "loglinear", steps=(4,)), 0, run)}
    # What log-linear noise leaves at t = 1, a thousandth of a token, starts from the wrong law.
    assert float(rows["tweedie"]["tv"]) < 4e-3
    more = float(rows["euler"]["tv"]) - float(rows["tweedie"]["tv"])
    assert (more > 2e-3) == (graph == "uniform"), more


def test_first_order_and_tweedie_not_above_euler(run):
    config = SamplerErrorConfig("uniform", "loglinear", steps=(16, 32))
    rows = {(r["sampler"], r["n_steps"]): float(r["kl"]) for r in sampler_error(config, 1, run)}
    assert all(rows["tweedie", n] < rows["euler", n] for n in (16, 32))
    # KL is quadratic in the error of the law, whose next term is smaller by 1/steps, some times over.
    assert rows["tweedie", 16] / rows["tweedie", 32] == pytest.approx(4, rel=0.15)


def test_quality_improves_to_the_entropy_of_the_source(run):
    coarse, fine = quality(QualityConfig("absorb", "tweedie", length=8, n=600, steps=(1, 32)), 0, run)
    assert float(coarse["nll"]) > float(fine["nll"]) + 0.2
    # An eighth of a nat: four standard errors of 600 sequences, and the first-order error of 32 steps.
    assert fine["nll"] == pytest.approx(fine["entropy"], abs=0.12)
    assert fine["entropy"] == pytest.approx(markov_source(0).entropy(8) / 8)
    assert float(coarse["next_token_entropy_ratio"]) > 1.1
