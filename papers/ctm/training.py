"""Training (Algorithm 1): L = L_CTM + λ_DSM L_DSM + λ_GAN L_GAN, student and discriminator taking turns.

First the student learns without a discriminator; then `begin` is called again on it, with one. Pairs, laws of times,
distances and teachers are the values of an `Objective`; nothing here asks which they are. Several students train as one
(`common.training.members`): each draws from its own generator and is balanced by its own λ, and a batch's number of
teacher steps, which they share, comes from a generator of its own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from common.nets.ema import averaged, update_ema
from common.training.loop import NonFiniteLoss, Sampler, draw_from
from common.training.members import Generators
from papers.ctm.adversarial import generator_loss, hinge_loss
from papers.ctm.consistency import Distance, Target, levels, per_sample, squared, target
from papers.ctm.losses import DSM_CLIP, GAN_CLIP, HalfLogNormal, adaptive_weight, dsm_loss
from papers.ctm.resume import State
from papers.ctm.teacher import Pairs, noisy
from papers.ctm.times import CIFAR10_GRID, OFFICIAL_TIMES, TimeGrid, TimeLaw
from papers.ctm.trajectory import Trajectory

Log = Callable[..., None]
"""log(step=..., and the losses and weights of one network by name)."""


@dataclass(frozen=True)
class Objective:
    """What is minimised: pairs of states, where in time they lie, the distance, the noise of DSM if any, the target."""

    pairs: Pairs
    grid: TimeGrid = CIFAR10_GRID
    law: TimeLaw = OFFICIAL_TIMES
    distance: Distance = squared
    dsm: HalfLogNormal | None = None
    goal: Target = target


@dataclass(frozen=True)
class CTMTraining:
    """How to train: the official values, but for the batch.

    steps           updates of student and discriminator together
    lr, d_lr        of RAdam; the discriminator's betas are (.5, .9)
    ema             μ of the averaged weights, G_avg; 0 for no average
    log_every       in steps, 0 for never
    checkpoint_every    in steps, 0 for at the end alone
    """

    steps: int
    batch_size: int
    lr: float = 4e-4
    d_lr: float = 2e-3
    ema: float = 0.999
    log_every: int = 100
    checkpoint_every: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "lr", "d_lr"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; it must be positive")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema is {self.ema}; it must lie in [0, 1)")


@dataclass(frozen=True)
class Learner:
    """What training moves: the student, its average, the discriminator, and their optimisers."""

    student: Trajectory
    average: Trajectory
    optimizer: torch.optim.Optimizer
    discriminator: nn.Module | None = None
    d_optimizer: torch.optim.Optimizer | None = None


def begin(student: Trajectory, config: CTMTraining, discriminator: nn.Module | None = None) -> Learner:
    """A learner whose average is the student as it is. With a `discriminator`, the stage in which it takes part."""
    student.train().requires_grad_(True)
    optimizer = torch.optim.RAdam(student.parameters(), lr=config.lr)
    average = averaged(student)
    if discriminator is None:
        return Learner(student, average, optimizer)
    heads = [p for p in discriminator.train().parameters() if p.requires_grad]
    return Learner(
        student, average, optimizer, discriminator, torch.optim.RAdam(heads, lr=config.d_lr, betas=(0.5, 0.9))
    )


def train(
    learner: Learner,
    data: Tensor | Sampler,
    objective: Objective,
    config: CTMTraining,
    generator: Generators,
    steps: torch.Generator,
    log: Log | tuple[Log, ...] | None = None,
    checkpoint: Path | None = None,
) -> Learner:
    """`config.steps` updates, in place. With a discriminator, student and discriminator take turns, the student first.

    data        x0: (n, *D), or a `Sampler` for one generator
    generator   of batches, times and noise: one, or S of S students
    steps       of the teacher steps k, shared by all students: give every seed the same
    log         one, or S of S students, called every `log_every` student updates
    checkpoint  where to leave the state; a state found there is taken up

    Raises NonFiniteLoss; ValueError where there are not as many generators as students, or where the checkpoint was
    left by a different configuration.
    """
    members = learner.student.members
    if (len(generator) if isinstance(generator, tuple) else None) != members:
        wanted = "one generator alone" if members is None else f"a tuple of {members} generators"
        raise ValueError(f"a student of {members or 1} networks at once takes {wanted}")
    sample = draw_from(data) if isinstance(data, Tensor) else data
    state = State(learner, generator, steps, config)
    first = state.load(checkpoint) if checkpoint is not None and checkpoint.exists() else 0
    for step in range(first, config.steps):
        x0, cond = _batch(sample, config.batch_size, generator)
        if learner.discriminator is not None and step % 2 == 1:
            values = discriminator_step(learner, x0, objective, generator, steps, **cond)
        else:
            values = student_step(learner, x0, objective, config.ema, generator, steps, **cond)
        _check(values, members, step)
        if log is not None and config.log_every and (step + 1) % config.log_every == 0:
            for own, one in zip(log if isinstance(log, tuple) else (log,), _each(values), strict=True):
                own(step=step + 1, **one)
        due = config.checkpoint_every and (step + 1) % config.checkpoint_every == 0
        if checkpoint is not None and (due or step + 1 == config.steps):
            state.save(checkpoint, step + 1)
    return learner


def student_step(
    learner: Learner,
    x0: Tensor,
    objective: Objective,
    ema: float,
    generator: Generators,
    steps: torch.Generator,
    **cond: Tensor,
) -> dict[str, Tensor]:
    """One update of the student, then of its average. Returns losses and weights, each () or (S,).

    With y = G_θ(x_t, t, s), on which both L_CTM and L_GAN depend, each gives a pull ∂L/∂y, and the pulls and L_DSM are
    balanced where they meet the last layer's weights; then one backward pass carries all of it through the student.
    """
    student, average = learner.student, learner.average
    gradient, values = student_gradient(learner, x0, objective, generator, steps, **cond)
    learner.optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(*gradient)
    learner.optimizer.step()
    update_ema(average, student, ema)
    return values


def student_gradient(
    learner: Learner,
    x0: Tensor,
    objective: Objective,
    generator: Generators,
    steps: torch.Generator,
    **cond: Tensor,
) -> tuple[tuple[list[Tensor], list[Tensor | None]], dict[str, Tensor]]:
    """(tensors, their gradients), from which a backward pass gives ∇ (L_CTM + λ_DSM L_DSM + λ_GAN L_GAN), summed over
    members; and the losses and weights."""
    student, average, last = learner.student, learner.average, learner.student.last_weight
    batch, members = student.batch_dims, student.members is not None
    times = objective.law(objective.grid, x0.shape[:batch], generator, steps)
    x_t, x_u = objective.pairs(x0, times, generator)
    t, u, s = levels(times, objective.grid, x0)
    end = objective.grid.sigma_min
    goal = objective.goal(student, average, x_u, u, s, end, **cond)

    y = student(x_t, t, s, **cond)
    leaf = y.detach().requires_grad_()
    estimate = average(leaf, s, end, **cond)
    ctm = per_sample(objective.distance, estimate, goal, batch).mean(-1)
    values = {"ctm": ctm.detach()}
    (pull,) = torch.autograd.grad(ctm.sum(), leaf, retain_graph=learner.discriminator is not None)
    tensors: list[Tensor] = [y]
    gradients: list[Tensor | None] = [pull]
    if objective.dsm is not None or learner.discriminator is not None:
        (reference,) = torch.autograd.grad(y, last, pull, retain_graph=True)
    if learner.discriminator is not None:
        adversarial = generator_loss(learner.discriminator(estimate)).mean(-1)
        (push,) = torch.autograd.grad(adversarial.sum(), leaf)
        (at_last,) = torch.autograd.grad(y, last, push, retain_graph=True)
        weight = adaptive_weight(reference, at_last, GAN_CLIP, members)
        gradients[0] = pull + weight.reshape(-1, *[1] * (y.ndim - 1)) * push
        values |= {"gan": adversarial.detach(), "gan_weight": weight}
    if objective.dsm is not None:
        dsm = dsm_loss(student, x0, generator, objective.dsm, **cond).mean(-1)
        (at_last,) = torch.autograd.grad(dsm.sum(), last, retain_graph=True)
        weight = adaptive_weight(reference, at_last, DSM_CLIP, members)
        tensors.append((weight * dsm).sum())
        gradients.append(None)
        values |= {"dsm": dsm.detach(), "dsm_weight": weight}
    return (tensors, gradients), values


def discriminator_step(
    learner: Learner,
    x0: Tensor,
    objective: Objective,
    generator: Generators,
    steps: torch.Generator,
    **cond: Tensor,
) -> dict[str, Tensor]:
    """One update of the discriminator, on data against the student's estimates from noisy data."""
    discriminator, optimizer = learner.discriminator, learner.d_optimizer
    if discriminator is None or optimizer is None:
        raise ValueError("this learner has no discriminator; give one to `begin`")
    batch = learner.student.batch_dims
    times = objective.law(objective.grid, x0.shape[:batch], generator, steps)
    with torch.no_grad():
        t, _, s = levels(times, objective.grid, x0)
        x_t = noisy(x0, t, generator)
        fake = learner.average(learner.student(x_t, t, s, **cond), s, objective.grid.sigma_min, **cond)
    loss = hinge_loss(discriminator(x0), discriminator(fake)).mean(-1)
    optimizer.zero_grad(set_to_none=True)
    loss.sum().backward()
    optimizer.step()
    return {"discriminator": loss.detach()}


def _batch(sample: Sampler, size: int, generator: Generators) -> tuple[Tensor, Mapping[str, Tensor]]:
    """A batch x0: (B, *D), or one for each of S generators: (S, B, *D)."""
    if not isinstance(generator, tuple):
        return sample(size, generator)
    batches = [sample(size, own) for own in generator]
    names = batches[0][1]
    return torch.stack([x for x, _ in batches]), {name: torch.stack([c[name] for _, c in batches]) for name in names}


def _check(values: Mapping[str, Tensor], members: int | None, step: int) -> None:
    """Raises NonFiniteLoss for a loss or weight that is not finite."""
    for value in values.values():
        for member, one in enumerate(value.reshape(-1).tolist()):
            if not math.isfinite(one):
                raise NonFiniteLoss(step, one, member if members else None)


def _each(values: Mapping[str, Tensor]) -> list[dict[str, float]]:
    """The values of each network."""
    columns = {name: value.reshape(-1).tolist() for name, value in values.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
