"""Samplers by the laws they produce, carried through exactly where that is possible, and by frequency where not."""

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from papers.sedd.categorical import categorical
from papers.sedd.exact import (
    base_law,
    exact_log_score,
    marginal,
    sampler_law,
    sequences,
    total_variation,
    transition_matrix,
)
from papers.sedd.graph import Graph
from papers.sedd.noise import Geometric, LogLinear
from papers.sedd.sampler import denoise_probs, euler_step, reverse_times, sample, tweedie_step
from tests.papers.sedd.cases import (
    ABSORBING,
    GRAPHS,
    NOISES,
    UNIFORM,
    L,
    N,
    P,
    generator,
    name,
    random_law,
    random_log_score,
)

STEPS = (euler_step, tweedie_step)
ONE = torch.ones((), dtype=torch.float64)


def at(t: float) -> Tensor:
    return torch.tensor(t, dtype=torch.float64)


def start(p0: Tensor, graph: Graph, noise) -> Tensor:
    return marginal(p0, graph, float(noise.sigma(ONE)))


def position_law(p0: Tensor, graph: Graph, x_t: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """p(x at sigma_next, position by position | x_t at sigma), (n, L, S), by Bayes' rule on whole sequences."""
    before = marginal(p0, graph, sigma_next).flatten() if sigma_next > 0 else _padded(p0, graph)
    joint = transition_matrix(graph, p0.ndim, sigma - sigma_next) * before
    posterior = (joint / joint.sum(dim=1, keepdim=True)).reshape(len(x_t), *(graph.dim,) * p0.ndim)
    others = [tuple(j + 1 for j in range(p0.ndim) if j != i) for i in range(p0.ndim)]
    return torch.stack([posterior.sum(dim=axes) for axes in others], dim=1)


def _padded(p0: Tensor, graph: Graph) -> Tensor:
    p = torch.zeros((graph.dim,) * p0.ndim, dtype=torch.float64)
    p[(slice(0, N),) * p0.ndim] = p0
    return p.flatten()


@pytest.mark.parametrize("noise", NOISES, ids=name)
@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_tweedies_step_gives_each_position_its_true_law(graph, noise):
    p0 = random_law(2)
    x, t, t_next = sequences(graph.dim, 2), at(0.7), at(0.4)
    sigma, sigma_next = noise.sigma(t), noise.sigma(t_next)
    log_score = exact_log_score(p0, graph)(x, sigma.expand(len(x)))
    exact = position_law(p0, graph, x, float(sigma), float(sigma_next))
    step = tweedie_step(log_score, x, graph, noise, t, t_next)
    torch.testing.assert_close(step, exact, rtol=1e-10, atol=1e-12)
    last = denoise_probs(log_score, x, graph, sigma)
    exact = position_law(p0, graph, x, float(sigma), 0.0)[..., :N]
    torch.testing.assert_close(last, exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_eulers_step_has_a_local_error_of_second_order(graph):
    # At t = 0.6 σ̄ is 1, and there the two terms of second order cancel for masks.
    p0, noise, t = random_law(2), Geometric(0.05, 8.0), at(0.75)
    x, sigma = sequences(graph.dim, 2), noise.sigma(t)
    log_score = exact_log_score(p0, graph)(x, sigma.expand(len(x)))
    errors = []
    for h in (0.02, 0.01):
        exact = position_law(p0, graph, x, float(sigma), float(noise.sigma(t - h)))
        errors.append(float((euler_step(log_score, x, graph, noise, t, t - h) - exact).abs().max()))
    # The next term of the error is h relative to it.
    assert np.log2(errors[0] / errors[1]) == pytest.approx(2, abs=0.1)
    assert errors[1] > 1e-5


@pytest.mark.parametrize("noise", NOISES, ids=name)
@pytest.mark.parametrize("steps", [1, 3, 10])
@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_tweedie_is_exact_for_a_single_token_at_any_number_of_steps(graph, steps, noise):
    """One position has nothing to depend on, and the grid's steps join without gap or overlap."""
    p0 = random_law(1)
    law = sampler_law(
        exact_log_score(p0, graph), start(p0, graph, noise), graph, noise, reverse_times(steps), tweedie_step
    )
    torch.testing.assert_close(law, p0, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_both_samplers_converge_to_the_data_at_first_order(graph, step):
    """Total variation of four tokens, where the next term of the error is 1/steps relative to the first."""
    p0, noise = random_law(), LogLinear()
    log_score = exact_log_score(p0, graph)
    begin = start(p0, graph, noise)
    counts = (16, 32, 64)
    tv = [total_variation(sampler_law(log_score, begin, graph, noise, reverse_times(n), step), p0) for n in counts]
    slopes = -np.diff(np.log(tv)) / np.diff(np.log(counts))
    assert slopes == pytest.approx([1, 1], abs=1 / 16)
    assert tv[-1] < 0.02
    # Started from the base, what differs is at most what p_T and the base differ by.
    base = sampler_law(log_score, base_law(graph, L), graph, noise, reverse_times(counts[0]), step)
    assert abs(total_variation(base, p0) - tv[0]) <= total_variation(begin, base_law(graph, L)) + 1e-12


def test_tweedie_beats_euler_on_the_uniform_graph_at_every_number_of_steps():
    p0, noise = random_law(), LogLinear()
    log_score, begin = exact_log_score(p0, UNIFORM), start(p0, UNIFORM, noise)
    for n in (2, 4, 8, 16, 32):
        euler, tweedie = (
            total_variation(sampler_law(log_score, begin, UNIFORM, noise, reverse_times(n), step), p0) for step in STEPS
        )
        assert tweedie < euler


def test_under_masks_and_log_linear_noise_the_two_steps_are_one():
    """e^Δσ − 1 = Δt σ(t) there, for any ratios whatever; not so under other noise or on the uniform graph."""
    x = sequences(N + 1, 2)
    log_score = random_log_score(ABSORBING, (len(x), 2)) - 2
    euler, tweedie = (step(log_score, x, ABSORBING, LogLinear(), at(0.6), at(0.5)) for step in STEPS)
    torch.testing.assert_close(euler, tweedie, rtol=1e-12, atol=1e-14)
    euler, tweedie = (step(log_score, x, ABSORBING, Geometric(0.05, 8), at(0.6), at(0.5)) for step in STEPS)
    assert (euler - tweedie).abs().max() > 0.01


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("graph", GRAPHS, ids=name)
@pytest.mark.parametrize("given", [None, torch.tensor([False, True, False, True])], ids=["free", "infilling"])
def test_sampling_follows_the_law_that_its_steps_make(graph, step, given):
    """Frequencies of all 81 results after few steps against the law carried through exactly, by χ²."""
    p0, noise, n = random_law(), NOISES[1], 40_000
    log_score, times = exact_log_score(p0, graph), reverse_times(3, 0.05)
    law = base_law(graph, L)
    x = graph.sample_base((n, L), generator())
    if given is not None:
        x[:, 1], x[:, 3] = 2, 0
        only = torch.zeros_like(law)
        only[:, 2, :, 0] = law.sum(dim=(1, 3))
        law = only
    expected = n * sampler_law(log_score, law, graph, noise, times, step, given).flatten().numpy()
    result = sample(log_score, x, graph, noise, times, step, generator(1), given)
    counts = np.bincount((result * N ** torch.arange(L - 1, -1, -1)).sum(dim=1).numpy(), minlength=N**L)
    assert counts[expected == 0].sum() == 0
    assert stats.chisquare(counts[expected > 0], expected[expected > 0]).pvalue > P


def test_infilling_under_masks_converges_to_the_conditional_law():
    """Any set of positions: here the second and the fourth are given, and the order is that of free sampling."""
    p0, noise, given = random_law(), LogLinear(), torch.tensor([False, True, False, True])
    conditional = torch.zeros_like(p0)
    conditional[:, 2, :, 0] = p0[:, 2, :, 0] / p0[:, 2, :, 0].sum()
    law = torch.zeros(4, 4, 4, 4, dtype=torch.float64)
    law[N, 2, N, 0] = 1
    log_score = exact_log_score(p0, ABSORBING)
    tv = [
        total_variation(
            sampler_law(log_score, law, ABSORBING, noise, reverse_times(n), tweedie_step, given), conditional
        )
        for n in (8, 16, 32)
    ]
    assert np.log2(np.divide(tv[:-1], tv[1:])) == pytest.approx([1, 1], abs=1 / 8)
    assert tv[-1] < 0.02


@pytest.mark.parametrize("steps", [1, 5])
def test_each_evaluation_is_at_its_own_time_and_sees_the_state_it_is_used_for(steps):
    noise, times = LogLinear(), reverse_times(steps, 0.1)
    torch.testing.assert_close(times, torch.linspace(1, 0.1, steps + 1, dtype=torch.float64))
    seen: list[tuple[Tensor, Tensor]] = []
    states: list[Tensor] = []

    def log_score(x_t, sigma):
        seen.append((x_t, sigma))
        return torch.zeros(*x_t.shape, N)

    x = UNIFORM.sample_base((7, L), generator())
    result = sample(log_score, x, UNIFORM, noise, times, tweedie_step, generator(1), callback=states.append)
    assert len(seen) == steps + 1
    torch.testing.assert_close(torch.stack([sigma for _, sigma in seen]), noise.sigma(times)[:, None].expand(-1, 7))
    assert all(torch.equal(a, b) for (a, _), b in zip(seen, states, strict=False))
    assert len(states) == steps + 2
    assert torch.equal(states[0], x)
    assert torch.equal(states[-1], result)


def test_draws_are_made_in_float64_from_a_float32_network():
    """The numbers that the generator gives, position by position, and laws that sum to 1 beyond float32."""
    x, noise, times = ABSORBING.sample_base((300, L), generator()), LogLinear(), reverse_times(1, 0.5)
    values = random_log_score(ABSORBING, (300, L)).float()
    probs = tweedie_step(values, x, ABSORBING, noise, times[0], times[1])
    assert probs.dtype == torch.float64
    torch.testing.assert_close(probs, tweedie_step(values.double(), x, ABSORBING, noise, *times), rtol=0, atol=0)
    torch.testing.assert_close(probs.sum(dim=-1), torch.ones(300, L, dtype=torch.float64), rtol=0, atol=1e-15)
    states: list[Tensor] = []
    sample(lambda x, s: values, x, ABSORBING, noise, times, tweedie_step, generator(3), callback=states.append)
    u = torch.rand(300, L, generator=generator(3), dtype=torch.float64)
    expected = (u[..., None] >= probs.cumsum(dim=-1)).sum(dim=-1)
    assert torch.equal(states[1], expected)


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_every_draw_is_from_a_law_in_float64(graph, step):
    """The steps' and the last one's, though the network speaks float32."""
    laws: list[Tensor] = []

    def draw(probs, generator):
        laws.append(probs)
        return categorical(probs, generator)

    values = random_log_score(graph, (300, L)).float()
    # Late enough that masks are left at every time.
    times = torch.tensor([0.6, 0.5, 0.4], dtype=torch.float64)
    x = graph.sample_base((300, L), generator())
    sample(lambda x, s: values, x, graph, LogLinear(), times, step, generator(1), draw=draw)
    assert len(laws) == 3
    for probs in laws:
        assert probs.dtype == torch.float64
        assert not torch.equal(probs, probs.float().double())


@pytest.mark.parametrize("step", STEPS)
def test_no_mask_is_left_whatever_the_network_says(step):
    """A network whose ratios are far too small would leave nearly all positions masked to the end."""
    x = ABSORBING.sample_base((50, L), generator())
    result = sample(
        lambda x, s: torch.full((*x.shape, N + 1), -9.0),
        x,
        ABSORBING,
        LogLinear(),
        reverse_times(4),
        step,
        generator(1),
    )
    assert result.max() < N
    assert result.min() >= 0


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("graph", GRAPHS, ids=name)
def test_steps_do_not_read_the_ratio_of_a_token_to_itself(graph, step):
    x = sequences(graph.dim, 2)
    log_score = random_log_score(graph, (len(x), 2))
    other = log_score.scatter(-1, x[..., None], 3.0)
    arguments = (x, graph, LogLinear(), at(0.6), at(0.5))
    torch.testing.assert_close(step(log_score, *arguments), step(other, *arguments), rtol=1e-13, atol=1e-15)


def test_given_positions_may_differ_between_sequences():
    x = torch.tensor([[0, N, N, 2], [N, 1, N, N]])
    given = x < N
    result = sample(
        lambda x, s: torch.zeros(*x.shape, N + 1),
        x,
        ABSORBING,
        LogLinear(),
        reverse_times(5),
        tweedie_step,
        generator(),
        given,
    )
    assert torch.equal(result[given], x[given])


def test_bad_input_is_one_line():
    x = ABSORBING.sample_base((2, L), generator())
    noise = LogLinear()

    def run(times, given=None):
        return sample(
            lambda x, s: torch.zeros(2, L, N + 1), x, ABSORBING, noise, times, tweedie_step, generator(), given
        )

    with pytest.raises(ValueError, match="steps is at least 1, not 0"):
        reverse_times(0)
    with pytest.raises(ValueError, match="t_min must lie between 0 and 1, not 1"):
        reverse_times(4, 1)
    for grid in ([1.0], [0.1, 1.0], [1.1, 0.5], [0.5, -0.1]):
        with pytest.raises(ValueError, match=r"times must be a decreasing grid within \[0, 1\]"):
            run(torch.tensor(grid))
    with pytest.raises(ValueError, match="given positions must hold tokens between 0 and 2"):
        run(reverse_times(2), torch.ones(L, dtype=torch.bool))
