"""Does regression on conditional velocities train the marginal one, and what does a step without simulation save?

Theorem 2 says that flow matching (FM, on the marginal velocity, which is not known as a rule) and conditional flow
matching (CFM, on that towards single data points) have equal gradients. For data from a mixture both can be computed:
their difference over n draws is noise, and falls as n^(−1/2). Beside it, a continuous normalizing flow is trained on
such data as these flows were before: by maximum likelihood, through a solver.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import nextafter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import PRESETS, Grid, Row, Run, at_least, experiment, one_of
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import Measure, first_reached, loglog_slope, per_seed, pick, value_at
from common.harness.studies.study import Study
from common.nets.mlp import MLP
from common.training.members import Members
from common.training.stream import stream
from papers.flow_matching.marginal import MixtureField
from papers.flow_matching.objective import OBJECTIVES, Generators, Net
from papers.flow_matching.path import OT, VP
from papers.flow_matching.studies import drawing, looks
from papers.flow_matching.studies.plane import INITIAL, SAMPLING, TRAINED, NetConfig, drawn, learn, mixture
from papers.flow_matching.studies.simulated import Evaluations, log_likelihood

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

SMOOTH = 0.5
"""Standard deviation of each of the eight Gaussians: wide enough for maximum likelihood to get there in a minute."""
SIGMA_MIN = 0.1
"""Of the OT path here: large, for the control that leaves it out of the target to be seen."""
TARGETS = ("cfm", "no-sigma-min", "other-path")
"""What the network is regressed on: the conditional velocity, and two controls."""
BLOCK = 256
"""Draws that a gradient is taken of; that of n draws is the mean of n/256 such."""
AT_ONCE = 50
"""Blocks whose gradients are computed together."""


@dataclass(frozen=True)
class GradientConfig:
    """Gradients of a network with its first weights, over `blocks` blocks in all."""

    blocks: int = 400
    averaged: tuple[int, ...] = (1, 5, 20, 100)
    """Blocks that a gradient is averaged over."""
    hidden: int = 32

    def __post_init__(self) -> None:
        at_least(1, self, "blocks", "averaged", "hidden")
        if self.blocks % AT_ONCE or max(self.averaged) > self.blocks:
            raise ValueError(f"blocks is {self.blocks}; it must be a multiple of {AT_ONCE}, and none of averaged above")


@experiment(
    GradientConfig,
    {
        "quick": Grid([GradientConfig()], 8),
        "small": Grid([GradientConfig(2000)], 8),
        "gpu": Grid([GradientConfig(2000)], 8),
    },
    {"target": tuple(TARGETS), "n": int, "difference": float, "variance_ratio": float},
)
def gradients(config: GradientConfig, seed: int, run: Run) -> list[Row]:
    """The difference of a target's gradient from that of FM, over n draws, relative to the gradient itself.

    All share x and t. Also the variance of the target's gradient over that of FM's.
    """
    generator, path, law = stream(seed, SAMPLING), OT(SIGMA_MIN), mixture()
    field = MixtureField(path, law)
    net = MLP(2, hidden=config.hidden, hidden_layers=2, gain=1.0, generator=stream(seed, INITIAL)).double()
    found: dict[str, list[Tensor]] = {name: [] for name in ("fm", *TARGETS)}
    for _ in range(config.blocks // AT_ONCE):
        x_1 = law.sample(AT_ONCE * BLOCK, generator)
        x_0 = torch.randn(x_1.shape, generator=generator, dtype=x_1.dtype)
        t = torch.rand(len(x_1), generator=generator, dtype=x_1.dtype)
        x = path.sample(x_0, x_1, t)
        found["fm"].append(block_gradients(net, x, t, field.velocity(x, t)))
        found["cfm"].append(block_gradients(net, x, t, path.target(x_0, x_1, t)))
        found["no-sigma-min"].append(block_gradients(net, x, t, x_1 - x_0))
        found["other-path"].append(block_gradients(net, x, t, VP().target(x_0, x_1, t)))
    blocks = {name: torch.cat(each) for name, each in found.items()}
    size, spread = blocks["fm"].mean(0).norm(), blocks["fm"].var(0).sum()
    rows: list[Row] = []
    for name in TARGETS:
        ratio = float(blocks[name].var(0).sum() / spread)
        for k in config.averaged:
            means = (blocks[name] - blocks["fm"])[: config.blocks // k * k].unflatten(0, (-1, k)).mean(1)
            difference = float(means.square().sum(1).mean().sqrt() / size)
            rows.append({"target": name, "n": k * BLOCK, "difference": difference, "variance_ratio": ratio})
    return rows


def block_gradients(net: MLP, x: Tensor, t: Tensor, target: Tensor) -> Tensor:
    """For each block the gradient of its mean of ‖v(x, t) − target‖² in all weights, as a vector: (n / BLOCK, weights).

    The blocks are the batches of so many copies of the network, which then has a gradient for each.
    """
    x, t, target = (each.unflatten(0, (-1, BLOCK)) for each in (x, t, target))
    copies = Members([net] * len(x))
    loss = (copies(x, t) - target).square().sum(-1).mean(-1).sum()
    return torch.cat([each.flatten(1) for each in torch.autograd.grad(loss, list(copies.parameters()))], 1)


TEST_STEPS = 16
"""RK4 steps of the likelihood of test points."""


@dataclass(frozen=True)
class LikelihoodConfig(NetConfig):
    """One way to train a flow on the smooth mixture, looked at after each of `stages` training steps."""

    way: str = "cfm"
    stages: tuple[int, ...] = (50, 100, 200, 400)
    solver_steps: int = 4
    """RK4 steps that maximum likelihood trains through."""
    hidden: int = 32
    layers: int = 2
    batch: int = 128
    n_test: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of(WAYS, self, "way")
        at_least(1, self, "stages", "solver_steps", "n_test")
        if list(self.stages) != sorted(set(self.stages)):
            raise ValueError(f"stages are {self.stages}; each must be later than the one before")


WAYS = ("cfm", "likelihood")


def _ways(cfm: tuple[int, ...], likelihood: tuple[int, ...], **fields: int) -> list[LikelihoodConfig]:
    return [
        LikelihoodConfig(way="cfm", stages=cfm, **fields),
        LikelihoodConfig(way="likelihood", stages=likelihood, **fields),
    ]


@experiment(
    LikelihoodConfig,
    {
        "quick": Grid(_ways((50, 100, 200), (20, 40, 70), n_test=500), 3),
        "small": Grid(_ways((50, 100, 200, 400, 800, 1600), (20, 40, 80, 160, 320), solver_steps=8), 5),
        "gpu": Grid(
            _ways((25, 50, 100, 200, 400, 800, 1600), (20, 40, 80, 160, 320), solver_steps=8, hidden=128, batch=512), 5
        ),
    },
    {"train_steps": int, "evaluations": int, "excess_nll": float},
    together=8,
    tolerance=TRAINED,
)
def ways(config: LikelihoodConfig, seeds: tuple[int, ...], runs: tuple[Run, ...]) -> list[list[Row]]:
    """Negative log-likelihood on test points above that of the law itself, against evaluations made in training."""
    law, made = mixture(SMOOTH), Evaluations()
    losses: dict[str, Callable[[Net, Tensor, Generators], Tensor]] = {
        "cfm": lambda net, x_1, generator: OBJECTIVES["fm-ot"].loss(made.of(net), x_1, generator),
        "likelihood": lambda net, x_1, generator: -log_likelihood(made.of(net), x_1, config.solver_steps),
    }
    test = torch.stack([law.sample(config.n_test, stream(seed, SAMPLING)) for seed in seeds])
    least = -law.log_prob(test.flatten(0, 1)).unflatten(0, test.shape[:2]).mean(-1)
    test = test.float().to(runs[0].device)

    def data(n: int, generator: Generator) -> Tensor:
        return law.sample(n, generator).float()

    rows: list[list[Row]] = [[] for _ in seeds]
    with TemporaryDirectory() as folder:
        left = Path(folder) / "training.safetensors"
        for steps in config.stages:
            stage = replace(config, steps=steps)
            members = learn(losses[config.way], drawn(data), stage, seeds, runs, left)
            nll = -log_likelihood(members, test, TEST_STEPS).detach().mean(-1).cpu()
            for s, excess in enumerate((nll - least).tolist()):
                rows[s].append({"train_steps": steps, "evaluations": made.count, "excess_nll": excess})
    return rows


EQUAL = 0.1
"""The excess, in nats, at which evaluations are compared."""


def _a_step(rows: pd.DataFrame) -> float:
    return float((rows["evaluations"] / rows["train_steps"]).max())


def _saved(rows: pd.DataFrame) -> float:
    both = (pick(rows, {"way": way}) for way in ("likelihood", "cfm"))
    likelihood, cfm = (first_reached(list(each["evaluations"]), list(each["excess_nll"]), EQUAL) for each in both)
    return likelihood / cfm


saved: Measure = per_seed(_saved, ("evaluations", "excess_nll"), ({"way": "likelihood"}, {"way": "cfm"}))
"""Evaluations of maximum likelihood over those of CFM, to the same negative log-likelihood."""

CLAIMS = (
    Claim(
        "theorem-2",
        "Flow matching and conditional flow matching have equal gradients.",
        "Section 3.2, Theorem 2",
        (
            Quantity(
                "slope of the difference against n",
                gradients,
                loglog_slope("n", "difference", target="cfm"),
                Criterion(-0.55, -0.45, "noise of n draws, and nothing that stays, over a hundredfold of n"),
                expected=-0.5,
                metric="slope of the norm of the difference of the gradients against the number of draws, logarithmic",
            ),
        ),
        presets=PRESETS,
        kind="theorem",
        headline=True,
        excludes="the target without σ_min, and the target of another path: differences that stay",
        deviation="A network of two layers of 32 with its first weights, on eight Gaussians, at the same x and t for "
        "both; σ_min = 0.1, so that leaving it out of the target is seen.",
    ),
    Claim(
        "simulation-free",
        "Training is free of simulation: a step takes one evaluation of the network, where maximum likelihood takes "
        "those of a solver, and reaches an equal likelihood with fewer.",
        "Abstract, Sections 1 and 3",
        (
            Quantity(
                "evaluations of a CFM step",
                ways,
                per_seed(_a_step, ("evaluations", "train_steps"), way="cfm"),
                Criterion(1, 1, "one, as counted"),
                expected=1,
                metric="evaluations of the network in a training step",
            ),
            Quantity(
                "evaluations of a step of maximum likelihood",
                ways,
                per_seed(_a_step, ("evaluations", "train_steps"), way="likelihood"),
                Criterion(2, reason="more than one, as counted"),
                metric="evaluations of the network in a training step",
            ),
            Quantity(
                "evaluations to equal likelihood, maximum likelihood over CFM",
                ways,
                saved,
                Criterion(2.0, reason="a clear saving, not a tie; the paper gives no number"),
                metric="evaluations in training to 0.1 nats above the entropy of the data",
                unit="×",
                scale="log",
            ),
        ),
        presets=PRESETS,
        headline=True,
        excludes="maximum likelihood in the place of CFM",
        deviation="Eight wide Gaussians in the plane, and two layers of 32. Maximum likelihood trains through RK4 "
        "steps (4 in `quick`, 8 in `small`) with the exact divergence; what the divergence and the way back through "
        "the solver cost besides is not counted, for time is another on every machine. Target and training were "
        "settled by a pilot on seeds from 100 on. The level matters: nearer to the entropy maximum likelihood catches "
        "up, and in the pilot it ended lower.",
    ),
    Claim(
        "added-variance",
        "The price is variance: the gradient of one batch scatters more with conditional velocities as targets.",
        "beyond Section 3.2",
        (
            Quantity(
                "variance of the gradient, CFM over FM",
                gradients,
                value_at("variance_ratio", target="cfm", n=BLOCK),
                Criterion(nextafter(1.0, 2.0), reason="conditioning adds variance, and never takes any"),
                metric="variance of the gradient of 256 draws, summed over weights",
                unit="×",
                scale="log",
            ),
        ),
        presets=PRESETS,
        kind="ours",
        excludes="FM itself, whose ratio is 1",
        deviation="A network of two layers of 32 with its first weights, on eight Gaussians. Near the end of training "
        "the ratio grows without bound, for the gradient of FM vanishes there.",
    ),
)


def draw_theorem(results: Results) -> MatplotlibFigure:
    return drawing.theorem(results.table(gradients), looks.TARGETS, results.table(ways), looks.WAYS, EQUAL)


FIGURES = (
    Figure(
        "simulation-free",
        "Left: the difference of gradients from that of flow matching, against the number of draws, for conditional "
        "flow matching and two controls. Right: negative log-likelihood against evaluations in training, for "
        "conditional flow matching and maximum likelihood.",
        "Left: with conditional velocities as targets the difference falls along the grey line, slope −½: it is noise. "
        "With a wrong target something stays. Right: read along the grey line. Conditional flow matching comes to the "
        "same likelihood with a fraction of the evaluations.",
        (gradients, ways),
        draw_theorem,
    ),
)

STUDY = Study(
    "Training without simulation",
    "Does regression on conditional velocities have the gradient of flow matching, and what does it save?",
    (gradients, ways),
    CLAIMS,
    FIGURES,
)
