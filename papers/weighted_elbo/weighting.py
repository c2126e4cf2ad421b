"""Weightings w(λ) of the error of the noise, as closed forms, and the law over noise levels that a monotone one is.

    L_w(x) = ½ ∫ w(λ) E‖ε̂ − ε‖² dλ                                                       (Section 3)

    objective                            w(λ), up to a factor                             monotone
    elbo           ELBO, VDM             1                                                yes
    eps-cosine     ε, cosine (iDDPM)     sech(λ/2)                                        no
    eps-vp         ε, VP (DDPM)          p(λ) of uniform time                             no
    v-cosine       v, cosine             e^{−λ/2}                                         yes
    fm-ot          flow matching, OT     e^{−λ/2}                                         yes
    indi           InDI                  e^{−λ} sech²(λ/4)                                yes
    edm            EDM                   N(λ; 2.4, 2.4²) (e^{−λ} + σ_data²)               no
    p2             P2                    sech(λ/2) / (1 + e^λ)^γ                          no
    min-snr        Min-SNR               sech(λ/2) min(1, γ e^{−λ})                       no
    snr-trunc      truncated SNR         sech(λ/2) max(1, e^{−λ})                         yes
    sigmoid        sigmoid               sigmoid(k − λ)                                   yes
    edm-monotonic  EDM-monotonic         that of EDM, constant below its peak             yes

and of the objectives of flow matching on the VP path: `fm-vp` has β(t(λ)), monotone; `score` that of DDPM; `scoreflow`
has 1: it is the ELBO. (Table 1; VP, P2 at another γ and flow matching's are our algebra.) A w is called monotone where
it never rises with λ. All are functions of λ, elementwise and float64. None holds −dλ/dt: that belongs to the schedule.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

import torch
from torch import Tensor
from torch.nn.functional import softplus

Weighting = Callable[[Tensor], Tensor]
"""w(λ), elementwise."""

BETA_MIN, BETA_D = 0.1, 19.9
"""Of the VP path: β(t) = β_min + β_d t."""


def elbo(log_snr: Tensor) -> Tensor:
    """1: the ELBO itself (Kingma et al. 2021)."""
    return torch.ones_like(log_snr)


def sech(log_snr: Tensor) -> Tensor:
    """sech(λ/2): the noise on the cosine schedule, equally weighted in time (Nichol & Dhariwal 2021)."""
    return 1 / torch.cosh(log_snr / 2)


def beta_vp(log_snr: Tensor) -> Tensor:
    """β(t(λ)) of the VP path: with B(t) = log(1 + e^{−λ}) = β_min t + ½ β_d t², β² = β_min² + 2 β_d B."""
    return (BETA_MIN**2 + 2 * BETA_D * softplus(-log_snr)).sqrt()


def eps_vp(log_snr: Tensor) -> Tensor:
    """−dt/dλ = σ²/β of the VP path: the noise, equally weighted in time (Ho et al. 2020)."""
    return torch.sigmoid(-log_snr) / beta_vp(log_snr)


def exponential(log_snr: Tensor) -> Tensor:
    """e^{−λ/2}: v on the cosine schedule (Salimans & Ho 2022), the velocity of a straight path (Lipman et al. 2022).

    It is not bounded as λ → −∞: its integral, and its law p_w, are those of a range of λ.
    """
    return torch.exp(-log_snr / 2)


def indi(log_snr: Tensor) -> Tensor:
    """e^{−λ} sech²(λ/4): x0 on a straight path (Delbracio & Milanfar 2023). Not bounded either."""
    return torch.exp(-log_snr) / torch.cosh(log_snr / 4).square()


@dataclass(frozen=True)
class EDM:
    """N(λ; mean, std²) (e^{−λ} + σ_data²): EDM's levels and its weight (Karras et al. 2022). The peak is at −3.31."""

    mean: float = 2.4
    std: float = 2.4
    sigma_data: float = 0.5

    def __call__(self, log_snr: Tensor) -> Tensor:
        normal = torch.exp(-((log_snr - self.mean) / self.std).square() / 2)
        return normal * (torch.exp(-log_snr) + self.sigma_data**2)


@dataclass(frozen=True)
class EDMMonotonic:
    """w of EDM above its peak, and the value at the peak below it (Section 5).

    The peak is that of the function of λ. It is not the largest weight in a batch, which differs from batch to batch.
    """

    edm: EDM = EDM()

    @cached_property
    def peak(self) -> float:
        return peak(self.edm, self.edm.mean - 5 * self.edm.std, self.edm.mean)

    def __call__(self, log_snr: Tensor) -> Tensor:
        return self.edm(log_snr.clamp(min=self.peak))


@dataclass(frozen=True)
class P2:
    """sech(λ/2) / (1 + e^λ)^γ (Choi et al. 2022, with their k = 1). Raises ValueError unless γ is positive."""

    gamma: float = 1.0

    def __post_init__(self) -> None:
        _positive(self.gamma)

    def __call__(self, log_snr: Tensor) -> Tensor:
        return sech(log_snr) * torch.sigmoid(-log_snr) ** self.gamma


@dataclass(frozen=True)
class MinSNR:
    """sech(λ/2) min(1, γ e^{−λ}) (Hang et al. 2023). Raises ValueError unless γ is positive."""

    gamma: float = 5.0

    def __post_init__(self) -> None:
        _positive(self.gamma)

    def __call__(self, log_snr: Tensor) -> Tensor:
        return sech(log_snr) * (self.gamma * torch.exp(-log_snr)).clamp(max=1)


def snr_trunc(log_snr: Tensor) -> Tensor:
    """sech(λ/2) max(1, e^{−λ}): x0 weighted by max(SNR, 1) on the cosine schedule (Salimans & Ho 2022)."""
    return sech(log_snr) * torch.exp(-log_snr).clamp(min=1)


@dataclass(frozen=True)
class Sigmoid:
    """sigmoid(k − λ): one at high noise, falling where λ passes k (Section 5)."""

    k: float = 2.0

    def __call__(self, log_snr: Tensor) -> Tensor:
        return torch.sigmoid(self.k - log_snr)


def _positive(gamma: float) -> None:
    if not gamma > 0:
        raise ValueError(f"gamma is {gamma}; it must be positive")


TABLE: Mapping[str, Weighting] = MappingProxyType(
    {
        "elbo": elbo,
        "eps-cosine": sech,
        "eps-vp": eps_vp,
        "v-cosine": exponential,
        "fm-ot": exponential,
        "indi": indi,
        "edm": EDM(),
        "p2": P2(),
        "min-snr": MinSNR(),
        "snr-trunc": snr_trunc,
        "sigmoid": Sigmoid(),
    }
)
"""The rows above, but for the one that the paper derives from another."""

WEIGHTINGS: Mapping[str, Weighting] = MappingProxyType(
    {**TABLE, "edm-monotonic": EDMMonotonic(), "fm-vp": beta_vp, "score": eps_vp, "scoreflow": elbo}
)
"""By the name of the objective."""


def slope(weighting: Weighting, log_snr: Tensor) -> Tensor:
    """dw/dλ, by automatic differentiation."""
    log_snr = log_snr.detach().clone().requires_grad_()
    # + 0 λ, because w may be constant.
    (gradient,) = torch.autograd.grad((weighting(log_snr) + 0 * log_snr).sum(), log_snr)
    return gradient


def monotone(weighting: Weighting, log_snr_min: float, log_snr_max: float, points: int = 4001) -> bool:
    """Whether w never rises from one to the next of equally spaced λ in the range, but for rounding."""
    w = weighting(torch.linspace(log_snr_min, log_snr_max, points, dtype=torch.float64))
    return bool((w.diff() <= 1e-12 * w[:-1]).all())


def peak(weighting: Weighting, log_snr_min: float, log_snr_max: float, points: int = 1001) -> float:
    """The λ in the range where w is largest, to 1e-12: the best of equally spaced ones, and bisection of dw/dλ."""
    grid = torch.linspace(log_snr_min, log_snr_max, points, dtype=torch.float64)
    best = int(weighting(grid).argmax())
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, points - 1)]
    while high - low > 1e-12:
        middle = (low + high) / 2
        low, high = (middle, high) if slope(weighting, middle) > 0 else (low, middle)
    return float(low)


def p_w(weighting: Weighting, log_snr: Tensor, log_snr_min: float) -> Tensor:
    """The density over λ of the noise that is added to data: p_w(λ) = −w'(λ) / w(λ_min) (Section 4).

    With `clean_share` at λ_max it sums to 1 for every w. It is a probability density where w is monotone.
    """
    return -slope(weighting, log_snr) / weighting(torch.tensor(log_snr_min, dtype=torch.float64))


def clean_share(weighting: Weighting, log_snr_min: float, log_snr_max: float) -> float:
    """The mass of p_w at t = 0, where data are as clean as they get: w(λ_max) / w(λ_min)."""
    ends = weighting(torch.tensor([log_snr_min, log_snr_max], dtype=torch.float64))
    return float(ends[1] / ends[0])
