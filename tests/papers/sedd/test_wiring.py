"""What SEDD's experiments hand to each other: splits, streams, networks and their modes, noise, steps. No training.

Stand-ins record what they are given. The mathematics is tested elsewhere; here it does not matter.
"""

from collections.abc import Callable
from dataclasses import replace
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common.data.text import LETTERS, Text
from common.nets.dit import DiTBlock
from common.training.checkpoint import load_checkpoint, save_checkpoint
from papers.sedd.exact import sequences
from papers.sedd.graph import GRAPHS
from papers.sedd.noise import BOUND_NOISE, Geometric, LogLinear
from papers.sedd.sampler import STEPS, reverse_times
from papers.sedd.studies import (
    bound,
    generation,
    infilling,
    judge,
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
from papers.sedd.studies.models import DIFFUSIONS, MODELS, network, optimisation
from tests.papers.fake_run import FakeRun
from tests.papers.sedd.cases import TINY, generator

TEXT = "tinyshakespeare27"
TRAIN_LETTERS, TEST_LETTERS = range(13), range(13, 27)
STUDIES = (bound, generation, infilling, languages, masked, precision, sampling, sentence, training)


def split_text(split: str = "train", **_: Any) -> Text:
    """A text whose training and test parts have no letter in common. No experiment may ask for the third part."""
    letters = {"train": TRAIN_LETTERS, "test": TEST_LETTERS}[split]
    tokens = torch.randint(letters[0], letters[-1] + 1, (4000,), generator=generator(7), dtype=torch.uint8)
    return Text(LETTERS, tokens)


@pytest.fixture
def text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(languages, "TEXTS", {TEXT: split_text})
    monkeypatch.setattr(languages, "LANGUAGES", ("markov", TEXT))
    languages.look_at.cache_clear()


@pytest.fixture
def streams(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Of which seed and purpose a generator is; asked for nothing, the purposes that were opened."""
    of: dict[int, tuple[int, int]] = {}
    opened: list[torch.Generator] = []
    true = languages.stream

    def remembered(seed: int, purpose: int, device: str = "cpu") -> torch.Generator:
        made = true(seed, purpose, device)
        of[id(made)] = seed, purpose
        opened.append(made)
        return made

    for study in STUDIES:
        if hasattr(study, "stream"):
            monkeypatch.setattr(study, "stream", remembered)

    def which(made: Any = None) -> Any:
        return sorted({of[id(each)] for each in opened}) if made is None else of[id(made)]

    return which


class Stop(Exception):
    """Enough has been seen."""


def seen_tokens(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What any transformer is fed from now on."""
    seen: list[Tensor] = []
    true = models.TokenTransformer.forward

    def forward(self: nn.Module, tokens: Tensor, *args: Any) -> Tensor:
        seen.append(tokens)
        return true(self, tokens, *args)

    monkeypatch.setattr(models.TokenTransformer, "forward", forward)
    return seen


def _letters(seen: list[Tensor]) -> set[int]:
    """Those below 27: not the mask, nor the token that begins a sequence."""
    return {int(token) for tokens in seen for token in tokens.unique() if token < 27}


# ── splits ────────────────────────────────────────────────────────────────────────────────────────────────────────────


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
    assert _letters(in_training)
    assert _letters(in_training) <= set(TRAIN_LETTERS)
    assert _letters(seen)
    assert _letters(seen) <= set(TEST_LETTERS)


def test_what_is_written_is_compared_with_the_test_text(
    text: None, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Likelihood of the data, entropy of tokens, and of neighbours: in each the test text alone."""
    judged: list[Tensor] = []
    entropies: dict[str, list[Tensor]] = {"token_entropy": [], "next_token_entropy_over": []}
    _stub_generation(monkeypatch, judged)
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


# ── streams ───────────────────────────────────────────────────────────────────────────────────────────────────────────


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


# ── networks ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("model", MODELS)
def test_a_network_is_that_of_its_config(model: str) -> None:
    config = replace(TINY, model=model, width=12, depth=3, heads=2, dropout=0.25)
    net = network(config, 8, generator())
    transformer = net if model == "ar" else net.net
    blocks = [module for module in net.modules() if isinstance(module, DiTBlock)]
    assert len(blocks) == 3
    assert {(block.heads, block.dropout, block.causal) for block in blocks} == {(2, 0.25, model == "ar")}
    assert transformer.embed.embedding_dim == 12
    assert (transformer.map_noise is None) == (model == "ar")
    states = 8 if model.endswith("uniform") else 9
    assert (transformer.vocab, transformer.out_vocab) == (states, 8 if model == "ar" else states)
    if model != "ar":
        assert net.graph == GRAPHS[model.split("-")[1]](8)
    assert not torch.equal(transformer.embed.weight, _transformer(network(config, 8, generator(1))).embed.weight)


def _transformer(net: nn.Module) -> Any:
    return getattr(net, "net", net)


def _awake(net: nn.Module) -> nn.Module:
    """Weights that are nowhere 0, so that every input and every layer counts."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator(5)))
    return net


@pytest.mark.parametrize("model", MODELS)
def test_autoregression_sees_what_came_before_and_the_others_see_all(model: str) -> None:
    net = _awake(network(replace(TINY, model=model), 8, generator())).eval()
    mask = 8 if not model.endswith("uniform") else 3
    x = torch.full((1, 6), mask)
    later = x.clone()
    later[0, 4] = 1
    sigma = torch.ones(1, dtype=torch.float64)
    one, two = (net(tokens) if model == "ar" else net(tokens, sigma) for tokens in (x, later))
    moved = (one != two).any(-1)[0].tolist()
    assert moved == ([False] * 4 + [True] * 2 if model == "ar" else [True] * 6)


def test_training_drops_out_and_judging_does_not(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """In training every block drops with the config's probability; what is reported is of the network as it is."""
    config = replace(TINY, model="sedd-absorb", dropout=0.5, n_test=20)
    modes: list[tuple[str, bool, float]] = []
    where = ["training"]
    true = DiTBlock.forward

    def forward(self: DiTBlock, *args: Any) -> Tensor:
        modes.append((where[0], self.training, self.dropout))
        return true(self, *args)

    monkeypatch.setattr(DiTBlock, "forward", forward)
    judged = training.evaluate

    def evaluate(*args: Any) -> Any:
        where[0] = "judging"
        return judged(*args)

    monkeypatch.setattr(training, "evaluate", evaluate)
    training.training(config, 0, run)
    assert set(modes) == {("training", True, 0.5), ("judging", False, 0.5)}


def test_dropout_is_in_the_loss_and_not_in_the_bits() -> None:
    config = replace(TINY, model="sedd-absorb", dropout=0.5, n_test=20)
    lang = language("markov", 8, 20, 0)
    net = _awake(network(config, lang.vocab, generator()))
    loss = models.loss_of(config, lang.vocab)

    def losses(mode: bool) -> list[list[float]]:
        net.train(mode)
        return [loss(net, lang.test, generator(3)).tolist() for _ in range(2)]

    dropped, whole = losses(True), losses(False)
    assert dropped[0] != dropped[1]
    assert whole[0] == whole[1]
    bits = [training.evaluate(config, net.eval(), lang, 0, "cpu")["bpc"] for _ in range(2)]
    assert bits[0] == bits[1]


def test_what_is_reported_and_left_is_the_average_of_the_weights(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[str, Any] = {}
    true = training.train

    def train(*args: Any, **kwargs: Any) -> Any:
        kept["trained"] = true(*args, **kwargs)
        kept["config"] = args[3]
        return kept["trained"]

    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(training, "evaluate", lambda config, net, *args: kept.update(judged=net) or {"bpc": 0.0})
    config = replace(TINY, model="sedd-absorb", steps=6, ema_rampup=None)
    training.training(config, 0, run)
    trained = kept["trained"]
    assert kept["judged"] is trained.ema
    assert kept["config"] == optimisation(config)
    left = load_checkpoint(run.folder / "ema.safetensors")[0]
    of_average, of_network = trained.ema.state_dict(), trained.network.state_dict()
    assert all(torch.equal(left[name], value) for name, value in of_average.items())
    assert not all(torch.equal(left[name], value) for name, value in of_network.items())
    loaded = models.load(config, 8, run.folder, "cpu")
    assert not loaded.training
    assert all(torch.equal(value, of_average[name]) for name, value in loaded.state_dict().items())


def test_optimisation_is_that_of_the_config() -> None:
    config = replace(TINY, steps=37, batch=5, lr=0.02, warmup=3, ema_rampup=0.2, checkpoint_every=11)
    made = optimisation(config)
    assert (made.steps, made.batch_size, made.lr, made.lr_rampup) == (37, 5, 0.02, 15)
    assert (made.clip, made.ema_rampup, made.checkpoint_every) == (1.0, 0.2, 11)


@pytest.mark.parametrize("model", DIFFUSIONS)
def test_a_bound_has_as_many_times_as_the_config_says(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = replace(TINY, model=model, n_times=5)
    lang = language("markov", 8, 6, 0)
    seen = seen_tokens(monkeypatch)
    training.evaluate(config, network(config, lang.vocab, generator()), lang, 0, "cpu")
    more = 1 if model in ("csm-absorb", "sedd-absorb") else 0  # the count of ratios that are none
    last = 1 if model == "sedd-uniform" else 0  # geometric noise begins above 0
    assert len(seen) == 5 + more + last


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_bound_is_sampled_along_the_noise_of_its_graph(graph: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def net(x_t: Tensor, sigma: Tensor) -> Tensor:
        seen.append(sigma)
        return torch.zeros(*x_t.shape, GRAPHS[graph](8).dim)

    x0 = torch.zeros(100, 4, dtype=torch.long)
    DIFFUSIONS[f"sedd-{graph}"].bound(net, x0, generator(), GRAPHS[graph](8), 64)
    wanted = BOUND_NOISE[graph].sigma(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    found = torch.cat(seen[:64]).quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64))
    torch.testing.assert_close(found, wanted, rtol=0.05, atol=0)


# ── what writes ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _stub_generation(monkeypatch: pytest.MonkeyPatch, judged: list[Tensor] | None = None) -> list[dict[str, Any]]:
    """Samplers that write the last letter, and a record of what they were asked."""
    calls: list[dict[str, Any]] = []

    def sample(net: Any, x: Tensor, graph: Any, noise: Any, times: Tensor, step: Any, draws: Any) -> Tensor:
        calls.append({"net": net, "x": x, "graph": graph, "noise": noise, "times": times, "step": step, "draws": draws})
        return torch.full_like(x, graph.N - 1)

    def autoregressive(net: Any, prompt: Tensor, length: int, N: int, draws: Any, top_p: float) -> Tensor:
        calls.append({"net": net, "prompt": prompt, "N": N, "draws": draws, "top_p": top_p})
        return torch.full((len(prompt), length), N - 1)

    def nll(x0: Tensor) -> Tensor:
        if judged is not None:
            judged.append(x0)
        return torch.ones(len(x0), dtype=torch.float64)

    monkeypatch.setattr(generation, "TRAINED", {TEXT: replace(TINY, language=TEXT), "markov": TINY})
    monkeypatch.setattr(generation, "sample", sample)
    monkeypatch.setattr(generation, "sample_autoregressive", autoregressive)
    monkeypatch.setattr(generation, "load", lambda *args: ("loaded", *args))
    monkeypatch.setattr(generation, "judge", lambda *args: calls.append({"judge": args}) or nll)
    return calls


@pytest.mark.parametrize("sampler", STEPS)
@pytest.mark.parametrize("graph", GRAPHS)
def test_a_writer_is_the_trained_network_of_its_seed_with_its_sampler(
    graph: str, sampler: str, streams: Callable[..., Any], text: None, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = _stub_generation(monkeypatch)
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
    calls = _stub_generation(monkeypatch)
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
        assert needs["judge"].seed not in range(training.training.presets["small"].seeds)
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
                for seed in range(grid.seeds):
                    for name, need in experiment.needs(config, seed).items():
                        assert name == "judge" or (need.config in planned.configs and need.seed < planned.seeds)


def test_the_judge_reads_the_network_that_was_trained_as_a_judge(
    text: None, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = replace(TINY, language=TEXT)
    monkeypatch.setattr(judge, "TRAINED", {TEXT: tiny})
    net = _awake(network(judge.judge_config(TEXT), 27, generator()))
    save_checkpoint(run.folder / "ema.safetensors", net.state_dict(), {})
    x0 = torch.randint(27, (6, 8), generator=generator())
    logits = net.eval()(torch.cat([torch.full((6, 1), 27), x0[:, :-1]], dim=1))
    wanted = -logits.log_softmax(-1).gather(-1, x0[..., None]).sum((1, 2))
    found = judge.judge(language(TEXT, 8, 6, 0), TEXT, run.folder, "cpu")(x0)
    torch.testing.assert_close(found, wanted.double(), rtol=1e-5, atol=0)


# ── exact scores ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("config", sampling.QUALITY)
def test_quality_is_of_the_configs_graph_sampler_and_steps(
    config: sampling.QualityConfig, streams: Callable[..., Any], run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(sampling, "sample", lambda *args: calls.append(args) or torch.zeros_like(args[1]))
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
    calls: list[tuple[Any, ...]] = []

    def law(*args: Any) -> Tensor:
        calls.append(args)
        return torch.full((3, 3), 1 / 9, dtype=torch.float64) * (1 + 1e-3 * len(calls))

    monkeypatch.setattr(sampling, "sampler_law", law)
    config = sampling.SamplerErrorConfig(graph, noise, length=2, steps=(2, 5))
    rows = sampling.sampler_error(config, 0, run)
    wanted = {"loglinear": LogLinear(), "geometric": Geometric()}[noise]
    asked = [(row["n_steps"], row["sampler"]) for row in rows]
    assert asked == [(2, "euler"), (2, "tweedie"), (5, "euler"), (5, "tweedie")]
    for (n, sampler), (_, start, on, along, times, step) in zip(asked, calls, strict=True):
        assert (on, along, step) == (GRAPHS[graph](3), wanted, STEPS[sampler])
        assert torch.equal(times, reverse_times(n))
        assert start.shape == (on.dim,) * 2
    assert len({row["tv"] for row in rows}) == 4


def test_sampled_bounds_are_of_each_graphs_noise_and_of_exact_scores_where_the_error_is_none(
    streams: Callable[..., Any], run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[Any, ...]] = []
    true = bound.likelihood_bound

    def remembered(*args: Any) -> Any:
        calls.append(args)
        return true(*args)

    monkeypatch.setattr(bound, "likelihood_bound", remembered)
    rows = bound.sampled_bound(bound.SampledBoundConfig(4, 9, 3, errors=(0.0, 0.5)), 2, run)
    asked = [(row["graph"], row["error"]) for row in rows]
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
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(
        infilling, "sampler_law", lambda *args: calls.append(args) or torch.zeros(3, 3, 3, 3, dtype=torch.float64)
    )
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
    calls: list[tuple[Any, ...]] = []
    true = infilling.sample

    def remembered(*args: Any) -> Tensor:
        calls.append(args)
        return true(*args)

    monkeypatch.setattr(infilling, "sample", remembered)
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
    calls: list[tuple[Any, ...]] = []
    true = sentence.sample

    def remembered(*args: Any) -> Tensor:
        calls.append(args)
        return true(*args)

    monkeypatch.setattr(sentence, "sample", remembered)
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
