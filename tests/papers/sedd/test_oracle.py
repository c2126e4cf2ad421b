"""Exact ratios of a Markov source by forward-backward against enumeration, and the enumeration against Bayes' rule."""

import pytest
import torch

from papers.sedd.exact import (
    carry,
    entropy,
    exact_log_score,
    kl,
    log_ratios,
    marginal,
    over_states,
    sequence_rate_matrix,
    sequences,
    total_variation,
)
from papers.sedd.graph import Uniform
from papers.sedd.noise import LogLinear
from papers.sedd.oracle import markov_log_posterior, markov_log_score
from papers.sedd.sampler import reverse_times, sample, tweedie_step
from tests.papers.sedd.cases import ABSORBING, CHAIN, GRAPHS, UNIFORM, Chain, L, N, expm, generator, name, random_law


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_the_recursion_is_the_enumeration_for_every_sequence_and_noise_level(graph):
    levels = torch.tensor([0.05, 0.6, 3.0], dtype=torch.float64)
    x = sequences(graph.dim, L).repeat(3, 1)
    sigma = levels.repeat_interleave(graph.dim**L)
    ours, enumerated = markov_log_score(CHAIN, graph)(x, sigma), exact_log_score(CHAIN.law(L), graph)(x, sigma)
    # No edge leads into an unmasked token, and its ratios are never used.
    used = torch.ones_like(x, dtype=torch.bool) if graph is UNIFORM else x == N
    torch.testing.assert_close(ours[used], enumerated[used], rtol=1e-9, atol=1e-9)


def test_the_posterior_of_an_unmasked_token_is_itself_and_of_masks_alone_the_prior():
    sigma = torch.tensor([0.7, 0.7], dtype=torch.float64)
    post = markov_log_posterior(CHAIN, ABSORBING)(torch.tensor([[N, 1, N, N], [N, N, N, N]]), sigma).exp()
    torch.testing.assert_close(post[0, 1], torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(post[0, 2], CHAIN.transition[1])
    law = CHAIN.law(L)
    torch.testing.assert_close(post[1, 2], law.sum(dim=(0, 1, 3)))
    torch.testing.assert_close(post[0, 0], law[:, 1].sum(dim=(1, 2)) / law[:, 1].sum())


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_long_sequences_neither_underflow_nor_overflow(graph):
    x = sequences(N, L).reshape(1, -1)[:, :300].expand(2, -1)
    sigma = torch.tensor([1e-6, 8.0], dtype=torch.float64)
    post = markov_log_posterior(CHAIN, graph)(x, sigma).exp()
    torch.testing.assert_close(post.sum(dim=-1), torch.ones(2, 300, dtype=torch.float64))
    # Hardly any noise: almost surely what is seen. With the least ratio of path probabilities 1/200, the rest is 10⁻⁴.
    assert (post[0].gather(-1, x[0, :, None]) > 1 - 1e-4).all()


def test_samples_of_the_oracle_have_the_entropy_of_the_source():
    """Twelve tokens by their true likelihood: the mean of −log p is H within 4 standard errors and the bias of 64 steps
    (at first order, a quarter of that of 16)."""
    n, noise = 2500, LogLinear()

    def cost(steps: int) -> tuple[float, float]:
        x = ABSORBING.sample_base((n, 12), generator())
        x = sample(
            markov_log_score(CHAIN, ABSORBING), x, ABSORBING, noise, reverse_times(steps), tweedie_step, generator(1)
        )
        log_p = CHAIN.start[x[:, 0]].log() + CHAIN.transition[x[:, :-1], x[:, 1:]].log().sum(dim=1)
        return -float(log_p.mean()), float(log_p.std()) / n**0.5

    h = entropy(CHAIN.law(6)) + 6 * (entropy(CHAIN.law(6)) - entropy(CHAIN.law(5)))
    coarse, _ = cost(16)
    fine, error = cost(64)
    assert coarse - h > 5 * error
    assert abs(fine - h) < (coarse - h) / 3 + 4 * error


def test_enumeration_is_bayes_rule():
    """The law of one position by hand, ratios by division, and the chain of a sequence as a product of chains."""
    p0 = random_law(2)
    E = torch.from_numpy(expm(ABSORBING, 0.4))[:, :N]
    p = torch.einsum("ax,by,xy->ab", E, E, p0)
    torch.testing.assert_close(marginal(p0, ABSORBING, 0.4), p)
    ratios = log_ratios(p).exp().reshape(4, 4, 2, 4)
    torch.testing.assert_close(ratios[1, 2, 0, 3], p[3, 2] / p[1, 2])
    torch.testing.assert_close(ratios[1, 2, 1, 3], p[1, 3] / p[1, 2])
    Q = sequence_rate_matrix(ABSORBING, 2)
    torch.testing.assert_close(Q.sum(dim=0), torch.zeros(16, dtype=torch.float64))
    assert Q[4 * 3 + 2, 4 * 1 + 2] == 1  # (1, 2) to (mask, 2)
    assert Q[4 * 1 + 2, 4 * 3 + 2] == 0
    assert Q[4 * 3 + 3, 4 * 1 + 2] == 0  # two positions at once
    assert sequences(3, 2).tolist() == [[a, b] for a in range(3) for b in range(3)]


def test_a_law_is_carried_by_independent_positions():
    p = random_law(2)
    probs = torch.rand(9, 2, N, generator=generator(), dtype=torch.float64)
    probs /= probs.sum(dim=-1, keepdim=True)
    per_state = probs.reshape(3, 3, 2, 3)
    expected = torch.einsum("ab,abx,aby->xy", p, per_state[:, :, 0], per_state[:, :, 1])
    torch.testing.assert_close(carry(p, probs), expected)
    clamped = torch.einsum("ab,aby->ay", p, per_state[:, :, 1])
    torch.testing.assert_close(carry(p, probs, torch.tensor([True, False])), clamped)


def test_divergences():
    p, q = torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.25, 0.5, 0.25])
    assert total_variation(p, q) == pytest.approx(0.25)
    assert kl(p, q) == pytest.approx(0.5 * torch.log(torch.tensor(2.0)).item())
    assert kl(q, p) == float("inf")
    assert entropy(p) == pytest.approx(torch.log(torch.tensor(2.0)).item())


def test_bad_input_is_one_line():
    with pytest.raises(ValueError, match="the source has 3 tokens, and the graph 4"):
        markov_log_posterior(CHAIN, Uniform(4))
    never = Chain(torch.tensor([1.0, 0.0, 0.0]), torch.eye(3))
    with pytest.raises(ValueError, match="x_t has probability 0 under the source"):
        markov_log_posterior(never, ABSORBING)(torch.tensor([[0, 1]]), torch.ones(1, dtype=torch.float64))
    with pytest.raises(ValueError, match=r"27\^4 sequences are too many to enumerate; 4096 are allowed"):
        sequences(27, 4)
    with pytest.raises(ValueError, match=r"p0 must be a positive law of shape \(3, 3\), not of \(3, 4\)"):
        over_states(torch.ones(3, 4) / 12, UNIFORM)
