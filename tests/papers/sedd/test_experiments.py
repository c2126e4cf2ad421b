"""SEDD's experiments at tiny settings: what they measure, by cases whose answer is known."""

from collections.abc import Mapping
from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from common.data.text import LETTERS, Text
from papers.sedd import languages
from papers.sedd.exact import entropy, kl
from papers.sedd.experiments import EXPERIMENTS
from papers.sedd.experiments_exact import (
    BOUND_NOISE,
    GRAPHS,
    ExactBoundConfig,
    MaskedIdentityConfig,
    SampledBoundConfig,
    above_entropy,
    exact_bound,
    information,
    masked_identity,
    random_law,
    sampled_bound,
    wrong_by,
)
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
from papers.sedd.experiments_precision import RaceConfig, TruncationConfig, race, truncation
from papers.sedd.experiments_sampling import (
    InfillingConfig,
    LongInfillingConfig,
    QualityConfig,
    SamplerErrorConfig,
    infilling,
    long_infilling,
    markov_law,
    quality,
    sampler_error,
    start_given,
)
from papers.sedd.experiments_training import (
    D3PM_STEPS,
    LEAST_RATIO,
    LOG_LINEAR,
    MODELS,
    QUICK,
    PlainRatioNetwork,
    clamped,
    evaluate,
    invalid_ratios,
    load,
    loss_of,
    network,
    optimisation,
    training,
)
from papers.sedd.graph import Absorbing, Uniform
from papers.sedd.languages import (
    MARKOV_TOKENS,
    language,
    letter_source,
    markov_source,
    next_token_entropy,
    stream,
    token_entropy,
)
from papers.sedd.loss import Bound
from papers.sedd.noise import LogLinear
from papers.sedd.oracle import markov_log_score
from tests.papers.sedd.cases import generator

TINY = replace(QUICK, width=8, depth=1, heads=1, steps=2, batch=4, n_test=6, n_times=2, length=8)


class FakeRun:
    def __init__(self, folder: Path, **needs: Path) -> None:
        self.folder, self.device = folder, "cpu"
        self.needs: Mapping[str, Path] = needs
        self.arrays: dict[str, Any] = {}
        folder.mkdir(exist_ok=True)

    def log(self, **metrics: float) -> None: ...

    def save_arrays(self, **arrays: Any) -> None:
        self.arrays = arrays


@pytest.fixture
def run(tmp_path: Path) -> FakeRun:
    return FakeRun(tmp_path / "run")


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


def test_excess_is_paired_by_sequence():
    nll = torch.tensor([1.0, 50.0, 200.0], dtype=torch.float64)
    bound = Bound(nll + torch.tensor([1.0, 2.0, 3.0]), torch.zeros(3), torch.zeros(3))
    found = above_entropy(bound, -nll)
    assert found["excess"] == pytest.approx(2)
    assert found["standard_error"] == pytest.approx(1 / 3**0.5)
    assert found["z"] == pytest.approx(2 * 3**0.5)


def test_wrong_scores_are_wrong_by_a_fixed_normal_factor():
    source, graph = markov_source(0), Uniform(MARKOV_TOKENS)
    exact = markov_log_score(source, graph)
    x, sigma = source.sample(50, 10, generator()), torch.full((50,), 0.7, dtype=torch.float64)
    error = wrong_by(exact, 0.3, graph, generator(1))(x, sigma) - exact(x, sigma)
    assert torch.equal(error[x == 0].round(decimals=9).unique(dim=0), error[x == 0][:1].round(decimals=9))
    table = torch.stack([error[x == token][0] for token in range(MARKOV_TOKENS)])
    # 64 normal numbers: their standard deviation is within 4 of its own errors, 0.3/√128.
    assert float(table.std()) == pytest.approx(0.3, abs=4 * 0.3 / 128**0.5)


def test_masked_identity_would_show_a_difference(run, monkeypatch):
    config = MaskedIdentityConfig(vocab=5, length=6, n=8)
    (row,) = masked_identity(config, 0, run)
    assert max(float(value) for value in row.values()) < 1e-12
    shifted = Absorbing.score_entropy
    monkeypatch.setattr(Absorbing, "score_entropy", lambda *args: 1.001 * shifted(*args))
    (row,) = masked_identity(config, 0, run)
    assert row["loss_difference"] == pytest.approx(1e-3, rel=1e-6)
    assert row["gradient_difference"] == pytest.approx(1e-3, rel=1e-6)


@pytest.mark.parametrize("graph", GRAPHS)
def test_sampler_error_is_zero_where_positions_are_independent(graph, run, monkeypatch):
    """Then Tweedie's step is exact, and Euler's is not on the uniform graph; the base law is all that is left."""
    one = languages.random_source(3, generator(0), sharpness=1.0).start
    independent = languages.MarkovSource(one.expand(3, 3).contiguous())
    monkeypatch.setattr("papers.sedd.experiments_sampling.random_source", lambda *args, **kwargs: independent)
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


@pytest.mark.parametrize("graph", [Uniform(3), Absorbing(3)])
@pytest.mark.parametrize("given", [(True, False, True), (False, False, True), (False, False, False)])
def test_infilling_starts_from_the_given_tokens_and_the_base(graph, given):
    p0 = random_law(3, 3, generator())
    start = start_given(p0, graph, given)
    assert start.shape == (graph.dim,) * 3
    known = tuple(i for i, there in enumerate(given) if there)
    free = tuple(i for i in range(3) if i not in known)
    context = start.sum(dim=free)[(slice(0, 3),) * len(known)] if free else start
    torch.testing.assert_close(context, p0.sum(dim=free) if free else p0)
    others = start.sum(dim=known) if known else start
    torch.testing.assert_close(others, torch.ones(()).double() * _product(graph.base(), len(free)))


def _product(law, times):
    result = torch.ones((), dtype=torch.float64)
    for _ in range(times):
        result = result[..., None] * law
    return result


def test_infilling_halves_its_error_on_the_absorbing_graph_only(run):
    def mean(graph, n):
        rows = [r for r in infilling(InfillingConfig(graph, steps=(16, 32)), 0, run) if r["n_steps"] == n]
        return sum(float(r["tv"]) for r in rows) / len(rows)

    assert mean("absorb", 16) / mean("absorb", 32) == pytest.approx(2, rel=0.05)
    assert mean("uniform", 16) / mean("uniform", 32) < 1.3


def test_every_second_token_given_leaves_nothing_to_get_wrong(run):
    """Given both neighbours, or the one there is, a Markov chain's tokens are independent."""
    rows = infilling(InfillingConfig("absorb", steps=(2,)), 0, run)
    assert {r["pattern"]: float(r["tv"]) for r in rows}["every second"] < 1e-12


def test_long_infilling_is_at_its_floor_and_a_single_step_is_not(run):
    config = LongInfillingConfig(length=7, contexts=1, n=400, n_steps=32, repeats=4)
    (fine,) = long_infilling(config, 0, run)
    (coarse,) = long_infilling(replace(config, n_steps=1), 0, run)
    assert float(fine["tv"]) / float(fine["floor"]) < 1.3
    assert float(coarse["tv"]) / float(coarse["floor"]) > 1.5


def test_markov_law_is_the_sources():
    source = languages.random_source(3, generator())
    p0 = markov_law(source, 2)
    torch.testing.assert_close(p0, source.start[:, None] * source.transition)


def test_race_in_float16_follows_the_formula_and_float64_the_truth(run):
    for row in race(RaceConfig("float16", (0.5, 2.0), trials=2**22), 0, run):
        # Four standard errors of the count.
        assert float(row["rate"]) / float(row["derived"]) == pytest.approx(1, abs=4 / float(row["drawn"]) ** 0.5)
    (right,) = race(RaceConfig("float64", (2.0**42,), trials=2**21), 0, run)
    assert right["derived"] == pytest.approx(1, abs=1e-9)
    assert right["rate"] == pytest.approx(1, abs=4 / float(right["drawn"]) ** 0.5)


def test_truncation_loses_the_derived_entropy_in_float16_and_none_in_float64(run):
    (half,) = truncation(TruncationConfig("float16", steps=(192,), n=8000), 0, run)
    (double,) = truncation(TruncationConfig("float64", steps=(192,), n=8000), 0, run)
    # The standard deviation of −log p is below 1, so an entropy of 8000 draws is known to 0.011.
    assert half["drawn_entropy"] == pytest.approx(half["derived_entropy"], abs=0.035)
    assert float(half["entropy"]) - float(half["derived_entropy"]) > 0.07
    assert double["drawn_entropy"] == pytest.approx(double["entropy"], abs=0.035)
    assert double["derived_entropy"] == pytest.approx(double["entropy"], abs=1e-9)


def test_entropies_of_known_tokens():
    cycle = torch.arange(4).repeat(500)[None]
    assert token_entropy(cycle, 4) == pytest.approx(log(4))
    assert next_token_entropy(cycle, 4) == pytest.approx(0, abs=1e-2)
    source = markov_source(0)
    tokens = source.sample(400, 200, generator())
    # The bias of counts is (64 − 8)/(2 n), the scatter below 1/√n, with n = 80 000.
    assert next_token_entropy(tokens, 8) == pytest.approx(source.entropy_rate, abs=0.012)


def test_letters_have_the_pairs_of_the_sonnet():
    source = letter_source()
    h, t = (LETTERS.index(letter) for letter in "ht")
    assert float(source.transition[t, h]) > 0.3
    assert float(source.transition.min()) > 0
    assert 1.5 < source.entropy_rate < log(27)


def test_every_seed_trains_on_the_same_source_with_other_batches():
    one, two = (language("markov", 8, 4, seed) for seed in (0, 1))
    assert one.source is not None
    assert two.source is not None
    assert torch.equal(one.source.transition, two.source.transition)
    assert not torch.equal(one.batches(4, stream(0, 1))[0], two.batches(4, stream(1, 1))[0])
    assert torch.equal(one.batches(4, stream(0, 1))[0], two.batches(4, stream(0, 1))[0])


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


def test_the_prior_is_part_of_what_is_reported(monkeypatch):
    """Where half of the tokens are never masked, an ignorant network still needs all the bits."""
    monkeypatch.setattr("papers.sedd.experiments_training.BOUND_NOISE", {"absorb": LogLinear(0.5)})
    config = replace(TINY, model="sedd-absorb", n_test=400)
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


def test_experiments_have_names_of_their_own():
    names = [experiment.name for experiment in EXPERIMENTS]
    assert len(set(names)) == len(names)


def test_d3pm_visits_every_step_alike(monkeypatch):
    """1000 sequences at evenly spread times: every k from 1 to 1000 once."""
    seen: list[torch.Tensor] = []

    def remember(net, x0, k, *args):
        seen.append(k)
        return torch.zeros(len(x0))

    monkeypatch.setattr("papers.sedd.experiments_training.d3pm_loss", remember)
    config = replace(TINY, model="d3pm-absorb")
    loss_of(config, 8)(nn.Identity(), torch.zeros(1000, 8, dtype=torch.long), generator())
    assert seen[0].sort().values.tolist() == list(range(1, 1001))
