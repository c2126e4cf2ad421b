"""Fixtures of the tests of SEDD's wiring."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from papers.sedd.studies import languages
from tests.papers.sedd.recorders import STUDIES, TEXT, split_text


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
