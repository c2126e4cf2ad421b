"""A report written anew from its own rows, where the runs are not here: today's studies judge them, and word the pages.

The numbers of `runs.csv` stay as they are. Figures that need no more than rows are drawn anew; the others are kept.
`provenance.json` keeps how the rows were made and says by which commit they were judged again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.harness.reports.lines import bound
from common.harness.reports.rejudge import tables_from
from common.harness.reports.report import by_study, draw, told_of_studies, write_json, write_values
from common.harness.reports.study_page import page
from common.harness.reports.swap import swapped_in
from common.harness.runs.fingerprint import fingerprint
from common.harness.studies.claims import Judgement, judge_all
from common.harness.studies.figure import Figure
from common.harness.studies.paper import Paper

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from common.harness.studies.experiment import Experiment


class ArraysAreNotKept(Exception):
    """A figure asks for what only the runs have."""


class Rows:
    """The rows of a report as a figure sees them (`figure.Results`)."""

    def __init__(self, tables: Mapping[str, pd.DataFrame]) -> None:
        self._tables = tables

    def table(self, experiment: Experiment) -> pd.DataFrame:
        """The rows of an experiment, with the config's fields and `seed` as columns."""
        return self._tables[experiment.name]

    def arrays(self, experiment: Experiment, **where: Any) -> list[tuple[Mapping[str, Any], Mapping[str, np.ndarray]]]:
        """Raises ArraysAreNotKept."""
        raise ArraysAreNotKept(f"{experiment.name} leaves arrays, which a report does not have")


def rewrite(paper: Paper, preset: str, root: Path, git: Mapping[str, Any] | None) -> Path:
    """Write the report of `preset` below `root` anew from its rows; returns its folder. `git` is the code's state."""
    target = root / paper.slug / preset
    tables = tables_from(target / "runs.csv", paper)
    judgements = judge_all(paper.claims, preset, tables)
    before = {record["id"]: record for record in json.loads((target / "claims.json").read_text())}
    provenance = json.loads((target / "provenance.json").read_text())
    command = f"repro run {paper.slug} --preset {preset}"
    records = [each.as_record(command, before.get(each.claim.id, {}).get("budget", "")) for each in judgements]
    studies = by_study(paper, preset, judgements, tables)
    with swapped_in(target) as folder:
        shutil.copy(target / "runs.csv", folder / "runs.csv")
        write_values(judgements, folder / "values.csv")
        write_json(records, folder / "claims.json")
        (folder / "figures").mkdir()
        for name, found in studies.items():
            studies[name] = replace(found, figures=_draw_or_keep(found.figures, Rows(tables), target, folder))
        told = {**provenance, **_made_otherwise(paper, provenance, judgements, before), **told_of_studies(studies)}
        told["judged_again"] = git
        for name, found in studies.items():
            (folder / f"{name}.md").write_text(page(found, told))
        write_json(told, folder / "provenance.json")
    return target


def _draw_or_keep(figures: Sequence[Figure], rows: Rows, target: Path, folder: Path) -> list[Figure]:
    """Draw `figures` below `folder`, or copy those of `target` that take more than rows; returns what is there."""
    there = []
    for figure in figures:
        file = Path("figures", f"{figure.name}.svg")
        try:
            draw(figure, rows, folder / file)
        except ArraysAreNotKept:
            if not (target / file).exists():
                continue
            shutil.copy(target / file, folder / file)
        there.append(figure)
    return there


def _made_otherwise(
    paper: Paper,
    provenance: Mapping[str, Any],
    judgements: Sequence[Judgement],
    before: Mapping[str, Mapping[str, Any]],
) -> dict[str, Any]:
    """What differs from when the rows were made: the code, and the criteria."""
    made, today = provenance.get("fingerprints", {}), paper.experiments
    stale = [name for name in provenance["experiments"] if made.get(name) != fingerprint(today[name])]
    known = {(name, criterion) for record in before.values() for name, criterion in _criteria(record)}
    younger = dict(provenance.get("criteria_younger_than_runs", {}))
    for judgement in judgements:
        # A claim may have another name by now, and its quantities may stand in another.
        new = [name for name, criterion in _criteria(judgement.as_record("", "")) if (name, criterion) not in known]
        if new:
            younger[judgement.claim.id] = [name or judgement.measurements[0].quantity.name for name in new]
    every = [judgement.claim.id for judgement in judgements]
    unknown = provenance.get("criteria_age_unknown", [claim for claim in every if claim not in younger])
    return {
        "fingerprints": dict(made),
        "stale": stale,
        "criteria_younger_than_runs": younger,
        "criteria_age_unknown": unknown,
    }


def _criteria(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Quantity and bound of a claim's record; a claim of one number does not name it."""
    criterion = record["criterion"]
    each = criterion.items() if isinstance(criterion, Mapping) else [("", criterion)]
    return [(name, bound(text)) for name, text in each]
