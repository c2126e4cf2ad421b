"""Quality against evaluations on images: what γ-sampling makes of each student, and Heun's method of its teacher.

All start from the same noise of a seed. A student's NFE n is n jumps on the grid of noise levels; the teacher's is
2k − 1 for k steps of Heun's method on EDM's grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from common.diffusion.schedule import edm_sigmas
from common.diffusion.solvers import CountedDenoiser, heun
from common.harness.studies.experiment import Grid, Need, Resources, Row, Run, at_least, experiment, one_of
from common.harness.studies.measures import Measure, paired_ratio
from common.metrics.frechet import frechet_distance, moments
from common.training.stream import stream
from papers.ctm.critic import CriticClassifier
from papers.ctm.sampling import gamma_sampling, sampling_times
from papers.ctm.studies.images import (
    FLOOR,
    RENOISING,
    SAMPLING,
    TRAINED,
    fd,
    fd_floor,
    images_of,
    look_at,
    reader,
    trained_reader,
)
from papers.ctm.studies.methods import METHODS, student_config
from papers.ctm.studies.students import trained, trained_student
from papers.ctm.studies.teachers import GRID, TEACHERS, TeacherConfig, taught, teacher_of

TEACHER = "teacher"
"""In the place of a student's method."""
NFES = (1, 2, 4, 8, 18)
"""Jumps of a student: 1 and 18 as in Table 3."""
TEACHER_NFES = (3, 5, 7, 9, 11, 13, 17, 35)
"""Evaluations of a teacher; 35 is the published number."""
GAMMAS = (0.0, 1.0)
CHUNK = 500
"""Samples that are made at once."""


@dataclass(frozen=True)
class QualityConfig:
    """Samples of one student, or of its teacher."""

    method: str
    """One of `METHODS`, or the teacher."""
    teacher: str
    """One of `TEACHERS`."""
    nfes: tuple[int, ...] = NFES
    gammas: tuple[float, ...] = GAMMAS
    n_samples: int = 2000

    def __post_init__(self) -> None:
        one_of((*METHODS, TEACHER), self, "method")
        one_of(TEACHERS, self, "teacher")
        at_least(1, self, "nfes")
        at_least(2, self, "n_samples")
        if odd := [gamma for gamma in self.gammas if not 0 <= gamma <= 1]:
            raise ValueError(f"gammas has {odd[0]}; each must lie in [0, 1]")
        if self.method == TEACHER and (even := [nfe for nfe in self.nfes if nfe % 2 == 0]):
            raise ValueError(f"nfes has {even[0]}; Heun's method takes an odd number of evaluations")

    @property
    def made(self) -> TeacherConfig:
        return TEACHERS[self.teacher]


def of_teacher(teacher: str, n_samples: int, nfes: tuple[int, ...] = TEACHER_NFES) -> QualityConfig:
    return QualityConfig(TEACHER, teacher, nfes, (0.0,), n_samples)


def _needs(config: QualityConfig, seed: int) -> Mapping[str, Need]:
    made = config.made
    needs = (
        dict(taught(config.teacher))
        if config.method == TEACHER
        else {"student": trained(config.method, config.teacher, seed)}
    )
    if made.exact:
        needs["witness"] = reader("witness", made.dataset, made.resolution)
    return needs


COLUMNS = {"gamma": float, "nfe": int, "fd": float, "fd_witness": float, "floor": float}


def _prepare(config: QualityConfig) -> None:
    look_at(config.made.dataset, config.made.resolution)


@experiment(
    QualityConfig,
    {"small": Grid([*(QualityConfig(method, "exact") for method in METHODS), of_teacher("exact", 2000)], 5)},
    COLUMNS,
    needs=_needs,
    prepare=_prepare,
    tolerance=TRAINED,
)
def digit_quality(config: QualityConfig, seed: int, run: Run) -> list[Row]:
    """The Frechet distance of samples of digits by γ and evaluations; also by the features of the witness."""
    return qualities(config, seed, run)


@experiment(
    QualityConfig,
    {
        "small": Grid(
            [
                *(QualityConfig(method, "unet", (1, 2, 4, 8), (0.0,), 1000) for method in ("ctm", "gan")),
                of_teacher("unet", 1000, (3, 5, 9, 17, 35)),
            ],
            5,
        ),
        "gpu": Grid(
            [
                *(QualityConfig(method, "large unet", n_samples=10_000) for method in ("ctm", "gan")),
                of_teacher("large unet", 10_000),
            ],
            3,
        ),
    },
    COLUMNS,
    resources={"gpu": Resources(cpus=4, gpus=1.0)},
    needs=_needs,
    prepare=_prepare,
    tolerance=TRAINED,
)
def mnist_quality(config: QualityConfig, seed: int, run: Run) -> list[Row]:
    """The Frechet distance of samples of MNIST by γ and evaluations."""
    return qualities(config, seed, run)


def qualities(config: QualityConfig, seed: int, run: Run) -> list[Row]:
    """A row for each γ and number of evaluations; the first samples are kept for figures."""
    made = config.made
    x = start(made, config.n_samples, seed, run.device)
    floor = fd_floor(made.dataset, made.resolution, config.n_samples, stream(seed, FLOOR))
    witness = trained_reader(run.needs["witness"], run.device) if "witness" in run.needs else None
    rows: list[Row] = []
    shown: dict[str, Tensor] = {}
    for gamma in config.gammas:
        for nfe in config.nfes:
            if gamma > 0 and nfe == 1:
                continue  # one jump adds no noise
            samples, counted = sampled(config, x, nfe, gamma, seed, run.needs, run.device)
            row: dict[str, float] = {"gamma": gamma, "nfe": counted, "fd": fd(made.dataset, samples), "floor": floor}
            if witness is not None:
                row["fd_witness"] = fd_witness(witness, samples, images_of(made.dataset, made.resolution).x0)
            rows.append(row)
            if gamma == 0:
                shown[f"nfe_{nfe}"] = samples[:32].float().cpu()
    run.save_arrays(**shown)
    return rows


def start(made: TeacherConfig, n: int, seed: int, device: str) -> Tensor:
    """n images at σ_max, (n, 1, H, W) float64: one seed, one noise for teacher and students."""
    noise = torch.randn(n, *made.shape, generator=stream(seed, SAMPLING), dtype=torch.float64)
    return (GRID.sigma_max * noise).to(device)


def sampled(
    config: QualityConfig, x: Tensor, nfe: int, gamma: float, seed: int, needs: Mapping[str, Path], device: str
) -> tuple[Tensor, int]:
    """Samples from x at σ_max, and the evaluations that each took."""
    if config.method == TEACHER:
        counted = CountedDenoiser(teacher_of(config.teacher, needs, device))
        parts = x.split(CHUNK)
        made = torch.cat([heun(counted, part, edm_sigmas((nfe + 1) // 2)) for part in parts])
        return made, counted.nfe // len(parts)
    student = trained_student(student_config(config.method, config.teacher), needs["student"], device)
    generator = stream(seed, RENOISING, device)
    times = sampling_times(nfe, GRID)
    return torch.cat([gamma_sampling(student, part, times, gamma, generator) for part in x.split(CHUNK)]), nfe


@torch.no_grad()
def fd_witness(witness: CriticClassifier, samples: Tensor, images: Tensor) -> float:
    """The Frechet distance of samples to images on the features that a classifier of ours reads classes from."""

    def features(x0: Tensor) -> Tensor:
        x0 = x0.float().clamp(-1, 1).to(next(witness.parameters()).device)
        return torch.cat([witness.taps(some)[-1].mean((2, 3)) for some in x0.split(CHUNK)]).cpu()

    ours, data = moments(features(samples)), moments(features(images))
    return frechet_distance(ours.mean, ours.cov, data.mean, data.cov)


def at(method: str, nfe: int, gamma: float = 0.0) -> dict[str, object]:
    """The row of a student or teacher at some evaluations."""
    return {"method": method, "nfe": nfe, "gamma": gamma}


def fd_ratio(first: dict[str, object], second: dict[str, object]) -> Measure:
    """The distance in one row over that in another."""
    return paired_ratio("fd", first=first, second=second)


SCALED_DOWN = (
    "`small` has perceptrons on 8×8 scikit-learn digits, whose teacher is the exact denoiser, and U-Nets on MNIST at "
    "16×16, whose teacher is a U-Net trained here and which see 22,400 images each: 40,000 do not fit the hour. The "
    "paper has CIFAR-10. Trajectories of the teacher are solved once and stored, the distance is pseudo-Huber for "
    "LPIPS, and the discriminator reads the features of a digit classifier, which is not the one that judges. Settings "
    "come from pilots on seeds 100 and up."
)
"""How a claim about these students deviates from the paper."""
