"""Which part of a text, and which random stream, each of SEDD's experiments sees."""

from collections.abc import Callable
from dataclasses import replace
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor

from papers.sedd.studies import (
    bound,
    generation,
    infilling,
    languages,
    masked,
    models,
    precision,
    sampling,
    sentence,
    training,
)
from papers.sedd.studies.generation import GenerationConfig
from papers.sedd.studies.languages import INITIAL, LANGUAGE_SEED, SAMPLING, SOURCE, TEST, TRAINING, language
from papers.sedd.studies.models import DIFFUSIONS, MODELS
from tests.papers.fake_run import FakeRun
from tests.papers.sedd.cases import TINY, generator
from tests.papers.sedd.recorders import (
    TEST_LETTERS,
    TEXT,
    TRAIN_LETTERS,
    letters,
    seen_tokens,
    split_text,
    stub_generation,
)


def test_batches_are_of_the_training_text_and_the_test_set_of_the_test_text(text: None) -> None:
    lang = language(TEXT, 8, 50, 0)
    batch, _ = lang.batches(400, generator())
    assert set(batch.unique().tolist()) == set(TRAIN_LETTERS)
    assert set(lang.test.unique().tolist()) == set(TEST_LETTERS)
    assert lang.test.shape == (50, 8)
    # Spread over the whole test text, not its beginning.
    windows = split_text("test").windows(8)
    assert torch.equal(lang.test, windows[:: len(windows) // 50][:50])


@pytest.mark.parametrize("model", MODELS)
def test_a_model_is_trained_on_the_training_text_and_judged_on_the_test_text(
    model: str, text: None, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_tokens(monkeypatch)
    true, in_training = training.train, []

    def train(*args: Any, **kwargs: Any) -> Any:
        trained = true(*args, **kwargs)
        in_training.extend(seen)
        seen.clear()
        return trained

    monkeypatch.setattr(training, "train", train)
    # Masks only: the uniform graph brings in letters of its own, so noise is turned off.
    monkeypatch.setattr(models.Uniform, "sample", lambda self, x0, *args: x0)
    training.training(replace(TINY, model=model, language=TEXT, n_test=40, steps=8), 0, run)
    assert letters(in_training)
    assert letters(in_training) <= set(TRAIN_LETTERS)
    assert letters(seen)
    assert letters(seen) <= set(TEST_LETTERS)


def test_what_is_written_is_compared_with_the_test_text(
    text: None, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Likelihood of the data, entropy of tokens, and of neighbours: in each the test text alone."""
    judged: list[Tensor] = []
    entropies: dict[str, list[Tensor]] = {"token_entropy": [], "next_token_entropy_over": []}
    stub_generation(monkeypatch, judged)
    for name, seen in entropies.items():
        monkeypatch.setattr(generation, name, lambda *args, seen=seen: seen.extend(args[:-1]) or 1.0)
    run.needs = {"model": run.folder, "judge": run.folder}
    generation.generation(GenerationConfig("ar", TEXT, n=5), 0, run)
    test = language(TEXT, 8, TINY.n_test, 0).test
    written, data = judged
    assert (written == 26).all()
    assert torch.equal(data, test)
    assert [tokens is data or torch.equal(tokens, data) for tokens in entropies["token_entropy"]] == [False, True]
    of_data, of_written = entropies["next_token_entropy_over"]
    assert torch.equal(of_data, test)
    assert torch.equal(of_written, written)


def test_markov_test_sets_are_of_no_training_batch() -> None:
    """But by chance: sequences of a probability below 10⁻⁶ are not met again among two hundred."""
    lang = language("markov", 32, 200, 3)
    batch, _ = lang.batches(200, languages.stream(3, TRAINING))
    assert lang.source is not None
    rare = lang.test[lang.source.log_prob(lang.test) < log(1e-6)]
    assert len(rare) > 100
    assert not (rare[:, None] == batch).all(-1).any()


def test_purposes_are_apart_and_none_is_a_pilots() -> None:
    purposes = [INITIAL, TRAINING, TEST, SOURCE, SAMPLING]
    assert len(set(purposes)) == 5
    assert min(purposes) >= 5
    drawn = [torch.rand(4, generator=languages.stream(seed, p)).tolist() for seed in (0, 1) for p in purposes]
    assert len({tuple(numbers) for numbers in drawn}) == 10


@pytest.mark.parametrize("model", ["ar", "sedd-uniform", "d3pm-absorb"])
def test_each_part_of_a_training_has_the_stream_of_its_purpose(
    model: str, streams: Callable[..., Any], run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    def remember(name: str, module: Any, place: int | str) -> None:
        true = getattr(module, name)

        def called(*args: Any, **kwargs: Any) -> Any:
            given.setdefault(name, args[place] if isinstance(place, int) else kwargs[place])
            return true(*args, **kwargs)

        monkeypatch.setattr(module, name, called)

    remember("network", training, 2)
    remember("train", training, 4)
    if model != "ar":
        diffusion = DIFFUSIONS[model]

        def judged(net: Any, x0: Tensor, draws: Any, *args: Any) -> Any:
            given["bound"] = draws
            return diffusion.bound(net, x0, draws, *args)

        monkeypatch.setattr(training, "DIFFUSIONS", {model: replace(diffusion, bound=judged)})
    training.training(replace(TINY, model=model), 4, run)
    wanted = {"network": (4, INITIAL), "train": (4, TRAINING)} | ({} if model == "ar" else {"bound": (4, SAMPLING)})
    assert {name: streams(made) for name, made in given.items()} == wanted
    assert (4, TEST) in streams()
    # The language is one for all seeds.
    assert [seed for seed, purpose in streams() if purpose == SOURCE] == [LANGUAGE_SEED]


EXACT: dict[str, tuple[Any, Any, set[int]]] = {
    "exact_bound": (bound.exact_bound, bound.ExactBoundConfig(length=2), {TEST}),
    "sampled_bound": (bound.sampled_bound, bound.SampledBoundConfig(4, 6, 2), {SOURCE, TEST, SAMPLING}),
    "masked_identity": (masked.masked_identity, masked.MaskedIdentityConfig(5, 4, 3), {TEST, SAMPLING}),
    "sampler_error": (
        sampling.sampler_error, sampling.SamplerErrorConfig("absorb", "loglinear", length=2, steps=(2,)), {SOURCE},
    ),
    "quality": (sampling.quality, sampling.QualityConfig("uniform", "euler", 4, 6, (2,)), {SOURCE, SAMPLING}),
    "infilling": (infilling.infilling, infilling.InfillingConfig("absorb", steps=(2,)), {SOURCE}),
    "long_infilling": (
        infilling.long_infilling, infilling.LongInfillingConfig(6, 1, 1, 20, 2, 2), {SOURCE, TEST, SAMPLING},
    ),
    "race": (precision.race, precision.RaceConfig("float16", (1.0,), 2**14), {SAMPLING}),
    "truncation": (precision.truncation, precision.TruncationConfig("float16", steps=(3,), n=40), {SAMPLING}),
    "sentence": (sentence.sentence, sentence.SentenceConfig("absorb", "letters", 4, 2), {SAMPLING}),
}  # fmt: skip


@pytest.mark.parametrize("name", EXACT)
def test_an_experiment_draws_from_its_seeds_streams_and_from_nothing_else(
    name: str, streams: Callable[..., Any], run: FakeRun
) -> None:
    """Source, test set and samples each from their own; the same seed gives the same rows, another seed others."""
    experiment, config, purposes = EXACT[name]
    torch.manual_seed(0)
    first = experiment(config, 11, run), run.arrays
    assert streams() == [(11, purpose) for purpose in sorted(purposes)]
    torch.manual_seed(1)
    again = experiment(config, 11, run), run.arrays
    other = experiment(config, 12, run), run.arrays
    assert repr(first) == repr(again)
    assert repr(first) != repr(other)
