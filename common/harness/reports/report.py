"""Finished runs in, a report out: `reports/<slug>/<preset>/`, which pages include and `repro check` compares with.

    runs.csv         every row of every finished run, with its `experiment`, config fields and seed; no times
    values.csv       claim, quantity, seed, value: what each claim's interval is made of
    claims.json      list of objects: id statement source published measured ci n_seeds criterion verdict command budget
                     deviation; with several quantities published, measured, ci and criterion are objects by name
    claims.md        the same as a table; verdicts are <span class="verdict holds|fails|inconclusive">
    figures/*.svg    the figures whose experiments the preset has
    figures.md       each figure with alternative text and caption, between the snippet markers [start:name] [end:name],
                     so that a page includes all of them or one, `--8<-- "reports/edm/quick/figures.md:name"`. Paths
                     begin with `../reports/`, right for docs/weeks/NN-slug.md where docs/reports leads to reports/
    provenance.json  commands, commits, versions, machine, times, memory, the addresses of the runs; by experiment the
                     fingerprint of the code (null where its runs are of several); which experiments were taken although
                     their code is older; which libraries have another version today than the runs were made with

The files depend on the runs and the card alone: written twice, they are the same bit for bit. They are written beside
the old report and take its place when complete. `index.py` keeps what spans papers.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from common.harness.reports.findings import Findings
from common.harness.reports.lines import Record, lines
from common.harness.reports.swap import swapped_in
from common.harness.runs.provenance import other_libraries
from common.harness.runs.store import Store
from common.harness.studies.claims import Judgement

if TYPE_CHECKING:
    import pandas as pd

VERDICT_WORDS = {"holds": "holds", "fails": "fails", "inconclusive": "inconclusive"}


def write(findings: Findings, store: Store, root: Path) -> Path:
    """Write the report below `root`; returns its folder. UsageError where `root` cannot be written to."""
    target = root / findings.paper.slug / findings.preset
    records = findings.records
    with swapped_in(target) as folder:
        _write_runs(findings.tables, folder / "runs.csv")
        _write_values(findings.judgements, folder / "values.csv")
        write_json(records, folder / "claims.json")
        (folder / "claims.md").write_text(_claims_page(records, findings))
        (folder / "figures.md").write_text(_draw_figures(findings, store, folder / "figures"))
        write_json(_provenance(findings), folder / "provenance.json")
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


def _write_values(judgements: Sequence[Judgement], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("claim", "quantity", "seed", "value"))
        for judgement in judgements:
            for measurement in judgement.measurements:
                for seed, value in measurement.values.items():
                    writer.writerow((judgement.claim.id, measurement.quantity.name, seed, repr(value)))


def _claims_page(records: Sequence[Record], findings: Findings) -> str:
    text = ["| Claim | Published | Measured ± 95 % CI | Criterion | Verdict |", "|---|---:|---:|---|---|"]
    for record in records:
        for line in lines(record):
            claim = cell(line.text)
            if line.verdict:
                claim += f" <small>{cell(record['source'])}</small>"
            cells = (claim, line.published, line.measured, line.criterion, verdict_chip(line.verdict))
            text.append(f"| {' | '.join(cells)} |")
    if findings.missing:
        done, planned = len(findings.finished), len(findings.finished) + len(findings.missing)
        text += ["", f"Not complete: {done} of {planned} runs are there. `{findings.command}` makes the others."]
    return "\n".join(text) + "\n"


def cell(text: str) -> str:
    """Text that cannot break out of a Markdown table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


def verdict_chip(verdict: str) -> str:
    """A verdict as a word in a span that the site's style sheet colours."""
    return f'<span class="verdict {verdict}">{VERDICT_WORDS[verdict]}</span>' if verdict else ""


def _draw_figures(findings: Findings, store: Store, folder: Path) -> str:
    """Draw the figures that the tables allow as SVG files; returns the Markdown that shows them.

    Text becomes outlines, so that a figure looks the same wherever it is seen; ids are salted and no date is written,
    so that it is the same file every time.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import seaborn as sns

    figures = [
        figure
        for study in findings.paper.load().values()
        for figure in study.figures
        if {experiment.name for experiment in figure.experiments} <= set(findings.tables)
    ]
    folder.mkdir()
    results = store.results(findings.finished)
    text = []
    for figure in figures:
        with matplotlib.rc_context():
            sns.set_theme(context="notebook", style="whitegrid", palette="colorblind")
            plt.rcParams.update({"svg.hashsalt": "repro", "svg.fonttype": "path", "figure.dpi": 100})
            drawn = figure.draw(results)
            drawn.savefig(folder / f"{figure.name}.svg", bbox_inches="tight", metadata={"Date": None})
            plt.close(drawn)
        path = f"../reports/{findings.paper.slug}/{findings.preset}/figures/{figure.name}.svg"
        text.append(
            f"<!-- --8<-- [start:{figure.name}] -->\n"
            f'<figure id="{figure.name}-{findings.preset}" markdown="1">\n\n'
            f"![{cell(figure.alt)}]({path}){{ loading=lazy }}\n\n"
            f'<figcaption markdown="span">{figure.caption}</figcaption>\n\n'
            f"</figure>\n"
            f"<!-- --8<-- [end:{figure.name}] -->\n"
        )
    return "\n".join(text)


def _provenance(findings: Findings) -> dict[str, Any]:
    paper, about = findings.paper, findings.about
    experiments = {}
    for name in dict.fromkeys(spec.experiment for spec in findings.finished):
        runs = [about[spec.address] for spec in findings.finished if spec.experiment == name]
        experiments[name] = {"seeds": len({run["seed"] for run in runs}), **_cost(runs)}
    return {
        "paper": {"slug": paper.slug, "title": paper.title, "arxiv": paper.arxiv, "week": paper.week},
        "preset": findings.preset,
        "command": f"{findings.command} && repro report {paper.slug} --preset {findings.preset}",
        "run_commands": _distinct(run["command"] for run in about.values()),
        "git": _distinct(run["git"] for run in about.values()),
        "versions": _distinct(run["versions"] for run in about.values()),
        "machines": _distinct(run["machine"] for run in about.values()),
        "threads": _distinct(run["threads"] for run in about.values()),
        "missing": len(findings.missing),
        **_cost(list(about.values())),
        "experiments": experiments,
        "addresses": sorted(about),
        "fingerprints": findings.fingerprints,
        "stale": list(findings.stale),
        "other_libraries": sorted({each for run in about.values() for each in other_libraries(run["versions"])}),
    }


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
