"""Samplers: τ-leaping, Tweedie τ-leaping, and infilling (Section 4, Appendix B).

A step is a pure function that gives the law of each position, (B, L, S) float64, so that it can be sampled, or carried
through exactly on a space small enough to enumerate. Time runs down a grid from t = 1 to t_min, and a last step removes
what noise is left, the mask in any case. All of this is float64, whatever the network computes in, and draws are too:
`papers.sedd.categorical` says why.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise

import torch
from torch import Tensor

from papers.sedd.categorical import categorical
from papers.sedd.graph import Graph, LogScore
from papers.sedd.noise import Noise

Step = Callable[[Tensor, Tensor, Graph, Noise, Tensor, Tensor], Tensor]
"""`step(log_score (B, L, S), x_t (B, L), graph, noise, t, t_next) -> law of x at t_next (B, L, S)`, times scalar."""


def reverse_times(steps: int, t_min: float = 1e-5, device: torch.device | str | None = None) -> Tensor:
    """The uniform grid from 1 to t_min, (steps + 1,) float64. Raises ValueError unless steps >= 1 and 0 < t_min < 1."""
    if steps < 1:
        raise ValueError(f"steps is at least 1, not {steps}")
    if not 0 < t_min < 1:
        raise ValueError(f"t_min must lie between 0 and 1, not {t_min}")
    return torch.linspace(1, t_min, steps + 1, dtype=torch.float64, device=device)


def euler_step(log_score: Tensor, x_t: Tensor, graph: Graph, noise: Noise, t: Tensor, t_next: Tensor) -> Tensor:
    """τ-leaping as an Euler step (Equation 17): δ(x_t, y) + Δt σ(t) Q̄(y, x_t), each position on its own. First order.

    Too long a step leaves a negative probability of staying, which becomes 0.
    """
    stay = torch.zeros_like(log_score, dtype=torch.float64).scatter(-1, x_t[..., None], 1.0)
    rate = graph.reverse_rate(_score(log_score, x_t), x_t)
    return _normalised(stay + (t - t_next) * noise.sigma_deriv(t) * rate)


def tweedie_step(log_score: Tensor, x_t: Tensor, graph: Graph, noise: Noise, t: Tensor, t_next: Tensor) -> Tensor:
    """Tweedie τ-leaping (Equation 19): (e^{−ΔσQ} s)_y e^{ΔσQ}(x_t, y), Δσ = σ̄(t) − σ̄(t_next).

    With exact ratios each position has its true law given the whole of x_t (Theorem 4.2): what is left is the error of
    letting positions move independently. With masks and log-linear noise it is `euler_step`, whatever the ratios, for
    there e^Δσ − 1 = Δt σ(t).
    """
    return _normalised(_tweedie(log_score, x_t, graph, noise.sigma(t) - noise.sigma(t_next)))


STEPS: Mapping[str, Step] = {"euler": euler_step, "tweedie": tweedie_step}
"""By the names that configs have."""


def denoise_probs(log_score: Tensor, x_t: Tensor, graph: Graph, sigma: Tensor | float) -> Tensor:
    """The last step: Tweedie's law of x0 given x_t at total noise sigma, without the mask's column. (B, L, N)."""
    return _normalised(_tweedie(log_score, x_t, graph, sigma)[..., : graph.N])


def _tweedie(log_score: Tensor, x_t: Tensor, graph: Graph, delta_sigma: Tensor | float) -> Tensor:
    s = graph.evolve(_score(log_score, x_t), -torch.as_tensor(delta_sigma, dtype=torch.float64))
    return s * graph.likelihood(x_t, delta_sigma)


def _score(log_score: Tensor, x_t: Tensor) -> Tensor:
    """s in float64, with the ratio of x_t to itself, which no loss teaches the network, at 1."""
    return log_score.double().exp().scatter(-1, x_t[..., None], 1.0)


def _normalised(probs: Tensor) -> Tensor:
    probs = probs.clamp(min=0)
    return probs / probs.sum(dim=-1, keepdim=True)


@torch.no_grad()
def sample(
    log_score: LogScore,
    x: Tensor,
    graph: Graph,
    noise: Noise,
    times: Tensor,
    step: Step,
    generator: torch.Generator,
    given: Tensor | None = None,
    callback: Callable[[Tensor], None] | None = None,
    draw: Callable[[Tensor, torch.Generator], Tensor] = categorical,
) -> Tensor:
    """Algorithms 2 and 3: `len(times) − 1` steps and the last one, an evaluation each; `given` positions are clamped.

    Infilling needs no other network: the ratios of a conditional law p_t(· | x^Ω) are those of the joint law. With the
    absorbing graph a clamped token says just what an unmasked one does, and infilling is exact in the limit of small
    steps. With the uniform graph the network takes clamped tokens for noisy ones, and it is not.

    Args:
        x: (B, L) long, where sampling starts: `graph.sample_base((B, L), generator)`, with the given tokens in place.
        times: decreasing, `reverse_times(steps)`.
        step: `euler_step` or `tweedie_step`.
        given: (B, L) or (L,) bool, the positions that keep their token in x.
        callback: called with x at each of the times, and with the result.
        draw: from the law of each position; another than `categorical` only to show what goes wrong.

    Returns x0 (B, L). Raises ValueError for a grid that does not decrease within [0, 1], and given positions without a
    token.
    """
    if times.ndim != 1 or len(times) < 2 or not bool((times.diff() < 0).all()) or times[0] > 1 or times[-1] < 0:
        raise ValueError("times must be a decreasing grid within [0, 1]")
    given = torch.zeros_like(x, dtype=torch.bool) if given is None else given.expand_as(x)
    if bool((given & ((x < 0) | (x >= graph.N))).any()):
        raise ValueError(f"given positions must hold tokens between 0 and {graph.N - 1}")
    times = times.to(x.device, torch.float64)
    for t, t_next in pairwise(times):
        if callback:
            callback(x)
        probs = step(log_score(x, noise.sigma(t).expand(len(x))), x, graph, noise, t, t_next)
        x = torch.where(given, x, draw(probs, generator))
    if callback:
        callback(x)
    sigma = noise.sigma(times[-1])
    probs = denoise_probs(log_score(x, sigma.expand(len(x))), x, graph, sigma)
    x = torch.where(given, x, draw(probs, generator))
    if callback:
        callback(x)
    return x
