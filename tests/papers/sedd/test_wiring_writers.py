"""What writes, with which network, sampler, noise and seed, and who judges it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from common.training.checkpoint import save_checkpoint
from papers.sedd.graph import GRAPHS
from papers.sedd.noise import LogLinear
from papers.sedd.sampler import STEPS, reverse_times
from papers.sedd.studies import generation, judge, models, sentence, training
from papers.sedd.studies.generation import GenerationConfig
from papers.sedd.studies.languages import SAMPLING, language
from papers.sedd.studies.models import network
from tests.papers.fake_run import FakeRun
from tests.papers.sedd.cases import TINY, generator
from tests.papers.sedd.recorders import TEXT, awake, stub_generation


@pytest.mark.parametrize("sampler", STEPS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_writer_is_the_trained_network_of_its_seed_with_its_sampler(
    graph: str, sampler: str, streams: Callable[..., Any], text: None, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = stub_generation(monkeypatch)
    run.needs = {"model": run.folder / "model", "judge": run.folder / "judge"}
    config = GenerationConfig(f"sedd-{graph}", TEXT, sampler, (3, 6), n=5)
    monkeypatch.setattr(generation, "next_token_entropy_over", lambda *args: 1.0)
    rows = generation.generation(config, 2, run)
    asked, *written = calls
    _, name, folder, _ = asked["judge"]
    assert (name, folder) == (TEXT, run.folder / "judge")
    assert [row["nfe"] for row in rows] == [4, 7]
    for n, call in zip((3, 6), written, strict=True):
        wanted = replace(TINY, language=TEXT, model=f"sedd-{graph}")
        assert call["net"] == ("loaded", wanted, 27, run.folder / "model", "cpu")
        assert call["graph"] == GRAPHS[graph](27)
        assert call["x"].shape == (5, TINY.length)
        assert (call["x"] == 27).all() == (graph == "absorb")
        assert call["noise"] == LogLinear()
        assert torch.equal(call["times"], reverse_times(n))
        assert call["step"] is STEPS[sampler]
        assert streams(call["draws"]) == (2, SAMPLING)


def test_the_autoregressive_writer_has_an_empty_prompt_and_its_nucleus(
    streams: Callable[..., Any], text: None, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = stub_generation(monkeypatch)
    run.needs = {"model": run.folder / "model", "judge": run.folder / "judge"}
    (row,) = generation.generation(GenerationConfig("ar", TEXT, top_p=0.7, n=5), 2, run)
    call = calls[1]
    assert call["prompt"].shape == (5, 0)
    assert (call["N"], call["top_p"], row["nfe"]) == (27, 0.7, TINY.length)
    assert streams(call["draws"]) == (2, SAMPLING)


def test_writers_need_their_seeds_network_and_texts_a_judge_of_another_seed() -> None:
    for config in generation.generation.presets["small"].configs:
        needs = generation.generation.needs(config, 3)
        trained = models.TRAINED["tinyshakespeare27"]
        assert needs["model"].experiment is needs["judge"].experiment is training.training
        assert (needs["model"].config, needs["model"].seed) == (replace(trained, model=config.model), 3)
        assert needs["judge"].config == replace(trained, model="ar", steps=2 * trained.steps)
        assert needs["judge"].seed not in training.training.presets["small"].each_seed
    for config in generation.generation.presets["quick"].configs:
        assert set(generation.generation.needs(config, 3)) == {"model"}
    small = sentence.sentence.presets["small"].configs
    assert {config.graph: sentence.sentence.needs(config, 1)["model"].config.model for config in small} == {
        "absorb": "sedd-absorb", "uniform": "sedd-uniform",
    }  # fmt: skip
    assert sentence.sentence.needs(small[0], 1)["model"].seed == 1


def test_needs_are_runs_of_the_same_preset() -> None:
    """All that is needed is planned anyway, but for the judge: nothing is trained for one picture."""
    for experiment in (generation.generation, sentence.sentence):
        for preset, grid in experiment.presets.items():
            planned = training.training.presets[preset]
            for config in grid.configs:
                for seed in grid.each_seed:
                    for name, need in experiment.needs(config, seed).items():
                        assert name == "judge" or (need.config in planned.configs and need.seed < planned.seeds)


def test_the_judge_reads_the_network_that_was_trained_as_a_judge(
    text: None, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = replace(TINY, language=TEXT)
    monkeypatch.setattr(judge, "TRAINED", {TEXT: tiny})
    net = awake(network(judge.judge_config(TEXT), 27, generator()))
    save_checkpoint(run.folder / "ema.safetensors", net.state_dict(), {})
    x0 = torch.randint(27, (6, 8), generator=generator())
    logits = net.eval()(torch.cat([torch.full((6, 1), 27), x0[:, :-1]], dim=1))
    wanted = -logits.log_softmax(-1).gather(-1, x0[..., None]).sum((1, 2))
    found = judge.judge(language(TEXT, 8, 6, 0), TEXT, run.folder, "cpu")(x0)
    torch.testing.assert_close(found, wanted.double(), rtol=1e-5, atol=0)
