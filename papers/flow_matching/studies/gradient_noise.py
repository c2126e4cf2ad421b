"""Where in time does the gradient of each loss come from, on the diffusion path (beside Section 6.1)?

All losses on this path ask for the same thing, the noise ε in x = m x_1 + σ ε, in another form and with another weight.
An error δ in the network's output counts δ² in flow matching, where the output is the velocity, ½ β (x − ε/σ), and
σ² δ² in score matching, where it is the score, −ε/σ. So near the data, where σ → 0, the gradient of the first grows as
1/σ, and that of the second vanishes as σ. Here its variance is measured at the end of training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Need, Row, Run, experiment
from common.harness.studies.figure import Figure, Results
from common.harness.studies.looks import legend
from common.harness.studies.measures import value_at
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from common.training.checkpoint import load_checkpoint
from common.training.stream import stream
from papers.flow_matching.objective import OBJECTIVES, Objective
from papers.flow_matching.studies.looks import METHODS
from papers.flow_matching.studies.stability import (
    DIFFUSION,
    GRADIENTS,
    RATES,
    StabilityConfig,
    new_network,
    sampler,
    stability,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

MIDPOINTS = tuple(round(0.05 + 0.1 * k, 2) for k in range(10))
NEAR_DATA = (0.99, 0.999)
TIMES = MIDPOINTS + NEAR_DATA
PROBES = 64
"""Samples whose gradients are taken at each time."""


def gradient_variances(objective: Objective, net: nn.Module, x_1: Tensor, generator: torch.Generator) -> list[float]:
    """Σ_θ Var ∂loss/∂θ of single samples, at each of `TIMES`; x_1: (B, *D), with one draw of noise for all times."""
    weights = {name: weight.detach() for name, weight in net.named_parameters()}

    def loss(weights: dict[str, Tensor], x_0: Tensor, x_1: Tensor, t: Tensor) -> Tensor:
        def bound(x: Tensor, t: Tensor) -> Tensor:
            return functional_call(net, weights, (x, t))

        return objective.loss_at(bound, x_0[None], x_1[None], t[None])[0]

    of_samples = vmap(grad(loss), in_dims=(None, 0, 0, None))
    x_0 = torch.randn(x_1.shape, generator=generator, dtype=x_1.dtype, device=x_1.device)
    variances = []
    for t in TIMES:
        gradients = of_samples(weights, x_0, x_1, torch.tensor(t, dtype=torch.float64, device=x_1.device))
        variances.append(sum(float(each.var(dim=0).sum()) for each in gradients.values()))
    return variances


@experiment(
    StabilityConfig,
    {
        preset: Grid([config for config in grid.configs if config.lr == RATES[config.law][1]], grid.seeds)
        for preset, grid in stability.presets.items()
    },
    {"t": float, "variance": float},
    needs=lambda config, seed: {"net": Need(stability, config, seed)},
    tolerance=0.1,  # of trained networks
)
def gradient_noise(config: StabilityConfig, seed: int, run: Run) -> list[Row]:
    """The variance of the loss's gradient by t, as a multiple of its mean over ten equally spaced times."""
    net = new_network(config, seed)
    net.load_state_dict(load_checkpoint(run.needs["net"] / "net.safetensors")[0])
    generator = stream(seed, GRADIENTS, run.device)
    x_1, _ = sampler(config, run.device)(PROBES, generator)
    variances = gradient_variances(OBJECTIVES[config.objective], net.to(run.device), x_1, generator)
    mean = sum(variances[: len(MIDPOINTS)]) / len(MIDPOINTS)
    return [{"t": t, "variance": value / mean} for t, value in zip(TIMES, variances, strict=True)]


CLAIMS = (
    Claim(
        "gradient-noise",
        "Score matching, with its usual weight σ², has next to no gradient near the data, where flow matching on the "
        "same path has more than at an average time.",
        "beside Section 6.1",
        (
            Quantity(
                "FM, diffusion, at t = 0.99",
                gradient_noise,
                value_at("variance", objective="fm-vp", law="mixture", t=0.99),
                Criterion(1.0, reason="more than at an average time"),
                metric="variance of the gradient over its mean over time",
                scale="log",
            ),
            Quantity(
                "score matching at t = 0.99",
                gradient_noise,
                value_at("variance", objective="score", law="mixture", t=0.99),
                Criterion(upper=0.1, reason="a tenth of what an average time has"),
                metric="variance of the gradient over its mean over time",
                scale="log",
            ),
        ),
        presets=("quick", "small", "gpu"),
        kind="ours",
        excludes="each of the two in the other's place",
        deviation="The variance is that of single samples, over draws of data and noise, of the average of the weights "
        "at the end of training. A network that is trained longer grows larger near the data.",
    ),
)


def draw_noise(results: Results) -> MatplotlibFigure:
    table = where(results.table(gradient_noise), law="mixture")
    figure, axes = panels("flow_matching", width=7.5, height=4)
    panel = axes[0, 0]
    for name in DIFFUSION:
        runs = where(table, objective=name)
        if len(runs):
            mean = np.exp(np.log(runs["variance"]).groupby(runs["t"]).mean())
            panel.plot(1 - mean.index, mean, **METHODS[name].line())
    panel.axhline(1, color="0.6", lw=1, zorder=0)
    panel.set(xscale="log", yscale="log", xlabel="1 − t: the data are on the right", ylabel="variance of the gradient")
    panel.invert_xaxis()
    legend(figure, 2)
    return finish(figure)


FIGURES = (
    Figure(
        "gradient-noise",
        "Variance of the loss's gradient against 1 − t, relative to its mean over time, for the objectives on the "
        "diffusion path; both axes are logarithmic.",
        "Networks that were trained at the middle rate, on the mixture. From t = 0.95 on, near the data, the "
        "gradient of score matching falls steeply, and that of flow matching grows.",
        (gradient_noise,),
        draw_noise,
    ),
)

STUDY = Study(
    "Gradient by time",
    "Where in time does the gradient of each loss come from, on the diffusion path?",
    (gradient_noise,),
    CLAIMS,
    FIGURES,
)
