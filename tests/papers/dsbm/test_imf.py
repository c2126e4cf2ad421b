"""The alternation: what a pass regresses on, the closed-form iterates of IMF and IPF, and the housekeeping."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common.nets.ema import ema_beta
from common.training.loop import Trained
from common.transport.coupling import independent, minibatch_sinkhorn
from papers.dsbm import imf
from papers.dsbm.bridge import Direction, Regression
from papers.dsbm.coupling import reference
from papers.dsbm.dsb import zero_drift
from papers.dsbm.imf import (
    Cache,
    IMFConfig,
    Pass,
    alternate,
    flow_matching,
    matching,
    network,
    squared_error,
    weighted_error,
)
from papers.dsbm.process import reversed_flow, simulate
from tests.papers.dsbm.alternation import (
    DATA_0,
    DATA_1,
    DIM,
    QUICK,
    A,
    Affine,
    Exact,
    assert_ipf,
    nets,
    run,
    seeded,
)


def test_imf_from_independent_pairs_follows_the_exact_iterates_and_keeps_both_marginals() -> None:
    """Covariances .546, .611, .617; 60 steps add 0.005 to the variance. The margins are those of the claims."""
    passes = run(matching(independent, QUICK))
    for (covariance, variance, mean), exact, sign in zip(passes, (0.5463, 0.6111, 0.6174), (-1, 1, -1), strict=True):
        assert covariance == pytest.approx(exact, abs=0.03)
        assert variance == pytest.approx(1.005, abs=0.05)
        assert mean == pytest.approx(sign * A, abs=0.03)


def test_ipf_from_the_reference_follows_the_exact_iterates_and_keeps_one_marginal() -> None:
    assert_ipf(run(matching(reference(1.0), QUICK)))


def test_rectified_flow_is_the_limit_without_noise() -> None:
    """One pass from independent pairs makes x_0 and x_1 a function of each other, whichever way."""
    config = replace(QUICK, sigma=0.0, passes=2, steps=120)
    for covariance, variance, mean in run(matching(independent, config), config, directions=["b"]):
        assert covariance == pytest.approx(1, abs=0.03)
        assert variance == pytest.approx(1, abs=0.05)
        assert mean == pytest.approx(-A, abs=0.03)


def test_flow_matching_on_sinkhorn_pairs_has_the_marginals_of_the_bridge() -> None:
    """The probability flow at σ = 1 carries π_0 to π_1 and back, from one network."""
    config = replace(QUICK, cache=5000, refresh_every=250)
    coupling = minibatch_sinkhorn(1.0, batch=100)
    velocity = flow_matching(DATA_0, DATA_1, Affine(), coupling, config, seeded(3))
    there = simulate(velocity, DATA_0, 0.0, 60)
    assert float(there.mean()) == pytest.approx(A, abs=0.03)
    assert float(there.var(0).mean()) == pytest.approx(1, abs=0.05)
    back = simulate(reversed_flow(velocity), DATA_1, 0.0, 60, direction="b")
    assert float(back.mean()) == pytest.approx(-A, abs=0.03)


def drifting(speed: float) -> Exact:
    return Exact(lambda x, t: torch.full_like(x, speed))


@pytest.mark.parametrize(("ran", "direction"), [("f", "b"), ("b", "f"), ("b", "b")])
def test_pairs_come_from_the_side_where_the_previous_process_starts(ran: Direction, direction: Direction) -> None:
    """With σ = 0 and a constant drift the ends can be read off the regression: x_t and the line between them."""
    config = IMFConfig(sigma=0.0, batch=2)
    x_0, x_1 = torch.tensor([[1.0], [2.0]]), torch.tensor([[10.0], [20.0]])
    previous = Pass(1, ran, drifting(5.0), drifting(-5.0))
    x_t, t, target = matching(independent, config)(x_0, x_1, direction, previous, seeded(0))(seeded(1))
    forward = target if direction == "f" else -target
    expected = (x_0, x_0 + 5) if ran == "f" else (x_1 - 5, x_1)
    torch.testing.assert_close(x_t - t[:, None] * forward, expected[0])
    torch.testing.assert_close(x_t + (1 - t[:, None]) * forward, expected[1])


def test_a_pass_is_a_new_adam_on_the_weights_of_the_last() -> None:
    """Adam's first step moves every weight by lr whatever the gradient; its second does not. One step per pass."""

    class Shift(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(DIM))

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            return self.shift.expand_as(x)

    for warm_start in (True, False):
        config = IMFConfig(passes=6, inner_steps=1, batch=16, lr=0.5, warm_start=warm_start, cache=100)
        both: dict[Direction, nn.Module] = {"b": Shift(), "f": Shift()}
        last = dict.fromkeys("bf", torch.zeros(DIM))
        shifts = []
        for done in alternate(DATA_0, DATA_1, both, matching(independent, config), config, seeded(0)):
            shift = done.drift.get_parameter("shift").detach()
            moved = shift - (last[done.direction] if warm_start else 0)
            torch.testing.assert_close(moved.abs(), torch.full((DIM,), 0.5))
            last[done.direction] = shift
            shifts.append((done, shift.clone()))
        assert any(float(shift.abs().max()) > 0.6 for _, shift in shifts) == warm_start
        # What a pass left is not touched by later ones.
        for done, shift in shifts:
            assert torch.equal(done.drift.get_parameter("shift"), shift)


def test_passes_alternate_and_know_the_latest_drift_of_each_direction() -> None:
    config = IMFConfig(passes=4, inner_steps=1, first_steps=2, batch=16, cache=100)
    passes = list(alternate(DATA_0, DATA_1, nets(), matching(independent, config), config, seeded(0)))
    assert [(done.number, done.direction) for done in passes] == [(1, "b"), (2, "f"), (3, "b"), (4, "f")]
    assert passes[0].forward is None
    assert passes[1].backward is passes[0].backward
    assert passes[2].forward is passes[1].forward
    assert passes[2].backward is passes[2].drift
    assert [config.training(n).steps for n in (1, 2, 3)] == [2, 1, 1]


def numbered() -> Iterator[Regression]:
    """Epochs of 5 rows, whose target tells the epoch and the row."""
    for epoch in range(100):
        rows = torch.arange(5.0)[:, None]
        yield rows, rows[:, 0], 10 * epoch + rows


def test_cache_serves_every_row_once_per_epoch_and_is_renewed_in_time() -> None:
    refreshed = []

    def refresh(generator: torch.Generator) -> Any:
        epochs = numbered()
        refreshed.append(True)
        return lambda g: next(epochs)

    cache = Cache(refresh, refresh_every=3)
    served = [cache(2, seeded(0))[1]["target"][:, 0].tolist() for _ in range(7)]
    # Two batches of two to an epoch of five; the third batch is of a new epoch, the fourth of a new cache.
    assert served == [[0, 1], [2, 3], [10, 11], [0, 1], [2, 3], [10, 11], [0, 1]]
    assert len(refreshed) == 3


def test_loss_sums_over_coordinates() -> None:
    x, target = torch.zeros(2, 3), torch.tensor([[1.0, 2, 3], [0, 0, 1]])
    loss = squared_error(zero_drift, x, seeded(0), t=torch.zeros(2), target=target)
    assert loss.tolist() == [14, 1]


@pytest.mark.parametrize("direction", ["f", "b"])
def test_the_weighted_loss_takes_off_what_the_target_grows_by(direction: Direction) -> None:
    """σ² (1 − t) forward and σ² t backward, and the mean over coordinates: by hand for σ = 2."""
    x, target = torch.zeros(2, 3), torch.tensor([[1.0, 2, 3], [0, 0, 1]])
    loss = weighted_error(2.0, direction)(zero_drift, x, seeded(0), t=torch.tensor([0.25, 0.5]), target=target)
    left = (0.75, 0.5) if direction == "f" else (0.25, 0.5)
    assert loss.tolist() == pytest.approx([4 * left[0] * 14 / 3, 4 * left[1] * 1 / 3])


@pytest.mark.parametrize("weighted", [False, True])
def test_a_pass_minimises_the_loss_of_its_direction(weighted: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    handed: list[list[float]] = []

    def train(net: nn.Module, loss: Any, data: Any, config: Any, generator: Any) -> Any:
        t, target = torch.tensor([0.25, 0.5]), torch.ones(2, DIM)
        handed.append(loss(zero_drift, torch.zeros(2, DIM), generator, t=t, target=target).tolist())
        return Trained(net, net, config.steps)

    monkeypatch.setattr(imf, "train", train)
    config = IMFConfig(2.0, passes=2, weighted=weighted, batch=16, cache=100)
    list(alternate(DATA_0, DATA_1, nets(), matching(independent, config), config, seeded(0)))
    plain = [float(DIM), float(DIM)]
    assert handed == ([[1.0, 2.0], [3.0, 2.0]] if weighted else [plain, plain])


def test_the_first_passes_regress_on_the_first_coupling_and_take_the_first_steps() -> None:
    """Ends that no network makes: x_1 = x_0 + 100, which σ = 0 leaves to be read off the regression."""

    def far(x_0: Tensor, x_1: Tensor, generator: Any) -> tuple[Tensor, Tensor]:
        return x_0, x_0 + 100

    for first_passes in (1, 2):
        config = IMFConfig(0.0, first_steps=7, inner_steps=3, first_passes=first_passes, batch=2)
        method, x = matching(far, config), torch.zeros(2, 1)
        first = [None, Pass(1, "b", None, drifting(5.0)), Pass(2, "f", drifting(5.0), None)]
        shifts = [float(method(x, x, "f", done, seeded(0))(seeded(1))[2].mean()) for done in first]
        assert [shift == 100 for shift in shifts] == [number <= first_passes for number in (1, 2, 3)]
        assert [config.training(n).steps for n in (1, 2, 3)] == [7 if n <= first_passes else 3 for n in (1, 2, 3)]


def test_without_a_rampup_every_step_keeps_the_same_share_of_the_average() -> None:
    def beta(seen: int, rampup: float | None) -> float:
        config = IMFConfig(batch=128, ema_halflife=1000 * 128.0, ema_rampup=rampup).training(1)
        assert config.ema_halflife is not None
        return ema_beta(config.batch_size, config.ema_halflife, seen, config.ema_rampup)

    assert beta(128, None) == beta(128 * 5000, None) == pytest.approx(0.5 ** (1 / 1000))
    assert beta(128 * 5000, 0.05) < 0.5 ** (1 / 251)


def test_the_end_of_simulated_pairs_is_noisy_where_asked_for() -> None:
    x = torch.zeros(4000, 1)
    done = Pass(1, "f", Exact(zero_drift), None)
    for noisy_end, steps in ((True, 4), (False, 3)):
        _, ends = done.couple(x, IMFConfig(1.0, 4, noisy_end=noisy_end), seeded(0))
        assert float(ends.var()) == pytest.approx(steps / 4, rel=5 * (2 / 4000) ** 0.5)


def test_networks_are_the_papers() -> None:
    net = network(50, seeded(0))
    weights = [tuple(p.shape) for name, p in net.named_parameters() if name.endswith("weight")]
    assert weights == [(256, 51), (256, 256), (50, 256)]
    x, t = torch.randn(4, 50, generator=seeded(1)), torch.rand(4, generator=seeded(2))
    assert not torch.allclose(net(x, t), net(x, 1 - t), atol=1e-4)


def test_an_average_of_the_weights_becomes_the_drift_where_asked_for() -> None:
    config = IMFConfig(passes=1, inner_steps=20, batch=100, lr=0.1, ema_halflife=1000, clip=1.0, cache=1000)
    both = nets()
    (done,) = alternate(DATA_0, DATA_1, both, matching(independent, config), config, seeded(0))
    assert not torch.allclose(done.drift.get_parameter("weight"), both["b"].get_parameter("weight"))


def test_same_seed_same_passes() -> None:
    config = IMFConfig(passes=2, inner_steps=3, batch=16, cache=100)
    first, again = [
        list(alternate(DATA_0, DATA_1, nets(), matching(independent, config), config, seeded(5)))[-1].drift
        for _ in range(2)
    ]
    assert torch.equal(first.get_parameter("weight"), again.get_parameter("weight"))


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="passes is 0; it must be at least 1"):
        IMFConfig(passes=0)
    with pytest.raises(ValueError, match="cache is 10; it must hold a batch of 128"):
        IMFConfig(cache=10)
    with pytest.raises(ValueError, match="sigma is -1"):
        IMFConfig(sigma=-1)
    method = matching(independent, QUICK)
    with pytest.raises(ValueError, match=r"shapes \(10000, 10\) and \(100, 10\)"):
        next(alternate(DATA_0, DATA_1[:100], nets(), method, QUICK, seeded(0)))
    with pytest.raises(ValueError, match=r"allowed are one or more of \['b'\]"):
        next(alternate(DATA_0, DATA_1, {"b": Affine()}, method, QUICK, seeded(0)))
