"""What the user asks for, read from text and held against what there is."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Sequence

from common.harness.reports.findings import Variation
from common.harness.runs.overrides import check_fields, fields_of
from common.harness.studies.errors import UsageError
from common.harness.studies.paper import Paper

MOST_SEEDS = 10_000
"""More are a slip of the finger."""


def variation(papers: Sequence[Paper], options: Namespace) -> Variation:
    """What the command line asks for otherwise than the preset. UsageError for what no chosen experiment has."""
    only = None if options.only is None else options.only.split(",")
    if options.overrides:
        check_overrides(papers, only, options)
    return Variation(parse_seeds(options.seeds), only, options.overrides)


def check_overrides(papers: Sequence[Paper], only: Sequence[str] | None, options: Namespace) -> None:
    """UsageError for an option that is neither ours nor a field of any chosen experiment's config."""
    fields = {
        f"{paper.slug}/{experiment.name}" if len(papers) > 1 else experiment.name: fields_of(experiment.config)
        for paper in papers
        for experiment in paper.experiments.values()
        if only is None or experiment.name in only
    }
    if fields:  # else --only names no experiment, which planning refuses
        ours = [name.removeprefix("--").replace("-", "_") for name in options.known if name.startswith("--")]
        check_fields(options.overrides, fields, ours)


def check_device(device: str, address: str | None) -> None:
    """UsageError where this machine has no such device; what a cluster has, Ray knows."""
    if device == "cpu" or address is not None:
        return
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count == 0:
        raise UsageError(f"device '{device}' is not here: torch finds no CUDA GPU; use --device cpu")
    if int(device.partition(":")[2] or 0) >= count:
        raise UsageError(f"device '{device}' is not here: there are cuda:0 to cuda:{count - 1}")


def paper_has(paper: Paper, preset: str) -> bool:
    """Whether any experiment of the paper has a grid for the preset."""
    return preset in paper.presets


def parse_seeds(text: str | None) -> list[int] | None:
    """'0..4' (both included) or '0,2,7' as a list; None where the preset decides."""
    if text is None:
        return None
    if match := re.fullmatch(r"(\d{1,9})\.\.(\d{1,9})", text):
        first, last = map(int, match.groups())
        if last < first:
            raise UsageError(f"--seeds '{text}' runs backwards; write {last}..{first}")
        if last < first + MOST_SEEDS:
            return list(range(first, last + 1))
    elif re.fullmatch(r"\d{1,9}(,\d{1,9})*", text):
        return sorted({int(seed) for seed in text.split(",")})
    raise UsageError(
        f"--seeds '{text}' is not a range of seeds; write 0..4 or 0,2,7, at most {MOST_SEEDS} of at most nine digits"
    )


def parse_workers(text: str | None, to_run: int) -> int:
    """The number of workers: as asked, else none for a single run and at most one per core."""
    if text is None:
        return 0 if to_run <= 1 else min(to_run, os.cpu_count() or 1)
    if not re.fullmatch(r"\d+", text):
        raise UsageError(f"--workers '{text}' is not a number of processes; write 0, 1, 2, …")
    return int(text)


def default_device(preset: str) -> str:
    """Where a preset runs unless one says otherwise; a run's address depends on it."""
    return "cuda" if preset == "gpu" else "cpu"
