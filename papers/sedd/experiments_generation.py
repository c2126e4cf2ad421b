"""What trained models write: likelihood by steps, evaluations beside autoregression, and sentences on their way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from common.data.text import LETTERS, Text
from common.harness.studies.experiment import Experiment, Grid, Need, Resources, Row, Run, at_least, one_of
from papers.sedd.autoregression import autoregressive_loss, sample_autoregressive
from papers.sedd.experiments_exact import GRAPHS
from papers.sedd.experiments_sampling import STEPS
from papers.sedd.experiments_training import GPU, QUICK, SMALL, TrainingConfig, load
from papers.sedd.graph import LogScore
from papers.sedd.languages import (
    SAMPLING,
    TEXTS,
    Language,
    language,
    letter_source,
    look_at,
    next_token_entropy,
    stream,
    token_entropy,
)
from papers.sedd.models import DIFFUSIONS, LOG_LINEAR
from papers.sedd.oracle import markov_log_score
from papers.sedd.sampler import reverse_times, sample

TRAINED: Mapping[str, TrainingConfig] = {config.language: config for config in (QUICK, SMALL, GPU)}
JUDGE_SEED = 99
"""Of the judge's training: no seed that is judged is its own judge."""
WRITERS = ("ar", "sedd-absorb", "sedd-uniform")


@dataclass(frozen=True)
class GenerationConfig:
    """One trained model; `sampler` and `steps` are for those that denoise, `top_p` for the autoregressive one."""

    model: str
    language: str
    sampler: str = "tweedie"
    steps: tuple[int, ...] = (4, 8, 16, 32, 64, 128)
    top_p: float = 1.0
    n: int = 256

    def __post_init__(self) -> None:
        one_of(WRITERS, self, "model")
        one_of(TRAINED, self, "language")
        one_of(STEPS, self, "sampler")
        at_least(1, self, "steps")
        at_least(2, self, "n")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p lies in (0, 1], not {self.top_p}")


def judge_config(language: str) -> TrainingConfig:
    """An autoregressive model of the same size, trained for twice as long, from another seed."""
    return replace(TRAINED[language], model="ar", steps=2 * TRAINED[language].steps)


def judge(lang: Language, name: str, folder: Path, device: str) -> Callable[[Tensor], Tensor]:
    """−log p(x_0) (n,), nats: of the true source where there is one, else of the judge."""
    if lang.source is not None:
        source = lang.source
        return lambda x0: -source.log_prob(x0.cpu())
    net = load(judge_config(name), lang.vocab, folder, device)

    @torch.no_grad()
    def nll(x0: Tensor) -> Tensor:
        return torch.cat([autoregressive_loss(net, part, lang.vocab) for part in x0.split(256)]).double().cpu()

    return nll


def writings(
    config: GenerationConfig, net: torch.nn.Module, lang: Language, length: int, draws: torch.Generator
) -> Mapping[int, Tensor]:
    """What the model writes, (n, length), by the number of its evaluations."""
    if config.model == "ar":
        empty = torch.zeros(config.n, 0, dtype=torch.long, device=draws.device)
        return {length: sample_autoregressive(net, empty, length, lang.vocab, draws, config.top_p)}
    diffusion = DIFFUSIONS[config.model]
    graph = diffusion.graph(lang.vocab)
    written = {}
    for n in config.steps:
        x = graph.sample_base((config.n, length), draws)
        times = reverse_times(n, device=draws.device)
        written[n + 1] = sample(net, x, graph, LOG_LINEAR, times, STEPS[config.sampler], draws)
    return written


def generation(config: GenerationConfig, seed: int, run: Run) -> list[Row]:
    """Likelihood per token of what is written, under the source or the judge, and its entropy beside the data's."""
    trained = replace(TRAINED[config.language], model=config.model)
    lang = language(config.language, trained.length, trained.n_test, seed, run.device)
    net = load(trained, lang.vocab, run.needs["model"], run.device)
    nll, length = judge(lang, config.language, run.needs.get("judge", run.folder), run.device), trained.length
    data, V = lang.test, lang.vocab
    written = writings(config, net, lang, length, stream(seed, SAMPLING, run.device))
    return [
        {
            "nfe": nfe,
            "nll": float(nll(x0).mean()) / length,
            "data_nll": float(nll(data).mean()) / length,
            "token_entropy_ratio": token_entropy(x0, V) / token_entropy(data, V),
            "next_token_entropy_ratio": next_token_entropy(x0, V) / next_token_entropy(data, V),
        }
        for nfe, x0 in written.items()
    ]


def _generation_needs(config: GenerationConfig, seed: int) -> Mapping[str, Need]:
    needs = {"model": Need("training", replace(TRAINED[config.language], model=config.model), seed)}
    if config.language in TEXTS:
        needs["judge"] = Need("training", judge_config(config.language), JUDGE_SEED)
    return needs


SENTENCE = " so long as men can breathe or eyes can see so long lives this a"


@dataclass(frozen=True)
class SentenceConfig:
    """A sentence to be dissolved and written anew, by exact scores of a sonnet's pairs of letters, or by a network."""

    graph: str
    language: str
    n_steps: int = 64
    shown: int = 8
    """States that are kept, from either way."""

    def __post_init__(self) -> None:
        one_of(("absorb", "uniform"), self, "graph")
        one_of(("letters", "tinyshakespeare27", "text8"), self, "language")
        at_least(self.shown, self, "n_steps")
        at_least(2, self, "shown")


def sentence(config: SentenceConfig, seed: int, run: Run) -> list[Row]:
    """One sentence forward, with the same tokens moved first at every time, one written from pure noise, and one whose
    middle is filled in; `arrays.npz` has their states."""
    draws, letters = stream(seed, SAMPLING), Text(LETTERS, torch.zeros(0, dtype=torch.uint8))
    graph, x0 = GRAPHS[config.graph](letters.vocab), letters.encode(SENTENCE)[None]
    log_score: LogScore
    if config.language == "letters":
        log_score = markov_log_score(letter_source(), graph)
    else:
        log_score = load(_writer(config), letters.vocab, run.needs["model"], "cpu")
    kept = torch.linspace(0, config.n_steps, config.shown).round().long()
    times = reverse_times(config.n_steps)

    # A token has moved by t if its own uniform number is below P(moved by t): the path is one path.
    u, replacement = torch.rand(x0.shape, generator=draws, dtype=torch.float64), graph.sample_base(x0.shape, draws)
    moved = -torch.expm1(-LOG_LINEAR.sigma(times.flip(0)[kept]))
    forward = torch.where(u < moved[:, None], replacement, x0)

    def run_back(x: Tensor, given: Tensor | None) -> Tensor:
        states: list[Tensor] = []
        sample(
            log_score,
            x,
            graph,
            LOG_LINEAR,
            times,
            STEPS["tweedie"],
            draws,
            given,
            lambda state: states.append(state[0]),
        )
        return torch.stack(states)

    reverse = run_back(graph.sample_base(x0.shape, draws), None)
    given = torch.ones(x0.shape[1], dtype=torch.bool)
    given[len(SENTENCE) // 4 : 3 * len(SENTENCE) // 4] = False
    filled = run_back(torch.where(given, x0, graph.sample_base(x0.shape, draws)), given)
    run.save_arrays(
        t=times.flip(0)[kept].numpy(),
        forward=forward.numpy(),
        reverse=torch.cat([reverse[kept[:-1]], reverse[-1:]]).numpy(),
        filled=filled[-1].numpy(),
        given=given.numpy(),
        x0=x0[0].numpy(),
    )
    return [{"changed_back": float((reverse[-1] != reverse[0]).double().mean())}]


def _writer(config: SentenceConfig) -> TrainingConfig:
    return replace(TRAINED[config.language], model=f"sedd-{config.graph}")


def _sentence_needs(config: SentenceConfig, seed: int) -> Mapping[str, Need]:
    return {} if config.language == "letters" else {"model": Need("training", _writer(config), seed)}


def _generations(language: str, steps: tuple[int, ...], n: int, *samplers: str) -> list[GenerationConfig]:
    return [
        GenerationConfig("ar", language, n=n),
        GenerationConfig("ar", language, top_p=0.9, n=n),
        GenerationConfig("sedd-absorb", language, steps=steps, n=n),
        *(GenerationConfig("sedd-uniform", language, sampler, steps, n=n) for sampler in samplers),
    ]


def _sentences(language: str) -> list[SentenceConfig]:
    return [SentenceConfig(graph, language) for graph in ("absorb", "uniform")]


GENERATION_EXPERIMENTS = (
    Experiment(
        generation,
        GenerationConfig,
        {
            "quick": Grid(_generations("markov", (4, 8, 16, 32), 256, "tweedie"), 4),
            "small": Grid(_generations("tinyshakespeare27", (4, 8, 16, 32, 64), 128, *STEPS), 5),
            "gpu": Grid(_generations("text8", (8, 16, 32, 64, 128, 256, 512), 512, *STEPS), 3),
        },
        resources={"gpu": Resources(cpus=4, gpus=1.0)},
        needs=_generation_needs,
        prepare=lambda config: look_at(config.language),
    ),
    Experiment(
        sentence,
        SentenceConfig,
        {
            "quick": Grid(_sentences("letters")),
            "small": Grid(_sentences("tinyshakespeare27")),
            "gpu": Grid(_sentences("text8")),
        },
        needs=_sentence_needs,
        prepare=lambda config: look_at(config.language),
    ),
)
