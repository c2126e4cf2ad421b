"""The objectives in use, as they are trained (Table 1): path, prediction, noise levels, weight on the squared error.

    objective      path           predicts    levels                weight
    elbo           cosine         ε           λ uniform (VDM)       1
    eps-cosine     cosine         ε           t uniform             1
    eps-vp         VP             ε           t uniform             1
    v-cosine       cosine         v           t uniform             1
    fm-ot          straight       velocity    t uniform             1
    indi           straight       x0          t uniform             1
    edm            σ = t          x0          ln σ normal           (σ² + σ_data²)/(σ σ_data)²
    p2             cosine         ε           t uniform             1/(1 + SNR)
    min-snr        cosine         x0          t uniform             min(SNR, 5)
    snr-trunc      cosine         x0          t uniform             max(SNR, 1)
    sigmoid        cosine         ε           t uniform             (−dλ/dt) sigmoid(2 − λ)
    edm-monotonic  cosine         ε           t uniform             (−dλ/dt) w(λ)
    fm-vp          VP             velocity    t uniform             1
    score          VP             score       t uniform             σ²
    scoreflow      VP             score       t uniform             β(t)

The weighting w(λ) that each implies is `objective.weighting`, from the path's own coefficients. The path of VDM has λ
linear in t; as w sees of a path no more than the law of λ, it is here the cosine path with λ drawn uniformly. What
trains on the whole of the cosine or the straight path is cut off at λ = ±20, for its loss is not finite at
the ends.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from common.diffusion.objective import NormalLogSnr, Objective, UniformLogSnr, UniformTime, Weight, between
from common.diffusion.path import EDM, VP, Cosine, GaussianPath, RectifiedFlow
from papers.weighted_elbo.weighting import WEIGHTINGS

CUT = 20.0
"""Where the cosine and the straight path are cut off in λ."""
VDM_RANGE = (-5.0, 13.3)
"""λ of VDM's endpoints as they start, γ = −λ (Kingma et al. 2021)."""
SIGMA_DATA = 0.5

COSINE, STRAIGHT, OT, VARIANCE_PRESERVING = Cosine(), RectifiedFlow(), RectifiedFlow(sigma_min=1e-4), VP()
ON_COSINE, ON_STRAIGHT = between(COSINE, -CUT, CUT), between(STRAIGHT, -CUT, CUT)
ON_OT = UniformTime(OT, 0.0, ON_STRAIGHT.last)
ON_VP = UniformTime(VARIANCE_PRESERVING, 1e-5, 1.0)


def edm_weight(log_snr: Tensor) -> Tensor:
    """(σ² + σ_data²)/(σ σ_data)² at σ² = e^{−λ} (Karras et al. 2022, table 1)."""
    variance = torch.exp(-log_snr)
    return (variance + SIGMA_DATA**2) / (variance * SIGMA_DATA**2)


def score_weight(log_snr: Tensor) -> Tensor:
    """σ² of the VP path (Song et al. 2021)."""
    return VARIANCE_PRESERVING.sigma(VARIANCE_PRESERVING.t_from_log_snr(log_snr)).square()


def likelihood_weight(log_snr: Tensor) -> Tensor:
    """β(t) = g² of the VP path (ScoreFlow, Song et al. 2021)."""
    return VARIANCE_PRESERVING.beta(VARIANCE_PRESERVING.t_from_log_snr(log_snr))


def timed(weighting: Weight, path: GaussianPath) -> Weight:
    """(−dλ/dt) w(λ): the weight on ε at uniform time that makes w the weighting (equation 4)."""

    def weight(log_snr: Tensor) -> Tensor:
        return -path.log_snr_dot(path.t_from_log_snr(log_snr)) * weighting(log_snr)

    return weight


OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        each.name: each
        for each in (
            Objective("elbo", COSINE, "eps", UniformLogSnr(*VDM_RANGE)),
            Objective("eps-cosine", COSINE, "eps", ON_COSINE),
            Objective("eps-vp", VARIANCE_PRESERVING, "eps", ON_VP),
            Objective("v-cosine", COSINE, "v", ON_COSINE),
            Objective("fm-ot", OT, "velocity", ON_OT),
            Objective("indi", STRAIGHT, "x0", ON_STRAIGHT),
            Objective("edm", EDM(), "x0", NormalLogSnr(), edm_weight),
            Objective("p2", COSINE, "eps", ON_COSINE, lambda log_snr: 1 / (1 + torch.exp(log_snr))),
            Objective("min-snr", COSINE, "x0", ON_COSINE, lambda log_snr: torch.exp(log_snr).clamp(max=5)),
            Objective("snr-trunc", COSINE, "x0", ON_COSINE, lambda log_snr: torch.exp(log_snr).clamp(min=1)),
            Objective("sigmoid", COSINE, "eps", ON_COSINE, timed(WEIGHTINGS["sigmoid"], COSINE)),
            Objective("edm-monotonic", COSINE, "eps", ON_COSINE, timed(WEIGHTINGS["edm-monotonic"], COSINE)),
            Objective("fm-vp", VARIANCE_PRESERVING, "velocity", ON_VP),
            Objective("score", VARIANCE_PRESERVING, "score", ON_VP, score_weight),
            Objective("scoreflow", VARIANCE_PRESERVING, "score", ON_VP, likelihood_weight),
        )
    }
)
"""By name."""
