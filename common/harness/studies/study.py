"""A study: one question of a paper, in one module, from its configs to its verdict and its figures.

The module reads in this order: a docstring (the question, where the paper asks it, how it is answered here), frozen
configs, the experiments, the measures that only it needs, its claims, its figures, and at the end `STUDY = Study(...)`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from common.harness.studies.claims import Claim, Quantity
from common.harness.studies.errors import UsageError, unknown
from common.harness.studies.experiment import Experiment, may_hold
from common.harness.studies.figure import Figure
from common.harness.studies.measures import Measure


class StudyError(UsageError):
    """A study that contradicts itself: its author's to mend, found when it is loaded."""


@dataclass(frozen=True, eq=False)
class Study:
    """One question, with all that answers it."""

    title: str
    """A heading of a few words: "Order of convergence"."""
    question: str
    """The question as a reader would ask it, in one or two sentences."""
    experiments: tuple[Experiment, ...]
    claims: tuple[Claim, ...] = ()
    figures: tuple[Figure, ...] = ()
    conclusion: str | Mapping[str, str] = ""
    """What to conclude, in the author's words, or by preset: it must hold for the numbers of the preset at hand."""

    @property
    def presets(self) -> set[str]:
        """The presets that any of its experiments has a grid for."""
        return {preset for experiment in self.experiments for preset in experiment.presets}


def check(name: str, study: Study, of_paper: Sequence[Experiment]) -> None:
    """StudyError where a claim or a figure reads what no experiment of the paper writes.

    A column must be declared by the experiment, or be a field of its config, or `seed`. A value that a measure picks
    must be one that the declared column may hold, or that a config of the grid has, in every preset in which the claim
    is judged and the experiment runs.
    """
    for claim in study.claims:
        for quantity in claim.quantities:
            where = f"study '{name}', claim '{claim.id}', '{quantity.name}'"
            for fault in _faults(claim, quantity, of_paper):
                raise StudyError(f"{where}: {fault}")
    for figure in study.figures:
        for experiment in figure.experiments:
            if experiment not in of_paper:
                raise StudyError(f"study '{name}', figure '{figure.name}': no study has experiment '{experiment.name}'")


def _faults(claim: Claim, quantity: Quantity, of_paper: Sequence[Experiment]) -> Iterator[str]:
    experiment, measure = quantity.experiment, quantity.measure
    if experiment not in of_paper:
        yield f"no study has experiment '{experiment.name}'"
        return
    if not any(preset in experiment.presets for preset in claim.presets):
        yield f"'{experiment.name}' has none of the presets {', '.join(claim.presets)}"
    for preset in claim.presets:
        if preset in experiment.presets:
            yield from _unreadable(experiment, preset, measure)


def _unreadable(experiment: Experiment, preset: str, measure: Measure) -> Iterator[str]:
    configs = experiment.presets[preset].configs
    if not configs:  # a grid may depend on what lies on the machine, as files that nobody can download for it
        return
    fields = {each.name: [getattr(config, each.name) for config in configs] for each in dataclasses.fields(configs[0])}
    known = [*experiment.columns, *fields, "seed"]
    for column in measure.reads:
        if column not in known:
            yield f"{unknown('column', column, known)}"
    for pick in measure.picks:
        for column, wanted in pick.items():
            if column not in known:
                yield f"{unknown('column', column, known)}"
            elif column in fields and wanted not in fields[column]:
                there = ", ".join(dict.fromkeys(map(str, fields[column])))
                yield f"no config of '{experiment.name}' in {preset} has {column} = {wanted!r}; there are {there}"
            elif column in experiment.columns and not may_hold(experiment.columns[column], wanted):
                yield f"column '{column}' of '{experiment.name}' never holds {wanted!r}"
