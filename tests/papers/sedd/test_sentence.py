"""SEDD's sentences on their way, by cases whose answer is known."""

from math import log

import pytest
import torch

from common.data.text import LETTERS, Text
from papers.sedd.studies.sentence import SENTENCE, SentenceConfig, letter_source, sentence


def test_letters_have_the_pairs_of_the_sonnet():
    source = letter_source()
    h, t = (LETTERS.index(letter) for letter in "ht")
    assert float(source.transition[t, h]) > 0.3
    assert float(source.transition.min()) > 0
    assert 1.5 < source.entropy_rate < log(27)


@pytest.mark.parametrize("graph", ["absorb", "uniform"])
def test_sentences_go_from_text_to_noise_and_back(graph, run):
    sentence(SentenceConfig(graph, "letters", n_steps=16, shown=4), 0, run)
    letters = Text(LETTERS, torch.zeros(0, dtype=torch.uint8))
    arrays = {name: torch.from_numpy(values) for name, values in run.arrays.items()}
    x0, forward, reverse, given = arrays["x0"], arrays["forward"], arrays["reverse"], arrays["given"]
    assert letters.decode(x0) == SENTENCE
    assert forward.shape == reverse.shape == (4, len(SENTENCE))
    assert arrays["t"].tolist() == pytest.approx([1e-5, 5 / 16, 11 / 16, 1], abs=1e-4)
    same = (forward == x0).double().mean(1)
    assert same.diff().max() <= 0 or graph == "uniform"
    assert same[0] == 1
    assert same[-1] < 0.2
    assert int(reverse[-1].max()) < 27
    assert torch.equal(arrays["filled"][given], x0[given])
    assert not torch.equal(arrays["filled"], x0)
    if graph == "absorb":
        assert bool((reverse[0] == 27).all())
        known = reverse[:-1] != 27
        assert torch.equal(reverse[1:][known], reverse[:-1][known])
