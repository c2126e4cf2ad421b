"""What one jump of a student is worth, from σ_max to the data, beside the exact trajectory, for the studies that
compare ways of training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from common.harness.studies.experiment import Grid, Need, Row, Run, at_least, experiment, one_of, positive
from common.metrics.distances import sliced_w2
from common.training.stream import stream
from papers.ctm.exact import exact_jump
from papers.ctm.sampling import one_step
from papers.ctm.studies.ring import (
    COMPARED,
    GRID,
    REFERENCE,
    SEEDS,
    SIZES,
    STUDENTS,
    TEACHER,
    TRAINED,
    even_ring,
    start,
    trained,
    trained_student,
)


@dataclass(frozen=True)
class QualityConfig:
    """A student, trained for `steps` times its usual steps; `n` points and `exact_steps` Heun steps."""

    student: str
    size: str
    steps: float = 1.0
    n: int = 4000
    exact_steps: int = 300

    def __post_init__(self) -> None:
        one_of(STUDENTS, self, "student")
        one_of(SIZES, self, "size")
        positive(self, "steps")
        at_least(1, self, "n", "exact_steps")


def _needs(config: QualityConfig, seed: int) -> Mapping[str, Need]:
    return {"student": trained(config.student, config.size, seed, config.steps)}


@experiment(
    QualityConfig,
    {"small": Grid([QualityConfig(name, "comparison", steps) for name, steps in COMPARED], SEEDS["small"])},
    {"error": float, "distance": float},
    needs=_needs,
    tolerance=TRAINED,
)
@torch.no_grad()
def one_jump(config: QualityConfig, seed: int, run: Run) -> list[Row]:
    """The root mean square error of G(x, σ_max, σ_min), and the sliced W2 distance of where it ends from the ring."""
    x, student = start(config.n, seed), trained_student(config.student, config.size, run.needs["student"])
    ends = one_step(student, x)
    exact = exact_jump(TEACHER, x, GRID.sigma_max, GRID.sigma_min, config.exact_steps)
    generator = stream(seed, REFERENCE)
    distance = sliced_w2(ends, even_ring(config.n, generator), generator, projections=128)
    return [{"error": float((ends - exact).square().mean().sqrt()), "distance": distance}]
