"""Finished runs in, a report out: `reports/<slug>/<preset>/`, which pages include and `repro check` compares with.

    runs.csv         every row of every finished run, with its `experiment`, config fields and seed; no times
    values.csv       claim, quantity, seed, value: what each claim's interval is made of
    claims.json      list of objects: id kind headline statement source published expected measured ci n_seeds criterion
                     excludes verdict reason command budget deviation; with several quantities published, expected,
                     measured, ci and criterion are objects by name
    <study>.md       a study's claims as a table, its figures and its conclusion, for the page (`study_page.py`)
    figures/*.svg    the figures whose experiments the preset has
    provenance.json  commands, commits, versions, machine, times, memory, the addresses of the runs; by experiment the
                     fingerprint of the code (null where its runs are of several); which experiments were taken although
                     their code is older; which libraries have another version today than the runs were made with; of
                     each study its title, its question, and the quantity that decides each of its claims; which
                     criteria are younger than their runs; and of one's own variation of a preset what was `varied`

The files depend on the runs and the card alone: written twice, they are the same bit for bit. They are written beside
the old report and take its place when complete. `index.py` keeps what spans presets and papers.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.harness.reports.findings import Findings, report_command
from common.harness.reports.study_page import Found, page
from common.harness.reports.swap import swapped_in
from common.harness.runs.plan import RunSpec
from common.harness.runs.provenance import other_libraries
from common.harness.runs.store import Store
from common.harness.studies.claims import Judgement
from common.harness.studies.figure import Figure, Results
from common.harness.studies.paper import Paper

if TYPE_CHECKING:
    import pandas as pd


def write(findings: Findings, store: Store, root: Path) -> Path:
    """Write the report below `root`; returns its folder. UsageError where `root` cannot be written to."""
    target = root / findings.paper.slug / findings.preset
    records = findings.records
    with swapped_in(target) as folder:
        _write_runs(findings.tables, folder / "runs.csv")
        write_values(findings.judgements, folder / "values.csv")
        write_json(records, folder / "claims.json")
        studies = by_study(findings.paper, findings.preset, findings.judgements, findings.tables, findings.missing)
        (folder / "figures").mkdir()
        results = store.results(findings.finished)
        for name, found in studies.items():
            drawn = [figure for figure in found.figures if _drawn(figure, results, findings, folder)]
            studies[name] = replace(found, figures=drawn)
        provenance = _provenance(findings, studies)
        for name, found in studies.items():
            (folder / f"{name}.md").write_text(page(found, provenance))
        write_json(provenance, folder / "provenance.json")
    return target


def write_json(value: Any, path: Path) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _write_runs(tables: Mapping[str, pd.DataFrame], path: Path) -> None:
    columns = ["experiment", *dict.fromkeys(column for table in tables.values() for column in table.columns)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        for experiment in sorted(tables):
            for row in tables[experiment].astype(object).to_dict("records"):
                writer.writerow({"experiment": experiment, **{str(key): value for key, value in row.items()}})


def write_values(judgements: Sequence[Judgement], path: Path) -> None:
    """Write `values.csv`."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("claim", "quantity", "seed", "value"))
        for judgement in judgements:
            for measurement in judgement.measurements:
                for seed, value in measurement.values.items():
                    writer.writerow((judgement.claim.id, measurement.quantity.name, seed, repr(value)))


def by_study(
    paper: Paper,
    preset: str,
    judgements: Sequence[Judgement],
    tables: Mapping[str, pd.DataFrame],
    missing: Sequence[RunSpec] = (),
) -> dict[str, Found]:
    """What there is to show of each study, by its name; a study of which the preset has nothing is left out."""
    studies = {}
    for name, study in paper.load().items():
        own = {experiment.name for experiment in study.experiments}
        found = Found(
            slug=paper.slug,
            preset=preset,
            study=study,
            judgements=[judgement for judgement in judgements if judgement.claim in study.claims],
            figures=[figure for figure in study.figures if {e.name for e in figure.experiments} <= set(tables)],
            missing=sum(spec.experiment in own for spec in missing),
        )
        if found.judgements or found.figures:
            studies[name] = found
    return studies


def told_of_studies(studies: Mapping[str, Found]) -> dict[str, Any]:
    """As `provenance.json` has it."""
    return {
        "studies": {
            name: {"title": found.study.title, "question": found.study.question, "decides": found.decides}
            for name, found in studies.items()
        }
    }


def _drawn(figure: Figure, results: Results, findings: Findings, folder: Path) -> bool:
    try:
        draw(figure, results, folder / "figures" / f"{figure.name}.svg")
    except Exception:
        if not findings.variation:
            raise
        return False  # it is drawn for the grid of the preset; a variation may lack what it shows
    return True


def draw(figure: Figure, results: Results, path: Path) -> None:
    """Draw `figure` as the SVG file `path`.

    Text becomes outlines, so that a figure looks the same wherever it is seen; ids are salted and no date is written,
    so that it is the same file every time.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    with matplotlib.rc_context():
        sns.set_theme(context="notebook", style="whitegrid", palette="colorblind")
        plt.rcParams.update({"svg.hashsalt": "repro", "svg.fonttype": "path", "figure.dpi": 100})
        drawn = figure.draw(results)
        drawn.savefig(path, bbox_inches="tight", metadata={"Date": None})
        plt.close(drawn)


def _provenance(findings: Findings, studies: Mapping[str, Found]) -> dict[str, Any]:
    paper, about = findings.paper, findings.about
    experiments = {}
    for name in dict.fromkeys(spec.experiment for spec in findings.finished):
        runs = [about[spec.address] for spec in findings.finished if spec.experiment == name]
        experiments[name] = {"seeds": len({run["seed"] for run in runs}), **_cost(runs)}
    return {
        "paper": {"slug": paper.slug, "title": paper.title, "arxiv": paper.arxiv, "week": paper.week},
        "preset": findings.preset,
        "command": f"{findings.command} && {report_command(findings)}",
        **({"varied": findings.variation.as_record() | {"left_out": findings.left_out}} if findings.variation else {}),
        "run_commands": _distinct(run["command"] for run in about.values()),
        "git": _distinct(run["git"] for run in about.values()),
        "versions": _distinct(run["versions"] for run in about.values()),
        "machines": _distinct(run["machine"] for run in about.values()),
        "threads": _distinct(run["threads"] for run in about.values()),
        "missing": len(findings.missing),
        **_cost(list(about.values())),
        "criteria_younger_than_runs": _by_claim(findings.younger),
        "criteria_age_unknown": findings.of_unknown_age,
        "experiments": experiments,
        "addresses": sorted(about),
        **told_of_studies(studies),
        "fingerprints": findings.fingerprints,
        "stale": list(findings.stale),
        "other_libraries": sorted({each for run in about.values() for each in other_libraries(run["versions"])}),
    }


def _by_claim(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for claim, quantity in sorted(pairs):
        found.setdefault(claim, []).append(quantity)
    return found


def _cost(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "runs": len(runs),
        "wall_seconds": round(sum(run["seconds"] for run in runs), 2),
        "peak_memory_bytes": max((run["peak_memory_bytes"] for run in runs), default=0),
    }


def _distinct(values: Iterable[Any]) -> list[Any]:
    """The different values, in a fixed order; None left out."""
    found = {json.dumps(value, sort_keys=True) for value in values} - {"null"}
    return [json.loads(value) for value in sorted(found)]
