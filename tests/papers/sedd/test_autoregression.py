"""The autoregressive baseline on a Markov chain, whose next-token law is known."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from papers.sedd.autoregression import autoregressive_loss, nucleus, sample_autoregressive
from papers.sedd.exact import sequences
from tests.papers.sedd.cases import CHAIN, L, N, P, generator

LOGITS = torch.cat([CHAIN.transition, CHAIN.start[None]]).log()


def logits(prefix: Tensor) -> Tensor:
    """The chain itself: the token N begins a sequence. Shifted, for logits need not be normalised."""
    return LOGITS[prefix] + 3.0


def test_the_loss_is_minus_the_log_probability():
    x0 = sequences(N, L)
    expected = -CHAIN.law(L).flatten().log()
    torch.testing.assert_close(autoregressive_loss(logits, x0, N), expected)


def test_samples_follow_the_chain_and_keep_their_prompt():
    n = 30_000
    x = sample_autoregressive(logits, torch.zeros(n, 0, dtype=torch.long), 3, N, generator())
    counts = np.bincount((x * torch.tensor([9, 3, 1])).sum(dim=1).numpy(), minlength=27)
    assert stats.chisquare(counts, n * CHAIN.law(3).flatten().numpy()).pvalue > P
    prompt = torch.tensor([[2, 1]]).expand(n, 2)
    x = sample_autoregressive(logits, prompt, 3, N, generator(1))
    assert torch.equal(x[:, :2], prompt)
    assert stats.chisquare(np.bincount(x[:, 2]), n * CHAIN.transition[1].numpy()).pvalue > P


def test_the_nucleus_is_the_fewest_tokens_that_reach_its_mass():
    p = torch.tensor([0.1, 0.5, 0.15, 0.25], dtype=torch.float64)
    torch.testing.assert_close(nucleus(p, 0.5), torch.tensor([0.0, 1, 0, 0], dtype=torch.float64))
    torch.testing.assert_close(nucleus(p, 0.6), torch.tensor([0.0, 2, 0, 1], dtype=torch.float64) / 3)
    torch.testing.assert_close(nucleus(p, 0.8), torch.tensor([0.0, 0.5, 0.15, 0.25], dtype=torch.float64) / 0.9)
    torch.testing.assert_close(nucleus(p, 1.0), p)
    torch.testing.assert_close(
        nucleus(p.expand(2, 3, 4), 1e-9)[1, 2], torch.tensor([0.0, 1, 0, 0], dtype=torch.float64)
    )


def test_a_small_nucleus_is_the_likeliest_path():
    x = sample_autoregressive(logits, torch.zeros(5, 0, dtype=torch.long), 6, N, generator(), top_p=0.1)
    path, token = [], N
    for _ in range(6):
        token = int(LOGITS[token].argmax())
        path.append(token)
    assert x.tolist() == [path] * 5


def test_laws_of_the_next_token_are_in_float64(monkeypatch):
    laws: list[Tensor] = []

    def remember(probs, generator):
        laws.append(probs)
        return probs.argmax(dim=-1)

    monkeypatch.setattr("papers.sedd.autoregression.categorical", remember)
    sample_autoregressive(lambda x: logits(x).float(), torch.zeros(5, 0, dtype=torch.long), 2, N, generator())
    for probs in laws:
        # Sums to 1 beyond float32: the softmax itself was taken in float64.
        torch.testing.assert_close(probs.sum(-1), torch.ones(5, dtype=torch.float64), rtol=0, atol=1e-15)


def test_bad_input_is_one_line():
    with pytest.raises(ValueError, match=r"top_p must lie in \(0, 1\], not 0"):
        nucleus(torch.ones(3) / 3, 0)
    with pytest.raises(ValueError, match="a prompt of 4 tokens does not fit a length of 3"):
        sample_autoregressive(logits, torch.zeros(1, 4, dtype=torch.long), 3, N, generator())
