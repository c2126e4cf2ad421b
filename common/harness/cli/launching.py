"""What the commands that make runs share: data first, then as many workers as were asked for."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Sequence

from common.harness.cli.wishes import parse_workers
from common.harness.runs.launch import Outcome, launch
from common.harness.runs.plan import RunSpec, plain
from common.harness.runs.store import Store
from common.harness.studies.errors import UsageError
from common.harness.studies.paper import Paper


def start(specs: Sequence[RunSpec], store: Store, options: Namespace, command: str) -> Outcome:
    """Launch on as many workers as the command line asks for."""
    workers = parse_workers(options.workers, sum(not store.finished(spec) for spec in specs))
    address = getattr(options, "address", None)
    return launch(specs, store, workers=workers, address=address, command=command)


def prepare(papers: Sequence[Paper], specs: Sequence[RunSpec]) -> None:
    """Let every experiment fetch or check the data that its configs read, before anything is launched."""
    for paper in papers:
        wanted = [spec for spec in specs if spec.slug == paper.slug]
        experiments = paper.experiments if wanted else {}
        seen: set[tuple[str, str]] = set()
        for spec in wanted:
            look = experiments[spec.experiment].prepare
            if look is None or (this := (spec.experiment, json.dumps(plain(spec.config)))) in seen:
                continue
            seen.add(this)
            try:
                look(spec.config)
            except (OSError, ValueError) as error:
                raise UsageError(f"{paper.slug} {spec.experiment}: {error}") from error
