"""Laws of times by their distributions, teachers by closed forms, stored pairs by the trajectories they are on."""

from itertools import pairwise

import pytest
import torch
from scipy import stats

from common.diffusion.solvers import CountedDenoiser
from papers.ctm.teacher import HeunTeacher, OwnDiagonal, OwnJump, Solved, Stored
from papers.ctm.times import (
    DistillationTimes,
    GlobalTimes,
    LocalTimes,
    SoftTimes,
    TimeGrid,
    TimeLaw,
    Times,
    UniformTimes,
)
from tests.papers.ctm.cases import GRID, SKEW, gaussian_student, randn, seeded, stretch, student

LAWS: dict[str, TimeLaw] = {
    "soft": SoftTimes(),
    "uniform": UniformTimes(),
    "local": LocalTimes(),
    "global": GlobalTimes(UniformTimes()),
    "distillation": DistillationTimes(),
}
EXACT = "donot_use_mm_for_euclid_dist"
FINE = TimeGrid(N=60, sigma_min=0.3, sigma_max=5.0)


def chi_squared(counts: torch.Tensor, expected: torch.Tensor) -> float:
    return float(stats.chisquare(counts.double().numpy(), (expected * counts.sum()).numpy()).pvalue)


def test_the_grid_is_edms_and_its_shares_lie_on_it():
    grid = TimeGrid()
    times = grid.times
    assert (len(times), float(times[0]), float(times[-1])) == (18, pytest.approx(80), pytest.approx(0.002))
    assert torch.allclose((times ** (1 / 7)).diff(), (times ** (1 / 7)).diff()[0].expand(17))
    assert torch.allclose(grid.at(torch.arange(18, dtype=torch.float64) / 17), times)


@pytest.mark.parametrize("name", LAWS)
def test_every_law_keeps_to_the_grid_and_to_the_order_of_times(name):
    for seed in range(30):
        times = LAWS[name](GRID, (200,), seeded(seed), seeded(seed))
        assert bool((times.t >= 0).all() and (times.t < times.u).all() and (times.u <= times.s).all())
        assert int(times.s.max()) <= GRID.N - 1


@pytest.mark.parametrize("power", [0.0, 1.0])
def test_the_official_law(power):
    """k is one for the batch and p(k) ∝ k^power; given k, t is uniform on 0 … N−1−k and s on u … N−1, both included."""
    steps, generator, law = seeded(1), seeded(2), SoftTimes(power)
    ks, starts, rests = [], torch.zeros(GRID.N), torch.zeros(GRID.N)
    for _ in range(3000):
        times = law(GRID, (20,), generator, steps)
        k = times.u - times.t
        assert bool((k == k[0]).all())
        ks.append(int(k[0]))
        if ks[-1] == 3:
            starts += torch.bincount(times.t, minlength=GRID.N)
            here = times.t == 0
            rests += torch.bincount(times.s[here], minlength=GRID.N)
    p = torch.arange(1, GRID.N, dtype=torch.float64) ** power
    assert chi_squared(torch.bincount(torch.tensor(ks), minlength=GRID.N)[1:], p / p.sum()) > 1e-3
    assert bool((starts[GRID.N - 3 :] == 0).all() and (rests[:3] == 0).all())
    assert chi_squared(starts[: GRID.N - 3], torch.full((GRID.N - 3,), 1 / (GRID.N - 3), dtype=torch.float64)) > 1e-3
    assert chi_squared(rests[3:], torch.full((GRID.N - 3,), 1 / (GRID.N - 3), dtype=torch.float64)) > 1e-3


def test_the_papers_law_is_uniform_in_u_too():
    times = UniformTimes()(GRID, (40_000,), seeded(), seeded())
    here = (times.t == 1) & (times.s == 6)
    assert (
        chi_squared(torch.bincount(times.u[here], minlength=7)[2:], torch.full((5,), 0.2, dtype=torch.float64)) > 1e-3
    )
    assert chi_squared(torch.bincount(times.t), torch.full((7,), 1 / 7, dtype=torch.float64)) > 1e-3


def test_local_and_global_differ_from_their_law_in_u_alone():
    """And global costs more teacher steps than soft, soft more than local."""
    mean = {}
    laws: dict[str, TimeLaw] = {
        "soft": UniformTimes(),
        "local": LocalTimes(UniformTimes()),
        "global": GlobalTimes(UniformTimes()),
    }
    for name, law in laws.items():
        times = law(GRID, (5000,), seeded(3), seeded(4))
        reference = UniformTimes()(GRID, (5000,), seeded(3), seeded(4))
        assert torch.equal(times.t, reference.t)
        assert torch.equal(times.s, reference.s)
        mean[name] = float((times.u - times.t).double().mean())
    assert mean["local"] == 1
    assert mean["local"] < mean["soft"] < mean["global"]


def test_members_share_the_number_of_steps_and_draw_the_rest_as_they_do_alone():
    both = SoftTimes()(GRID, (2, 50), (seeded(5), seeded(6)), seeded(7))
    for i, seed in enumerate((5, 6)):
        alone = SoftTimes()(GRID, (50,), seeded(seed), seeded(7))
        assert torch.equal(both.t[i], alone.t)
        assert torch.equal(both.s[i], alone.s)


@pytest.mark.parametrize("name", ["soft", "uniform"])
def test_a_teacher_goes_from_t_to_u_and_no_step_farther(name):
    """On Gaussian data Heun's steps end where the closed form does, to an error far below one step of the grid."""
    std = 1.0

    def denoised(x, sigma):
        return x * std**2 / (std**2 + sigma[:, None] ** 2)

    times = LAWS[name](FINE, (40,), seeded(1), seeded(2))
    x_t = FINE.times[times.t][:, None] * randn(40, 2)
    x_u = HeunTeacher(denoised, FINE)(x_t, times.t, times.u)
    ratio = x_u / (x_t * stretch(std, FINE.times[times.t], FINE.times[times.u])[:, None])
    one_step = (stretch(std, FINE.times[:-1], FINE.times[1:]) - 1).abs().min()
    assert float((ratio - 1).abs().max()) < 0.1 * float(one_step)


def test_states_that_have_arrived_cost_nothing():
    seen: list[int] = []

    def denoiser(x, sigma):
        seen.append(len(x))
        return SKEW(x, sigma)

    start, stop = torch.tensor([0, 2, 4]), torch.tensor([4, 3, 4])
    x = randn(3, 2)
    moved = HeunTeacher(denoiser, GRID)(x, start, stop)
    assert sum(seen) == 2 * int((stop - start).sum())
    assert torch.equal(moved[2], x[2])
    alone = HeunTeacher(SKEW, GRID)(x[:1], start[:1], stop[:1])
    assert torch.allclose(moved[:1], alone)


def test_without_a_teacher_an_exact_student_leads_itself_along_the_trajectory():
    std, own = 0.8, gaussian_student(0.8)
    times = SoftTimes()(FINE, (30,), seeded(1), seeded(2))
    x_t = FINE.times[times.t][:, None] * randn(30, 2)
    exact = x_t * stretch(std, FINE.times[times.t], FINE.times[times.u])[:, None]
    assert torch.allclose(OwnJump(own, FINE)(x_t, times.t, times.u), exact)
    assert torch.allclose(OwnDiagonal(own, FINE)(x_t, times.t, times.u), exact, rtol=2e-2)


def test_several_students_lead_themselves_at_once():
    both = student(0, 1)
    times = SoftTimes()(GRID, (2, 6), (seeded(), seeded(1)), seeded(2))
    x = randn(2, 6, 2).float()
    for solver in (OwnJump, OwnDiagonal):
        together = solver(both, GRID)(x, times.t, times.u)
        alone = solver(both.member(1), GRID)(x[1], times.t[1], times.u[1])
        assert torch.allclose(together[1], alone, rtol=1e-4, atol=1e-4)


def test_solved_pairs_are_noisy_data_and_the_solution_from_there():
    x0 = torch.zeros(4000, 2, dtype=torch.float64)
    times = Times(torch.full((4000,), 2), torch.full((4000,), 5), torch.full((4000,), 6))
    x_t, x_u = Solved(HeunTeacher(SKEW, GRID), GRID)(x0, times, seeded())
    assert float(x_t.std()) == pytest.approx(float(GRID.times[2]), rel=0.04)
    assert torch.allclose(x_u, HeunTeacher(SKEW, GRID)(x_t, times.t, times.u))


def test_stored_pairs_lie_on_one_trajectory_that_starts_as_noisy_data():
    counted = CountedDenoiser(SKEW)
    x0 = SKEW.sample(700, seeded(1)).reshape(7, 100, 2)
    stored = Stored.make(counted, x0, GRID, seeded(2))
    made = counted.nfe
    times = UniformTimes()(GRID, (2, 300), (seeded(3), seeded(4)), seeded(5))
    x_t, x_u = stored(torch.zeros(2, 300, 2, dtype=torch.float64), times, (seeded(6), seeded(7)))
    assert counted.nfe == made
    assert torch.allclose(HeunTeacher(SKEW, GRID)(x_t, times.t, times.u), x_u, atol=1e-9)
    for place, (level, following) in enumerate(pairwise(GRID.times.tolist())):
        here = x_t[times.t == place]
        nearest = torch.cdist(here, stored.states[place][:, 0], compute_mode=EXACT).min(1).values
        assert float(nearest.max()) == 0
        noise = (stored.states[place][:, 0] - x0[place]) / level
        assert float(noise.std()) == pytest.approx(1, rel=0.2), following
    alone = stored(torch.zeros(300, 2, dtype=torch.float64), Times(times.t[1], times.u[1], times.s[1]), seeded(7))
    assert torch.equal(alone[1], x_u[1])


def test_what_is_refused():
    with pytest.raises(ValueError, match="N is 1"):
        TimeGrid(N=1)
    with pytest.raises(ValueError, match="sigma"):
        TimeGrid(sigma_min=2.0, sigma_max=1.0)
    with pytest.raises(ValueError, match="data for 3 starts; a grid of 8 times has 7"):
        Stored.make(SKEW, torch.zeros(3, 2, 2), GRID, seeded())
