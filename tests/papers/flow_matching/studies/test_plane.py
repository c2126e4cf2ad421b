"""The plane: the board and its support, the mixture, exact fields of several seeds, and trainings side by side."""

from __future__ import annotations

from math import exp
from pathlib import Path

import pytest
import torch

from common.training.stream import stream
from papers.flow_matching.marginal import MixtureField
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.studies.plane import (
    ENTROPY,
    EXACT_PATHS,
    INITIAL,
    SAMPLING,
    SIDE,
    SPREAD,
    NetConfig,
    checkerboard,
    drawn,
    exact_velocity,
    in_support,
    learn,
    mixture,
    networks,
    noise,
    rmse,
)
from tests.papers.fake_run import FakeRun
from tests.papers.flow_matching.cases import at, randn, seeded

TINY = NetConfig(steps=3, hidden=5, layers=1, batch=4)


def test_all_data_lie_on_the_board_and_half_of_its_square_does() -> None:
    points = checkerboard(20_000, seeded())
    assert float(in_support(points)) == 1
    assert float(points.std()) == pytest.approx(SPREAD, rel=0.01)
    uniform = 4 * SIDE * (torch.rand(100_000, 2, generator=seeded()) - 0.5)
    on_board = float(in_support(uniform))
    assert on_board == pytest.approx(0.5, abs=0.01)  # five standard errors are 0.008
    # The area of the support, of which the entropy is the logarithm.
    assert on_board * (4 * SIDE) ** 2 == pytest.approx(exp(ENTROPY), rel=0.02)


def test_what_lies_off_the_board_is_not_in_the_support() -> None:
    beyond = torch.tensor([[-2.5, 0.5], [2.5, 0.5], [0.5, 2.5], [0.5, -2.5]]) * SIDE
    assert float(in_support(beyond)) == 0
    squares = torch.tensor([[[0.5, 0.5], [0.5, 1.5]], [[-0.5, -0.5], [1.5, 1.5]]]) * SIDE
    assert in_support(squares).tolist() == [0.5, 1.0]


def test_the_error_is_a_root_mean_square_per_coordinate() -> None:
    exact = randn(3, 5, 2)
    shift = torch.tensor([3.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(rmse(exact + shift, exact), torch.full((3,), 12.5**0.5, dtype=torch.float64))


def test_the_exact_velocity_of_several_seeds_is_that_of_each() -> None:
    path, law, x = EXACT_PATHS["vp"], mixture(), randn(2, 7, 2)
    field = MixtureField(path, law)
    found = exact_velocity(path, law)(x, at(0.6))
    for s in range(2):
        torch.testing.assert_close(found[s], field.velocity(x[s], at(0.6)), rtol=1e-12, atol=1e-12)


def test_noise_and_first_weights_are_those_of_their_seeds() -> None:
    x_0 = noise(6, (3, 8))
    for place, seed in enumerate((3, 8)):
        own = torch.randn(6, 2, generator=stream(seed, SAMPLING), dtype=torch.float64)
        torch.testing.assert_close(x_0[place], own, rtol=0, atol=0)
    first, second = (networks(TINY, (3, 8)).member(s).out.weight for s in range(2))
    assert not torch.equal(first, second)
    assert INITIAL != SAMPLING


def test_a_seed_trains_as_it_does_alone(tmp_path: Path) -> None:
    loss, data = OBJECTIVES["fm-vp"].loss, drawn(checkerboard)
    runs = tuple(FakeRun(tmp_path / str(s)) for s in range(2))
    both = learn(loss, data, TINY, (3, 8), runs)
    alone = learn(loss, data, TINY, (8,), runs[1:])
    for among, single in zip(both.member(1).parameters(), alone.member(0).parameters(), strict=True):
        torch.testing.assert_close(among, single, rtol=1e-4, atol=1e-6)
    untrained = networks(TINY, (8,)).member(0)
    assert not torch.allclose(untrained.out.weight, alone.member(0).out.weight)


def test_a_training_that_is_taken_up_is_the_unbroken_one(tmp_path: Path) -> None:
    loss, data, runs = OBJECTIVES["fm-ot"].loss, drawn(checkerboard), (FakeRun(tmp_path / "run"),)
    left = tmp_path / "training.safetensors"
    learn(loss, data, TINY, (1,), runs, left)
    longer = NetConfig(steps=6, hidden=5, layers=1, batch=4)
    taken_up, unbroken = (learn(loss, data, longer, (1,), runs, where) for where in (left, None))
    for a, b in zip(taken_up.parameters(), unbroken.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=0)


@pytest.mark.parametrize(("field", "value"), [("steps", 0), ("hidden", 0), ("layers", 0), ("batch", 0), ("lr", 0.0)])
def test_settings_out_of_range_are_named(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        NetConfig(**{field: value})  # type: ignore[arg-type]
