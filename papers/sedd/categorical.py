"""Categorical draws in float64, and what goes wrong in float32.

The usual way to draw from probabilities p_y is the exponential race argmax_y p_y / E_y, E_y = −log u_y ~ Exp(1). A
uniform number u < 1 in float32 is, near 1, a multiple of h = 2⁻²⁴, so E is one of h, 2h, … there. A token of
probability p << 1 wins if E/p comes before all the others, which together are one clock of rate 1 − p, so nearly with
probability

    Σ_{k≥1} h e^{−kh/p} = h / (e^{h/p} − 1) = p x/(e^x − 1),   x = h/p

where p is right. With many steps each token is rare in every step, x is large, and the tail of the vocabulary is cut
off: samples look better than the model is, as if drawn at a lower temperature, and their entropy is too low. In float64
h = 2⁻⁵³. Inverting the distribution function needs one uniform number for a draw instead of one for each token.
"""

from __future__ import annotations

import torch
from torch import Tensor

RESOLUTION = {torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8, torch.float32: 2.0**-24, torch.float64: 2.0**-53}
"""h: the uniform numbers in [1/2, 1) are multiples of it."""


def inverse_cdf(probs: Tensor, u: Tensor) -> Tensor:
    """The y with F(y − 1) <= u F(S) < F(y): weights (…, S), normalised or not, and u (…,) in [0, 1) give (…,) long.

    Never an entry of weight 0. In float64. Raises ValueError if a row's weights are negative, not finite, or all 0.
    """
    probs = probs.double()
    cdf = probs.cumsum(dim=-1)
    total = cdf[..., -1:]
    if not (bool((probs.amin(dim=-1) >= 0).all()) and bool(((total > 0) & total.isfinite()).all())):
        raise ValueError("each row of probabilities must be finite, not negative, and not all 0")
    # Rounding u F(S) up to F(S) itself would lead past the last entry.
    below = torch.nextafter(total, torch.zeros_like(total))
    return torch.searchsorted(cdf, torch.minimum(u.double()[..., None] * total, below), right=True).squeeze(-1)


def categorical(probs: Tensor, generator: torch.Generator) -> Tensor:
    """One draw from each row of the weights (…, S), by a float64 uniform number each: (…,) long."""
    u = torch.rand(probs.shape[:-1], generator=generator, dtype=torch.float64, device=probs.device)
    return inverse_cdf(probs, u)


def gumbel_categorical(probs: Tensor, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
    """The exponential race in a given precision, to show what it does; the samplers draw with `categorical`."""
    u = torch.rand(probs.shape, generator=generator, dtype=dtype, device=probs.device)
    # A clock of u = 0 must not run for ever, or the favourite would lose that often.
    return (probs.to(dtype) / -u.clamp(min=torch.finfo(dtype).tiny).log()).argmax(dim=-1)


def gumbel_probability(p: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """p x/(e^x − 1), x = h/p: how often `gumbel_categorical` draws a token of probability p. Elementwise, float64.

    Below h/10 hardly ever, far above h as it should, but for h/2.
    """
    h = RESOLUTION[dtype]
    return h / torch.expm1(h / p.double())


def gumbel_law(probs: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The law of `gumbel_categorical`, (…, S) float64: `gumbel_probability`, and the likeliest token has the rest."""
    p = probs.double() / probs.double().sum(dim=-1, keepdim=True)
    likeliest = p.argmax(dim=-1, keepdim=True)
    law = gumbel_probability(p, dtype).scatter(-1, likeliest, 0.0)
    return law.scatter(-1, likeliest, 1 - law.sum(dim=-1, keepdim=True))
