"""What do the noise and its reversal look like on one sentence? (Sections 3.3 and 4, Algorithms 2 and 3)

No claim: a picture of the chain. One sentence dissolves, one is written from pure noise, and one has its middle filled
in, by the exact scores of a source that knows a sonnet's pairs of letters (`quick`), or by a network of `training`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from itertools import groupby
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from common.data.markov import MarkovSource
from common.data.text import LETTERS, MASK_SIGN, Text, normalise
from common.harness.studies.experiment import Grid, Need, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.panels import finish, panels
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.sedd.graph import GRAPHS, LogScore
from papers.sedd.oracle import markov_log_score
from papers.sedd.sampler import reverse_times, sample, tweedie_step
from papers.sedd.studies import looks
from papers.sedd.studies.languages import SAMPLING, look_at
from papers.sedd.studies.models import LOG_LINEAR, TRAINED, TrainingConfig, load
from papers.sedd.studies.training import training

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as MatplotlibFigure

SONNET = """
Shall I compare thee to a summer's day? Thou art more lovely and more temperate: rough winds do shake the darling buds
of May, and summer's lease hath all too short a date; sometime too hot the eye of heaven shines, and often is his gold
complexion dimm'd; and every fair from fair sometime declines, by chance or nature's changing course untrimm'd; but thy
eternal summer shall not fade, nor lose possession of that fair thou ow'st; nor shall death brag thou wander'st in his
shade, when in eternal lines to time thou grow'st: so long as men can breathe or eyes can see, so long lives this, and
this gives life to thee.
"""
SIZE = 10.5
ADVANCE = 0.602 * SIZE
"""Size and width of a letter in the figures, points; the font is DejaVu Sans Mono, upright and bold."""
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


@cache
def letter_source(smoothing: float = 0.02) -> MarkovSource:
    """A first-order source over text8's 27 letters, of the pairs of letters in a sonnet; every pair is possible."""
    tokens = Text(LETTERS, torch.zeros(0, dtype=torch.uint8)).encode(normalise(SONNET) + " ")
    counts = torch.full((len(LETTERS), len(LETTERS)), smoothing, dtype=torch.float64)
    counts.index_put_((tokens[:-1], tokens[1:]), torch.ones(len(tokens) - 1, dtype=torch.float64), accumulate=True)
    return MarkovSource(counts / counts.sum(dim=1, keepdim=True))


def _writer(config: SentenceConfig) -> TrainingConfig:
    return replace(TRAINED[config.language], model=f"sedd-{config.graph}")


def _needs(config: SentenceConfig, seed: int) -> Mapping[str, Need]:
    return {} if config.language == "letters" else {"model": Need(training, _writer(config), seed)}


def _sentences(language: str) -> list[SentenceConfig]:
    return [SentenceConfig(graph, language) for graph in ("absorb", "uniform")]


@experiment(
    SentenceConfig,
    {
        "quick": Grid(_sentences("letters")),
        "small": Grid(_sentences("tinyshakespeare27")),
        "gpu": Grid(_sentences("text8")),
    },
    {"changed_back": float},
    needs=_needs,
    prepare=lambda config: look_at(config.language),
)
def sentence(config: SentenceConfig, seed: int, run: Run) -> Sequence[Row]:
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
            tweedie_step,
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


def _text(axes: Axes, states: np.ndarray, highlight: np.ndarray, colour: str) -> None:
    """One line of letters for each state: grey where masked, bold in `colour` where `highlight`, else black.

    Neighbours that look alike are one piece of text: one for each letter would make a file three times as large.
    """
    signs = LETTERS.replace(" ", "·") + MASK_SIGN
    looks_like = np.where(states == len(LETTERS), 0, np.where(highlight, 1, 2))
    inks = (("0.7", "normal"), (colour, "bold"), ("black", "normal"))
    for row, (state, kinds) in enumerate(zip(states, looks_like, strict=True)):
        for kind, run in groupby(range(len(state)), kinds.__getitem__):
            columns = list(run)
            axes.annotate(
                "".join(signs[state[column]] for column in columns),
                (0, -row),
                (columns[0] * ADVANCE, 0),
                textcoords="offset points",
                color=inks[kind][0],
                fontweight=inks[kind][1],
                fontsize=SIZE,
                family="monospace",
                va="center_baseline",
            )
    axes.set(ylim=(-len(states) + 0.6, 0.8), xticks=[])
    for side in axes.spines.values():
        side.set_visible(False)


def draw(results: Results, graph: str) -> MatplotlibFigure:
    _, arrays = results.arrays(sentence, graph=graph)[0]
    figure, ((above,), (middle,), (below,)) = panels("sedd", 3, width=7, height=5.6, height_ratios=(8, 8, 2))
    forward, reverse, x0, t = arrays["forward"], arrays["reverse"], arrays["x0"], arrays["t"]
    colour = looks.GRAPHS[graph].colour
    _text(above, forward, forward != x0, colour)
    _text(middle, reverse, reverse != reverse[-1], colour)
    filled = np.stack([x0, arrays["filled"]])
    _text(below, filled, np.stack([~arrays["given"], ~arrays["given"]]), colour)
    names = ("forward: noise comes", "reverse: text comes", "infilling: the middle, between what is given")
    labels = ([f"t = {time:.2f}" for time in t], [f"t = {time:.2f}" for time in t[::-1]], ["sentence", "filled in"])
    for axes, name, ticks in zip((above, middle, below), names, labels, strict=True):
        axes.set_title(name, loc="left")
        axes.set_yticks([-row for row in range(len(ticks))], ticks, fontsize=9)
        axes.tick_params(axis="y", length=0)
    return finish(figure, despine=False)


STUDY = Study(
    "One sentence on its way",
    "How does a sentence dissolve, how does another come out of noise, and how is the middle of one filled in?",
    (sentence,),
    figures=(
        Figure(
            "sentence-absorb",
            "A sentence masked letter by letter, another revealed from nothing but masks, and one with its middle "
            "filled in.",
            "Grey: masked. Once a letter is there it stays. Bold: the letters that are taken out and filled in. In "
            "`quick` the scores are exact, of a source that knows pairs of letters only; in `small` a network's.",
            (sentence,),
            partial(draw, graph="absorb"),
        ),
        Figure(
            "sentence-uniform",
            "A sentence whose letters turn into random ones, another that comes out of random letters, and one with "
            "its middle filled in.",
            "Bold: letters that differ from the text at t = 0, and in the last two lines those that are taken out and "
            "filled in. A letter may change more than once. Scores as for masks: exact in `quick`, a network's in "
            "`small`.",
            (sentence,),
            partial(draw, graph="uniform"),
        ),
    ),
)
