"""SEDD's trained models and what they write, at tiny settings, by cases whose answer is known."""

from dataclasses import replace
from math import log

import pytest
import torch
from torch import nn

from common.data.text import LETTERS, Text
from papers.sedd.experiments_generation import (
    SENTENCE,
    GenerationConfig,
    SentenceConfig,
    generation,
    judge,
    judge_config,
    sentence,
    writings,
)
from papers.sedd.experiments_training import (
    QUICK,
    evaluate,
    invalid_ratios,
    load,
    loss_of,
    network,
    optimisation,
    training,
)
from papers.sedd.graph import Absorbing
from papers.sedd.languages import (
    language,
    markov_source,
)
from papers.sedd.models import D3PM_STEPS, LEAST_RATIO, LOG_LINEAR, MODELS, PlainRatioNetwork, clamped
from papers.sedd.noise import Geometric, LogLinear
from tests.papers.fake_run import FakeRun
from tests.papers.sedd.cases import generator

TINY = replace(QUICK, width=8, depth=1, heads=1, steps=2, batch=4, n_test=6, n_times=2, length=8)


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


@pytest.mark.parametrize("model", ["sedd-absorb", "d3pm-absorb", "csm-absorb", "ar"])
def test_losses_are_per_token(model):
    config = replace(TINY, model=model)
    net = network(config, 8, generator())
    x0 = torch.randint(8, (512, 8), generator=generator(1))
    loss = loss_of(config, 8)(net, x0, generator(2))
    assert loss.shape == (512,)
    if model == "csm-absorb":
        # Times go down to 1/512: E (s − r)²/2 over 8 tokens of which one has ratio r, where the network gives r/8 each.
        t = (torch.arange(512) + 0.5).double() / 512 * 0.999
        wanted = float((7 / 16 * (1 - t) / t).mean())
        assert float(loss.detach().mean()) == pytest.approx(wanted, rel=0.5)
    else:
        # D3PM's auxiliary term is 0.01 · 1000 times the cross-entropy of the masked half.
        wanted = 6 * log(8) if model == "d3pm-absorb" else log(8)
        assert float(loss.detach().mean()) == pytest.approx(wanted, rel=0.1)


def test_ratios_that_are_none_are_counted_and_clamped():
    graph = Absorbing(4)
    x0 = torch.randint(4, (300, 5), generator=generator())

    def score(x_t, sigma):
        return torch.tensor([1.0, -1.0, 0.0, 2.0, 1.0]).expand(*x_t.shape, 5)

    assert invalid_ratios(score, x0, graph, generator(1)) == pytest.approx(0.5)
    # Negative where more than half is masked: there lie three quarters of all masks.
    many = torch.randint(4, (4000, 5), generator=generator())
    late = invalid_ratios(
        lambda x_t, sigma: torch.where(sigma > log(2), -1.0, 1.0)[:, None, None].expand(*x_t.shape, 5),
        many,
        graph,
        generator(1),
    )
    assert late == pytest.approx(0.75, abs=0.03)
    sigma = torch.full((300,), 0.8, dtype=torch.float64)
    low = LEAST_RATIO / float(torch.expm1(sigma[0]))
    wanted = torch.tensor([1.0, low, low, 2.0, 1.0]).expand(300, 5, 5)
    torch.testing.assert_close(clamped(score)(x0, sigma).exp(), wanted)


def test_plain_ratios_start_where_score_entropys_do():
    graph, sigma = Absorbing(4), torch.tensor([0.3, 2.0], dtype=torch.float64)

    class Zero(nn.Module):
        def forward(self, x_t, sigma):
            return torch.zeros(*x_t.shape, 5)

    x_t = torch.full((2, 3), graph.mask)
    from papers.sedd.network import RatioNetwork

    plain, exponential = PlainRatioNetwork(Zero(), graph)(x_t, sigma), RatioNetwork(Zero(), graph)(x_t, sigma).exp()
    torch.testing.assert_close(plain[..., :4], exponential[..., :4])


def test_the_average_is_the_papers_at_full_length():
    full = optimisation(replace(TINY, batch=512, ema_rampup=None))
    assert full.ema_halflife is not None
    assert 0.5 ** (512 / full.ema_halflife) == pytest.approx(0.9999)
    assert full.clip == 1.0


@pytest.fixture
def trained(run, monkeypatch):
    monkeypatch.setattr("papers.sedd.experiments_generation.TRAINED", {"markov": TINY})

    def make(model):
        training(replace(TINY, model=model), 0, run)
        return run.folder

    return make


def test_training_leaves_the_network_it_reports(trained, run):
    folder = trained("sedd-absorb")
    config = replace(TINY, model="sedd-absorb")
    lang = language("markov", 8, 6, 0)
    (row,) = training(config, 0, run)
    again = evaluate(config, load(config, lang.vocab, folder, "cpu"), lang, 0, "cpu")
    assert row["bpc"] == again["bpc"]


def test_generation_counts_evaluations_and_judges_by_the_source(trained, run):
    run.needs = {"model": trained("sedd-absorb")}
    rows = generation(GenerationConfig("sedd-absorb", "markov", steps=(1, 4), n=32), 0, run)
    assert [row["nfe"] for row in rows] == [2, 5]
    # All but untrained, it writes uniform tokens: their cross-entropy with the source.
    source = markov_source(0)
    uniform = -(source.start.log().mean() + 7 * source.transition.log().mean()) / 8
    for row in rows:
        assert row["nll"] == pytest.approx(float(uniform), rel=0.25)
    run.needs = {"model": trained("ar")}
    (row,) = generation(GenerationConfig("ar", "markov", n=32), 0, run)
    assert row["nfe"] == TINY.length


def test_judge_of_a_language_with_a_source_is_the_source(tmp_path):
    lang = language("markov", 8, 6, 0)
    assert lang.source is not None
    torch.testing.assert_close(judge(lang, "markov", tmp_path, "cpu")(lang.test), -lang.source.log_prob(lang.test))


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


def test_masks_are_trained_along_log_linear_noise_and_the_uniform_graph_along_geometric_noise():
    """As the official code is run; a network sees what it is trained on."""
    seen: list[torch.Tensor] = []

    def remember(x_t, sigma):
        seen.append(sigma)
        return torch.zeros(*x_t.shape, 9)

    x0 = torch.randint(8, (1000, 8), generator=generator())
    quarters = torch.linspace(0, 1, 5, dtype=torch.float64)
    for model, wanted in (
        ("sedd-absorb", -torch.log1p(-0.999 * quarters)),
        ("csm-absorb", -torch.log1p(-0.999 * quarters)),
        ("sedd-uniform", 1e-5 * 2e6**quarters),
    ):
        with torch.no_grad():
            loss_of(replace(TINY, model=model), 8)(_sized(remember, 9 - (model == "sedd-uniform")), x0, generator(1))
        found = seen.pop().quantile(quarters)
        torch.testing.assert_close(found[1:4], wanted[1:4], rtol=0.02, atol=0)


def _sized(net, states):
    return lambda x_t, sigma: net(x_t, sigma)[..., :states]


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
    monkeypatch.setattr("papers.sedd.models.BOUND_NOISE", noise)
    config = replace(TINY, model=model, n_test=400)
    lang = language("markov", 8, 400, 0)
    found = evaluate(config, network(config, lang.vocab, generator()), lang, 0, "cpu")
    assert found["bpc"] == pytest.approx(3, rel=0.03)


def test_writers_heed_their_nucleus_and_their_sampler():
    lang = language("markov", 8, 6, 0)
    ar = GenerationConfig("ar", "markov", n=16)
    net = network(replace(TINY, model="ar"), lang.vocab, generator())
    (free,) = writings(ar, net, lang, 8, generator(1)).values()
    (held,) = writings(replace(ar, top_p=1e-9), net, lang, 8, generator(1)).values()
    assert len(free.unique(dim=0)) > 8
    assert len(held.unique(dim=0)) == 1
    net = network(replace(TINY, model="sedd-uniform"), lang.vocab, generator())
    euler, tweedie = (
        writings(GenerationConfig("sedd-uniform", "markov", sampler, (2,), n=64), net, lang, 8, generator(1))[3]
        for sampler in ("euler", "tweedie")
    )
    assert not torch.equal(euler, tweedie)


def test_the_judge_is_trained_for_twice_as_long():
    assert judge_config("tinyshakespeare27").model == "ar"
    assert judge_config("tinyshakespeare27").steps == 4000


def test_the_learning_rate_rises_over_the_warm_up():
    config = replace(TINY, steps=100, warmup=10, batch=4)
    seen = optimisation(config)
    assert (seen.lr_rampup, seen.batch_size) == (40, 4)


@pytest.mark.parametrize("name", ["tinyshakespeare27", "text8"])
def test_texts_run_through_the_same_code(name, run, monkeypatch):
    """Stand-ins of the two text presets: train a model and its judge, and judge what it writes."""
    text = Text(LETTERS, torch.randint(27, (2000,), generator=generator(), dtype=torch.uint8))
    monkeypatch.setattr("papers.sedd.languages.TEXTS", {name: lambda split: text})
    tiny = replace(TINY, language=name, checkpoint_every=1, n_test=200, n_times=16)
    monkeypatch.setattr("papers.sedd.experiments_generation.TRAINED", {name: tiny})
    folders = {}
    for key, config in (("model", replace(tiny, model="sedd-uniform")), ("judge", replace(tiny, steps=4))):
        part = FakeRun(run.folder / key)
        (row,) = training(config, 0, part)
        assert row["bpc"] == pytest.approx(log(27) / log(2), rel=0.1)
        folders[key] = part.folder
    run.needs = folders
    (row,) = generation(GenerationConfig("sedd-uniform", name, "euler", (3,), n=32), 0, run)
    assert row["nll"] == pytest.approx(log(27), rel=0.05)
    assert row["data_nll"] == pytest.approx(log(27), rel=0.05)


def test_d3pm_visits_every_step_alike(monkeypatch):
    """1000 sequences at evenly spread times: every k from 1 to 1000 once."""
    seen: list[torch.Tensor] = []

    def remember(net, x0, k, *args):
        seen.append(k)
        return torch.zeros(len(x0))

    monkeypatch.setattr("papers.sedd.models.d3pm_loss", remember)
    config = replace(TINY, model="d3pm-absorb")
    loss_of(config, 8)(nn.Identity(), torch.zeros(1000, 8, dtype=torch.long), generator())
    assert seen[0].sort().values.tolist() == list(range(1, 1001))
