"""Training losses and the likelihood bound (Sections 3.1 to 3.3, Algorithm 1), and concrete score matching.

`log_score(x_t, sigma) -> (B, L, S)` gives log-ratios: log s_θ(x_t, σ̄)_y at position i is the network's value of
log p_t(x_t with y at i) − log p_t(x_t). Losses are in nats per sequence, (B,): sums over positions, like a likelihood.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from papers.sedd.graph import Graph, LogScore
from papers.sedd.noise import Noise
from papers.sedd.sampler import denoise_probs


def uniform_times(n: int, generator: torch.Generator) -> Tensor:
    """n independent t ~ U(0, 1], (n,) float64. 0 itself, where nothing has moved yet, is left out."""
    return 1 - torch.rand(n, generator=generator, dtype=torch.float64, device=generator.device)


def stratified_times(n: int, generator: torch.Generator) -> Tensor:
    """(k + u)/n for k = 0 … n − 1 in random order, with one u ~ U(0, 1]: each t ~ U(0, 1], evenly spread. (n,) float64.

    A mean over them has far less variance than over `uniform_times`, and the same expectation.
    """
    return (torch.randperm(n, generator=generator, device=generator.device) + uniform_times(1, generator)) / n


def dwdse_loss(
    log_score: LogScore, x0: Tensor, t: Tensor, graph: Graph, noise: Noise, generator: torch.Generator
) -> Tensor:
    """Algorithm 1: the diffusion-weighted denoising score entropy at times t, one draw of x_t for each sequence.

        σ(t) Σ_i Σ_{y≠x_t^i} Q(x_t^i, y) (s_y − r_y log s_y + K(r_y)),   x_t ~ p_{t|0}(· | x0)

    Args:
        x0: (B, L) tokens.
        t: (B,) in (0, 1], float64; with t ~ U(0, 1] the mean is the integral of Theorem 3.6.

    Returns (B,) nats. Raises ValueError for other shapes of x0 or t, and tokens that are none.
    """
    check_tokens(x0, graph)
    sigma = noise.sigma(t)
    x_t = graph.sample(x0, sigma, generator)
    entropy = graph.score_entropy(log_score(x_t, sigma), x_t, x0, sigma).sum(dim=1)
    return noise.sigma_deriv(t).to(entropy) * entropy


def concrete_score_matching_loss(
    score: LogScore, x0: Tensor, t: Tensor, graph: Graph, noise: Noise, generator: torch.Generator
) -> Tensor:
    """σ(t) Σ_i Σ_{y≠x_t^i} Q(x_t^i, y) (s_y − r_y)²/2: concrete score matching (Equation 4), denoised.

    Weighted by Q_t(x_t, y) like `dwdse_loss`, from which it differs in the divergence alone (Appendix D.1). `score`
    gives the ratios s themselves, (B, L, S), not their logarithms: nothing in the loss keeps them positive. Arguments,
    result and errors as there.
    """
    check_tokens(x0, graph)
    sigma = noise.sigma(t)
    x_t = graph.sample(x0, sigma, generator)
    weight, ratio = graph.rate_into(x_t).clamp(min=0), graph.ratio(x_t, x0, sigma)
    error = score(x_t, sigma) - ratio
    return noise.sigma_deriv(t) * (weight * error**2).sum(dim=(1, 2)) / 2


@dataclass(frozen=True)
class Bound:
    """−log p(x0) <= diffusion + prior + reconstruction, each (B,) nats per sequence."""

    diffusion: Tensor
    """∫₀¹ of the denoising score entropy: an unbiased estimate."""
    prior: Tensor
    """KL(p_{T|0}(· | x0) ‖ p_base)."""
    reconstruction: Tensor
    """E −log p(x0 | x_t) at t = 0, by the final denoising step: 0 for a schedule that starts at σ̄(0) = 0."""

    @property
    def total(self) -> Tensor:
        return self.diffusion + self.prior + self.reconstruction


@torch.no_grad()
def likelihood_bound(
    log_score: LogScore, x0: Tensor, graph: Graph, noise: Noise, generator: torch.Generator, n_times: int = 32
) -> Bound:
    """Theorem 3.6, and what a schedule that does not start at σ̄ = 0 leaves to the last step.

    With exact ratios the mean over data is H(p_0) + KL(p_T ‖ p_base), no more, if σ̄(0) = 0. Each sequence has `n_times`
    times of its own, (k + u)/n_times with one u; the paper takes 1000 (Appendix C.6).

    Args: x0: (B, L) tokens. Raises ValueError for other shapes, tokens that are none, and n_times < 1.
    """
    check_tokens(x0, graph)
    check_times(n_times)
    B, L = x0.shape
    u = uniform_times(B, generator)
    zero = torch.zeros(B, dtype=torch.float64, device=x0.device)
    diffusion = sum(
        (dwdse_loss(log_score, x0, (k + u) / n_times, graph, noise, generator).double() for k in range(n_times)), zero
    )
    prior = zero + L * graph.prior_kl(noise.sigma(torch.ones((), dtype=torch.float64))).to(x0.device)
    sigma_0 = noise.sigma(zero)
    reconstruction = zero
    if bool((sigma_0 > 0).any()):
        x_t = graph.sample(x0, sigma_0, generator)
        probs = denoise_probs(log_score(x_t, sigma_0), x_t, graph, sigma_0)
        reconstruction = -probs.gather(-1, x0[..., None]).squeeze(-1).log().sum(dim=1)
    return Bound(diffusion / n_times, prior, reconstruction)


def check_times(n_times: int) -> None:
    """Raises ValueError unless there is a time to take."""
    if n_times < 1:
        raise ValueError(f"n_times is at least 1, not {n_times}")


def check_tokens(x0: Tensor, graph: Graph) -> None:
    """Raises ValueError unless x0 is (B, L) of tokens 0 … N − 1."""
    if x0.ndim != 2 or x0.dtype != torch.long:
        raise ValueError(f"x0 must be a (B, L) tensor of long, not {tuple(x0.shape)} of {x0.dtype}")
    if x0.numel() and not (int(x0.min()) >= 0 and int(x0.max()) < graph.N):
        raise ValueError(f"tokens lie between 0 and {graph.N - 1}, not {int(x0.min())} to {int(x0.max())}")
