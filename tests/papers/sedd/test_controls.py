"""Negative controls that are run: what a claim excludes, done in place of the right thing, does not meet its criterion.

Those of trained networks' bits and texts are planted rows (`test_claims`); those of exact scores are cheap enough.
"""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor

from common.harness.studies.claims import Judgement, judge
from papers.sedd.graph import Absorbing
from papers.sedd.loss import Bound
from papers.sedd.noise import LogLinear
from papers.sedd.paper import PAPER
from papers.sedd.sampler import euler_step, tweedie_step
from papers.sedd.studies import bound, infilling, masked, models, precision, sampling, training
from papers.sedd.studies.languages import language
from tests.papers.fake_run import FakeRun
from tests.papers.sedd.cases import TINY

CLAIMS = {claim.id: claim for claim in PAPER.claims}
SEEDS = range(2)


def _rows(experiment: Any, configs: list[Any], run: FakeRun) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {**vars(config), **row, "seed": seed}
            for config in configs
            for seed in SEEDS
            for row in experiment(config, seed, run)
        ]
    )


def _verdicts(claim: str, part: str, table: pd.DataFrame) -> list[str]:
    """Of the claim's quantities whose name has `part`."""
    chosen = tuple(quantity for quantity in CLAIMS[claim].quantities if part in quantity.name)
    assert chosen
    of: Judgement = judge(replace(CLAIMS[claim], quantities=chosen), {chosen[0].experiment.name: table})
    return [measured.verdict for measured in of.measurements]


def test_bound_wrong_ratios(run: FakeRun) -> None:
    """A row of the study itself: the ratios of error 0.3 in place of the exact ones."""
    exact = _rows(bound.exact_bound, [bound.ExactBoundConfig(length=2)], run)
    drawn = _rows(bound.sampled_bound, [bound.SampledBoundConfig(16, 128, 8, errors=(0.0, 0.3))], run)
    assert _verdicts("bound", "enumerated", exact) == ["holds"]
    for table, part, least in ((exact, "enumerated", 1e-3), (drawn, "sampled", 0.02)):
        wrong = table[table["error"] > 0].assign(error=0.0)
        column = "relative_gap" if part == "enumerated" else "over_entropy"
        assert (wrong[column] - (part == "sampled") > least).all()
        assert set(_verdicts("bound", part, wrong)) <= {"fails", "inconclusive"}


def test_bound_below_an_integral_that_leaves_out_the_first_tenth(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(LogLinear):
        def sigma(self, t: Tensor) -> Tensor:
            return super().sigma(0.1 + 0.9 * t)

        def sigma_deriv(self, t: Tensor) -> Tensor:
            return 0.9 * super().sigma_deriv(0.1 + 0.9 * t)

    config = bound.ExactBoundConfig(length=2, errors=(0.0, 0.05))
    assert _verdicts("bound-below", "enumerated", _rows(bound.exact_bound, [config], run)) == ["holds"]
    true = bound.likelihood_bound

    def late(*args: Any) -> Bound:
        found = true(*args)
        return replace(found, reconstruction=torch.zeros_like(found.reconstruction))

    monkeypatch.setattr(bound, "LogLinear", Late)
    monkeypatch.setattr(bound, "BOUND_NOISE", {"uniform": Late(), "absorb": Late()})
    monkeypatch.setattr(bound, "likelihood_bound", late)
    table = _rows(bound.exact_bound, [config], run)
    assert (table["relative_gap"] < 0).all()
    assert set(_verdicts("bound-below", "enumerated", table)) == {"fails"}
    drawn = _rows(bound.sampled_bound, [bound.SampledBoundConfig(32, 256, 8, errors=(0.0,))], run)
    assert (drawn[drawn["graph"] == "absorb"]["z"] < -4).all()


def test_bound_trained_a_network_that_sees_what_it_is_asked_for() -> None:
    """A prefix that is not shifted: bits far below those of the source."""
    config = replace(TINY, model="ar", n_test=64, length=16)
    lang = language("markov", 16, 64, 0)

    class Peeking(torch.nn.Module):
        def forward(self, prefix: Tensor) -> Tensor:
            seen = torch.nn.functional.one_hot(prefix, lang.vocab + 1)[..., : lang.vocab]
            return 9.0 * seen.roll(-1, 1).float()

    found = training.evaluate(config, Peeking(), lang, 0, "cpu")
    table = pd.DataFrame([{"model": "ar", "z": found["z"] + 0.01 * seed, "seed": seed} for seed in SEEDS])
    assert _verdicts("bound-trained", "least z", table) == ["fails"]


def test_masked_a_weight_that_is_a_thousandth_off(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    config = masked.MaskedIdentityConfig(vocab=5, length=6, n=8)
    assert _verdicts("masked", "difference", _rows(masked.masked_identity, [config], run)) == ["holds", "holds"]
    true = Absorbing.score_entropy
    monkeypatch.setattr(Absorbing, "score_entropy", lambda *args: 1.001 * true(*args))
    assert _verdicts("masked", "difference", _rows(masked.masked_identity, [config], run)) == ["fails", "fails"]


def test_steps_samples_that_more_steps_do_not_mend(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sampler that always takes eight steps; its error has no order, and drawn text no straight line."""
    config = sampling.SamplerErrorConfig("absorb", "loglinear", length=3)
    assert _verdicts("steps", "order in the step, absorbing", _rows(sampling.sampler_error, [config], run)) == ["holds"]
    true = sampling.reverse_times
    monkeypatch.setattr(sampling, "reverse_times", lambda n: true(8))
    table = _rows(sampling.sampler_error, [config], run)
    assert _verdicts("steps", "order in the step, absorbing", table) == ["fails"]
    few = sampling.QualityConfig("absorb", "tweedie", length=8, n=200)
    drawn = _rows(sampling.quality, [few], run)
    assert _verdicts("steps", "log excess nats against log steps, absorbing", drawn) != ["holds"]


@pytest.mark.parametrize(("graph", "noise"), [("uniform", "loglinear"), ("absorb", "geometric")])
def test_tweedie_the_two_samplers_exchanged(
    graph: str, noise: str, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = sampling.SamplerErrorConfig(graph, noise, length=3)
    part = f"{sampling.looks.GRAPHS[graph].name}, {noise} noise"
    assert _verdicts("tweedie", part, _rows(sampling.sampler_error, [config], run)) == ["holds"]
    monkeypatch.setattr(sampling, "STEPS", {"euler": tweedie_step, "tweedie": euler_step})
    assert _verdicts("tweedie", part, _rows(sampling.sampler_error, [config], run)) == ["fails"]


def test_tweedie_another_noise_is_not_one_step(run: FakeRun) -> None:
    config = sampling.SamplerErrorConfig("absorb", "geometric", length=2)
    table = _rows(sampling.sampler_error, [config], run).assign(noise="loglinear")
    assert _verdicts("tweedie", "absorbing, loglinear noise", table) == ["fails"]


def test_entropy_samples_of_a_sharper_law(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Posteriors to the power of 1.5, as at a lower temperature: fewer tokens than the source has."""
    config = sampling.QualityConfig("absorb", "tweedie", length=16, n=300, steps=(4, 16))
    true = sampling.markov_log_score
    monkeypatch.setattr(sampling, "markov_log_score", lambda *args: lambda *xs: 1.5 * true(*args)(*xs))
    table = _rows(sampling.quality, [config], run)
    assert (table["token_entropy_ratio"] < 0.97).any()
    assert _verdicts("entropy", "absorbing", table) != ["holds"]


def test_infilling_the_uniform_graph_and_a_single_step(run: FakeRun) -> None:
    """Rows of the study itself: what is claimed of one graph does not hold on the other."""
    config = infilling.InfillingConfig("uniform", vocab=2, steps=(8, 128))
    table = _rows(infilling.infilling, [config], run)
    assert (table[table["n_steps"] == 128].groupby("seed")["tv"].mean() > 0.02).all()
    for claim, of in (("infilling-uniform", table), ("infilling", table.assign(graph="absorb"))):
        assert "holds" not in _verdicts(claim, "total variation at 128 steps", of)
    assert _verdicts("infilling", "order in the step", table.assign(graph="absorb")) == ["fails"]
    long = infilling.LongInfillingConfig(length=7, contexts=1, n=400, n_steps=1, repeats=4)
    assert (lambda rows: rows["tv"] / rows["floor"])(_rows(infilling.long_infilling, [long], run)).min() > 1.2


def test_precision_float64_in_place_of_float16(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws at the right rate are not cut off as derived; the race in float16 is not the law of float64."""
    half = precision.RaceConfig("float16", (0.5, 1.0), trials=2**20)
    right = _rows(precision.race, [replace(half, dtype="float64", p_over_h=(2.0**41, 2.0**42))], run)
    table = right.assign(dtype="float16", ratio=right["ratio"] / 2.0**42, derived=[0.313, 0.582] * len(SEEDS))
    assert _verdicts("precision", "drawn over derived", table) == ["fails", "fails"]
    cut = _rows(precision.race, [half], run)
    table = cut[cut["ratio"] == 1.0].assign(dtype="float64")
    assert _verdicts("precision", "h of float16, float64", table) == ["fails"]


def test_concrete_scores_of_exponentials_are_all_positive() -> None:
    """Ratios that are exponentials meet no criterion that asks for some below 0."""
    found = models.invalid_ratios(
        lambda x_t, sigma: torch.randn(*x_t.shape, 9).exp(),
        torch.zeros(50, 8, dtype=torch.long),
        Absorbing(8),
        torch.Generator().manual_seed(0),
    )
    rows = [{"model": "csm-absorb", "language": "tinyshakespeare27", "invalid": found, "seed": seed} for seed in SEEDS]
    part = "not positive, concrete score matching"
    assert _verdicts("concrete-score-tinyshakespeare27", part, pd.DataFrame(rows)) == ["fails"]
