"""Log-likelihood of a flow, and bits per dimension of images (Appendix C; settings of Appendix E.2).

From the data at t = 1 the flow is followed back to the noise at t = 0,

    log p_1(x_1) = log p_0(x(0)) − ∫_0^1 div v(x(t), t) dt,

with the divergence exact, or by Hutchinson's estimate with one Rademacher probe for the whole solve.

Images have whole grey levels, and a density has no value for them. So each is moved to a random place u in its bin, and

    P(image) = bin_width^D ∫ p_1(x_1 + u) du ≈ bin_width^D (1/K) Σ_k p_1(x_1 + u_k).

The logarithm of the mean of K is, in expectation, at most log P, and rises towards it with K. That needs densities that
are exact: the noise of Hutchinson's estimate raises the mean of its exponential, the more so the larger it is.
"""

from __future__ import annotations

from collections.abc import Callable
from math import log

import torch
from torch import Generator, Tensor

from common.diffusion.likelihood import (
    Trace,
    bpd,
    exact_trace,
    gaussian_log_prior,
    hutchinson_trace,
    integrate_divergence,
    rademacher,
)
from papers.flow_matching.solvers import Velocity

Divergence = Callable[[Tensor, Generator], Trace]
"""divergence(x, generator) -> the trace that one solve uses, for a batch shaped like x: `hutchinson` or `exact`."""


def hutchinson(x: Tensor, generator: Generator) -> Trace:
    """Hutchinson's estimate with one Rademacher probe for each sample, fixed for the solve: for images."""
    return hutchinson_trace(rademacher(x, generator))


def exact(x: Tensor, generator: Generator) -> Trace:
    """The divergence itself, D backward passes in one: for small D. Draws nothing."""
    return exact_trace


def log_likelihood(
    velocity: Velocity,
    x_1: Tensor,
    trace: Trace = exact_trace,
    t_1: float = 1.0,
    prior_scale: float = 1.0,
    tolerance: float = 1e-5,
) -> Tensor:
    """log p_{t_1}(x_1) in nats, (B,) float64, of the flow that starts from N(0, prior_scale² I) at t = 0.

    Args:
        x_1: (B, *D). trace: `exact_trace`, or `hutchinson_trace(probe)`, which makes the result an unbiased estimate.
        t_1, prior_scale: the path's `last` and `prior_scale`. tolerance: absolute and relative; the paper's is 1e-5.

    Raises: ValueError unless t_1 > 0; RuntimeError where the velocity is not finite.
    """
    if not t_1 > 0:
        raise ValueError(f"t_1 is {t_1}; the data lie at a time above 0, where the noise is")
    x_0, minus_integral = integrate_divergence(lambda x, t: trace(velocity, x, t), x_1, t_1, 0.0, tolerance)
    return gaussian_log_prior(x_0, prior_scale) + minus_integral


def to_levels(images: Tensor, levels: int = 256) -> Tensor:
    """Images in [-1, 1], each value moved to the nearest of `levels` equally spaced ones: for resized images."""
    return (((images + 1) / bin_width(levels)).round() * bin_width(levels) - 1).clamp(-1, 1)


def bin_width(levels: int) -> float:
    """Distance of neighbouring grey levels, 2/(levels − 1): the first is at −1, the last at 1.

    Raises ValueError for levels < 2.
    """
    if levels < 2:
        raise ValueError(f"levels is {levels}; images need at least two grey levels")
    return 2 / (levels - 1)


def dequantise(images: Tensor, generator: Generator, levels: int = 256) -> Tensor:
    """Each pixel at a uniformly random place in its bin: x + bin_width (u − ½), u ~ U[0, 1); images: (B, *D).

    Raises ValueError where a value is none of the grey levels.
    """
    width = bin_width(levels)
    off = (images - to_levels(images, levels)).abs() > 1e-3 * width
    if bool(off.any()):
        raise ValueError(
            f"the images hold {float(images[off][0]):g}, which is none of the {levels} grey levels of [-1, 1]; "
            "without levels there are no bins: round the images with to_levels"
        )
    u = torch.rand(images.shape, generator=generator, dtype=images.dtype, device=images.device)
    return images + width * (u - 0.5)


def dequantised_log_likelihoods(
    velocity: Velocity,
    images: Tensor,
    K: int,
    generator: Generator,
    levels: int = 256,
    divergence: Divergence = hutchinson,
    t_1: float = 1.0,
    prior_scale: float = 1.0,
    tolerance: float = 1e-5,
) -> Tensor:
    """log p_1(x_1 + u_k) for K draws of u, each with a probe of its own: (K, B). Arguments and errors as below."""
    if K < 1:
        raise ValueError(f"K is {K}; at least one draw is needed")
    draws = []
    for _ in range(K):
        x_1 = dequantise(images.to(torch.float64), generator, levels)
        draws.append(log_likelihood(velocity, x_1, divergence(x_1, generator), t_1, prior_scale, tolerance))
    return torch.stack(draws)


def bits_of(log_likelihoods: Tensor, D: int, levels: int = 256) -> Tensor:
    """Bits per dimension (B,) from the K draws of `dequantised_log_likelihoods`, (K, B), by their log-mean-exp.

    −log_2[bin_width^D (1/K) Σ_k p_k] / D. The first k rows alone are the estimate with K = k.
    """
    log_mean_exp = log_likelihoods.logsumexp(0) - log(len(log_likelihoods))
    return bpd(log_mean_exp, D, bin_width(levels))


def bits_per_dim(
    velocity: Velocity,
    images: Tensor,
    K: int,
    generator: Generator,
    levels: int = 256,
    divergence: Divergence = hutchinson,
    t_1: float = 1.0,
    prior_scale: float = 1.0,
    tolerance: float = 1e-5,
) -> Tensor:
    """Bits per dimension of each image, (B,), as Table 1 has them.

    Args:
        images: (B, *D), values on the grey levels: `levels` equally spaced ones from -1 to 1 (17 for the digits).
        K: draws of the place in the bin; for CIFAR-10 the paper's Table 1 has K = 50.
        divergence: `hutchinson`, with a new probe for each draw, or `exact`.
        t_1, prior_scale, tolerance: as for `log_likelihood`.

    Raises: ValueError for images off the grey levels, K < 1, levels < 2; RuntimeError where the velocity is not finite.
    """
    log_likelihoods = dequantised_log_likelihoods(
        velocity, images, K, generator, levels, divergence, t_1, prior_scale, tolerance
    )
    return bits_of(log_likelihoods, images[0].numel(), levels)
