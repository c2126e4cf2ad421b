"""What SEDD's trained models write, at tiny settings, by cases whose answer is known."""

from dataclasses import replace
from math import log

import pytest
import torch

from common.data.text import LETTERS, Text
from common.harness.studies.measures import NotReached
from papers.sedd.studies.generation import (
    GenerationConfig,
    evaluations_to_match,
    generation,
    writings,
)
from papers.sedd.studies.judge import judge, judge_config
from papers.sedd.studies.languages import language, markov_source
from papers.sedd.studies.models import network
from papers.sedd.studies.training import training
from tests.papers.fake_run import FakeRun
from tests.papers.sedd.cases import TINY, generator


@pytest.fixture
def trained(run, monkeypatch):
    monkeypatch.setattr("papers.sedd.studies.generation.TRAINED", {"markov": TINY})

    def make(model):
        training(replace(TINY, model=model), 0, run)
        return run.folder

    return make


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


@pytest.mark.parametrize("name", ["tinyshakespeare27", "text8"])
def test_texts_run_through_the_same_code(name, run, monkeypatch):
    """Stand-ins of the two text presets: train a model and its judge, and judge what it writes.

    The training text is one letter, over and over; the test text has all, as likely as each other. All but untrained,
    the models take log 27 nats a letter of either; one that was judged by the training text would take far fewer.
    """
    letters = torch.randint(27, (2000,), generator=generator(), dtype=torch.uint8)
    parts = {"train": torch.full((2000,), 3, dtype=torch.uint8), "test": letters}
    monkeypatch.setattr("papers.sedd.studies.languages.TEXTS", {name: lambda split: Text(LETTERS, parts[split])})
    tiny = replace(TINY, language=name, checkpoint_every=1, n_test=200, n_times=16)
    for module in ("generation", "judge"):
        monkeypatch.setattr(f"papers.sedd.studies.{module}.TRAINED", {name: tiny})
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
    # Both are uniform letters: of one letter the entropy were 0, and the ratio infinite.
    assert row["token_entropy_ratio"] == pytest.approx(1, abs=0.1)


def test_evaluations_are_interpolated_and_never_extrapolated() -> None:
    nfe, nll = [16, 4, 64], [2.0, 3.0, 1.0]
    assert evaluations_to_match(nfe, nll, 2.5) == pytest.approx(8)
    assert evaluations_to_match(nfe, nll, 1.0) == pytest.approx(64)
    # A curve that begins below the target would take no more than its first point.
    assert evaluations_to_match(nfe, nll, 3.5) == pytest.approx(min(nfe))
    with pytest.raises(NotReached, match="not on a curve"):
        evaluations_to_match(nfe, nll, 0.9)
