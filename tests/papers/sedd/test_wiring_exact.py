"""What SEDD's experiments with exact scores ask of samplers and bounds."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from papers.sedd.exact import sequences
from papers.sedd.graph import GRAPHS
from papers.sedd.noise import BOUND_NOISE, Geometric, LogLinear
from papers.sedd.sampler import STEPS, reverse_times
from papers.sedd.studies import bound, infilling, languages, models, precision, sampling, sentence, training
from papers.sedd.studies.languages import SAMPLING, TEST
from tests.papers.fake_run import FakeRun
from tests.papers.sedd.cases import generator
from tests.papers.sedd.recorders import recorder


@pytest.mark.parametrize("config", sampling.QUALITY)
def test_quality_is_of_the_configs_graph_sampler_and_steps(
    config: sampling.QualityConfig, streams: Callable[..., Any], run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, calls = recorder(lambda score, x, *args: torch.zeros_like(x))
    monkeypatch.setattr(sampling, "sample", stub)
    small = replace(config, n=7, length=5, steps=(2, 3))
    rows = sampling.quality(small, 1, run)
    source = languages.markov_source(1)
    for n, row, (score, x, graph, noise, times, step, draws) in zip((2, 3), rows, calls, strict=True):
        assert graph == GRAPHS[config.graph](8)
        assert x.shape == (7, 5)
        assert (noise, step) == (LogLinear(), STEPS[config.sampler])
        assert torch.equal(times, reverse_times(n))
        assert streams(draws) == (1, SAMPLING)
        assert row["n_steps"] == n
        x_t, sigma = torch.zeros(2, 5, dtype=torch.long), torch.full((2,), 0.4, dtype=torch.float64)
        torch.testing.assert_close(score(x_t, sigma), sampling.markov_log_score(source, graph)(x_t, sigma))
        nll = -float(source.start[0].log() + 4 * source.transition[0, 0].log()) / 5
        assert row["nll"] == pytest.approx(nll)
        assert row["token_entropy_ratio"] == row["next_token_entropy_ratio"] == 0


@pytest.mark.parametrize("noise", sampling.NOISES)
@pytest.mark.parametrize("graph", GRAPHS)
def test_sampler_errors_are_of_both_samplers_on_the_configs_noise(
    graph: str, noise: str, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, calls = recorder(lambda *args: torch.full((3, 3), 1 / 9, dtype=torch.float64) * (1 + 1e-3 * len(calls)))
    monkeypatch.setattr(sampling, "sampler_law", stub)
    config = sampling.SamplerErrorConfig(graph, noise, length=2, steps=(2, 5))
    rows = sampling.sampler_error(config, 0, run)
    wanted = {"loglinear": LogLinear(), "geometric": Geometric()}[noise]
    asked = [(int(row["n_steps"]), str(row["sampler"])) for row in rows]
    assert asked == [(2, "euler"), (2, "tweedie"), (5, "euler"), (5, "tweedie")]
    for (n, sampler), (_, start, on, along, times, step) in zip(asked, calls, strict=True):
        assert (on, along, step) == (GRAPHS[graph](3), wanted, STEPS[sampler])
        assert torch.equal(times, reverse_times(n))
        assert start.shape == (on.dim,) * 2
    assert len({row["tv"] for row in rows}) == 4


def test_sampled_bounds_are_of_each_graphs_noise_and_of_exact_scores_where_the_error_is_none(
    streams: Callable[..., Any], run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, calls = recorder(bound.likelihood_bound)
    monkeypatch.setattr(bound, "likelihood_bound", stub)
    rows = bound.sampled_bound(bound.SampledBoundConfig(4, 9, 3, errors=(0.0, 0.5)), 2, run)
    asked = [(str(row["graph"]), row["error"]) for row in rows]
    assert asked == [("uniform", 0.0), ("uniform", 0.5), ("absorb", 0.0), ("absorb", 0.5)]
    source = languages.markov_source(2)
    x0 = source.sample(9, 4, languages.stream(2, TEST))
    for (graph, error), (score, data, on, noise, draws, n_times) in zip(asked, calls, strict=True):
        assert (on, noise, n_times) == (GRAPHS[graph](8), BOUND_NOISE[graph], 3)
        assert torch.equal(data, x0)
        assert streams(draws) == (2, SAMPLING)
        sigma = torch.full((9,), 0.5, dtype=torch.float64)
        x_t = on.sample(x0, sigma, generator())
        exact = bound.markov_log_score(source, on)(x_t, sigma)
        finite = exact.isfinite()
        assert torch.equal(score(x_t, sigma)[finite], exact[finite]) == (error == 0)


@pytest.mark.parametrize("graph", GRAPHS)
def test_infilling_gives_what_its_pattern_names(graph: str, run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    stub, calls = recorder(lambda *args: torch.zeros(3, 3, 3, 3, dtype=torch.float64))
    monkeypatch.setattr(infilling, "sampler_law", stub)
    rows = infilling.infilling(infilling.InfillingConfig(graph, steps=(2, 3)), 0, run)
    given = {"beginning": "1100", "end": "0011", "both ends": "1001", "every second": "1010"}
    for row, (_, start, on, noise, times, step, known) in zip(rows, calls, strict=True):
        assert "".join(str(int(flag)) for flag in known) == given[str(row["pattern"])]
        assert (on, noise, step) == (GRAPHS[graph](3), LogLinear(), STEPS["tweedie"])
        assert torch.equal(times, reverse_times(int(row["n_steps"])))
        states = sequences(on.dim, 4)[start.flatten() > 0]
        # Given positions begin as tokens, the others as noise.
        assert int(states[:, known].max()) < 3
        assert graph == "uniform" or int(states[:, ~known].min()) == 3
    assert [(row["n_steps"], row["pattern"]) for row in rows] == [(n, pattern) for n in (2, 3) for pattern in given]


def test_long_infilling_blanks_the_middle_and_clamps_the_rest(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    stub, calls = recorder(infilling.sample)
    monkeypatch.setattr(infilling, "sample", stub)
    config = infilling.LongInfillingConfig(length=9, blank=3, contexts=2, n=5, n_steps=2, repeats=2)
    infilling.long_infilling(config, 0, run)
    sentences = languages.markov_source(0).sample(2, 9, languages.stream(0, TEST))
    assert len(calls) == 2
    for sentence_, (_, x, _, noise, times, step, _, given) in zip(sentences, calls, strict=True):
        assert given.tolist() == [True] * 3 + [False] * 3 + [True] * 3
        assert torch.equal(x[:, given], sentence_[given].expand(5, 6))
        assert (x[:, ~given] == 8).all()
        assert (noise, step) == (LogLinear(), STEPS["tweedie"])
        assert torch.equal(times, reverse_times(2))


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_precision_is_that_of_the_config(dtype: str, run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the draws, in the derived law, and in what is reported of either."""
    seen: set[torch.dtype] = set()
    for name in ("gumbel_categorical", "gumbel_law"):
        true = getattr(precision, name)

        def remembered(*args: Any, true: Any = true, **kwargs: Any) -> Tensor:
            seen.add(kwargs.get("dtype", args[-1]))
            return true(*args, **kwargs)

        monkeypatch.setattr(precision, name, remembered)
    rows = precision.truncation(precision.TruncationConfig(dtype, steps=(24,), n=2000), 0, run)
    precision.race(precision.RaceConfig(dtype, (1.0,), 2**12), 0, run)
    assert seen == {getattr(torch, dtype)}
    (row,) = rows
    cut = float(row["entropy"]) - float(row["derived_entropy"])
    assert (cut > 5e-3) == (dtype == "float16")
    assert row["drawn_entropy"] == pytest.approx(row["derived_entropy"], abs=0.08)


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_sentence_is_written_by_its_own_graph_from_noise_and_around_what_is_given(
    graph: str, streams: Callable[..., Any], run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub, calls = recorder(sentence.sample)
    monkeypatch.setattr(sentence, "sample", stub)
    sentence.sentence(sentence.SentenceConfig(graph, "letters", 4, 2), 3, run)
    free, clamped = calls
    for score, x, on, noise, times, step, draws, *_ in calls:
        assert (on, noise, step) == (GRAPHS[graph](27), LogLinear(), STEPS["tweedie"])
        assert torch.equal(times, reverse_times(4))
        assert streams(draws) == (3, SAMPLING)
        assert score is free[0]
        assert graph == "uniform" or int(x.max()) == 27
    assert free[7] is None
    given = clamped[7]
    assert given.tolist() == run.arrays["given"].tolist()
    assert 20 < int((~given).sum()) < 44
    assert (clamped[1][0, given] == torch.from_numpy(run.arrays["x0"])[given]).all()


def test_the_scales_differ_in_what_their_names_say() -> None:
    """`quick`, `small` and `gpu` are one recipe at three sizes; the last is the paper's."""
    assert {language: config.language for language, config in models.TRAINED.items()} == {
        "markov": "markov", "tinyshakespeare27": "tinyshakespeare27", "text8": "text8",
    }  # fmt: skip
    paper = models.TRAINED["text8"]
    assert (paper.length, paper.width, paper.depth, paper.heads, paper.batch) == (256, 768, 12, 12, 512)
    assert (paper.lr, paper.warmup, paper.dropout, paper.ema_rampup) == (3e-4, 2000, 0.1, None)
    for preset, wanted in (("quick", "markov"), ("small", "tinyshakespeare27"), ("gpu", "text8")):
        configs = [c for c in training.training.presets[preset].configs if c.language == wanted]
        assert {replace(config, model="ar") for config in configs} == {models.TRAINED[wanted]}
    cased = [c for c in training.training.presets["small"].configs if c.language == "tinyshakespeare"]
    assert {replace(c, model="ar") for c in cased} == {replace(models.SMALL, language="tinyshakespeare")}
