"""The mean parametrisation: masked cross-entropy is score entropy, and D3PM's bound is its discrete-time form."""

import pytest
import torch
from torch import Tensor

from papers.sedd.cross_entropy import d3pm_bound, d3pm_loss, log_score_from, masked_cross_entropy
from papers.sedd.exact import entropy, kl
from papers.sedd.loss import dwdse_loss, likelihood_bound, stratified_times
from papers.sedd.noise import LogLinear
from papers.sedd.oracle import markov_log_posterior, markov_log_score
from tests.papers.sedd.cases import ABSORBING, CHAIN, GRAPHS, NOISES, UNIFORM, L, N, draw, expm, generator, name


class Posterior(torch.nn.Module):
    """Any posterior that depends on the whole of x_t and on the noise."""

    def __init__(self, states: int) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.randn(states, L, N, generator=generator(9), dtype=torch.float64))

    def forward(self, x_t: Tensor, sigma: Tensor) -> Tensor:
        mixed = self.table[x_t, torch.arange(L)] + self.table[x_t.roll(1, 1), 0] * sigma[:, None, None]
        return mixed.log_softmax(dim=-1)


@pytest.mark.parametrize("noise", NOISES, ids=name)
def test_masked_cross_entropy_is_score_entropy_number_for_number(noise):
    """With s = r p_θ: for each sequence to rounding, relative to terms of size r log r, and so are the gradients."""
    x0, t = torch.randint(N, (200, L), generator=generator()), stratified_times(200, generator(1))
    losses, gradients = [], []
    for mean_parametrised in (True, False):
        net = Posterior(N + 1)
        if mean_parametrised:
            loss = dwdse_loss(log_score_from(net, ABSORBING), x0, t, ABSORBING, noise, generator(2))
        else:
            loss = masked_cross_entropy(net, x0, t, ABSORBING, noise, generator(2))
        (gradient,) = torch.autograd.grad(loss.sum(), net.table)
        losses.append(loss.detach())
        gradients.append(gradient)
    assert losses[0].min() >= -1e-9
    assert losses[0].max() > 1
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-10, atol=1e-8)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-9, atol=1e-8)


def step_laws(graph, x_k: int, sigma: float, sigma_next: float) -> Tensor:
    """[x0, y] = q(x_{k−1} = y | x_k, x0) by Bayes' rule, from scipy; 0 for an x0 that does not lead to x_k."""
    E, before, step = (torch.from_numpy(expm(graph, s)) for s in (sigma, sigma_next, sigma - sigma_next))
    joint = step[x_k] * before[:, :N].T
    return torch.where(E[x_k, :N, None] > 0, joint / E[x_k, :N, None], 0.0)


@pytest.mark.parametrize("lam", [0.0, 0.3])
@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_d3pm_is_the_divergence_between_steps_written_out(graph, lam):
    steps, noise, net = 5, LogLinear(), markov_log_posterior(CHAIN, graph)
    x0, k = torch.randint(N, (60, L), generator=generator()), torch.arange(60) % steps + 1
    seen: list[Tensor] = []

    def flattened(x_t: Tensor, sigma: Tensor) -> Tensor:
        seen[:] = [x_t, (0.5 * net(x_t, sigma)).log_softmax(dim=-1)]
        return seen[1]

    losses = d3pm_loss(flattened, x0, k, steps, graph, noise, generator(1), lam)
    for b in range(60):
        sigma, sigma_next = (float(noise.sigma(level / steps)) for level in (k[b].double(), k[b].double() - 1))
        total = 0.0
        for i in range(L):
            q = step_laws(graph, int(seen[0][b, i]), sigma, sigma_next)
            total += kl(q[x0[b, i]], seen[1][b, i].exp() @ q) - lam * float(seen[1][b, i, x0[b, i]])
        assert float(losses[b]) == pytest.approx(steps * total, rel=1e-8, abs=1e-9)


def test_the_discrete_bound_of_one_token_is_its_entropy_at_any_number_of_steps():
    """With the exact posterior of a single position nothing is lost: Σ_k E KL + E KL(q(x_T | x0) ‖ p_T) = H(x0)."""
    n, noise, p = 40_000, LogLinear(), CHAIN.start
    for graph in GRAPHS:
        post = markov_log_posterior(CHAIN, graph)
        x0 = draw(p, n)
        k = torch.arange(n) % 3 + 1
        losses = d3pm_loss(post, x0, k, 3, graph, noise, generator(1), lam=0)
        E = torch.from_numpy(expm(graph, float(noise.sigma(torch.ones((), dtype=torch.float64)))))[:, :N]
        left = sum(float(p[a]) * kl(E[:, a], E @ p) for a in range(N))
        assert abs(float(losses.mean()) + left - entropy(p)) < 4.5 * float(losses.std()) / n**0.5


@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_d3pms_bound_of_one_token_is_its_entropy_and_what_the_base_law_costs(graph, steps):
    """With its exact posterior, at any number of steps: H(x0) + KL(p_T ‖ p_base), the base with its leak on masks."""
    n, noise, p = 40_000, LogLinear(0.3), CHAIN.start
    bound = d3pm_bound(markov_log_posterior(CHAIN, graph), draw(p, n), steps, graph, noise, generator(1), n_times=3)
    E = torch.from_numpy(expm(graph, float(noise.sigma(torch.ones((), dtype=torch.float64)))))[:, :N]
    base = torch.full((graph.dim,), 1 / N, dtype=torch.float64)
    if graph.mask is not None:
        base = 0.3 * base
        base[N] = 0.7
    assert abs(float(bound.total.mean()) - entropy(p) - kl(E @ p, base)) < 4.5 * float(bound.total.std()) / n**0.5
    assert float(bound.prior[0]) == pytest.approx(kl(E[:, 0], base))
    longer = d3pm_bound(
        lambda x_t, sigma: torch.full((*x_t.shape, N), 1 / N, dtype=torch.float64).log(),
        torch.zeros(2, L, dtype=torch.long),
        steps,
        graph,
        noise,
        generator(),
    )
    assert float(longer.prior[0]) == pytest.approx(L * kl(E[:, 0], base))


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_d3pm_falls_to_the_continuous_bound_as_the_steps_grow(graph):
    """The excess of the discrete bound is positive, and 1/steps: of 4 steps it is large, of 200 within the noise."""
    n, noise = 20_000, LogLinear()
    x0 = draw(CHAIN.law(L), n)
    post = markov_log_posterior(CHAIN, graph)
    exact = likelihood_bound(markov_log_score(CHAIN, graph), x0, graph, noise, generator(1), n_times=4).diffusion

    def excess(steps: int) -> tuple[float, float]:
        k = torch.arange(n) % steps + 1
        losses = d3pm_loss(post, x0, k[torch.randperm(n, generator=generator(2))], steps, graph, noise, generator(3), 0)
        return float(losses.mean() - exact.mean()), float((losses.var() + exact.var()) / n) ** 0.5

    gap, error = excess(4)
    assert gap > 5 * error
    fine_gap, fine_error = excess(200)
    assert abs(fine_gap) < 4.5 * fine_error + gap / 40


def test_gradients_are_finite_where_states_are_impossible():
    x0, k = torch.randint(N, (30, L), generator=generator()), torch.arange(30) % 6 + 1
    net = Posterior(N + 1)
    d3pm_loss(net, x0, k, 6, ABSORBING, LogLinear(), generator(1)).sum().backward()
    assert net.table.grad is not None
    assert net.table.grad.isfinite().all()
    assert net.table.grad.abs().max() > 0


def test_bad_input_is_one_line():
    x0 = torch.zeros(2, L, dtype=torch.long)
    for k in ([0, 3], [3, 6]):
        with pytest.raises(ValueError, match=f"k lies between 1 and steps = 5, not {k[0]} to {k[1]}"):
            d3pm_loss(Posterior(N), x0, torch.tensor(k), 5, UNIFORM, LogLinear(), generator())
