"""SEDD's experiments at tiny settings: what they measure, by cases whose answer is known."""

from dataclasses import replace
from math import log

import pytest
import torch

from common.data.text import LETTERS
from papers.sedd import languages
from papers.sedd.exact import entropy, kl
from papers.sedd.experiments import EXPERIMENTS
from papers.sedd.experiments_exact import (
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
from papers.sedd.noise import BOUND_NOISE
from papers.sedd.oracle import markov_log_score
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


def test_experiments_have_names_of_their_own():
    names = [experiment.name for experiment in EXPERIMENTS]
    assert len(set(names)) == len(names)
