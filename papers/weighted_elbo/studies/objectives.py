"""Is every objective in use a weighted integral of ELBOs (Sections 3 and 4, Table 1)?

For each objective the code derives w(λ) from what it is trained with: path, prediction, noise levels and weight. It is
compared with the table's closed form, as a function of λ. Then both sides of the identity are computed, on a line: the
loss that the objective trains with, integrated over its levels, and the ELBOs of the ancestral chain, each a sum of
divergences of Gaussians, integrated by parts against w. A chain of T steps is the integral up to 1/T. The denoiser may
be any: that of the data's law, and one that is wrong on purpose.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from common.diffusion.objective import Objective
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Row, Run, at_least, experiment
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend
from common.harness.studies.measures import Measure, per_seed, pick
from common.harness.studies.panels import finish, panels
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.weighted_elbo.identity import by_parts, elbos, kl_terms, network, prior_kl, training_loss
from papers.weighted_elbo.objectives import OBJECTIVES, VDM_RANGE
from papers.weighted_elbo.studies.line import DATA, DENOISERS, LAW
from papers.weighted_elbo.studies.looks import OBJECTIVES as LOOKS
from papers.weighted_elbo.studies.looks import WEIGHTINGS as DRAWN
from papers.weighted_elbo.weighting import WEIGHTINGS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

JUDGED = ("exact", "wrong")
"""Denoisers."""
KINDS = ("derived", "timed")
"""Of w: the one that the code derives, and as a control the one with −dλ/dt of the objective's path left inside."""
FINEST = 20_000
"""Steps of the chain at which the identity is judged."""
SHOWN = (-10.0, 10.0)
"""λ in the figure of all weightings."""


@dataclass(frozen=True)
class IdentityConfig:
    lengths: tuple[int, ...] = (1250, 5000, FINEST)
    """Steps of the chains."""
    points: int = 3
    """Data x, over which relative errors are averaged."""
    levels: int = 400
    """λ at which the training loss is integrated."""
    nodes: int = 32
    """Of the rule that takes expectations over the noise."""

    def __post_init__(self) -> None:
        at_least(2, self, "lengths", "levels", "nodes")
        at_least(1, self, "points")


@experiment(
    IdentityConfig,
    {"quick": Grid([IdentityConfig(points=2, nodes=24)], 2), "small": Grid([IdentityConfig(points=8)], 5)},
    {
        "objective": tuple(OBJECTIVES),
        "denoiser": JUDGED,
        "w": KINDS,
        "steps": int,
        "identity_error": float,
        "shape_error": float,
    },
)
def identity(config: IdentityConfig, seed: int, run: Run) -> list[Row]:
    """How far the ELBOs, integrated against w, are from the training loss; and how far w is from the table's."""
    x = LAW.sample(config.points, stream(seed, DATA))[:, 0]
    levels = torch.linspace(*VDM_RANGE, config.levels, dtype=torch.float64)
    rows: list[Row] = []
    for judged in JUDGED:
        denoiser = DENOISERS[judged]
        trained = {
            name: training_loss(objective, network(objective, denoiser), x, levels, config.nodes)
            for name, objective in OBJECTIVES.items()
        }
        for steps in config.lengths:
            log_snr = torch.linspace(VDM_RANGE[1], VDM_RANGE[0], steps + 1, dtype=torch.float64)
            L = elbos(kl_terms(denoiser, x, log_snr, config.nodes), prior_kl(x, VDM_RANGE[0]))
            for name, objective in OBJECTIVES.items():
                for kind in KINDS:
                    error = by_parts(weighting(objective, kind, log_snr), L) / trained[name] - 1
                    rows.append(
                        {
                            "objective": name,
                            "denoiser": judged,
                            "w": kind,
                            "steps": steps,
                            "identity_error": float(error.abs().mean()),
                            "shape_error": shape_error(objective, kind, levels),
                        }
                    )
    shown = torch.linspace(*SHOWN, 241, dtype=torch.float64)
    run.save_arrays(log_snr=shown.numpy(), **{name: drawn(name, shown) for name in WEIGHTINGS})
    return rows


def weighting(objective: Objective, kind: str, log_snr: Tensor) -> Tensor:
    """w(λ) as the code derives it; `timed` has −dλ/dt left inside."""
    w = objective.weighting(log_snr)
    return -objective.path.log_snr_dot(objective.path.t_from_log_snr(log_snr)) * w if kind == "timed" else w


def shape_error(objective: Objective, kind: str, log_snr: Tensor) -> float:
    """The largest relative difference of w from the table's closed form, after a factor."""
    ratio = weighting(objective, kind, log_snr) / WEIGHTINGS[objective.name](log_snr)
    return float((ratio / ratio.mean() - 1).abs().max())


def drawn(name: str, log_snr: Tensor) -> np.ndarray:
    """The derived w, relative to its largest value there; nothing beyond the objective's own levels."""
    w = OBJECTIVES[name].weighting(log_snr)
    return torch.where(w > 0, w / w.max(), torch.nan).numpy()


def _worst(column: str, denoiser: str) -> Measure:
    where = {"denoiser": denoiser, "w": "derived", "steps": FINEST}
    return per_seed(lambda rows: float(rows[column].max(skipna=False)), (column, "objective"), **where)


def _order(rows: pd.DataFrame) -> float:
    """The slope of log error against log steps, on average over the objectives."""
    slopes = [
        np.polyfit(np.log(own["steps"]), np.log(own["identity_error"]), 1)[0] for _, own in rows.groupby("objective")
    ]
    return float(np.mean(slopes))


CLAIMS = (
    Claim(
        "weighted-elbos",
        "Diffusion objectives in use are weighted integrals of ELBOs over noise levels.",
        "Abstract, Section 4, Table 1",
        (
            Quantity(
                "w against the table, worst of 16 objectives",
                identity,
                _worst("shape_error", "exact"),
                Criterion(upper=1e-6, reason="an identity of functions, up to rounding"),
                expected=0.0,
                metric="largest relative difference of w(λ) from its closed form, up to a factor",
                zero=1e-9,
            ),
            *(
                Quantity(
                    f"identity, {denoiser} denoiser, worst of 16 objectives",
                    identity,
                    _worst("identity_error", denoiser),
                    Criterion(upper=1e-3, reason="an identity; a chain of 20,000 steps is off by about half of this"),
                    expected=0.0,
                    metric="relative difference of the integrated ELBOs from the training loss",
                )
                for denoiser in reversed(JUDGED)
            ),
            Quantity(
                "order in the steps of the chain",
                identity,
                per_seed(_order, ("objective", "steps", "identity_error"), denoiser="wrong", w="derived"),
                Criterion(-1.1, -0.9, "what is left of the difference is the step of the chain, and falls as 1/T"),
                expected=-1.0,
                metric="slope of the difference against the number of steps, logarithmic, mean of 16 objectives",
            ),
        ),
        presets=("quick", "small"),
        kind="theorem",
        headline=True,
        excludes="−dλ/dt of the schedule left inside w",
        deviation="Data on a line, from three Gaussians; λ from −5 to 13.3, the endpoints of VDM, for all objectives. "
        "Expectations over the noise are sums over 32 nodes (`quick`: 24).",
    ),
)


def draw_weightings(results: Results) -> MatplotlibFigure:
    (_, arrays), *_ = results.arrays(identity)  # w is the same for all seeds
    figure, axes = panels("weighted_elbo", width=8, height=6)
    panel = axes[0, 0]
    for name, look in DRAWN.items():  # the widest lies below the line that it is equal to
        panel.plot(
            arrays["log_snr"], arrays[name], **{**look.line(), "marker": None}, lw=5 if name == "v-cosine" else 2
        )
    panel.set(xlabel="log-SNR λ (noise on the left)", yscale="log", ylim=(1e-4, 1.6))
    panel.set(ylabel="w(λ), relative to its largest")
    legend(figure, 4)
    return finish(figure)


def draw_errors(results: Results) -> MatplotlibFigure:
    rows = results.table(identity)
    rows = rows[rows["steps"] == FINEST]
    figure, axes = panels("weighted_elbo", width=8, height=6)
    panel = axes[0, 0]
    kinds = (
        ("w against the table", "shape_error", "exact", "derived", "0.3", "o", 40),
        ("identity, exact denoiser", "identity_error", "exact", "derived", "#0173b2", "s", 110),
        ("identity, wrong denoiser", "identity_error", "wrong", "derived", "#029e73", "D", 30),
        ("identity with −dλ/dt inside w", "identity_error", "wrong", "timed", "#d55e00", "X", 45),
    )
    places = {name: -place for place, name in enumerate(LOOKS)}
    for label, column, denoiser, kind, colour, marker, size in kinds:
        own = pick(rows, {"denoiser": denoiser, "w": kind}).groupby("objective")[column].mean()
        heights = [places[name] for name in own.index]
        panel.scatter(own.clip(lower=1e-17), heights, s=size, color=colour, marker=marker, label=label)
    panel.axvline(1e-3, color="0.6", lw=1, zorder=0)
    panel.set(xscale="log", xlabel="relative error, mean of seeds")
    panel.set_yticks(list(places.values()), [LOOKS[name].name for name in places])
    legend(figure, 2)
    return finish(figure)


FIGURES = (
    Figure(
        "all-weightings",
        "The weighting w of twelve objectives against the log-SNR, each relative to its largest value; full lines "
        "never rise, dashed lines have a peak.",
        "All are derived by the code from path, prediction, noise levels and weight. Full lines never rise with λ: "
        "these losses are ELBOs of noisy data. Dashed lines have a peak, and fall again towards more noise. That of v "
        "(wide) and that of flow matching are one line. The ELBO's w = 1 begins at λ = −5, where the levels of VDM "
        "end.",
        (identity,),
        draw_weightings,
    ),
    Figure(
        "identity",
        "For sixteen objectives, relative errors on a logarithmic axis: of w against the table, of the identity for "
        "two denoisers, and of the identity with the speed of the schedule left inside w.",
        "The derived w is the table's to rounding. The training loss and the integrated ELBOs agree to less than the "
        "grey line, 10⁻³, for the exact denoiser and for the wrong one alike. With −dλ/dt left inside w they do not.",
        (identity,),
        draw_errors,
    ),
)

STUDY = Study(
    "Objectives as weighted ELBOs",
    "Is the loss of every objective in use a weighted integral of ELBOs, with the weighting that the table gives?",
    (identity,),
    CLAIMS,
    FIGURES,
)
