"""A training step against the same written out, members against single students, and students that learn."""

import copy

import pytest
import torch

from common.diffusion.precond import EDMPrecond
from common.training.loop import NonFiniteLoss
from common.training.members import Members
from papers.ctm.adversarial import PlaneDiscriminator, generator_loss
from papers.ctm.consistency import PseudoHuber, consistency_loss, estimate, levels, squared
from papers.ctm.exact import EqualMixture
from papers.ctm.losses import HalfLogNormal, dsm_loss
from papers.ctm.teacher import HeunTeacher, Solved, Stored
from papers.ctm.times import Times, UniformTimes
from papers.ctm.training import (
    CTMTraining,
    Learner,
    Objective,
    begin,
    discriminator_step,
    student_gradient,
    student_step,
    train,
)
from papers.ctm.trajectory import Trajectory
from tests.papers.ctm.cases import GRID, MEANS, STD, gaussian_student, network, randn, seeded, stretch, student

TEACHER = Solved(HeunTeacher(EqualMixture(MEANS, STD), GRID), GRID)
FULL = Objective(TEACHER, GRID, UniformTimes(), PseudoHuber(0.03), HalfLogNormal(GRID))
"""Each sample has its own k: with one for the batch all jumps may end at σ_min, and then the second is the identity."""
CONFIG = CTMTraining(steps=4, batch_size=16)


def plane(*seeds: int) -> torch.nn.Module:
    made = [PlaneDiscriminator(hidden=8, features=4, generator=seeded(10 + seed)) for seed in seeds]
    return Members(made).stacked if len(made) > 1 else made[0]


def ring(n: int, generator: torch.Generator):
    component = torch.randint(8, (n,), generator=generator)
    return (MEANS[component] + STD * torch.randn(n, 2, generator=generator, dtype=torch.float64)).float(), {}


def test_one_backward_pass_carries_the_balanced_sum_of_three_losses():
    """The gradient is that of L_CTM + λ_DSM L_DSM + λ_GAN L_GAN by automatic differentiation of the losses."""
    own, other = (Trajectory(network(seed).double(), EDMPrecond(1.0), torch.float64) for seed in (0, 1))
    learner = begin(own, CONFIG, plane(0).double())
    assert learner.discriminator is not None
    learner.discriminator.eval()  # else each pass is one more power iteration
    learner.average.load_state_dict(other.state_dict())
    x0 = ring(32, seeded(1))[0].double()
    gradient, values = student_gradient(learner, x0, FULL, seeded(2), seeded(3))
    torch.autograd.backward(*gradient)
    got = [p.grad.clone() for p in learner.student.parameters() if p.grad is not None]

    generator, average = seeded(2), learner.average
    times = FULL.law(GRID, (32,), generator, seeded(3))
    x_t, x_u = FULL.pairs(x0, times, generator)
    t, _, s = levels(times, GRID, x0)
    ctm = consistency_loss(own, average, x_t, x_u, times, GRID, FULL.distance).mean()
    gan = generator_loss(learner.discriminator(estimate(own, average, x_t, t, s, GRID.sigma_min))).mean()
    assert FULL.dsm is not None
    dsm = dsm_loss(own, x0, generator, FULL.dsm).mean()
    last = own.last_weight
    norms = {
        name: float(torch.autograd.grad(loss, last, retain_graph=True)[0].norm())
        for name, loss in {"ctm": ctm, "dsm": dsm, "gan": gan}.items()
    }
    weights = {
        "dsm": min(norms["ctm"] / (norms["dsm"] + 1e-4), 1e4),
        "gan": min(max(norms["ctm"] / (norms["gan"] + 1e-4), 0.01), 10.0),
    }
    assert float(values["dsm_weight"]) == pytest.approx(weights["dsm"], rel=1e-9)
    assert float(values["gan_weight"]) == pytest.approx(weights["gan"], rel=1e-9)
    total = ctm + weights["dsm"] * dsm + weights["gan"] * gan
    for own_gradient, expected in zip(got, torch.autograd.grad(total, list(own.parameters())), strict=True):
        assert torch.allclose(own_gradient, expected, rtol=1e-8, atol=1e-10)
    assert all(p.grad is None for p in learner.discriminator.parameters())


@pytest.mark.parametrize("adversary", [False, True])
def test_a_seed_is_trained_with_others_as_it_is_alone(adversary):
    x = {}
    for seeds in ((0, 1), (1,)):
        learner = begin(student(*seeds), CONFIG, plane(*seeds) if adversary else None)
        generators = tuple(seeded(20 + seed) for seed in seeds)
        train(learner, ring, FULL, CONFIG, generators if len(seeds) > 1 else generators[0], seeded(5))
        x[seeds] = learner
    for which in ("student", "average"):
        alone = dict(getattr(x[1,], which).named_parameters())
        for name, value in getattr(x[0, 1], which).member(1).named_parameters():
            assert torch.allclose(value, alone[name], rtol=1e-3, atol=1e-5), (which, name)


def test_the_average_follows_the_student_after_each_of_its_steps():
    learner = begin(student(0), CONFIG)
    before = [p.clone() for p in learner.average.parameters()]
    student_step(learner, ring(16, seeded(1))[0], FULL, 0.9, seeded(2), seeded(3))
    rows = zip(before, learner.average.parameters(), learner.student.parameters(), strict=True)
    moved = 0.0
    for old, average, own in rows:
        assert torch.allclose(average, 0.9 * old + 0.1 * own, atol=1e-7)
        moved += float((own - old).detach().abs().max())
    assert moved > 0
    assert not any(p.requires_grad for p in learner.average.parameters())


def test_student_and_discriminator_take_turns_and_leave_each_other_alone():
    critic = plane(0)
    learner = begin(student(0), CONFIG, critic)
    x0 = ring(16, seeded(1))[0]

    def state():
        heads = [p.clone() for p in critic.parameters()]
        return [p.clone() for p in learner.student.parameters()], heads

    (first, heads), _ = state(), student_step(learner, x0, FULL, 0.9, seeded(2), seeded(3))
    second, same = state()
    assert any(not torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(heads, same, strict=True))
    discriminator_step(learner, x0, FULL, seeded(2), seeded(3))
    third, moved = state()
    assert all(torch.equal(a, b) for a, b in zip(second, third, strict=True))
    assert any(not torch.equal(a, b) for a, b in zip(same, moved, strict=True))
    seen: list[set[str]] = []
    config = CTMTraining(steps=4, batch_size=16, log_every=1)
    train(learner, ring, FULL, config, seeded(1), seeded(2), log=lambda **values: seen.append(set(values)))
    assert [("ctm" in names, "discriminator" in names) for names in seen] == [(True, False), (False, True)] * 2


def test_the_discriminator_learns_to_put_data_above_the_students_estimates():
    critic = plane(0)
    learner = begin(student(0), CTMTraining(steps=1, batch_size=1, d_lr=1e-2), critic)
    x0 = ring(256, seeded(1))[0]
    losses = [discriminator_step(learner, x0, FULL, seeded(2), seeded(3))["discriminator"] for _ in range(30)]
    assert float(losses[-1]) < 0.9 * float(losses[0])
    with torch.no_grad():
        t, s = torch.full((256,), 3.0), torch.full((256,), 0.3)
        fake = estimate(learner.student, learner.average, x0 + 3 * randn(256, 2, seed=4).float(), t, s, GRID.sigma_min)
        assert float(critic(x0)[0].mean()) > float(critic(fake)[0].mean()) + 0.1


def test_the_discriminator_sees_the_student_s_jump_continued_by_the_average():
    """Of data at 0: noise of level t, stretched by the student's own jump to s and by the averaged one to the end."""
    seen: list[torch.Tensor] = []

    class Watching(torch.nn.Module):
        def forward(self, x):
            seen.append(x)
            return [x[:, :1] * weight]

    weight, t, s, own, average = torch.ones((), requires_grad=True), 2, 5, 0.5, 1.2
    optimizer = torch.optim.SGD([weight], 0.0)
    learner = Learner(gaussian_student(own), gaussian_student(average), optimizer, Watching(), optimizer)
    places = Times(*(torch.full((4000,), place) for place in (t, 3, s)))
    x0 = torch.zeros(4000, 2, dtype=torch.float64)
    discriminator_step(learner, x0, Objective(TEACHER, GRID, lambda *given: places), seeded(), seeded())
    levels = GRID.times
    expected = levels[t] * stretch(own, levels[t], levels[s]) * stretch(average, levels[s], GRID.sigma_min)
    real, fake = seen
    assert torch.equal(real, x0)
    assert float(fake.std()) == pytest.approx(float(expected), rel=0.04)


@pytest.mark.parametrize(("factor", "gan", "dsm"), [(1e12, 10.0, 1e4), (1e-12, 0.01, 0.0)])
def test_the_balance_is_clipped_to_the_range_of_its_own_loss(factor, gan, dsm):
    """A consistency loss that is far too steep or far too flat."""
    objective = Objective(TEACHER, GRID, UniformTimes(), lambda x, y: factor * squared(x, y), HalfLogNormal(GRID))
    learner, x0 = begin(student(0), CONFIG, plane(0)), ring(8, seeded(1))[0]
    _, values = student_gradient(learner, x0, objective, seeded(2), seeded(3))
    assert float(values["gan_weight"]) == pytest.approx(gan)
    assert float(values["dsm_weight"]) == pytest.approx(dsm, abs=1e-6)


def test_the_target_is_the_objective_s():
    def far_away(own, average, x_u, u, s, end):
        assert (own, average, end) == (learner.student, learner.average, GRID.sigma_min)
        return torch.full_like(x_u, 1e4)

    learner = begin(student(0), CONFIG)
    objective = Objective(TEACHER, GRID, UniformTimes(), squared, goal=far_away)
    _, values = student_gradient(learner, ring(16, seeded(1))[0], objective, seeded(2), seeded(3))
    assert float(values["ctm"]) == pytest.approx(1e8, rel=0.02)


def test_a_student_learns_the_jumps_of_gaussian_data_from_an_exact_teacher():
    """The errors of its jumps and of its diagonal, against those of the student that it was."""
    std = 1.0

    def denoised(x, sigma):
        return x * std**2 / (std**2 + torch.as_tensor(sigma).reshape(-1, 1).to(x) ** 2)

    def data(n, generator):
        return std * torch.randn(n, 2, generator=generator), {}

    own = student(0, hidden=32)
    t = torch.tensor([10.0, 10.0, 3.0, 1.0]).repeat_interleave(100)
    s = torch.tensor([0.02, 1.0, 0.3, 0.1]).repeat_interleave(100)
    x = (std**2 + t[:, None] ** 2).sqrt() * randn(400, 2).float()
    exact = x * stretch(std, t, s).float()[:, None]

    @torch.no_grad()
    def errors(trajectory: Trajectory) -> tuple[float, float]:
        diagonal = squared(trajectory.denoised(x, t), denoised(x, t))
        return float(squared(trajectory(x, t, s), exact).mean().sqrt()), float(diagonal.mean().sqrt())

    before = errors(own)
    config = CTMTraining(steps=250, batch_size=128, lr=1e-2, ema=0.97, log_every=0)
    starts = data((GRID.N - 1) * 500, seeded(3))[0].reshape(GRID.N - 1, 500, 2)
    objective = Objective(Stored.make(denoised, starts, GRID, seeded(4)), GRID, dsm=HalfLogNormal(GRID))
    learner = train(begin(own, config), data, objective, config, seeded(1), seeded(2))
    jumps, diagonal = errors(learner.average)
    assert jumps < 0.35 * before[0]
    assert diagonal < 0.65 * before[1]


def test_what_is_refused():
    learner = begin(student(0), CONFIG)
    with pytest.raises(ValueError, match="1 networks at once takes one generator alone"):
        train(learner, ring, FULL, CONFIG, (seeded(), seeded()), seeded())
    with pytest.raises(ValueError, match="2 networks at once takes a tuple of 2 generators"):
        train(begin(student(0, 1), CONFIG), ring, FULL, CONFIG, seeded(), seeded())
    with pytest.raises(ValueError, match="no discriminator"):
        discriminator_step(learner, torch.zeros(2, 2), FULL, seeded(), seeded())
    with pytest.raises(ValueError, match="steps is 0"):
        CTMTraining(steps=0, batch_size=1)
    with pytest.raises(ValueError, match=r"ema is 1.0; it must lie in \[0, 1\)"):
        CTMTraining(steps=1, batch_size=1, ema=1.0)
    ruined = copy.deepcopy(learner.student)
    with torch.no_grad():
        ruined.last_weight.fill_(torch.nan)
    with pytest.raises(NonFiniteLoss, match="the loss is nan at step 0"):
        train(begin(ruined, CONFIG), ring, FULL, CONFIG, seeded(), seeded())
