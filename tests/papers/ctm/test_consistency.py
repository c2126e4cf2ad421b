"""Estimate and target: which weights stand where, what has a gradient, the limits of matching; and the distances."""

import pytest
import torch

from papers.ctm.consistency import (
    FeatureDistance,
    PseudoHuber,
    averaged_target,
    consistency_loss,
    estimate,
    levels,
    per_sample,
    squared,
    target,
)
from papers.ctm.critic import CriticClassifier
from papers.ctm.teacher import HeunTeacher, Solved
from papers.ctm.times import DistillationTimes, GlobalTimes, LocalTimes, SoftTimes, UniformTimes
from tests.papers.ctm.cases import GRID, gaussian_student, randn, seeded, stretch, student

OWN, AVERAGE = 0.5, 1.2
"""Standard deviations of the data for which the student and its average are exact: their jumps can be told apart."""
T, U, S, END = (torch.tensor(time, dtype=torch.float64) for time in (3.0, 1.0, 0.3, 0.02))


def test_the_first_jump_has_the_students_weights_and_the_second_the_averaged_ones():
    x, own, average = randn(5, 2), gaussian_student(OWN), gaussian_student(AVERAGE)
    expected = x * stretch(OWN, T, S) * stretch(AVERAGE, S, END)
    assert torch.allclose(estimate(own, average, x, T, S, float(END)), expected)
    expected = x * stretch(OWN, U, S) * stretch(AVERAGE, S, END)
    assert torch.allclose(target(own, average, x, U, S, float(END)), expected)


def test_consistency_distillation_has_the_averaged_weights_in_all_of_its_target():
    x, own, average = randn(5, 2), gaussian_student(OWN), gaussian_student(AVERAGE)
    got = averaged_target(own, average, x, U, END, float(END))
    assert torch.allclose(got, x * stretch(AVERAGE, U, END))
    assert not averaged_target(student(0), student(1), randn(5, 2).float(), U, END, 0.02).requires_grad


def test_no_gradient_enters_the_target_and_the_estimates_goes_through_the_averaged_network():
    own, average, x = student(0), student(1), randn(5, 2).float()
    assert not target(own, average, x, U, S, 0.02).requires_grad
    average.requires_grad_(False)
    end = estimate(own, average, x, T, S, 0.02)
    (slope,) = torch.autograd.grad(end.sum(), own.last_weight)
    # By a difference quotient in one weight, through both jumps.
    h = 1e-2
    with torch.no_grad():
        values = []
        for sign in (1, -1):
            own.last_weight[0, 0] += sign * h
            values.append(float(estimate(own, average, x, T, S, 0.02).double().sum()))
            own.last_weight[0, 0] -= sign * h
    assert float(slope[0, 0]) == pytest.approx((values[0] - values[1]) / (2 * h), rel=1e-2)


@pytest.mark.parametrize("law", [SoftTimes(), UniformTimes(), LocalTimes(), GlobalTimes(), DistillationTimes()])
def test_an_exact_student_has_no_loss_under_any_law(law):
    exact, times = gaussian_student(OWN), law(GRID, (50,), seeded(1), seeded(2))
    t, u, _ = levels(times, GRID, torch.zeros((), dtype=torch.float64))
    x_t = t[:, None] * randn(50, 2)
    x_u = x_t * stretch(OWN, t, u)[:, None]
    loss = consistency_loss(exact, exact, x_t, x_u, times, GRID, squared)
    wrong = consistency_loss(gaussian_student(AVERAGE), exact, x_t, x_u, times, GRID, squared)
    assert float(loss.max()) < 1e-12
    assert float(wrong.mean()) > 1e-4


def test_global_matching_asks_nothing_of_the_students_first_jump_in_the_target():
    times = GlobalTimes()(GRID, (20,), seeded(1), seeded(2))
    _, u, s = levels(times, GRID, torch.zeros((), dtype=torch.float64))
    x_u, average = randn(20, 2), gaussian_student(AVERAGE)
    with_one = target(gaussian_student(0.3), average, x_u, u, s, GRID.sigma_min)
    assert torch.equal(with_one, target(gaussian_student(2.0), average, x_u, u, s, GRID.sigma_min))


def test_consistency_distillation_has_one_jump_each():
    """s = σ_min: the averaged weights have nothing left to do, as G(x, t, t) = x."""
    times = DistillationTimes()(GRID, (20,), seeded(1), seeded(2))
    t, u, s = levels(times, GRID, torch.zeros((), dtype=torch.float64))
    x_t, x_u, own, end = randn(20, 2), randn(20, 2, seed=1), gaussian_student(OWN), GRID.sigma_min
    assert bool((s == end).all())
    got = consistency_loss(own, gaussian_student(AVERAGE), x_t, x_u, times, GRID, squared)
    expected = (own(x_t, t, end) - own(x_u, u, end)).square().mean(1)
    assert torch.allclose(got, expected)


def test_the_loss_of_members_is_each_ones_own():
    both, times = student(0, 1), SoftTimes()(GRID, (2, 6), (seeded(), seeded(1)), seeded(2))
    x_t, x_u = Solved(HeunTeacher(lambda x, sigma: 0.5 * x, GRID), GRID)(
        randn(2, 6, 2).float(), times, (seeded(3), seeded(4))
    )
    got = consistency_loss(both, both, x_t, x_u, times, GRID, squared)
    for i in range(2):
        t, u, s = (value[i] for value in levels(times, GRID, x_t))
        own = both.member(i)
        alone = squared(estimate(own, own, x_t[i], t, s, 0.02), target(own, own, x_u[i], u, s, 0.02))
        assert torch.allclose(got[i], alone, rtol=1e-3, atol=1e-5)


def test_pseudo_huber_is_a_square_near_zero_and_a_distance_far_away():
    distance, x = PseudoHuber(c=0.1), torch.zeros(1, 4, dtype=torch.float64)
    near, far = x + 1e-4, x + 1e4
    offset = 0.1 * 2
    assert float(distance(near, x)) == pytest.approx(4e-8 / (2 * offset), rel=1e-4)
    assert float(distance(far, x)) == pytest.approx(2e4 - offset, rel=1e-8)
    assert float(distance(x, x)) == 0


def test_a_distance_on_features_is_blind_to_their_length_and_has_a_gradient_where_they_meet():
    distance = FeatureDistance(lambda x: [x])
    x, y = randn(3, 5, 2, 2), randn(3, 5, 2, 2, seed=1)
    assert float(distance(x, 3 * x).max()) < 1e-12
    cosine = torch.nn.functional.cosine_similarity(x, y, dim=1).flatten(1).mean(1)
    assert torch.allclose(distance(x, y), 2 - 2 * cosine)
    critic = CriticClassifier(generator=seeded())
    images = torch.zeros(2, 1, 8, 8, requires_grad=True)
    loss = FeatureDistance(critic.taps)(images, images.detach())
    (slope,) = torch.autograd.grad(loss.sum(), images)
    assert bool(slope.isfinite().all())


def test_distances_of_members_are_told_apart():
    x, y = randn(2, 3, 4), randn(2, 3, 4, seed=1)
    assert torch.allclose(per_sample(squared, x, y, 2), (x - y).square().mean(-1))
