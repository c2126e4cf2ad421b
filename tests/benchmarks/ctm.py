"""What a sample costs by one jump of a student beside its teacher's 35 evaluations, and what a training step costs
beside the evaluations that it is made of.

    python tests/benchmarks/ctm.py          measures, prints, and writes reports/benchmarks/ctm.{json,md}

The U-Net of all weeks on MNIST at 16×16, one thread. A step is that of CTM with denoising score matching on stored
trajectories, and the same with a discriminator; its evaluations are written bare. All take turns in one process, so
that whatever slows one down slows the others; times are CPU times.
"""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from common.diffusion.precond import EDMPrecond
from common.diffusion.schedule import edm_sigmas
from common.diffusion.solvers import heun
from common.harness.runs.provenance import cpu_model
from common.training.allocator import keep_freed_memory
from papers.ctm.adversarial import ProjectedDiscriminator, ProjectedHeads
from papers.ctm.critic import CriticClassifier
from papers.ctm.losses import HalfLogNormal
from papers.ctm.networks import small_two_time_unet
from papers.ctm.sampling import one_step
from papers.ctm.teacher import Stored
from papers.ctm.times import CIFAR10_GRID
from papers.ctm.training import CTMTraining, Learner, Objective, begin, student_step
from papers.ctm.trajectory import Trajectory

REPORT = Path(__file__).resolve().parents[2] / "reports" / "benchmarks"
GRID = CIFAR10_GRID
SAMPLES, BATCH, NFE = 64, 64, 35
FASTER, ALLOWED = 30.0, 1.1
"""How many times a teacher's 35 evaluations the student's one must be as fast, and a step over its evaluations. Stated
before the measurement, in the issue that asked for the code."""
Loop = Callable[[], None]


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def student() -> Trajectory:
    return Trajectory(small_two_time_unet(generator=seeded()), EDMPrecond(0.5))


def one_jump(net: Trajectory) -> Loop:
    """A sample by one evaluation."""
    x = GRID.sigma_max * torch.randn(SAMPLES, 1, 16, 16, generator=seeded(), dtype=torch.float64)
    return lambda: void(one_step(net, x, GRID))


def teacher(net: Trajectory) -> Loop:
    """A sample by Heun's method on the same network."""
    x = GRID.sigma_max * torch.randn(SAMPLES, 1, 16, 16, generator=seeded(), dtype=torch.float64)
    return lambda: void(heun(net.denoised, x, edm_sigmas((NFE + 1) // 2)))


def void(result: object) -> None:
    """Forget it."""


def discriminator() -> ProjectedDiscriminator:
    critic = CriticClassifier(generator=seeded())
    return ProjectedDiscriminator(critic, ProjectedHeads(critic.channels, generator=seeded()))


def step(adversarial: bool) -> Loop:
    """An update of the student."""
    config = CTMTraining(1, BATCH)
    learner = begin(student(), config, discriminator() if adversarial else None)
    states = tuple(torch.randn(4, GRID.N - i, 1, 16, 16, generator=seeded()) for i in range(GRID.N - 1))
    objective = Objective(Stored(states), GRID, dsm=HalfLogNormal(GRID))
    x0 = torch.randn(BATCH, 1, 16, 16, generator=seeded())
    return lambda: void(student_step(learner, x0, objective, config.ema, seeded(), seeded()))


def evaluations(adversarial: bool) -> Loop:
    """What it is made of: the student's two losses forward and back, the average's jump forward and back to its input,
    and the target's two jumps; with a discriminator, that too forward and back to its input, and from there the
    average back once more: the weight λ_GAN is the ratio of two pulls, so each is needed alone."""
    learner: Learner = begin(student(), CTMTraining(1, BATCH))
    judge = discriminator() if adversarial else None
    own, average = learner.student, learner.average
    x = torch.randn(BATCH, 1, 16, 16, generator=seeded())
    t, s = torch.full((BATCH,), 2.0), torch.full((BATCH,), 0.5)

    def loop() -> None:
        with torch.no_grad():
            average(own(x, t, s), s, GRID.sigma_min)
        own(x, t, s).sum().backward()
        own.denoised(x, t).sum().backward()
        leaf = x.clone().requires_grad_()
        end: Tensor = average(leaf, s, GRID.sigma_min)
        torch.autograd.grad(end.sum(), leaf, retain_graph=judge is not None)
        if judge is not None:
            torch.autograd.grad(torch.stack([logits.mean() for logits in judge(end)]).sum(), leaf)

    return loop


def loops() -> dict[str, Loop]:
    net = student().eval().requires_grad_(False)
    return {
        "one jump": one_jump(net),
        "teacher": teacher(net),
        "step": step(adversarial=False),
        "evaluations": evaluations(adversarial=False),
        "step with GAN": step(adversarial=True),
        "evaluations with GAN": evaluations(adversarial=True),
    }


def benchmark(rounds: int = 8) -> dict[str, Any]:
    """CPU milliseconds of each; the loops take turns."""
    torch.set_num_threads(1)
    keep_freed_memory()
    timed = loops()
    times: dict[str, list[float]] = {name: [] for name in timed}
    for turn in range(rounds + 1):
        for name, loop in timed.items():
            start = time.process_time()
            loop()
            if turn:
                times[name].append(1e3 * (time.process_time() - start))
    medians = {name: statistics.median(each) for name, each in times.items()}
    return {
        "machine": {"processor": cpu_model(), "cores": os.cpu_count(), "torch": torch.__version__},
        "rounds": rounds,
        "ms": medians,
        "samples_per_second": {name: 1e3 * SAMPLES / medians[name] for name in ("one jump", "teacher")},
        "faster": medians["teacher"] / medians["one jump"],
        "step_over_evaluations": {
            name: medians[f"step{name}"] / medians[f"evaluations{name}"] for name in ("", " with GAN")
        },
    }


def as_markdown(result: dict[str, Any]) -> str:
    """The report as two tables."""
    machine, rate, ms = result["machine"], result["samples_per_second"], result["ms"]
    rows = [
        f"| CTM{name} | {ms[f'step{name}']:.0f} | {ms[f'evaluations{name}']:.0f} | {over:.2f} |"
        for name, over in result["step_over_evaluations"].items()
    ]
    return f"""# Cost of CTM

The U-Net of all weeks on MNIST at 16×16, {SAMPLES} images at once, one thread, medians of {result["rounds"]} rounds in
one process, CPU times. {machine["processor"]}, one of {machine["cores"]} cores, PyTorch {machine["torch"]}.
Made by `python tests/benchmarks/ctm.py`.

| | evaluations | samples a second |
|---|---|---|
| student | 1 | {rate["one jump"]:.0f} |
| teacher, Heun | {NFE} | {rate["teacher"]:.1f} |

The student is {result["faster"]:.1f} times as fast; at least {FASTER:.0f} times was asked.

| a training step, {BATCH} images | ms | its evaluations, ms | ratio |
|---|---|---|---|
{chr(10).join(rows)}

At most {ALLOWED} was asked. Evaluations are those of the networks, forward and back as the step needs them; the rest of
the step is times, trajectories, balancing the losses, the optimiser and the average.
"""


def main() -> None:
    result = benchmark()
    REPORT.mkdir(parents=True, exist_ok=True)
    (REPORT / "ctm.json").write_text(json.dumps(result, indent=2) + "\n")
    (REPORT / "ctm.md").write_text(as_markdown(result))
    print(as_markdown(result))


if __name__ == "__main__":
    main()
