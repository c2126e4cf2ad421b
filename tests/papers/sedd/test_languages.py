"""The languages of SEDD's studies, and what is measured of their tokens."""

from math import log

import pytest
import torch

from common.data.markov import random_source
from common.training.stream import stream
from papers.sedd.loss import Bound
from papers.sedd.studies.languages import (
    above_entropy,
    language,
    markov_law,
    markov_source,
    next_token_entropy,
    next_token_entropy_over,
    token_entropy,
)
from tests.papers.sedd.cases import generator


def test_markov_law_is_the_sources():
    source = random_source(3, generator())
    p0 = markov_law(source, 2)
    torch.testing.assert_close(p0, source.start[:, None] * source.transition)


def test_every_seed_trains_on_the_same_source_with_other_batches():
    one, two = (language("markov", 8, 4, seed) for seed in (0, 1))
    assert one.source is not None
    assert two.source is not None
    assert torch.equal(one.source.transition, two.source.transition)
    assert not torch.equal(one.batches(4, stream(0, 1))[0], two.batches(4, stream(1, 1))[0])
    assert torch.equal(one.batches(4, stream(0, 1))[0], two.batches(4, stream(0, 1))[0])


def test_entropies_of_known_tokens():
    cycle = torch.arange(4).repeat(500)[None]
    assert token_entropy(cycle, 4) == pytest.approx(log(4))
    assert next_token_entropy(cycle, 4) == pytest.approx(0, abs=1e-2)
    source = markov_source(0)
    tokens = source.sample(400, 200, generator())
    # The bias of counts is (64 − 8)/(2 n), the scatter below 1/√n, with n = 80 000.
    assert next_token_entropy(tokens, 8) == pytest.approx(source.entropy_rate, abs=0.012)


def test_entropy_of_neighbours_is_compared_at_equal_sizes():
    """Two samples of one source have the ratio 1, whichever is larger; plug-in entropies of unequal sizes have not."""
    source = random_source(8, generator(3), sharpness=0.5)
    plain, equal = [], []
    for seed in range(20):
        tokens, data = (source.sample(n, 16, generator(seed + 99 * n)) for n in (24, 240))
        plain.append(next_token_entropy(tokens, 8) / next_token_entropy(data, 8))
        equal.append((next_token_entropy_over(data, tokens, 8), next_token_entropy_over(tokens, data, 8)))
    mean, error = torch.tensor(equal).mean(0), torch.tensor(equal).std(0) / len(equal) ** 0.5
    assert bool(((mean - 1).abs() < 4 * error).all())
    assert float(error.max()) < 0.01
    # (64 − 8)/(2n) nats are lost, of n = 360 neighbours more than of 3600.
    lost = 28 * (1 / 360 - 1 / 3600) / source.entropy_rate
    assert sum(plain) / len(plain) == pytest.approx(1 - lost, abs=0.01)
    assert lost > 0.03
    # As many as make the loss small have the source's own entropy.
    assert next_token_entropy(source.sample(1000, 41, generator(5)), 8) == pytest.approx(source.entropy_rate, rel=2e-3)


def test_as_many_sequences_are_spread_over_all_of_the_data():
    data = torch.arange(10)[:, None].expand(10, 6)
    seen = []

    def remember(tokens, vocab):
        seen.append(tokens[:, 0].tolist())
        return 1.0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("papers.sedd.studies.languages.next_token_entropy", remember)
        next_token_entropy_over(data, data[:5], 10)
        next_token_entropy_over(data[:4], data, 10)
    assert seen == [[0, 2, 4, 6, 8], [0, 1, 2, 3, 4], [0, 1, 2, 3], [0, 1, 2, 3]]


def test_excess_is_paired_by_sequence():
    nll = torch.tensor([1.0, 50.0, 200.0], dtype=torch.float64)
    bound = Bound(nll + torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3), torch.zeros(3))
    found = above_entropy(bound, -nll)
    assert found["excess"] == pytest.approx(2)
    assert found["standard_error"] == pytest.approx(1 / 3**0.5)
    assert found["z"] == pytest.approx(2 * 3**0.5)
