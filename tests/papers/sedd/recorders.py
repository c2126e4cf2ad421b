"""Stand-ins that record what SEDD's experiments hand to each other; the mathematics is tested elsewhere."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common.data.text import LETTERS, Text
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
from tests.papers.sedd.cases import TINY, generator

TEXT = "tinyshakespeare27"
TRAIN_LETTERS, TEST_LETTERS = range(13), range(13, 27)
STUDIES = (bound, generation, infilling, languages, masked, precision, sampling, sentence, training)


def split_text(split: str = "train", **_: Any) -> Text:
    """A text whose training and test parts have no letter in common. No experiment may ask for the third part."""
    letters = {"train": TRAIN_LETTERS, "test": TEST_LETTERS}[split]
    tokens = torch.randint(letters[0], letters[-1] + 1, (4000,), generator=generator(7), dtype=torch.uint8)
    return Text(LETTERS, tokens)


def recorder(answer: Callable[..., Any]) -> tuple[Callable[..., Any], list[tuple[Any, ...]]]:
    """A stand-in that answers as told, and what it has been asked."""
    calls: list[tuple[Any, ...]] = []

    def called(*args: Any) -> Any:
        calls.append(args)
        return answer(*args)

    return called, calls


def seen_tokens(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What any transformer is fed from now on."""
    seen: list[Tensor] = []
    true = models.TokenTransformer.forward

    def forward(self: Any, tokens: Tensor, *args: Any) -> Tensor:
        seen.append(tokens)
        return true(self, tokens, *args)

    monkeypatch.setattr(models.TokenTransformer, "forward", forward)
    return seen


def letters(seen: list[Tensor]) -> set[int]:
    """Those below 27: not the mask, nor the token that begins a sequence."""
    return {int(token) for tokens in seen for token in tokens.unique() if token < 27}


def transformer_of(net: nn.Module) -> Any:
    return getattr(net, "net", net)


def awake(net: nn.Module) -> nn.Module:
    """Weights that are nowhere 0, so that every input and every layer counts."""
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator(5)))
    return net


def stub_generation(monkeypatch: pytest.MonkeyPatch, judged: list[Tensor] | None = None) -> list[dict[str, Any]]:
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

    def judge_of(*args: Any) -> Callable[[Tensor], Tensor]:
        calls.append({"judge": args})
        return nll

    monkeypatch.setattr(generation, "judge", judge_of)
    return calls
