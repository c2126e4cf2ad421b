"""Is the ELBO's derivative the loss (Section 4; 2107.00630, eq. 17)?

L(t; x) is added up from the KLs of the steps of a fine chain, for the exact denoiser and for the best linear one, which
is wrong. Its derivative with respect to t, by differences, is held against ½ λ' E‖ε̂ − ε‖², which knows nothing of the
chain.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from common.diffusion.path import Cosine
from common.diffusion.solvers import Denoiser
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Row, Run, at_least, experiment
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend
from common.harness.studies.measures import Measure, loglog_slope, per_seed
from common.harness.studies.panels import COLOURS, finish, panels
from common.harness.studies.study import Study
from papers.weighted_elbo.identity import elbos, gauss_hermite, kl_terms, prior_kl
from papers.weighted_elbo.studies import line
from papers.weighted_elbo.vdm import alpha_sigma

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

PATH = Cosine()
POINTS = torch.tensor([-1.3, 0.0, 0.6, 1.8], dtype=torch.float64)
"""The x of the L(t; x) that are differentiated."""
DENOISERS: Mapping[str, Denoiser] = {name: line.DENOISERS[name] for name in ("exact", "linear")}


@dataclass(frozen=True)
class DerivativeConfig:
    """L(t; x) on the cosine path, from a chain of each number of `lengths` steps of equal length in λ."""

    lengths: tuple[int, ...] = (512, 2048, 8192)
    log_snr_min: float = -8.0
    log_snr_max: float = 8.0

    def __post_init__(self) -> None:
        at_least(3, self, "lengths")


@experiment(
    DerivativeConfig,
    {"quick": Grid([DerivativeConfig((256, 1024, 4096))]), "small": Grid([DerivativeConfig()])},
    {"denoiser": DENOISERS, "steps": int, "error": float},
)
def derivative(config: DerivativeConfig, seed: int, run: Run) -> Sequence[Row]:
    """The largest difference of dL/dλ, by central differences, from ½ E‖ε̂ − ε‖², over the largest of these.

    With respect to λ: with respect to t the largest λ', at an end, would hide what is off in the middle.
    """
    rows, arrays = list[Row](), dict[str, np.ndarray]()
    for name, denoiser in DENOISERS.items():
        for steps in config.lengths:
            log_snr = torch.linspace(config.log_snr_max, config.log_snr_min, steps + 1, dtype=torch.float64)
            t = PATH.t_from_log_snr(log_snr)
            L = elbos(kl_terms(denoiser, POINTS, log_snr), prior_kl(POINTS, config.log_snr_min))
            slope = PATH.log_snr_dot(t[1:-1])[:, None]
            numeric = (L[2:] - L[:-2]) / (t[2:] - t[:-2])[:, None] / slope
            formula = mean_square(denoiser, log_snr[1:-1]) / 2
            error = float((numeric - formula).abs().max() / formula.abs().max())
            rows.append({"denoiser": name, "steps": steps, "error": error})
        middle = slice(None, None, (steps - 1) // 64)
        arrays |= {f"{name}_log_snr": log_snr[1:-1][middle].numpy()}
        arrays |= {f"{name}_numeric": numeric[middle].numpy()}
        arrays |= {f"{name}_formula": formula[middle].numpy()}
    run.save_arrays(**arrays)
    return rows


def mean_square(denoiser: Denoiser, log_snr: Tensor, nodes: int = 64) -> Tensor:
    """E(ε̂ − ε)² at each λ (K,) and each of `POINTS`, (K, N)."""
    eps, weights = gauss_hermite(nodes)
    found = []
    for part in log_snr.split(64):
        alpha, sigma = alpha_sigma(part[:, None, None])
        z = alpha * POINTS[:, None] + sigma * eps
        x_hat = denoiser((z / alpha).reshape(-1, 1), (sigma / alpha).expand(z.shape).flatten()).reshape(z.shape)
        found.append((((z - alpha * x_hat) / sigma - eps).square()) @ weights)
    return torch.cat(found)


def error_of_finest(denoiser: str) -> Measure:
    """The error of the chain of most steps."""
    return per_seed(
        lambda rows: float(rows.sort_values("steps")["error"].iloc[-1]), ("steps", "error"), denoiser=denoiser
    )


CLAIMS = (
    Claim(
        "derivative",
        "The derivative of L(t; x) with respect to t is half of λ' times the mean squared error of the noise.",
        "Section 4; 2107.00630, eq. 17",
        tuple(
            quantity
            for name in DENOISERS
            for quantity in (
                Quantity(
                    f"largest relative difference, {name} denoiser",
                    derivative,
                    error_of_finest(name),
                    Criterion(upper=5e-3, reason="a chain of 4096 steps is off by half a step, 2e-3"),
                    expected=0.0,
                    metric="|numerical derivative − formula| over the largest of the formula",
                    deterministic=True,
                ),
                Quantity(
                    f"its order in the steps of the chain, {name} denoiser",
                    derivative,
                    loglog_slope("steps", "error", denoiser=name),
                    Criterion(upper=-0.9, reason="it vanishes with the length of a step, or faster"),
                    expected=-1.0,
                    metric="slope of log error in log T",
                    deterministic=True,
                ),
            )
        ),
        kind="theorem",
        excludes="the squared error without its half, or that of x̂ in the place of ε̂",
        deviation="In one dimension, with expectations by quadrature.",
    ),
)


def draw_derivative(results: Results) -> MatplotlibFigure:
    _, arrays = results.arrays(derivative)[0]
    figure, axes = panels("weighted_elbo", columns=2, width=8, height=4.0)
    for panel, name in zip(axes[0], DENOISERS, strict=True):
        log_snr = arrays[f"{name}_log_snr"]
        for i, x in enumerate(POINTS.tolist()):
            panel.plot(log_snr, arrays[f"{name}_formula"][:, i], color=COLOURS[i], label=f"formula, x = {x:g}")
            every = slice(i, None, 6)
            panel.plot(
                log_snr[every], arrays[f"{name}_numeric"][every, i], ls="", marker="o", ms=4, mfc="none",
                color=COLOURS[i], label="numerical derivative" if i == 0 else None,
            )  # fmt: skip
        panel.set(title=f"{name} denoiser", xlabel="log-SNR λ", yscale="log")
    axes[0, 0].set_ylabel("dL/dλ")
    legend(figure, columns=3)
    return finish(figure)


FIGURES = (
    Figure(
        "derivative",
        "The derivative of L with respect to λ against λ, numerical and by the formula, for two denoisers and four x.",
        "Circles are differences of L(t; x), added up from the KLs of a chain; lines are half the mean squared error "
        "of the noise. They lie on each other for the linear denoiser as well, which is wrong.",
        (derivative,),
        draw_derivative,
    ),
)

STUDY = Study(
    "The derivative of the ELBO",
    "Is the derivative of L(t; x) half of λ' times the mean squared error of the noise?",
    (derivative,),
    CLAIMS,
    FIGURES,
)
