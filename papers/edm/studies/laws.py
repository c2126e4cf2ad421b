"""Laws of known denoiser, in the place of images and a trained network.

    mixture   eight Gaussians on a circle in the plane, standard deviation of the whole 0.5
    digits    Σ_k N(y_k, 0.05² I) / K around scikit-learn digits y_k, standardised to mean 0 and standard deviation 0.5,
              the sigma_data of the paper: a smooth law whose samples are digits. Around the points themselves, without
              the 0.05, every solver ends on a data point and has no error left to measure.

Errors are medians over trajectories. A few that start near the border between two digits end at another digit than the
exact solution does: as good an image, at a distance that has nothing to do with the solver's order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from common.data.images import digits
from common.data.sets import SIGMA_DATA, Standard
from common.data.toy import eight_gaussians_mixture
from common.diffusion.oracle import GaussianMixture
from common.diffusion.solvers import Denoiser

EXACT = (
    "Exact denoisers in place of a trained network, so that all error is the solver's: Gaussian mixtures, in the plane "
    "and around each scikit-learn digit with standard deviation 0.05. Errors are medians over trajectories."
)
"""How a claim that is judged on them deviates from the paper."""

COMPONENT_STD = 0.05
FIELDS = ("mixture", "digits")


def around(points: Tensor, std: float = COMPONENT_STD) -> Denoiser:
    """The exact denoiser of Σ_k N(y_k, std² I) / K for points y_k (K, *D).

    At noise level σ the component is N(y_k, v I) with v = std² + σ², so D(x; σ) = (std² x + σ² m) / v, where m is the
    posterior mean of y_k: what the empirical denoiser returns at the noise level √v. It is written out here, for few
    points and all at once, because a study asks for it some ten thousand times; float64, like that one.
    """
    mean = points.double().flatten(1).mean(0)
    centred = points.double().flatten(1) - mean
    half_norms = centred.square().sum(1) / 2

    def denoiser(x: Tensor, sigma: Tensor) -> Tensor:
        z = x.double().flatten(1) - mean
        noise = torch.as_tensor(sigma, dtype=torch.float64, device=z.device).square().reshape(-1, 1)
        v = std**2 + noise
        m = torch.softmax(torch.addmm(-half_norms, z, centred.T) / v, dim=1) @ centred
        return ((std**2 * z + noise * m) / v + mean).reshape(x.shape).to(x.dtype)

    return denoiser


def exact_denoiser(field: str, n_points: int, generator: torch.Generator) -> tuple[Denoiser, tuple[int, ...]]:
    """The denoiser of the law `field`, and the shape of one sample. `n_points` digits are drawn without replacement."""
    if field == "mixture":
        means, std = eight_gaussians_mixture()
        return GaussianMixture(SIGMA_DATA * means, torch.full((len(means),), SIGMA_DATA * std)), (2,)
    if field == "digits":
        images = digits().x0
        points = Standard.of(images).encode(images)[torch.randperm(len(images), generator=generator)[:n_points]]
        return around(points), tuple(points.shape[1:])
    raise ValueError(f"no law {field!r}; there are 'mixture' and 'digits'")


def noise_at(sigma: Tensor, n: int, shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """n draws of N(0, sigma² I), (n, *shape), float64: where sampling starts."""
    return sigma * torch.randn(n, *shape, generator=generator, dtype=torch.float64, device=generator.device)


def median_error(x: Tensor, exact: Tensor) -> float:
    """The median over samples of |x - exact|; (B, *D) each."""
    return float((x - exact).flatten(1).norm(dim=1).median())
