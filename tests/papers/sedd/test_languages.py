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


def test_excess_is_paired_by_sequence():
    nll = torch.tensor([1.0, 50.0, 200.0], dtype=torch.float64)
    bound = Bound(nll + torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3), torch.zeros(3))
    found = above_entropy(bound, -nll)
    assert found["excess"] == pytest.approx(2)
    assert found["standard_error"] == pytest.approx(1 / 3**0.5)
    assert found["z"] == pytest.approx(2 * 3**0.5)
