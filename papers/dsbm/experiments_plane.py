"""Section 6: nine methods between 2-D data sets, by what they generate and the energy that it takes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Generator, Tensor

from common.harness.studies.experiment import Experiment, Grid, Row, Run, at_least, one_of, positive
from common.metrics.distances import w2
from common.nets.mlp import MLP
from common.training.stream import stream
from papers.dsbm.experiments_gaussian import AVERAGED, TEST, TRAIN
from papers.dsbm.imf import IMFConfig
from papers.dsbm.methods import METHODS, ONE_PASS, Learned, learn
from papers.dsbm.process import path_energy, reversed_flow, simulate
from papers.dsbm.tasks import TASKS

STEPS = 20
N = 10_000
SHOWN = 500


@dataclass(frozen=True)
class PlaneConfig:
    """One method on one task. `sigma_factor` multiplies the task's σ."""

    method: str
    task: str
    passes: int = 8
    inner_steps: int = 1000
    lr: float = 3e-3
    refresh_every: int = 500
    n_test: int = 3000
    sigma_factor: float = 1.0

    def __post_init__(self) -> None:
        one_of(METHODS, self, "method")
        one_of(TASKS, self, "task")
        at_least(2, self, "passes", "n_test")
        at_least(1, self, "inner_steps", "refresh_every")
        positive(self, "lr", "sigma_factor")


def plane_network(dim: int, generator: Generator) -> MLP:
    """Three SiLU layers of 128 on [x, t]: narrower and deeper than the Gaussians', for drifts that are not affine."""
    return MLP(dim, hidden=128, hidden_layers=3, features=0, gain=1.0, generator=generator)


def trained(config: PlaneConfig, seed: int, run: Run) -> Learned:
    """The method's last pass."""
    task, generator = TASKS[config.task], stream(seed, TRAIN)
    one_pass = config.method in ONE_PASS
    imf_config = IMFConfig(
        task.sigma * config.sigma_factor,
        STEPS,
        1 if one_pass else config.passes,
        config.inner_steps * config.passes // 2 if one_pass else config.inner_steps,
        lr=config.lr,
        cache=N,
        refresh_every=config.refresh_every,
        ema_halflife=AVERAGED,
    )
    x_0, x_1 = task.pi_0(N, generator), task.pi_1(N, generator)
    for learned in learn(config.method, x_0, x_1, imf_config, generator, plane_network):
        run.log(pass_number=learned.number)
    return learned


def plane(config: PlaneConfig, seed: int, run: Run) -> list[Row]:
    """W2 between generated and test points, by 20 steps of Euler's method on the ODE and on the SDE, and the ODE's path
    energy E ∫ ‖v‖² dt."""
    learned, task, test = trained(config, seed, run), TASKS[config.task], stream(seed, TEST)
    x_0, x_1 = task.pi_0(config.n_test, test), task.pi_1(config.n_test, test)
    assert learned.flow is not None
    backward = reversed_flow(learned.flow)
    flow = simulate(backward, x_1, 0.0, STEPS, direction="b", keep_path=True)
    row: dict[str, float | int] = {
        "w2": w2(flow[-1], x_0),
        "path_energy": float(path_energy(backward, flow, "b").mean()),
        "n": config.n_test,
    }
    arrays: dict[str, Tensor] = {"flow_path": flow[:, :200], "generated": flow[-1, :SHOWN]}
    if learned.backward is not None:
        sigma = task.sigma * config.sigma_factor
        path = simulate(learned.backward, x_1, sigma, STEPS, test, "b", keep_path=True)
        row["w2_sde"] = w2(path[-1], x_0)
        arrays |= {"sde_path": path[:, :200], "sde_generated": path[-1, :SHOWN]}
    arrays |= {"data_0": x_0[:SHOWN], "data_1": x_1[:SHOWN]}
    run.save_arrays(**{name: value.float().numpy() for name, value in arrays.items()})
    return [row]


def plane_sigma(config: PlaneConfig, seed: int, run: Run) -> list[Row]:
    """`plane` at other σ than the task's: what our choice of it, which the paper does not give, decides."""
    return plane(config, seed, run)


@dataclass(frozen=True)
class PlaneFloorConfig:
    """W2 of two samples of what is to be generated."""

    task: str
    n_test: int = 3000

    def __post_init__(self) -> None:
        one_of(TASKS, self, "task")
        at_least(2, self, "n_test")


def plane_floor(config: PlaneFloorConfig, seed: int, run: Run) -> list[Row]:
    """The W2 that a perfect method has, on the test points of the same seed."""
    task, test = TASKS[config.task], stream(seed, TEST)
    x_0, others = task.pi_0(config.n_test, test), task.pi_0(config.n_test, test)
    return [{"w2": w2(x_0, others), "n": config.n_test}]


TABLE = tuple(method for method in METHODS if method != "IMF-b")


def _table(tasks: tuple[str, ...], methods: tuple[str, ...] = TABLE, **fields: int) -> list[PlaneConfig]:
    # Lipman's flow matching is for a Gaussian π_1; between data sets it is CFM.
    return [
        PlaneConfig(method, task, **fields)
        for task in tasks
        for method in methods
        if (method, task) != ("FM", "moons-8gaussians")
    ]


ALL_TASKS = tuple(TASKS)
QUICK_METHODS = ("DSBM-IMF", "OT-CFM", "CFM")

_SWEEP = [
    PlaneConfig("DSBM-IMF", task, sigma_factor=factor)
    for task in ("moons", "moons-8gaussians")
    for factor in (0.25, 0.5, 2.0)
]

PLANE_EXPERIMENTS = (
    Experiment(
        plane,
        PlaneConfig,
        {
            "quick": Grid(_table(("moons-8gaussians",), QUICK_METHODS, passes=4, n_test=1000), 3),
            "small": Grid(_table(ALL_TASKS), 5),
            "gpu": Grid(_table(ALL_TASKS, passes=40, inner_steps=10_000), 5),
        },
    ),
    Experiment(plane_sigma, PlaneConfig, {"small": Grid(_SWEEP, 2), "gpu": Grid(_SWEEP, 5)}),
    Experiment(
        plane_floor,
        PlaneFloorConfig,
        {
            "quick": Grid([PlaneFloorConfig("moons-8gaussians", 1000)], 3),
            "small": Grid([PlaneFloorConfig(task) for task in ALL_TASKS], 5),
            "gpu": Grid([PlaneFloorConfig(task) for task in ALL_TASKS], 5),
        },
    ),
)
