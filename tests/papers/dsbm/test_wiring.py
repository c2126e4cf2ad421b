"""What methods and experiments hand on: couplings, σ, networks, numbers of steps, and test points of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import log
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from papers.dsbm import experiments_gaussian, experiments_plan, experiments_plane, methods
from papers.dsbm.claims_plane import PLANE_CLAIMS
from papers.dsbm.coupling import Coupling, independent
from papers.dsbm.experiments_gaussian import PUBLISHED, SCALED, FloorConfig, gaussian, gaussian_floor
from papers.dsbm.experiments_plan import PlanConfig, Truth, plan_distance
from papers.dsbm.experiments_plane import PlaneConfig, plane
from papers.dsbm.gaussian import schrodinger_bridge, unit_gaussians
from papers.dsbm.imf import IMFConfig, StepNetwork, zero_drift
from papers.dsbm.methods import Learned, learn
from papers.dsbm.plan import joint_w2
from papers.dsbm.process import Drift
from papers.dsbm.tasks import TASKS, Task
from tests.papers.dsbm.cases import doubled, generator
from tests.papers.fake_run import FakeRun


@pytest.mark.parametrize("method", ["DSBM-IMF", "IMF-b", "RF", "DSBM-IMF+", "DSBM-IPF"])
def test_every_method_starts_from_its_own_pairs(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    couplings: list[Coupling] = []

    def matching(first: Coupling, config: IMFConfig) -> Any:
        couplings.append(first)
        return None

    monkeypatch.setattr(methods, "matching", matching)
    monkeypatch.setattr(methods, "alternate", lambda *arguments: iter(()))
    n = 512
    x_0, x_1 = torch.randn(n, 1, generator=generator()), torch.randn(n, 1, generator=generator(1)) + 5
    list(learn(method, x_0, x_1, IMFConfig(2.0, batch=n), generator()))
    left, right = couplings[0](x_0, x_1, generator(2))
    if method == "DSBM-IPF":
        # The reference's pairs, x_1 = x_0 + 2 ε: five standard errors of a mean and of a variance.
        assert (right - left).mean().item() == pytest.approx(0, abs=5 * 2 / n**0.5)
        assert (right - left).var().item() == pytest.approx(4, rel=5 * (2 / n) ** 0.5)
        return
    assert torch.equal(right.sort(0).values, x_1.sort(0).values)
    correlation = torch.corrcoef(torch.cat([left, right], 1).T)[0, 1].item()
    if method == "DSBM-IMF+":
        assert correlation > 0.99  # one batch: sorted against sorted
    else:
        assert abs(correlation) < 5 / n**0.5


@pytest.mark.parametrize(
    ("method", "sigma", "correlation"), [("SB-CFM", 1.0, 0.618), ("OT-CFM", 0.1, 1), ("CFM", 0.1, 0), ("FM", 0, 0)]
)
def test_methods_of_one_pass_take_their_own_pairs_and_sigma(
    method: str, sigma: float, correlation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[tuple[Coupling, IMFConfig]] = []

    def flow_matching(x_0: Tensor, x_1: Tensor, net: nn.Module, coupling: Coupling, config: IMFConfig, _: Any) -> Drift:
        handed.append((coupling, config))
        return zero_drift

    monkeypatch.setattr(methods, "flow_matching", flow_matching)
    n = 512
    x_0, x_1 = torch.randn(n, 1, generator=generator()), torch.randn(n, 1, generator=generator(1)) + 5
    list(learn(method, x_0, x_1, IMFConfig(1.0, batch=n), generator()))
    ((coupling, config),) = handed
    assert config.sigma == sigma
    measured = torch.corrcoef(torch.cat(coupling(x_0, x_1, generator(2)), 1).T)[0, 1].item()
    # One batch holds all points: five standard errors, and what so many points differ from their law by.
    assert measured == pytest.approx(correlation, abs=0.01 if correlation == 1 else 5 / n**0.5)


@pytest.mark.parametrize("method", ["DSB", "DSBM-IPF", "DSBM-IMF", "DSBM-IMF+", "IMF-b", "RF"])
def test_methods_of_many_passes_take_their_own_sigma_networks_and_directions(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[tuple[Mapping[str, nn.Module], IMFConfig, tuple[str, ...]]] = []
    seen: list[float] = []

    def alternate(
        x_0: Tensor, x_1: Tensor, nets: Mapping[str, nn.Module], _: Any, config: IMFConfig, g: Any, directions: Any
    ) -> Iterator[Any]:
        handed.append((nets, config, tuple(directions)))
        return iter(())

    monkeypatch.setattr(methods, "alternate", alternate)
    monkeypatch.setattr(methods, "matching", lambda first, config: seen.append(config.sigma))
    monkeypatch.setattr(methods, "mean_matching", lambda config: seen.append(config.sigma))
    x = torch.randn(8, 2, generator=generator())
    list(learn(method, x, x + 1, IMFConfig(2.0, 7, batch=8), generator()))
    ((nets, config, directions),) = handed
    assert {config.sigma, *seen} == {0.0 if method == "RF" else 2.0}
    assert directions == (("b",) if method in ("RF", "IMF-b") else ("b", "f"))
    for net in nets.values():
        assert isinstance(net, StepNetwork) == (method == "DSB")
        assert not isinstance(net, StepNetwork) or net.steps == 7


class Recorder:
    """In the place of `learn`: keeps what it was handed, and has learned one fixed thing."""

    def __init__(self, learned: Learned) -> None:
        self.learned = learned
        self.x_0 = self.x_1 = torch.empty(0)
        self.config = IMFConfig()

    def __call__(self, method: str, x_0: Tensor, x_1: Tensor, config: IMFConfig, *_: Any) -> Iterator[Learned]:
        self.x_0, self.x_1, self.config = x_0, x_1, config
        yield self.learned

    def has(self, points: Tensor) -> bool:
        """Whether `points` are among those that it was handed; of others a few meet one in float32."""
        trained = torch.cat([self.x_0, self.x_1])[:, 0].double()
        return bool(torch.isin(points[:, 0].double(), trained).double().mean() > 0.5)


@pytest.mark.parametrize(
    ("method", "inner_steps", "first_steps", "passes"),
    [("DSBM-IMF", 1000, 2000, 10), ("DSB", 1000, 2000, 10), ("SB-CFM", 5000, None, 1)],
)
def test_gaussian_runs_train_as_their_claims_say_and_are_judged_on_other_points(
    method: str, inner_steps: int, first_steps: int | None, passes: int, run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(Learned(1, "b", zero_drift, None, zero_drift))
    judged: list[Tensor] = []

    def path_of(learned: Learned, x_0: Tensor, x_1: Tensor, g: Any) -> Tensor:
        judged.extend([x_0, x_1])
        return x_0.expand(21, *x_0.shape)

    monkeypatch.setattr(experiments_gaussian, "learn", recorder)
    monkeypatch.setattr(experiments_gaussian, "path_of", path_of)
    gaussian(replace(SCALED, method=method, dim=1), 0, run)
    config = recorder.config
    assert (config.inner_steps, config.first_steps, config.passes) == (inner_steps, first_steps, passes)
    assert (config.sigma, config.steps, config.lr) == (1.0, 20, SCALED.lr)
    assert recorder.has(recorder.x_0)
    assert not any(recorder.has(points) for points in judged)


def test_the_published_training_is_the_papers() -> None:
    assert (PUBLISHED.passes, PUBLISHED.inner_steps, PUBLISHED.lr, PUBLISHED.refresh_every) == (40, 10_000, 1e-4, 78)
    assert PUBLISHED.averaged is None


def test_plane_runs_take_sigmas_factor_and_are_judged_on_other_points(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(Learned(2, "f", zero_drift, zero_drift, zero_drift))
    compared: list[Tensor] = []

    def w2(generated: Tensor, points: Tensor) -> float:
        compared.extend([generated, points])
        return 0.0

    monkeypatch.setattr(experiments_plane, "learn", recorder)
    monkeypatch.setattr(experiments_plane, "w2", w2)
    plane(PlaneConfig("DSBM-IMF", "moons-8gaussians", sigma_factor=0.5, n_test=10_000), 0, run)
    assert (recorder.config.sigma, recorder.config.inner_steps, recorder.config.passes) == (3.5, 1000, 8)
    flowed, truth, diffused, again = compared
    assert torch.equal(truth, again)
    assert not recorder.has(truth)
    assert not recorder.has(flowed)  # at zero velocity the flow ends where it starts
    # Without a drift the SDE adds noise of its σ: five standard errors of a variance over 20 000 coordinates.
    assert (diffused - flowed).var().item() == pytest.approx(3.5**2, rel=5 * (2 / 20_000) ** 0.5)
    plane(PlaneConfig("OT-CFM", "moons", n_test=100), 0, run)
    assert (recorder.config.inner_steps, recorder.config.passes) == (4000, 1)


def test_correlated_coordinates_are_seen_by_the_full_fit_alone(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    dim, rho = 5, 0.5
    bridge = schrodinger_bridge(*unit_gaussians(dim, experiments_gaussian.A), experiments_gaussian.SIGMA)

    def path_of(*_: Any) -> Tensor:
        times = torch.linspace(0, 1, 21, dtype=torch.float64).tolist()
        z, common = torch.randn(20_000, dim + 1, dtype=torch.float64, generator=generator()).split([dim, 1], dim=1)
        points = (1 - rho) ** 0.5 * z + rho**0.5 * common
        return torch.stack([bridge.mean(t) + bridge.cov(t).diagonal().sqrt() * points for t in times])

    monkeypatch.setattr(experiments_gaussian, "path_of", path_of)
    monkeypatch.setattr(experiments_gaussian, "learn", lambda *_: iter([Learned(1, "b", None, None, None)]))
    (row,) = gaussian(replace(SCALED, dim=dim, passes=1), 0, run)
    assert float(row["kl_diagonal"]) < 2
    # -½ log det of the correlations, (1 - ρ)^(D-1) (1 + (D-1) ρ).
    expected = -0.5e3 * ((dim - 1) * log(1 - rho) + log(1 + (dim - 1) * rho))
    assert float(row["kl_full"]) == pytest.approx(expected, rel=0.05)


def test_the_floors_are_those_of_exact_samples(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    def simulate(drift: Drift, x: Tensor, sigma: float, steps: int, *_: Any, **__: Any) -> Tensor:
        return 10 * torch.randn(steps + 1, *x.shape, dtype=x.dtype, generator=generator())

    monkeypatch.setattr(experiments_gaussian, "simulate", simulate)
    dim, n = 20, experiments_gaussian.N
    (row,) = gaussian_floor(FloorConfig(dim), 0, run)
    # Half a degree of freedom over n for each number that is fitted: mean and variance, or mean and covariance.
    assert float(row["floor_diagonal"]) == pytest.approx(1e3 * dim / n, rel=0.2)
    assert float(row["floor_full"]) == pytest.approx(1e3 * dim * (dim + 3) / (4 * n), rel=0.1)
    assert min(float(row["euler_diagonal"]), float(row["euler_full"])) > 1e3


def test_the_exact_bridge_is_at_the_floor_of_the_plan_in_either_direction(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = unit_gaussians(2, 1.0)
    bridge = schrodinger_bridge(*ends, 1.0)

    def law(mean: float) -> Any:
        return lambda n, g: torch.randn(n, 2, generator=g) + mean

    def exact(*_: Any) -> Iterator[Learned]:
        yield Learned(1, "b", doubled(bridge.backward_drift), None, None)
        yield Learned(2, "f", doubled(bridge.forward_drift), None, None)

    monkeypatch.setitem(TASKS, "gaussians", Task(law(-1.0), law(1.0), 1.0))
    monkeypatch.setattr(experiments_plan, "learn", exact)
    rows = plan_distance(PlanConfig("DSBM-IMF", 1.0, "gaussians", n_test=600), 0, run)
    assert [row["direction"] for row in rows] == ["b", "f"]
    # The mean of eight ends has a standard error of √(2 (1 - .618²)/8); the plans of 600 points add a fifth to it.
    noise = (2 * (1 - 0.618**2) / 8) ** 0.5
    for row in rows:
        assert noise < float(row["map_floor"]) < 1.3 * noise
        for name in ("joint", "map"):
            error = float(row["joint_w2" if name == "joint" else "map_error"])
            assert error == pytest.approx(float(row[f"{name}_floor"]), rel=0.2), name


def test_independent_pairs_do_not_meet_the_criterion_of_the_plan() -> None:
    """Where they come nearest to it: at the largest σ that is judged. As in the run, by 1000 points."""
    task, n, draws = TASKS["8gaussians"], 1000, generator()
    x_0, x_1, others = task.pi_0(n, draws), task.pi_1(n, draws), task.pi_1(n, draws)
    truth, sibling = (Truth.of(x_0, end, 2.0) for end in (x_1, others))
    (claim,) = (claim for claim in PLANE_CLAIMS if claim.id == "plan")
    (allowed,) = {quantity.criterion.upper for quantity in claim.quantities if "sigma 2" in quantity.name}
    floor = joint_w2(truth.pairs(draws), sibling.pairs(draws))
    assert joint_w2(torch.cat(independent(x_0, x_1, draws), 1), truth.pairs(draws)) > allowed * floor
