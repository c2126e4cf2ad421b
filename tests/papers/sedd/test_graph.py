"""Rates, transitions and score entropy against scipy's matrix exponential and the definition written out."""

from itertools import product
from math import log

import numpy as np
import pytest
import torch
from scipy import stats

from papers.sedd.exact import exact_log_score, marginal, reverse_rate_matrix, sequence_rate_matrix, sequences
from papers.sedd.graph import Absorbing, Graph, K, Uniform, score_entropy
from tests.papers.sedd.cases import (
    ABSORBING,
    GRAPHS,
    UNIFORM,
    L,
    N,
    P,
    expm,
    generator,
    name,
    random_law,
    random_log_score,
    rates,
)

SIGMAS = (1e-3, 0.3, 1.7, 6.0)


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_rates_are_those_of_the_words(graph):
    np.testing.assert_allclose(graph.rate_matrix().numpy(), rates(graph), atol=1e-15)


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
@pytest.mark.parametrize("sigma", [*SIGMAS, -0.7])
def test_closed_forms_are_the_matrix_exponential(graph, sigma):
    """Columns, rows, and the action on any vector, backward too: e^{−σQ} is what Tweedie's step needs."""
    E, states = expm(graph, sigma), torch.arange(graph.dim)
    v = torch.randn(5, 2, graph.dim, generator=generator(), dtype=torch.float64)
    np.testing.assert_allclose(graph.evolve(v, sigma).numpy(), v.numpy() @ E.T, rtol=1e-12, atol=1e-12)
    if sigma > 0:
        np.testing.assert_allclose(graph.transition(states[None], sigma)[0].numpy(), E.T, rtol=1e-11, atol=1e-15)
        np.testing.assert_allclose(graph.likelihood(states[None], sigma)[0].numpy(), E, rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_each_sequence_has_its_own_noise_level(graph):
    x, sigma = torch.zeros(4, 2, dtype=torch.long), torch.tensor(SIGMAS, dtype=torch.float64)
    for b, value in enumerate(SIGMAS):
        E = torch.from_numpy(expm(graph, value))
        torch.testing.assert_close(graph.transition(x, sigma)[b, 0], E[:, 0])
        torch.testing.assert_close(graph.likelihood(x, sigma)[b, 1], E[0])
        torch.testing.assert_close(graph.ratio(x, x, sigma)[b, 0], E[:, 0] / E[0, 0])


def entropy_by_definition(graph: Graph, log_score, x_t: int, x0: int, sigma: float) -> float:
    """Σ_{y≠x_t} Q(x_t, y) (s_y − r_y log s_y + r_y (log r_y − 1)), r from scipy's exponential."""
    E, Q, total = expm(graph, sigma), rates(graph), 0.0
    for y in range(graph.dim):
        if y != x_t and Q[x_t, y] > 0:
            r, s = E[y, x0] / E[x_t, x0], np.exp(log_score[y])
            total += Q[x_t, y] * (s - r * log_score[y] + (r * (log(r) - 1) if r > 0 else 0.0))
    return total


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
@pytest.mark.parametrize("sigma", SIGMAS)
def test_score_entropy_in_closed_form_is_the_definition(graph, sigma):
    pairs = [(x, x0) for x, x0 in product(range(graph.dim), range(N)) if expm(graph, sigma)[x, x0] > 1e-12]
    x_t, x0 = torch.tensor(pairs).T[:, None]
    log_score = random_log_score(graph, tuple(x_t.shape))
    expected = [entropy_by_definition(graph, log_score[0, i].numpy(), *pair, sigma) for i, pair in enumerate(pairs)]
    # r and K(r) reach r log r = 10⁴ at the least noise, and cancel.
    torch.testing.assert_close(
        graph.score_entropy(log_score, x_t, x0, sigma)[0],
        torch.tensor(expected),
        rtol=1e-10,
        atol=1e-9,
        check_dtype=False,
    )
    weight, ratio = graph.rate_into(x_t), graph.ratio(x_t, x0, sigma)
    torch.testing.assert_close(
        score_entropy(log_score, ratio, weight)[0], torch.tensor(expected), rtol=1e-10, atol=1e-9, check_dtype=False
    )


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_score_entropy_is_zero_at_the_ratios_and_grows_from_there(graph):
    x0 = torch.randint(N, (50, L), generator=generator())
    sigma = torch.linspace(0.05, 4, 50, dtype=torch.float64)
    x_t = graph.sample(x0, sigma, generator(1))
    exact = graph.ratio(x_t, x0, sigma).log()
    at_ratio = graph.score_entropy(exact, x_t, x0, sigma)
    torch.testing.assert_close(at_ratio, torch.zeros_like(at_ratio), rtol=0, atol=1e-9)
    moved = exact + 0.1 * random_log_score(graph, (50, L))
    has_edges = (graph.rate_into(x_t) > 0).any(dim=-1)
    assert (graph.score_entropy(moved, x_t, x0, sigma)[has_edges] > 0).all()


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_the_own_entry_is_never_read(graph):
    x0 = torch.randint(N, (20, L), generator=generator())
    x_t = graph.sample(x0, 1.0, generator(1))
    log_score = random_log_score(graph, (20, L))
    other = log_score.scatter(-1, x_t[..., None], 7.0)
    torch.testing.assert_close(
        graph.score_entropy(log_score, x_t, x0, 1.0), graph.score_entropy(other, x_t, x0, 1.0), rtol=1e-13, atol=1e-13
    )
    torch.testing.assert_close(
        graph.reverse_rate(log_score.exp(), x_t), graph.reverse_rate(other.exp(), x_t), rtol=1e-13, atol=1e-13
    )


def test_K_is_the_entropy_of_a_perfect_score():
    a = torch.tensor([0.0, 0.5, 1.0, 3.0], dtype=torch.float64)
    assert K(a).tolist() == pytest.approx([0.0, 0.5 * log(0.5) - 0.5, -1.0, 3 * log(3) - 3])


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
@pytest.mark.parametrize("sigma", [0.2, 1.5])
def test_reverse_rates_are_the_derivative_of_bayes_rule(graph, sigma):
    """[p(x at σ − h | x') − δ]/h by Bayes' rule, from two matrix exponentials, is Q̄ up to O(h)."""
    p0, h = random_law(2), 1e-6
    Q = sequence_rate_matrix(graph, 2).numpy()
    before, now = (marginal(p0, graph, s).flatten().numpy() for s in (sigma - h, sigma))
    posterior = (np.eye(len(Q)) + h * Q).T * before[:, None] / now[None, :]
    expected = (posterior - np.eye(len(Q))) / h
    x = sequences(graph.dim, 2)
    score = exact_log_score(p0, graph)(x, torch.full((len(x),), sigma, dtype=torch.float64)).exp()
    reverse = reverse_rate_matrix(score, graph).numpy()
    off_diagonal = ~np.eye(len(Q), dtype=bool)
    np.testing.assert_allclose(reverse[off_diagonal], expected[off_diagonal], rtol=1e-4, atol=1e-9)
    # What flows backward is what flowed forward, and nothing is lost.
    np.testing.assert_allclose(reverse @ now, -Q @ now, atol=1e-12)
    np.testing.assert_allclose(reverse.sum(axis=0), 0, atol=1e-10)


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_sampled_noise_follows_the_transition(graph):
    n, sigma = 30_000, torch.tensor([0.1, 0.9], dtype=torch.float64)
    x0 = torch.tensor([[0] * n, [2] * n])
    x_t = graph.sample(x0, sigma, generator())
    for b, (token, value) in enumerate(zip((0, 2), sigma.tolist(), strict=True)):
        expected = n * expm(graph, value)[:, token]
        counts = np.bincount(x_t[b].numpy(), minlength=graph.dim)
        assert counts[expected == 0].sum() == 0
        assert stats.chisquare(counts[expected > 0], expected[expected > 0]).pvalue > P


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_base_is_where_the_noise_leads(graph):
    for x0 in range(N):
        np.testing.assert_allclose(expm(graph, 50)[:, x0], graph.base().numpy(), atol=1e-12)
    draws = graph.sample_base((60_000,), generator())
    counts = np.bincount(draws.numpy(), minlength=graph.dim)
    np.testing.assert_allclose(counts / 60_000, graph.base().numpy(), atol=5 * 0.5 / 60_000**0.5)


@pytest.mark.parametrize("sigma", [0.1, 1.0, 7.0])
def test_prior_term(sigma):
    """Uniform: to the base itself. Absorbing: to the base with the share that is not masked spread over tokens."""
    p = expm(UNIFORM, sigma)[:, 1]
    assert float(UNIFORM.prior_kl(sigma)) == pytest.approx(stats.entropy(p, UNIFORM.base().numpy()), rel=1e-6)
    p, left = expm(ABSORBING, sigma)[:, 1], np.exp(-sigma)
    spread = (1 - left) * ABSORBING.base().numpy() + left * np.array([1, 1, 1, 0]) / N
    assert float(ABSORBING.prior_kl(sigma)) == pytest.approx(stats.entropy(p, spread), rel=1e-6)


def test_ratios_of_a_posterior_in_logarithms_are_the_sum_over_tokens():
    x_t = torch.full((40, L), N)
    sigma = torch.linspace(0.01, 5, 40, dtype=torch.float64)
    log_p = random_log_score(UNIFORM, (40, L)).log_softmax(dim=-1)
    by_sum = Graph.log_score_of(ABSORBING, log_p, x_t, sigma)
    torch.testing.assert_close(ABSORBING.log_score_of(log_p, x_t, sigma), by_sum)


def test_bad_input_is_one_line():
    with pytest.raises(ValueError, match="a vocabulary has at least 2 tokens, not 1"):
        Uniform(1)
    with pytest.raises(ValueError, match=r"sigma must be a scalar or have shape \(2,\), not \(3,\)"):
        Absorbing(3).transition(torch.zeros(2, 4, dtype=torch.long), torch.ones(3))
