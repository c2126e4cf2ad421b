"""SEDD's bound at tiny settings: what it measures, by cases whose answer is known."""

import pytest
import torch

from papers.sedd.exact import entropy, kl
from papers.sedd.graph import GRAPHS, Absorbing, Uniform
from papers.sedd.noise import BOUND_NOISE
from papers.sedd.oracle import markov_log_score
from papers.sedd.studies.bound import (
    ExactBoundConfig,
    SampledBoundConfig,
    exact_bound,
    information,
    random_law,
    sampled_bound,
    wrong_by,
)
from papers.sedd.studies.languages import MARKOV_TOKENS, markov_source
from tests.papers.sedd.cases import generator


def test_information_left_is_what_independent_tokens_keep():
    """Of independent tokens masked with probability m each, the sequence keeps (1 − m) of its entropy."""
    one = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    p0, sigma = one[:, None] * one, 1.3
    kept = torch.tensor(-sigma, dtype=torch.float64).exp()
    assert information(p0, Absorbing(3), sigma) == pytest.approx(float(kept) * entropy(p0), rel=1e-12)
    # Uniform: I = H(x_T) − H(x_T | x_0), position by position.
    column = torch.full((3,), (1 - float(kept)) / 3, dtype=torch.float64)
    column[0] += kept
    marginal = kept * one + (1 - kept) / 3
    assert information(p0, Uniform(3), sigma) == pytest.approx(2 * (entropy(marginal) - entropy(column)), rel=1e-9)


def test_exact_bound_is_the_entropy_and_grows_with_the_error(run):
    rows = exact_bound(ExactBoundConfig(length=2, errors=(0.0, 0.1, 1.0)), 3, run)
    for graph in GRAPHS:
        gaps = [float(row["relative_gap"]) for row in rows if row["graph"] == graph]
        assert abs(gaps[0]) < 1e-6
        assert 1e-6 < gaps[1] < gaps[2]


def test_prior_on_the_uniform_graph_is_at_least_that_of_the_data(run):
    row = exact_bound(ExactBoundConfig(length=2, errors=(0.0,)), 0, run)[0]
    assert 0 < float(row["prior_of_data"]) < float(row["prior"])


def test_random_laws_are_laws_and_differ():
    p, q = random_law(3, 2, generator(0)), random_law(3, 2, generator(1))
    assert float(p.sum()) == pytest.approx(1)
    assert kl(p, q) > 0.1


def test_sampled_bound_is_the_entropy_for_exact_scores_alone(run):
    rows = sampled_bound(SampledBoundConfig(length=8, n=256, n_times=16, errors=(0.0, 1.0)), 0, run)
    for exact, wrong in zip(rows[::2], rows[1::2], strict=True):
        # Five standard errors: one in a million.
        assert abs(float(exact["z"])) < 5
        assert float(wrong["z"]) > 5
        assert exact["over_entropy"] == pytest.approx(
            1 + float(exact["excess"]) / markov_source(0).entropy(8), rel=1e-12
        )


def test_the_bound_along_either_schedule_is_of_the_same_noise():
    t = torch.tensor([0.0, 1.0], dtype=torch.float64)
    ends = {name: noise.sigma(t) for name, noise in BOUND_NOISE.items()}
    assert float(ends["uniform"][1]) == pytest.approx(float(ends["absorb"][1]), rel=2e-3)
    assert float(ends["uniform"][0]) < 1e-4


def test_wrong_scores_are_wrong_by_a_fixed_normal_factor():
    source, graph = markov_source(0), Uniform(MARKOV_TOKENS)
    exact = markov_log_score(source, graph)
    x, sigma = source.sample(50, 10, generator()), torch.full((50,), 0.7, dtype=torch.float64)
    error = wrong_by(exact, 0.3, graph, generator(1))(x, sigma) - exact(x, sigma)
    assert torch.equal(error[x == 0].round(decimals=9).unique(dim=0), error[x == 0][:1].round(decimals=9))
    table = torch.stack([error[x == token][0] for token in range(MARKOV_TOKENS)])
    # 64 normal numbers: their standard deviation is within 4 of its own errors, 0.3/√128.
    assert float(table.std()) == pytest.approx(0.3, abs=4 * 0.3 / 128**0.5)
