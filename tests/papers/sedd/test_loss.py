"""The losses by the entropies they must equal: exact scores leave the source's entropy and the prior term, no more."""

from itertools import product
from math import log

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from papers.sedd.exact import (
    base_law,
    diffusion_term,
    entropy,
    exact_log_score,
    kl,
    marginal,
    sequences,
    transition_matrix,
)
from papers.sedd.loss import (
    concrete_score_matching_loss,
    dwdse_loss,
    likelihood_bound,
    stratified_times,
    uniform_times,
)
from papers.sedd.noise import Geometric, LogLinear
from papers.sedd.oracle import markov_log_score
from tests.papers.sedd.cases import (
    ABSORBING,
    CHAIN,
    GRAPHS,
    NOISES,
    UNIFORM,
    L,
    N,
    P,
    draw,
    expm,
    generator,
    name,
    random_law,
    random_log_score,
    rates,
)

ONE = torch.ones((), dtype=torch.float64)
ZERO = torch.zeros((), dtype=torch.float64)


def information(p0: Tensor, graph, sigma: float) -> float:
    """I(x0; x_t) = E KL(p(x_t | x0) ‖ p_t), from scipy's exponential of the whole sequence's chain."""
    if sigma == 0:
        return entropy(p0)
    p_t = marginal(p0, graph, sigma).flatten()
    E = transition_matrix(graph, p0.ndim, sigma)
    tokens = (sequences(graph.dim, p0.ndim) < N).all(dim=1)
    return sum(float(w) * kl(column, p_t) for w, column in zip(p0.flatten(), E[:, tokens].T, strict=True))


@pytest.mark.parametrize("noise", NOISES, ids=name)
@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_the_exact_diffusion_term_is_the_information_that_noise_destroys(graph, noise):
    """With exact ratios ∫ DSE dt = I(x0; x_{t=0}) − I(x0; x_{t=1}). With 32 nodes it is exact to 10⁻¹⁰: 64 agree."""
    p0 = random_law()
    lost = information(p0, graph, float(noise.sigma(ZERO))) - information(p0, graph, float(noise.sigma(ONE)))
    assert diffusion_term(exact_log_score(p0, graph), p0, graph, noise) == pytest.approx(lost, abs=1e-8)


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_the_exact_bound_is_the_entropy(graph):
    """E bound = H(p_0) + KL(p_T ‖ p_base). For masks the base has the unmasked share spread evenly (`prior_kl`)."""
    p0, noise = random_law(), LogLinear()
    sigma_T = noise.sigma(ONE)
    base = base_law(graph, L)
    if graph is ABSORBING:
        left = (-sigma_T).exp()
        one = torch.cat([left / N * torch.ones(N, dtype=torch.float64), (1 - left)[None]])
        base = one[:, None, None, None] * one[:, None, None] * one[:, None] * one
    bound = diffusion_term(exact_log_score(p0, graph), p0, graph, noise) + L * float(graph.prior_kl(sigma_T))
    assert bound == pytest.approx(entropy(p0) + kl(marginal(p0, graph, float(sigma_T)), base), abs=1e-8)


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_ratios_wrong_by_a_factor_cost_what_they_must(graph):
    """s = f p_t(y)/p_t(x) adds (f − 1 − log f) times the number of jumps that the noise makes, forward as backward."""
    p0, noise, f = random_law(2), LogLinear(), 0.7
    exact, sigma_T = exact_log_score(p0, graph), float(noise.sigma(ONE))

    def scaled(x_t: Tensor, sigma: Tensor) -> Tensor:
        return exact(x_t, sigma) + log(f)

    cost = diffusion_term(scaled, p0, graph, noise) - diffusion_term(exact, p0, graph, noise)
    jumps = 2 * (sigma_T * (1 - 1 / N) if graph is UNIFORM else 1 - np.exp(-sigma_T))
    assert cost == pytest.approx((f - 1 - log(f)) * jumps, abs=1e-8)


@pytest.mark.parametrize("noise", NOISES, ids=name)
@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_the_sampled_bound_is_the_exact_one(graph, noise):
    """Monte Carlo against quadrature, per part, within 4.5 standard errors; never below the entropy by more."""
    n, p0 = 6000, CHAIN.law(L)
    x0 = draw(p0, n)
    bound = likelihood_bound(markov_log_score(CHAIN, graph), x0, graph, noise, generator(1), n_times=16)

    def agrees(values: Tensor, exact: float) -> None:
        assert values.shape == (n,)
        assert abs(float(values.mean()) - exact) < 4.5 * float(values.std()) / n**0.5 + 1e-12

    agrees(bound.diffusion, diffusion_term(exact_log_score(p0, graph), p0, graph, noise))
    agrees(bound.prior, L * float(graph.prior_kl(noise.sigma(ONE))))
    assert float(bound.total.mean()) > entropy(p0) - 4.5 * float(bound.total.std()) / n**0.5
    if noise.sigma(ZERO) == 0:
        assert bound.reconstruction.abs().max() == 0
        assert float(graph.prior_kl(noise.sigma(ONE))) > 0
    else:
        # The last step takes positions one by one: never less than H(x0 | x_t), and at σ = 0.05 hardly more.
        gap = entropy(p0) - information(p0, graph, float(noise.sigma(ZERO)))
        error = 4.5 * float(bound.reconstruction.std()) / n**0.5
        assert gap - error < float(bound.reconstruction.mean()) < 1.1 * gap + error
    torch.testing.assert_close(bound.total, bound.diffusion + bound.prior + bound.reconstruction)


def test_a_loss_sums_over_positions_and_keeps_sequences_apart():
    """Of sequences (a, …, a) of independent tokens, one of length 6 has three times the loss of one of length 2."""
    one = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)

    def log_score(x_t, sigma):
        return UNIFORM.log_score_of((one * UNIFORM.likelihood(x_t, sigma)).log().log_softmax(-1), x_t, sigma)

    t = torch.full((6000,), 0.5, dtype=torch.float64)
    short, long = (
        dwdse_loss(log_score, torch.zeros(6000, m, dtype=torch.long), t, UNIFORM, LogLinear(), generator(m))
        for m in (2, 6)
    )
    error = 5 * (float(short.var() * 9 + long.var()) / 6000) ** 0.5
    assert float(long.mean()) == pytest.approx(3 * float(short.mean()), abs=error)
    t = torch.tensor([0.2, 0.9], dtype=torch.float64)
    seen: list[Tensor] = []

    def zero(x_t, sigma):
        seen.extend([x_t, sigma])
        return torch.zeros(*x_t.shape, 4, dtype=torch.float64)

    noise, x0 = Geometric(0.1, 3), torch.zeros(2, 5, dtype=torch.long)
    losses = dwdse_loss(zero, x0, t, ABSORBING, noise, generator())
    torch.testing.assert_close(seen[1], noise.sigma(t))
    # s = 1 everywhere: a masked position has N − 0 + K(r).
    r = 1 / (seen[1].exp() - 1)
    masked = (seen[0] == N).sum(dim=1)
    torch.testing.assert_close(losses, noise.sigma_deriv(t) * masked * (N + r * r.log() - r))


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_denoising_score_entropy_has_the_optimum_of_score_entropy(graph):
    """Theorem 3.4, exactly: E_{x0|x_t} of DSE at two scores differs as the score entropy of the true ratios does."""
    p0, sigma = random_law(2), 0.8
    x_t, x0 = sequences(graph.dim, 2), sequences(N, 2)
    tokens = (x_t < N).all(dim=1)
    joint = transition_matrix(graph, 2, sigma)[:, tokens] * p0.flatten()
    levels = torch.full((len(x_t),), sigma, dtype=torch.float64)
    truth = exact_log_score(p0, graph)(x_t, levels).exp()
    scores = [random_log_score(graph, (len(x_t), 2), seed) for seed in (0, 1)]
    explicit, denoising = [], []
    Q = torch.from_numpy(rates(graph))[x_t].clamp(min=0)
    for log_s in scores:
        explicit.append((Q * (log_s.exp() - truth * log_s)).sum(dim=(1, 2)))
        entropies = torch.stack(
            [graph.score_entropy(log_s, x_t, x.expand_as(x_t), sigma).sum(dim=1) for x in x0], dim=1
        )
        posterior = joint / joint.sum(dim=1, keepdim=True)
        denoising.append(torch.where(joint > 0, posterior * entropies, 0.0).sum(dim=1))
    torch.testing.assert_close(denoising[0] - denoising[1], explicit[0] - explicit[1], rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_concrete_score_matching_is_the_weighted_square_of_the_error_in_ratios(graph):
    noise, x0, t = (
        LogLinear(),
        torch.tensor([[0, 1, 2, 2], [1, 1, 0, 2]]),
        torch.tensor([0.3, 0.8], dtype=torch.float64),
    )
    values = random_log_score(graph, (2, L))
    seen: list[Tensor] = []

    def score(x_t, sigma):
        seen.append(x_t)
        return values

    losses = concrete_score_matching_loss(score, x0, t, graph, noise, generator())
    for b in range(2):
        sigma, total = float(noise.sigma(t[b])), 0.0
        E, Q = expm(graph, sigma), rates(graph)
        for i, y in product(range(L), range(graph.dim)):
            x = int(seen[0][b, i])
            if y != x:
                total += Q[x, y] * (float(values[b, i, y]) - E[y, x0[b, i]] / E[x, x0[b, i]]) ** 2 / 2
        assert float(losses[b]) == pytest.approx(total * float(noise.sigma_deriv(t[b])), rel=1e-9)


def test_a_ratio_driven_to_zero_costs_score_entropy_without_end_and_a_square_almost_nothing():
    x0, t = torch.zeros(200, L, dtype=torch.long), torch.full((200,), 0.5, dtype=torch.float64)
    depths = (-10.0, -100.0, -200.0)

    def losses(depth: float) -> tuple[float, float]:
        def log_score(x_t: Tensor, sigma: Tensor) -> Tensor:
            return torch.full((*x_t.shape, N), depth, dtype=torch.float64)

        def score(x_t: Tensor, sigma: Tensor) -> Tensor:
            return log_score(x_t, sigma).exp()

        arguments = (x0, t, UNIFORM, LogLinear())
        return (
            float(dwdse_loss(log_score, *arguments, generator()).mean()),
            float(concrete_score_matching_loss(score, *arguments, generator()).mean()),
        )

    entropies, squares = zip(*map(losses, depths), strict=True)
    # −r log s grows in proportion to the depth, with the slope of the ratios' mean.
    slopes = np.diff(entropies) / np.diff(depths)
    assert slopes[0] == pytest.approx(slopes[1], rel=1e-3)
    assert slopes[0] < -1
    assert squares[2] == pytest.approx(squares[0], rel=1e-3)


def test_times_are_uniform_and_the_stratified_ones_evenly_spread():
    for times in (uniform_times, stratified_times):
        t = times(5000, generator())
        assert t.dtype == torch.float64
        assert t.min() > 0
        assert t.max() <= 1
        assert stats.kstest(t.numpy(), stats.uniform.cdf).pvalue > P
    ordered = stratified_times(64, generator(1)).sort().values
    torch.testing.assert_close(ordered.diff(), torch.full((63,), 1 / 64, dtype=torch.float64))
    firsts = np.array([float(stratified_times(8, generator(seed))[0]) for seed in range(2000)])
    assert stats.kstest(firsts, stats.uniform.cdf).pvalue > P


def test_gradients_flow_and_a_generator_is_the_only_randomness():
    x0, t = torch.randint(N, (8, L), generator=generator()), stratified_times(8, generator(1))
    table = torch.zeros(N + 1, N + 1, requires_grad=True)

    def loss() -> Tensor:
        return dwdse_loss(lambda x, s: table[x], x0, t, ABSORBING, LogLinear(), generator(2)).sum()

    assert torch.equal(loss(), loss())
    loss().backward()
    assert table.grad is not None
    assert table.grad.isfinite().all()
    assert table.grad[N, :N].abs().min() > 0
    assert table.grad[:N].abs().max() == 0


def test_bad_input_is_one_line():
    x0, t = torch.zeros(2, L, dtype=torch.long), torch.ones(2, dtype=torch.float64)
    arguments = (UNIFORM, LogLinear(), generator())

    def zero(x_t, sigma):
        return torch.zeros(*x_t.shape, N)

    with pytest.raises(ValueError, match=r"x0 must be a \(B, L\) tensor of long, not \(2, 4\) of torch.float32"):
        dwdse_loss(zero, x0.float(), t, *arguments)
    with pytest.raises(ValueError, match="tokens lie between 0 and 2, not 0 to 3"):
        dwdse_loss(zero, x0.scatter(1, torch.tensor([[1], [1]]), 3), t, *arguments)
    with pytest.raises(ValueError, match=r"sigma must be a scalar or have shape \(2,\), not \(3,\)"):
        dwdse_loss(zero, x0, torch.ones(3), *arguments)
    with pytest.raises(ValueError, match="n_times is at least 1, not 0"):
        likelihood_bound(zero, x0, *arguments, n_times=0)
