"""SEDD's models at tiny settings: losses, ratios and how they are trained, by cases whose answer is known."""

from dataclasses import replace
from math import log

import pytest
import torch
from torch import nn

from papers.sedd.graph import GRAPHS, Absorbing
from papers.sedd.network import PlainRatioNetwork, RatioNetwork
from papers.sedd.studies import looks
from papers.sedd.studies.models import (
    LEAST_RATIO,
    MODELS,
    clamped,
    invalid_ratios,
    loss_of,
    network,
    optimisation,
)
from tests.papers.sedd.cases import TINY, generator


def test_every_graph_and_model_has_a_look_of_its_own():
    assert set(looks.GRAPHS) == set(GRAPHS)
    assert set(looks.MODELS) == set(MODELS)
    assert len({(look.colour, look.marker) for look in looks.MODELS.values()}) == len(MODELS)


@pytest.mark.parametrize("model", ["sedd-absorb", "d3pm-absorb", "csm-absorb", "ar"])
def test_losses_are_per_token(model):
    config = replace(TINY, model=model)
    net = network(config, 8, generator())
    x0 = torch.randint(8, (512, 8), generator=generator(1))
    loss = loss_of(config, 8)(net, x0, generator(2))
    assert loss.shape == (512,)
    if model == "csm-absorb":
        # Times go down to 1/512: E (s − r)²/2 over 8 tokens of which one has ratio r, where the network gives r/8 each.
        t = (torch.arange(512) + 0.5).double() / 512 * 0.999
        wanted = float((7 / 16 * (1 - t) / t).mean())
        assert float(loss.detach().mean()) == pytest.approx(wanted, rel=0.5)
    else:
        # D3PM's auxiliary term is 0.01 · 1000 times the cross-entropy of the masked half.
        wanted = 6 * log(8) if model == "d3pm-absorb" else log(8)
        assert float(loss.detach().mean()) == pytest.approx(wanted, rel=0.1)


def test_ratios_that_are_none_are_counted_and_clamped():
    graph = Absorbing(4)
    x0 = torch.randint(4, (300, 5), generator=generator())

    def score(x_t, sigma):
        return torch.tensor([1.0, -1.0, 0.0, 2.0, 1.0]).expand(*x_t.shape, 5)

    assert invalid_ratios(score, x0, graph, generator(1)) == pytest.approx(0.5)
    # Negative where more than half is masked: there lie three quarters of all masks.
    many = torch.randint(4, (4000, 5), generator=generator())
    late = invalid_ratios(
        lambda x_t, sigma: torch.where(sigma > log(2), -1.0, 1.0)[:, None, None].expand(*x_t.shape, 5),
        many,
        graph,
        generator(1),
    )
    assert late == pytest.approx(0.75, abs=0.03)
    sigma = torch.full((300,), 0.8, dtype=torch.float64)
    low = LEAST_RATIO / float(torch.expm1(sigma[0]))
    wanted = torch.tensor([1.0, low, low, 2.0, 1.0]).expand(300, 5, 5)
    torch.testing.assert_close(clamped(score)(x0, sigma).exp(), wanted)


def test_plain_ratios_start_where_score_entropys_do():
    graph, sigma = Absorbing(4), torch.tensor([0.3, 2.0], dtype=torch.float64)

    class Zero(nn.Module):
        def forward(self, x_t, sigma):
            return torch.zeros(*x_t.shape, 5)

    x_t = torch.full((2, 3), graph.mask)
    plain, exponential = PlainRatioNetwork(Zero(), graph)(x_t, sigma), RatioNetwork(Zero(), graph)(x_t, sigma).exp()
    torch.testing.assert_close(plain[..., :4], exponential[..., :4])


def test_the_average_is_the_papers_at_full_length():
    full = optimisation(replace(TINY, batch=512, ema_rampup=None))
    assert full.ema_halflife is not None
    assert 0.5 ** (512 / full.ema_halflife) == pytest.approx(0.9999)
    assert full.clip == 1.0


def test_the_learning_rate_rises_over_the_warm_up():
    config = replace(TINY, steps=100, warmup=10, batch=4)
    seen = optimisation(config)
    assert (seen.lr_rampup, seen.batch_size) == (40, 4)


def test_masks_are_trained_along_log_linear_noise_and_the_uniform_graph_along_geometric_noise():
    """As the official code is run; a network sees what it is trained on."""
    seen: list[torch.Tensor] = []

    def remember(x_t, sigma):
        seen.append(sigma)
        return torch.zeros(*x_t.shape, 9)

    x0 = torch.randint(8, (1000, 8), generator=generator())
    quarters = torch.linspace(0, 1, 5, dtype=torch.float64)
    for model, wanted in (
        ("sedd-absorb", -torch.log1p(-0.999 * quarters)),
        ("csm-absorb", -torch.log1p(-0.999 * quarters)),
        ("sedd-uniform", 1e-5 * 2e6**quarters),
    ):
        with torch.no_grad():
            loss_of(replace(TINY, model=model), 8)(_sized(remember, 9 - (model == "sedd-uniform")), x0, generator(1))
        found = seen.pop().quantile(quarters)
        torch.testing.assert_close(found[1:4], wanted[1:4], rtol=0.02, atol=0)


def _sized(net, states):
    return lambda x_t, sigma: net(x_t, sigma)[..., :states]


def test_d3pm_visits_every_step_alike(monkeypatch):
    """1000 sequences at evenly spread times: every k from 1 to 1000 once."""
    seen: list[torch.Tensor] = []

    def remember(net, x0, k, *args):
        seen.append(k)
        return torch.zeros(len(x0))

    monkeypatch.setattr("papers.sedd.studies.models.d3pm_loss", remember)
    config = replace(TINY, model="d3pm-absorb")
    loss_of(config, 8)(nn.Identity(), torch.zeros(1000, 8, dtype=torch.long), generator())
    assert seen[0].sort().values.tolist() == list(range(1, 1001))
