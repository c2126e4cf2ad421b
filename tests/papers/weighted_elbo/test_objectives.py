"""The rows against their closed forms, against the losses of flow matching, and against each other."""

import pytest
import torch

from common.diffusion.objective import Objective
from papers.flow_matching import objective as flow_matching
from papers.flow_matching.path import VP as FlowVP
from papers.weighted_elbo.objectives import OBJECTIVES
from papers.weighted_elbo.weighting import WEIGHTINGS
from tests.papers.weighted_elbo.cases import f64, randn, seeded

every_objective = pytest.mark.parametrize("objective", OBJECTIVES.values(), ids=OBJECTIVES.keys())
FLOW = {"fm-ot": "fm-ot", "fm-vp": "fm-vp", "score": "score", "scoreflow": "scoreflow", "ddpm": "eps-vp"}
"""Flow matching's five losses, and what they are called here."""


def inside(objective: Objective) -> torch.Tensor:
    ends = objective.levels.log_snr_min, objective.levels.log_snr_max
    return torch.linspace(*ends, 403, dtype=torch.float64)[1:-1]


def unevenness(ratio: torch.Tensor) -> float:
    return float((ratio / ratio.mean() - 1).abs().max())


def test_every_row_has_a_closed_form():
    assert set(OBJECTIVES) == set(WEIGHTINGS)


@every_objective
def test_the_implied_weighting_is_the_closed_form_up_to_a_factor(objective):
    at = inside(objective)
    assert unevenness(objective.weighting(at) / WEIGHTINGS[objective.name](at)) < 1e-9


@every_objective
def test_it_is_not_with_the_speed_of_the_schedule_left_in(objective):
    at = inside(objective)
    speed = -objective.path.log_snr_dot(objective.path.t_from_log_snr(at))
    assert unevenness(speed * objective.weighting(at) / WEIGHTINGS[objective.name](at)) > 0.1


@every_objective
def test_it_is_not_with_signal_and_noise_exchanged(objective):
    at = inside(objective)
    at = at[at.abs() < min(objective.levels.log_snr_max, -objective.levels.log_snr_min) - 0.1]
    ratio = objective.weighting(-at) / WEIGHTINGS[objective.name](at)
    even = objective.name in ("elbo", "eps-cosine", "scoreflow")
    assert (unevenness(ratio) < 1e-9) == even


# Flow matching runs time the other way, from noise to data.


def reversed_in_time(net, ours: Objective):
    """The network of flow matching's objective as one of ours: t → 1 − t, and a velocity changes its sign."""
    sign = -1 if ours.prediction == "velocity" else 1

    def call(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return sign * net(x, 1 - t)

    return call


def net(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    return torch.sin(3 * x) + 0.3 * t.reshape(-1, 1) - 0.1


@pytest.mark.parametrize(("theirs", "name"), FLOW.items())
def test_flow_matching_s_loss_value_for_value(theirs, name):
    """At given noise and times."""
    x, noise, t = randn(6, 3), randn(6, 3, seed=1), f64(1e-3, 0.2, 0.4, 0.6, 0.9, 0.999)
    expected = flow_matching.OBJECTIVES[theirs].loss_at(net, noise, x, t)
    found = OBJECTIVES[name].loss_at(reversed_in_time(net, OBJECTIVES[name]), x, noise, 1 - t)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=0)


@pytest.mark.parametrize(("theirs", "name"), [each for each in FLOW.items() if each[1] != "fm-ot"])
def test_flow_matching_s_loss_draw_for_draw(theirs, name):
    """From one generator; the OT path is cut off at λ = −20 here."""
    assert isinstance(flow_matching.OBJECTIVES[theirs].path, FlowVP)
    expected = flow_matching.OBJECTIVES[theirs].loss(net, randn(50, 3), seeded(7))
    found = OBJECTIVES[name].loss(reversed_in_time(net, OBJECTIVES[name]), randn(50, 3), seeded(7))
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)


def test_edm_s_loss_draw_for_draw():
    from papers.edm.loss import edm_loss

    def denoiser(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        return x / (1 + sigma.reshape(-1, 1) ** 2)

    x0 = randn(50, 3)
    eps, sigma = randn(50, 3, seed=1), OBJECTIVES["edm"].levels.sample((50,), seeded(2)).mul(-0.5).exp()
    found = OBJECTIVES["edm"].loss_at(denoiser, x0, eps, sigma)

    class Same:
        def sample(self, n: int, generator: torch.Generator) -> torch.Tensor:
            return sigma

    torch.testing.assert_close(found, edm_loss(denoiser, x0, seeded(1), Same()))
