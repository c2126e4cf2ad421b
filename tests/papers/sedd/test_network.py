"""What a network's outputs become."""

from math import log

import pytest
import torch
from torch import Tensor, nn

from papers.sedd.network import PosteriorNetwork, RatioNetwork
from tests.papers.sedd.cases import ABSORBING, GRAPHS, UNIFORM, L, N, generator, name

SIGMA = torch.tensor([1e-4, 0.5, 6.9], dtype=torch.float64)


class Backbone(nn.Module):
    """Outputs of its own for each token, and a record of what it was given."""

    def __init__(self, states: int, scale: float = 1.0) -> None:
        super().__init__()
        self.table = nn.Parameter(scale * torch.randn(states, states, generator=generator()))
        self.dtype: torch.dtype | None = None

    def forward(self, x_t: Tensor, sigma: Tensor) -> Tensor:
        self.dtype = sigma.dtype
        return self.table[x_t]


def test_a_network_that_returns_zero_has_the_ratios_of_a_uniform_posterior():
    x_t = torch.full((3, L), N)
    log_score = RatioNetwork(Backbone(N + 1, 0.0), ABSORBING)(x_t, SIGMA)
    exact = ABSORBING.log_score_of(torch.full((3, L, N), -log(N), dtype=torch.float64), x_t, SIGMA)
    torch.testing.assert_close(log_score.double(), exact, rtol=1e-6, atol=1e-6)
    x_t = torch.randint(N, (3, L), generator=generator())
    assert (RatioNetwork(Backbone(N, 0.0), UNIFORM)(x_t, SIGMA) == 0).all()


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_the_ratio_of_a_token_to_itself_is_one(graph):
    x_t = torch.randint(graph.dim, (3, L), generator=generator())
    net = Backbone(graph.dim)
    log_score = RatioNetwork(net, graph)(x_t, SIGMA)
    assert log_score.dtype == net.dtype == torch.float32
    assert (log_score.gather(-1, x_t[..., None]) == 0).all()
    other = (x_t[..., None] + 1) % graph.dim
    assert (log_score.gather(-1, other) != 0).all()


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_a_posterior_is_normalised_over_tokens_and_knows_what_it_sees(graph):
    x_t = torch.randint(graph.dim, (3, L), generator=generator())
    net = Backbone(graph.dim)
    p = PosteriorNetwork(net, graph)(x_t, SIGMA).exp()
    assert p.shape == (3, L, N)
    torch.testing.assert_close(p.sum(dim=-1), torch.ones(3, L))
    free = net.table[x_t][..., :N].softmax(dim=-1)
    known = (x_t != graph.mask) if graph.mask is not None else torch.zeros_like(x_t, dtype=torch.bool)
    torch.testing.assert_close(p[~known], free[~known])
    if graph is ABSORBING:
        assert known.any()
        assert (p.gather(-1, x_t.clamp(max=N - 1)[..., None])[known] == 1).all()
