"""The adaptive noise schedule: its law, what it tends to, and the variance that it and the optimum leave."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from torch import Tensor

from common.training.members import Members, normal
from common.training.stream import stream
from papers.weighted_elbo.adaptive import (
    AdaptiveLevels,
    BinnedLevels,
    bin_centres,
    flattening,
    least_variance,
    proportional_to,
)

LOW, HIGH = -4.0, 6.0
VALUES = torch.tensor([1.0, 4.0, 2.0, 0.5, 2.5], dtype=torch.float64)


def weight(log_snr: Tensor) -> Tensor:
    return torch.sigmoid(2 - log_snr)


def scale(log_snr: Tensor) -> Tensor:
    """Of ε̂ − ε at λ: its square is scale² times a χ² of one degree of freedom, of mean square 3."""
    return 0.2 + torch.sigmoid(log_snr)


def draws(shape: tuple[int, ...], levels: BinnedLevels | AdaptiveLevels, seed: int = 0) -> tuple[Tensor, Tensor]:
    """λ and ‖ε̂ − ε‖² there."""
    log_snr = levels.sample(shape, stream(seed, 0))
    return log_snr, (scale(log_snr) * normal(shape, stream(seed, 1), torch.float64)).square()


def test_draws_have_the_density_that_is_stated() -> None:
    levels = proportional_to(VALUES, LOW, HIGH)
    log_snr = levels.sample((20_000,), stream(0, 0))
    counts = torch.histc(log_snr, 5, LOW, HIGH)
    assert stats.chisquare(counts.numpy(), (20_000 * VALUES / VALUES.sum()).numpy()).pvalue > 1e-3
    third = log_snr[(log_snr > 0) & (log_snr < 2)]
    assert stats.kstest(third.numpy() / 2, "uniform").pvalue > 1e-3, "uniform within a bin"
    grid = torch.linspace(LOW, HIGH, 50_001, dtype=torch.float64)
    assert float(torch.trapezoid(levels.density(grid), grid)) == pytest.approx(1, abs=1e-3)
    torch.testing.assert_close(levels.density(torch.tensor([1.0]).double()), torch.tensor([0.2 / 2]).double())
    assert levels.density(torch.tensor([LOW - 0.1, HIGH + 0.1])).tolist() == [0, 0]


def test_each_member_draws_from_its_own_density_and_generator() -> None:
    masses = torch.stack([VALUES, VALUES.flip(0)])
    levels = proportional_to(masses, LOW, HIGH)
    log_snr = levels.sample((2, 50), (stream(1, 0), stream(2, 0)))
    for s in range(2):
        alone = proportional_to(masses[s], LOW, HIGH)
        torch.testing.assert_close(log_snr[s], alone.sample((50,), stream(s + 1, 0)))
        torch.testing.assert_close(levels.density(log_snr)[s], alone.density(log_snr[s]))


def test_the_adaptive_density_tends_to_the_weighted_mean_square() -> None:
    """From batches of a known law. The running mean of the last tens of draws scatters, and the mean over many
    moments of it does not."""
    levels, grid = AdaptiveLevels(LOW, HIGH, bins=10, rate=0.02, floor=0.05), bin_centres(LOW, HIGH, 10)
    assert levels.density(grid).tolist() == pytest.approx([0.1] * 10), "uniform at first"
    found = torch.zeros(10, dtype=torch.float64)
    for step in range(400):
        log_snr, square = draws((1000,), levels, step)
        levels.update(log_snr, weight(log_snr) * square)
        found += levels.density(grid) / 300 if step >= 100 else 0
    fine = bin_centres(LOW, HIGH, 1000)
    own = (weight(fine) * scale(fine).square()).reshape(10, 100).mean(1)
    expected = 0.95 * own / own.sum() + 0.05 / 10
    torch.testing.assert_close(found, expected, rtol=0.06, atol=0)  # three standard errors of the rarest bin


def test_any_density_gives_the_same_mean_and_the_optimum_the_least_variance() -> None:
    """Against a uniform density and the flat one; and the variances are those that the formula gives."""
    centres, n = bin_centres(LOW, HIGH), 400_000
    square = (scale(centres)[:, None] * normal((100, 4000), stream(7, 0), torch.float64)).square()
    found = {
        "uniform": torch.ones(100, dtype=torch.float64),
        "flat": flattening(weight(centres), square),
        "optimal": least_variance(weight(centres), square),
    }
    fine = bin_centres(LOW, HIGH, 100_000)
    mean = float((weight(fine) * scale(fine).square()).mean()) * (HIGH - LOW)
    variance = {}
    for name, values in found.items():
        levels = proportional_to(values, LOW, HIGH)
        log_snr, square = draws((n,), levels, 3)
        estimate = weight(log_snr) / levels.density(log_snr) * square
        variance[name] = float(estimate.var())
        assert float(estimate.mean()) == pytest.approx(mean, abs=4 * (variance[name] / n) ** 0.5)
        fourth = 3 * (weight(fine) * scale(fine).square()).square() / levels.density(fine)
        expected = float(fourth.mean()) * (HIGH - LOW) - mean**2
        assert variance[name] == pytest.approx(expected, rel=0.03)
    # The square of a normal scatters alike at every λ, so that the flat density is optimal too.
    assert variance["optimal"] == pytest.approx(variance["flat"], rel=0.03)
    assert variance["uniform"] > 1.15 * variance["optimal"]


def test_where_the_error_scatters_unevenly_the_optimum_is_not_the_flat_density() -> None:
    """Errors that are there in one draw of twenty at low λ, and always at high λ: exact moments, no draw."""
    rare = torch.zeros(20, dtype=torch.float64)
    rare[0] = 20.0
    square = torch.stack([rare, torch.ones(20, dtype=torch.float64)])
    ones = torch.ones(2, dtype=torch.float64)
    flat, best = (rule(ones, square) for rule in (flattening, least_variance))
    assert flat.tolist() == pytest.approx([1, 1])
    assert best.tolist() == pytest.approx([20**0.5, 1])

    def second_moment(values: Tensor) -> float:
        p = values / values.sum()
        return float((square.square().mean(1) / p).sum())

    assert second_moment(best) < 0.8 * second_moment(flat)
    for change in (0.9, 1.1):
        assert second_moment(best) < second_moment(best * torch.tensor([change, 1.0]))


def test_a_weight_of_another_scale_gives_the_same_density() -> None:
    one, ten = AdaptiveLevels(LOW, HIGH, bins=5), AdaptiveLevels(LOW, HIGH, bins=5)
    log_snr, square = draws((500,), one)
    one.update(log_snr, square)
    ten.update(log_snr, 10 * square)
    torch.testing.assert_close(one.levels.mass, ten.levels.mass)
    assert one.levels.mass.std() > 0.05


def test_a_bin_that_looked_empty_is_drawn_from_again() -> None:
    levels = AdaptiveLevels(LOW, HIGH, bins=5, floor=0.1)
    log_snr = bin_centres(LOW, HIGH, 5)
    levels.update(log_snr, torch.tensor([0.0, 1.0, 1.0, 1.0, 1.0]))
    assert float(levels.levels.mass[0]) == pytest.approx(0.1 / 5)
    assert float(levels.levels.mass.sum()) == pytest.approx(1)


def test_the_first_draws_count_alike_and_the_later_ones_by_the_rate() -> None:
    levels = AdaptiveLevels(0.0, 1.0, bins=1, rate=0.25)
    middle = torch.tensor([0.5])
    for value in (3.0, 5.0):
        levels.update(middle, torch.tensor([value]))
    assert float(levels.expected) == pytest.approx(4)
    levels.update(middle.expand(2), torch.tensor([9.0, 11.0]))
    assert float(levels.expected) == pytest.approx(7), "two of four draws"
    for _ in range(4):
        levels.update(middle, torch.tensor([7.0]))
    levels.update(middle, torch.tensor([17.0]))
    assert float(levels.expected) == pytest.approx(9.5)


def test_stacked_with_a_network_it_is_each_member_s_own() -> None:
    stacked = Members([AdaptiveLevels(LOW, HIGH, bins=5) for _ in range(2)]).stacked
    log_snr = stacked.sample((2, 400), (stream(1, 0), stream(2, 0)))
    loss = torch.stack([torch.ones(400), log_snr[1] - LOW])
    stacked.update(log_snr, loss)
    for s in range(2):
        alone = AdaptiveLevels(LOW, HIGH, bins=5)
        assert torch.equal(alone.sample((400,), stream(s + 1, 0)), log_snr[s])
        alone.update(log_snr[s], loss[s])
        torch.testing.assert_close(stacked.levels.mass[s], alone.levels.mass)
    assert not torch.allclose(stacked.levels.mass[0], stacked.levels.mass[1])


def test_its_state_is_saved_with_the_network() -> None:
    levels, other = AdaptiveLevels(LOW, HIGH, bins=5), AdaptiveLevels(LOW, HIGH, bins=5)
    log_snr, square = draws((100,), levels)
    levels.update(log_snr, square)
    other.load_state_dict(levels.state_dict())
    torch.testing.assert_close(other.levels.mass, levels.levels.mass)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdaptiveLevels(1.0, 0.0), r"log_snr_min is 1\.0 and log_snr_max 0\.0"),
        (lambda: AdaptiveLevels(0.0, 1.0, bins=0), "bins is 0"),
        (lambda: AdaptiveLevels(0.0, 1.0, rate=0.0), r"rate is 0\.0; it must be above 0"),
        (lambda: AdaptiveLevels(0.0, 1.0, floor=1.5), r"floor is 1\.5"),
        (lambda: proportional_to(torch.tensor([1.0, 0.0]), 0.0, 1.0), "not positive and finite"),
    ],
)
def test_bad_input_is_named(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
