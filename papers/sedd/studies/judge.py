"""Who says how likely a text is: its source, where that is known, else an autoregressive model, the judge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from papers.sedd.autoregression import autoregressive_loss
from papers.sedd.studies.languages import Language
from papers.sedd.studies.models import TRAINED, TrainingConfig, load

JUDGE_SEED = 99
"""Of the judge's training: no seed that is judged is its own judge."""


def judge_config(language: str) -> TrainingConfig:
    """An autoregressive model of the same size, trained for twice as long, from another seed."""
    return replace(TRAINED[language], model="ar", steps=2 * TRAINED[language].steps)


def judge(lang: Language, name: str, folder: Path, device: str) -> Callable[[Tensor], Tensor]:
    """−log p(x_0) (n,), nats: of the true source where there is one, else of the judge that `folder` has."""
    if lang.source is not None:
        source = lang.source
        return lambda x0: -source.log_prob(x0.cpu())
    net = load(judge_config(name), lang.vocab, folder, device)

    @torch.no_grad()
    def nll(x0: Tensor) -> Tensor:
        return torch.cat([autoregressive_loss(net, part, lang.vocab) for part in x0.split(256)]).double().cpu()

    return nll
