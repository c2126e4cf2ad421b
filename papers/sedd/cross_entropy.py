"""The mean parametrisation and its losses: cross-entropy under masks, and D3PM's variational bound.

`log_posterior(x_t: (B, L) long, sigma: (B,)) -> (B, L, N)` is a network's log p_θ(x0^i | x_t), normalised. It implies
ratios (`Graph.log_score_of`), hence every sampler and bound for ratios takes it too, through `log_score_from`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from papers.sedd.graph import Absorbing, Graph, LogScore
from papers.sedd.loss import Bound, check_times, check_tokens, uniform_times
from papers.sedd.noise import Noise

LogPosterior = Callable[[Tensor, Tensor], Tensor]


def log_score_from(log_posterior: LogPosterior, graph: Graph) -> LogScore:
    """The log-ratios s_y = Σ_{x0} p_θ(x0 | x_t) p(y | x0)/p(x_t | x0) of a posterior."""

    def log_score(x_t: Tensor, sigma: Tensor) -> Tensor:
        return graph.log_score_of(log_posterior(x_t, sigma), x_t, sigma)

    return log_score


def masked_cross_entropy(
    log_posterior: LogPosterior, x0: Tensor, t: Tensor, graph: Absorbing, noise: Noise, generator: torch.Generator
) -> Tensor:
    """MDLM's loss (Sahoo et al. 2024): −σ(t)/(e^σ̄ − 1) Σ_{i masked} log p_θ(x0^i | x_t), at times t (B,). Returns (B,).

    With s = p_θ/(e^σ̄ − 1) it is `dwdse_loss`, number for number: Σ_y s_y = r and K(r) = r log r − r leave −r log p_θ.
    """
    check_tokens(x0, graph)
    sigma = noise.sigma(t)
    x_t = graph.sample(x0, sigma, generator)
    log_p = log_posterior(x_t, sigma).gather(-1, x0[..., None]).squeeze(-1)
    cross_entropy = -torch.where(x_t == graph.mask, log_p, 0.0).sum(dim=1)
    return (noise.sigma_deriv(t) / torch.expm1(sigma)).to(log_p) * cross_entropy


def d3pm_loss(
    log_posterior: LogPosterior,
    x0: Tensor,
    k: Tensor,
    steps: int,
    graph: Graph,
    noise: Noise,
    generator: torch.Generator,
    lam: float = 0.01,
) -> Tensor:
    """D3PM's L_λ = L_vb + λ E[−log p_θ(x0 | x_k)] (Austin et al. 2021, Equation 5), on t_k = k/steps, one k a sequence.

        steps Σ_i KL(q(x_{k−1}^i | x_k^i, x0^i) ‖ Σ_{x̃0} q(x_{k−1}^i | x_k^i, x̃0) p_θ(x̃0 | x_k)) + λ steps (…)

    The step k = 1 leads to the data, where the KL is −log p_θ(x0 | x_1). The mean over k ~ U{1, …, steps} with λ = 0 is
    the discrete bound but for the prior term; it tends to the one of `dwdse_loss` as 1/steps.

    Deviation: D3PM weighs p_θ(x̃0 | x_k) by q(x_k | x̃0) and normalises. Without it the exact posterior is the optimum of
    both terms, for every graph. For masks the two agree.

    Args: k (B,) long. Returns (B,) nats, float64. Raises ValueError for k outside 1 … steps, and as `dwdse_loss` does.
    """
    check_tokens(x0, graph)
    if not (int(k.min()) >= 1 and int(k.max()) <= steps):
        raise ValueError(f"k lies between 1 and steps = {steps}, not {int(k.min())} to {int(k.max())}")
    sigma = noise.sigma(k.double() / steps)
    sigma_next = torch.where(k == 1, 0.0, noise.sigma((k - 1).double() / steps))
    x_t = graph.sample(x0, sigma, generator)
    log_p0 = log_posterior(x_t, sigma).double()

    # Both laws have the factor q(x_k | x_{k−1}), and differ in the rest: p(y | x̃0) / p(x_k | x̃0), at x0 or averaged.
    from_y = graph.likelihood(x_t, sigma - sigma_next)
    true = graph.transition(x0, sigma_next) / graph.transition(x0, sigma).gather(-1, x_t[..., None])
    model = graph.evolve(graph.posterior_weight(log_p0.exp(), x_t, sigma), sigma_next)
    q = from_y * true
    # No gradient may meet the logarithm of an impossible state.
    log_ratio = torch.where(q > 0, true, 1.0).log() - torch.where(q > 0, model, 1.0).log()
    kl = (q * log_ratio).sum(dim=(1, 2))
    cross_entropy = -log_p0.gather(-1, x0[..., None]).sum(dim=(1, 2))
    return steps * (kl + lam * cross_entropy)


@torch.no_grad()
def d3pm_bound(
    log_posterior: LogPosterior,
    x0: Tensor,
    steps: int,
    graph: Graph,
    noise: Noise,
    generator: torch.Generator,
    n_times: int = 32,
) -> Bound:
    """D3PM's bound on −log p(x0) in its own discrete time: `d3pm_loss` with λ = 0, and the prior term.

    Each sequence has `n_times` steps of its own, ⌈steps (j + u)/n_times⌉ with one u. The step k = 1, to the data, is
    among them: nothing is left to reconstruct. Args: x0 (B, L) tokens. Raises ValueError as `likelihood_bound` does.
    """
    check_times(n_times)
    u = uniform_times(len(x0), generator)
    zero = torch.zeros(len(x0), dtype=torch.float64, device=x0.device)
    diffusion = zero
    for j in range(n_times):
        k = (steps * (j + u) / n_times).ceil().long().clamp(1, steps)
        diffusion = diffusion + d3pm_loss(log_posterior, x0, k, steps, graph, noise, generator, lam=0.0)
    prior = zero + x0.shape[1] * graph.prior_kl(noise.sigma(torch.ones((), dtype=torch.float64))).to(x0.device)
    return Bound(diffusion / n_times, prior, zero)
