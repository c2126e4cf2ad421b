"""Beyond the paper: how far the learned pairs are from the entropic optimal plan, pass by pass, by σ."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from common.harness.studies.experiment import Experiment, Grid, Row, Run, at_least, one_of, positive
from common.training.stream import stream
from papers.dsbm.experiments_gaussian import AVERAGED, TEST, TRAIN
from papers.dsbm.experiments_plane import STEPS, N, plane_network
from papers.dsbm.imf import IMFConfig
from papers.dsbm.methods import Learned, learn
from papers.dsbm.plan import barycentric_map, draw_partners, entropic_plan, joint_w2
from papers.dsbm.process import simulate
from papers.dsbm.tasks import TASKS


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
        one_of(("DSBM-IMF", "DSBM-IPF"), self, "method")
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


_SIGMAS = (0.5, 1.0, 2.0)
_GRID = [PlanConfig(method, sigma) for sigma in _SIGMAS for method in ("DSBM-IMF", "DSBM-IPF")]

PLAN_EXPERIMENTS = (Experiment(plan_distance, PlanConfig, {"small": Grid(_GRID, 3), "gpu": Grid(_GRID, 5)}, version=2),)
