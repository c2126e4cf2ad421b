"""Do the learned pairs come to be those of the entropic optimal plan (beyond the paper)?

The static Schrödinger bridge between two samples is Sinkhorn's plan. From N(0, I) to the eight Gaussians, for three σ:
after every pass, simulated pairs are compared with the plan's between the same test points.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Row, Run, at_least, experiment, one_of, positive
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import Measure, paired_ratio, per_seed
from common.harness.studies.panels import finish, where
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.dsbm.imf import IMFConfig
from papers.dsbm.plan import barycentric_map, draw_partners, entropic_plan, joint_w2
from papers.dsbm.process import simulate
from papers.dsbm.studies.drawing import key, sheet
from papers.dsbm.studies.methods import AVERAGED, LOOKS, STEPS, TEST, TRAIN, TRAINED, Learned, N, learn
from papers.dsbm.studies.tasks import TASKS, plane_network

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

COMPARED = ("DSBM-IMF", "DSBM-IPF")


@dataclass(frozen=True)
class PlanConfig:
    """One method, whatever σ, between N(0, I) and the eight Gaussians."""

    method: str
    sigma: float
    task: str = "8gaussians"
    passes: int = 8
    inner_steps: int = 1000
    lr: float = 3e-3
    refresh_every: int = 500
    n_test: int = 1000
    repeats: int = 8
    """Simulations from each point, for its conditional mean."""

    def __post_init__(self) -> None:
        one_of(COMPARED, self, "method")
        one_of(TASKS, self, "task")
        at_least(1, self, "passes", "inner_steps", "refresh_every", "n_test", "repeats")
        positive(self, "sigma", "lr")


@dataclass(frozen=True)
class Truth:
    """The entropic plan from test points `start` to test points `end`, both (n, 2)."""

    start: Tensor
    end: Tensor
    plan: Tensor

    @staticmethod
    def of(start: Tensor, end: Tensor, sigma: float) -> Truth:
        """By Sinkhorn."""
        return Truth(start, end, entropic_plan(start, end, sigma))

    def pairs(self, generator: Generator) -> Tensor:
        """Every start with an end drawn for it, (n, 4)."""
        return torch.cat([self.start, draw_partners(self.plan, self.end, generator)], dim=1)

    def mean(self) -> Tensor:
        """E[end | start], (n, 2)."""
        return barycentric_map(self.plan, self.end)

    def drawn_mean(self, repeats: int, generator: Generator) -> Tensor:
        """The mean of so many ends drawn for each start, (n, 2)."""
        return torch.stack([draw_partners(self.plan, self.end, generator) for _ in range(repeats)]).mean(0)


def rms(gap: Tensor) -> float:
    """√(mean ‖gap‖²) of (n, 2)."""
    return float(gap.square().sum(1).mean().sqrt())


def compare(learned: Learned, truth: Truth, config: PlanConfig, generator: Generator) -> dict[str, float]:
    """Joint W2 between simulated pairs and the plan's, and the error of the mean of what is simulated from a point."""
    start = truth.start
    assert learned.drift is not None
    many = start.repeat(config.repeats, 1)
    ends = simulate(learned.drift, many, config.sigma, STEPS, generator, learned.direction)
    pairs = torch.cat([start, ends[: len(start)]], dim=1)
    mean = ends.double().reshape(config.repeats, *start.shape).mean(0)
    return {"joint_w2": joint_w2(pairs, truth.pairs(generator)), "map_error": rms(mean - truth.mean())}


GRID = [PlanConfig(method, sigma) for sigma in (0.5, 1.0, 2.0) for method in COMPARED]


@experiment(
    PlanConfig,
    {"small": Grid(GRID, 3), "gpu": Grid(GRID, 5)},
    {
        "pass_number": int,
        "direction": ("b", "f"),
        "joint_w2": float,
        "map_error": float,
        "joint_floor": float,
        "map_floor": float,
    },
    version=2,
    tolerance=TRAINED,
)
def plan_distance(config: PlanConfig, seed: int, run: Run) -> list[Row]:
    """After every pass: joint W2 between simulated pairs and the plan's, and the error of the conditional mean. Beside
    them what two true plans differ by that start from the same points, one of them by as many draws."""
    task, train, test = TASKS[config.task], stream(seed, TRAIN), stream(seed, TEST)
    x_0, x_1 = task.pi_0(config.n_test, test), task.pi_1(config.n_test, test)
    other_0, other_1 = task.pi_0(config.n_test, test), task.pi_1(config.n_test, test)
    truths = {"f": Truth.of(x_0, x_1, config.sigma), "b": Truth.of(x_1, x_0, config.sigma)}
    siblings = {"f": Truth.of(x_0, other_1, config.sigma), "b": Truth.of(x_1, other_0, config.sigma)}
    floors = {
        key: {
            "joint_floor": joint_w2(truth.pairs(test), siblings[key].pairs(test)),
            "map_floor": rms(truth.mean() - siblings[key].drawn_mean(config.repeats, test)),
        }
        for key, truth in truths.items()
    }
    imf_config = IMFConfig(
        config.sigma,
        STEPS,
        config.passes,
        config.inner_steps,
        lr=config.lr,
        cache=N,
        refresh_every=config.refresh_every,
        ema_halflife=AVERAGED,
    )
    rows: list[Row] = []
    passes = learn(config.method, task.pi_0(N, train), task.pi_1(N, train), imf_config, train, plane_network)
    for learned in passes:
        key = learned.direction
        distances = compare(learned, truths[key], config, test)
        rows.append({"pass_number": learned.number, "direction": key, **distances, **floors[key]})
    return rows


def last_over(column: str, floor: str, /, **where: object) -> Measure:
    """`column` at the last pass over `floor`."""

    def ratio(rows: pd.DataFrame) -> float:
        last = rows.sort_values("pass_number").iloc[-1]
        return float(last[column] / last[floor])

    return per_seed(ratio, ("pass_number", column, floor), **where)


def _quantities() -> tuple[Quantity, ...]:
    close = Criterion(upper=1.2, reason="half of the 1.4 - 1 by which independent pairs exceed the floor at sigma 2")
    return (
        *(
            Quantity(
                f"{method} at the last pass over the floor, sigma {sigma:g}",
                plan_distance,
                last_over("joint_w2", "joint_floor", method=method, sigma=sigma),
                close,
                expected=1.0,
                metric="W₂ of simulated pairs to the plan's, over that of two true plans",
                unit="×",
                scale="log",
            )
            for method, sigmas in (("DSBM-IMF", (0.5, 1.0, 2.0)), ("DSBM-IPF", (1.0, 2.0)))
            for sigma in sigmas
        ),
        Quantity(
            "DSBM-IPF over DSBM-IMF after 2 passes, sigma 0.5",
            plan_distance,
            paired_ratio(
                "joint_w2", first={"method": "DSBM-IPF"}, second={"method": "DSBM-IMF"}, sigma=0.5, pass_number=2
            ),
            Criterion(1.0, reason="the claim is the sign, on paired seeds"),
            metric="ratio of W₂ of simulated pairs to the plan's",
            unit="×",
            scale="log",
        ),
    )


PLAN_CLAIM = Claim(
    "plan",
    "The pairs that DSBM learns come to be those of the entropic optimal plan, with little noise sooner by IMF.",
    "beyond the paper",
    _quantities(),
    presets=("small", "gpu"),
    deviation="From N(0, I) to the eight Gaussians, 1000 points; the plan is Sinkhorn's on test points. Joint W2 is"
    " that of pairs as points of four dimensions; its floor is that of two plans that start from the same points. "
    "At sigma 0.5 IPF would take more passes, by (25) of the page, and is not asked to arrive. The bound was 2 "
    "until a review of the first report showed that independent pairs meet it at sigma 2.",
    kind="ours",
    excludes="independent pairs, 1.4 times the floor away at sigma 2 and more at a smaller one",
)


def draw(results: Results) -> MatplotlibFigure:
    table = results.table(plan_distance)
    sigmas = sorted(table["sigma"].unique())
    figure, axes = sheet(len(sigmas), 2, height=2.9)
    for row, sigma in zip(axes, sigmas, strict=True):
        rows = where(table, sigma=sigma)
        for panel, value, floor in zip(row, ("joint_w2", "map_error"), ("joint_floor", "map_floor"), strict=True):
            for method, style in (("DSBM-IPF", "--"), ("DSBM-IMF", "-")):
                seeds, (colour, marker) = where(rows, method=method).groupby("pass_number")[value], LOOKS[method]
                mean = seeds.mean()
                panel.plot(mean.index, mean, color=colour, marker=marker, ls=style, label=method)
                panel.fill_between(mean.index, seeds.min(), seeds.max(), color=colour, alpha=0.2, lw=0)
            floors = rows.groupby("pass_number")[floor].mean()
            panel.plot(floors.index, floors, color="0.4", ls=":", lw=1.5, label="two true plans")
            panel.set(title=f"σ = {sigma:g}", ylim=(0, None))
        row[0].set_ylabel("W₂ of pairs to the plan")
        row[1].set_ylabel("error of the mean end")
    for panel in axes[-1]:
        panel.set_xlabel("pass (odd: backward)")
    key(figure)
    return finish(figure)


STUDY = Study(
    title="Distance to the entropic plan",
    question="Do the learned pairs come to be those of the entropic optimal plan, and after how many passes?",
    experiments=(plan_distance,),
    claims=(PLAN_CLAIM,),
    figures=(
        Figure(
            "plan-distance",
            "Distance of the learned pairs to the entropic optimal plan by pass, for DSBM-IPF and DSBM-IMF at several "
            "sigma.",
            "The plan is Sinkhorn's, on samples. Dotted is what two such plans differ by that start in the same "
            "points, so it depends on the direction of a pass. The less noise, the more passes does a start from the "
            "reference (DSBM-IPF) need; a start from independent pairs (DSBM-IMF) needs few. Bands are all seeds.",
            (plan_distance,),
            draw,
        ),
    ),
)
