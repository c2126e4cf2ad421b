"""Objectives: Theorem 2 by quadrature, minimisers known in closed form, weights, and the velocity of each network."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from scipy import stats
from torch import Tensor, nn

from common.diffusion.path import VP as Diffusion
from common.nets.mlp import MLP
from common.training.members import Members
from papers.flow_matching.marginal import EmpiricalField, MixtureField
from papers.flow_matching.objective import (
    OBJECTIVES,
    Objective,
    cfm_loss,
    draw,
    flow_matching,
    fm_loss,
    in_own_dtype,
)
from papers.flow_matching.path import OT, VP
from papers.flow_matching.solvers import euler
from tests.papers.flow_matching.cases import MIXTURE, PATHS, at, gauss_hermite, randn, seeded

POINTS = torch.tensor([[-1.0], [0.3], [1.2]], dtype=torch.float64)
NODES, WEIGHTS = gauss_hermite(120)
objectives = pytest.mark.parametrize("name", OBJECTIVES)


def product(time: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """All pairs of a node of noise and a data point, with their weights: (x_0, x_1, t, weight), (120 · 3, …)."""
    x_0, x_1 = NODES.repeat(3)[:, None], POINTS.repeat_interleave(120, 0)
    return x_0, x_1, torch.full((360,), time, dtype=torch.float64), WEIGHTS.repeat(3) / 3


def gradient(loss: Tensor, weight: Tensor, net: nn.Module) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(weight @ loss, list(net.parameters()))])


@pytest.mark.parametrize("path", [OT(sigma_min=0.2), VP(), PATHS["VE"]], ids=["OT", "VP", "VE"])
def test_theorem_2_gradients_of_fm_and_cfm_are_equal(path):
    """E over noise and data of both losses, by Gauss–Hermite quadrature, so without the noise of sampling."""
    net = MLP(1, hidden=8, hidden_layers=2, features=4, gain=1.0, generator=seeded(1)).double()
    field = EmpiricalField(path, POINTS)
    for time in (0.1, 0.4, 0.7):
        x_0, x_1, t, weight = product(time)
        cfm = cfm_loss(net, x_0, x_1, t, path=path)
        fm = fm_loss(net, field, path.sample(x_0, x_1, t), t)
        got, expected = gradient(cfm, weight, net), gradient(fm, weight, net)
        # The quadrature's own error: the posterior weights are analytic, on a scale that the nodes resolve.
        torch.testing.assert_close(got, expected, rtol=0, atol=1e-6 * float(expected.norm()) + 1e-8)
        assert expected.norm() > 1e-3
        assert weight @ (cfm - fm) > 1e-3  # conditioning adds a variance, which no network can take away


def exact_network(objective: Objective, field: EmpiricalField) -> Callable[[Tensor, Tensor], Tensor]:
    """What each kind of network learns, exactly: velocity, score, or the mean noise −σ times the score."""
    path = objective.path
    if objective.name.startswith("fm"):
        return field.velocity
    if objective.name == "ddpm":
        return lambda x, t: -path.sigma(t).reshape(-1, *[1] * (x.ndim - 1) if t.ndim else ()) * field.score(x, t)
    return field.score


class Shifted(nn.Module):
    """A network plus θ (1 + x)."""

    def __init__(self, net: Callable[[Tensor, Tensor], Tensor], theta: float = 0.0) -> None:
        super().__init__()
        self.net, self.theta = net, nn.Parameter(at(theta))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.net(x, t) + self.theta * (1 + x)


def known_weight(name: str, time: float) -> float:
    """λ(t) by the diffusion of `common`, at s = 1 − t: σ² for score matching, g² for likelihood weighting."""
    diffusion, s = Diffusion(beta_d=19.9, beta_min=0.1), at(1 - time)
    return {"score": float(diffusion.sigma(s) ** 2), "scoreflow": float(diffusion.squared_diffusion(s))}.get(name, 1.0)


@objectives
def test_the_exact_network_is_the_minimiser_and_the_weight_is_the_papers(name):
    objective = OBJECTIVES[name]
    path = objective.path
    if name == "fm-ot":
        objective = flow_matching("fm-ot", path := OT(sigma_min=0.2))
    exact = exact_network(objective, EmpiricalField(path, POINTS))
    for time in (0.1, 0.45, 0.7):
        x_0, x_1, t, weight = product(time)
        losses = [weight @ objective.loss_at(Shifted(exact, theta), x_0, x_1, t) for theta in (-0.5, 0.0, 0.5)]
        below, least, above = (float(loss.detach()) for loss in losses)
        # Around its minimum the loss is λ θ² E(1 + x)²: on both sides alike.
        size = float(weight @ (1 + path.sample(x_0, x_1, t)).square()[:, 0])
        assert above - below == pytest.approx(0, abs=1e-6 * abs(above))
        assert above - least == pytest.approx(0.25 * known_weight(name, time) * size, rel=1e-5)


@objectives
def test_the_exact_network_is_sampled_through_the_exact_field(name):
    objective = OBJECTIVES[name]
    field = MixtureField(objective.path, MIXTURE)
    velocity = objective.velocity(exact_network(objective, field))  # type: ignore[arg-type]
    x = randn(6, 2, seed=2)
    for time in (0.0, 0.3, 0.8, 0.99):
        torch.testing.assert_close(velocity(x, at(time)), field.velocity(x, at(time)), rtol=1e-8, atol=1e-8)


def test_the_five_of_table_1_stand_on_their_paths():
    assert isinstance(OBJECTIVES["fm-ot"].path, OT)
    assert all(OBJECTIVES[name].path == VP(0.1, 20.0) for name in ("fm-vp", "score", "scoreflow", "ddpm"))


def test_times_are_uniform_up_to_the_last_and_noise_is_normal():
    x_1 = torch.zeros(4000, 2)
    x_0, same, t = draw(x_1, seeded(3), last=0.6)
    assert same is x_1
    assert (x_0.dtype, t.dtype) == (torch.float32, torch.float64)
    assert t.min() >= 0
    assert 0.599 < t.max() < 0.6
    assert stats.kstest(t.numpy() / 0.6, "uniform").pvalue > 1e-3
    assert stats.kstest(x_0.flatten().numpy(), "norm").pvalue > 1e-3
    assert abs(torch.corrcoef(torch.stack([x_0[:, 0].double(), t]))[0, 1]) < 5 / 4000**0.5


@objectives
def test_loss_draws_what_loss_at_takes(name):
    objective, net, x_1 = OBJECTIVES[name], MLP(2, gain=1.0, generator=seeded(1)), randn(50, 2).float()
    x_0, _, t = draw(x_1, seeded(4), objective.path.last)
    assert t.max() < objective.path.last
    loss = objective.loss(net, x_1, seeded(4))
    assert loss.shape == (50,)
    assert loss.isfinite().all()
    torch.testing.assert_close(loss, objective.loss_at(net, x_0, x_1, t))


@objectives
def test_several_networks_at_once_are_each_alone(name):
    objective = OBJECTIVES[name]
    members = [MLP(2, hidden=8, gain=1.0, generator=seeded(seed)) for seed in range(3)]
    x_1 = randn(3, 20, 2).float()
    together = objective.loss(Members(members), x_1, tuple(seeded(10 + s) for s in range(3)))
    alone = [objective.loss(members[s], x_1[s], seeded(10 + s)) for s in range(3)]
    torch.testing.assert_close(together, torch.stack(alone), rtol=1e-4, atol=1e-4)
    flow = objective.velocity(Members(members))
    x = randn(3, 5, 2)
    for s in range(3):
        torch.testing.assert_close(
            euler(flow, x, [0.0, 0.5, 0.9])[s],
            euler(objective.velocity(members[s]), x[s], [0.0, 0.5, 0.9]),
            rtol=1e-4,
            atol=1e-4,
        )


def test_several_networks_need_as_many_generators():
    with pytest.raises(ValueError, match="2 generators draw"):
        OBJECTIVES["fm-ot"].loss(lambda x, t: x, randn(3, 20, 2), (seeded(0), seeded(1)))


def test_losses_average_over_the_elements_of_an_image():
    """A network that is wrong by 1 in every pixel has a loss of 1 more, whatever the size of the image."""
    path = OT()
    x_0, x_1, t = randn(4, 1, 3, 3), randn(4, 1, 3, 3, seed=1), torch.rand(4).double()
    loss = cfm_loss(lambda x, t: path.target(x_0, x_1, t) + 1, x_0, x_1, t, path=path)
    torch.testing.assert_close(loss, torch.ones(4).double())


def test_a_network_runs_in_its_own_dtype_and_takes_its_conditions():
    seen = []

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.gain = nn.Parameter(torch.tensor(2.0))

        def forward(self, x: Tensor, t: Tensor, label: Tensor | None = None) -> Tensor:
            seen.append((x.dtype, t.dtype, label))
            return self.gain * x

    x, label = randn(3, 2), torch.tensor([1, 2, 3])
    assert in_own_dtype(Net())(x, at(0.5)).dtype == torch.float64
    OBJECTIVES["fm-ot"].loss(Net(), x.float(), seeded(), label=label)
    assert seen[0] == (torch.float32, torch.float32, None)
    assert seen[1] == (torch.float32, torch.float32, label)
