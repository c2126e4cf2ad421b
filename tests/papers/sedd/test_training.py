"""SEDD's trained models at tiny settings, by cases whose answer is known."""

from dataclasses import replace
from math import log

import pytest
import torch

from papers.sedd.noise import Geometric, LogLinear
from papers.sedd.studies.languages import language
from papers.sedd.studies.models import D3PM_STEPS, LOG_LINEAR, MODELS, load, network
from papers.sedd.studies.training import evaluate, training
from tests.papers.sedd.cases import TINY, generator


@pytest.mark.parametrize("model", MODELS)
def test_untrained_models_know_nothing(model):
    """A head of zeros: a uniform guess, and log N. (Uniform x_0 whatever x_t is a bad guess where tokens are noisy.)"""
    config = replace(TINY, model=model, n_test=200, n_times=16)
    lang = language("markov", config.length, config.n_test, 0)
    assert lang.source is not None
    found = evaluate(config, network(config, lang.vocab, generator()), lang, 0, "cpu")
    # The absorbing bound of a uniform guess is log N exactly, but for how many tokens are masked: 1/√(200·8·16) of it.
    if model == "d3pm-uniform":
        assert found["bpc"] > log(8) / log(2)
    else:
        assert found["bpc"] == pytest.approx(log(8) / log(2), rel=0.05)
    assert found["entropy_bpc"] == pytest.approx(lang.source.entropy(8) / 8 / log(2))
    assert found["excess"] == pytest.approx((found["bpc"] * 8 * log(2)) + float(lang.source.log_prob(lang.test).mean()))


def test_training_leaves_the_network_it_reports(run):
    config = replace(TINY, model="sedd-absorb")
    lang = language("markov", 8, 6, 0)
    (row,) = training(config, 0, run)
    again = evaluate(config, load(config, lang.vocab, run.folder, "cpu"), lang, 0, "cpu")
    assert row["bpc"] == again["bpc"]


def test_d3pm_is_not_asked_for_noise_below_its_first_step():
    """Every σ̄ that its bound asks for is that of one of its thousand steps."""
    config, seen = replace(TINY, model="d3pm-uniform", n_test=400), []
    lang = language("markov", 8, 400, 0)
    net = network(config, lang.vocab, generator())
    net.register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    evaluate(config, net, lang, 0, "cpu")
    steps = LOG_LINEAR.sigma_inv(torch.cat(seen)) * D3PM_STEPS
    torch.testing.assert_close(steps, steps.round().clamp(min=1), rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    ("model", "noise"),
    [("sedd-absorb", {"absorb": LogLinear(0.5)}), ("sedd-uniform", {"uniform": Geometric(1e-3, 0.7)})],
)
def test_the_prior_is_part_of_what_is_reported(model, noise, monkeypatch):
    """Where half of the tokens never move, along the noise of either graph, an ignorant network needs all the bits."""
    monkeypatch.setattr("papers.sedd.studies.models.BOUND_NOISE", noise)
    config = replace(TINY, model=model, n_test=400)
    lang = language("markov", 8, 400, 0)
    found = evaluate(config, network(config, lang.vocab, generator()), lang, 0, "cpu")
    assert found["bpc"] == pytest.approx(3, rel=0.03)
