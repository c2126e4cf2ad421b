"""Every method of the paper's tables by its name: what it starts from, what it regresses on, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from torch import Generator, Tensor, nn

from common.harness.studies.panels import COLOURS
from common.transport.coupling import Coupling, independent, minibatch_ot, minibatch_sinkhorn
from papers.dsbm.bridge import Direction
from papers.dsbm.coupling import reference
from papers.dsbm.dsb import StepNetwork, mean_matching
from papers.dsbm.imf import IMFConfig, Method, alternate, flow_matching, matching, network
from papers.dsbm.process import Drift, probability_flow, reversed_flow

STEPS = 20
"""Of a simulation, so that a path has 21 times."""
N = 10_000
"""Points of each side to train on."""
TRAIN, TEST, CHOICE, WEIGHTS = range(4)
"""What the independent random streams of a run are for: training, judging, choosing among data, and first weights."""
AVERAGED = 12_800.0
"""Half-life of the average of the weights, in rows (100 steps), where the training is long enough to have one so long.
The paper's networks for points have no average; with a tenth of their steps and ten times their learning rate the last
iterate would be mostly noise."""

TRAINED = 0.03
"""How far another processor may move what was trained, relatively. These trainings are not chaotic: first weights that
are changed by 1e-7 change no number of a run by more than 1e-6. The rest is for draws that rounding may turn."""

CFM_SIGMA = 0.1
"""Of CFM and OT-CFM: as large as the σ of Tong et al. 2023 (arXiv:2302.00482), whose paths have variance σ² throughout.

Here it is a Brownian bridge's, σ² t (1 − t), with no noise at the ends: one target serves all methods."""


@dataclass(frozen=True)
class Learned:
    """What a method has after a pass.

    `drift` is that of the stochastic process of this pass, simulated in `direction` with the method's sigma, and
    `backward` that of the last backward one; None for a method that learns an ODE alone. `flow` is the velocity of its
    ODE, forward in time, and None until both directions have a network.
    """

    number: int
    direction: Direction
    drift: Drift | None
    backward: Drift | None
    flow: Drift | None


def bridges(
    x_0: Tensor,
    x_1: Tensor,
    nets: Mapping[Direction, nn.Module],
    method: Method,
    config: IMFConfig,
    generator: Generator,
    directions: Sequence[Direction] = ("b", "f"),
) -> Iterator[Learned]:
    """The passes of a method that learns a stochastic process."""
    for step in alternate(x_0, x_1, nets, method, config, generator, directions):
        flow = probability_flow(step.forward, step.backward) if step.forward and step.backward else None
        yield Learned(step.number, step.direction, step.drift, step.backward, flow)


def rectified_flow(
    x_0: Tensor, x_1: Tensor, net: nn.Module, config: IMFConfig, generator: Generator
) -> Iterator[Learned]:
    """IMF without noise, where one direction is enough: its process is the ODE."""
    config = replace(config, sigma=0.0)
    for step in alternate(x_0, x_1, {"b": net}, matching(independent, config), config, generator, ("b",)):
        yield Learned(step.number, "b", None, None, reversed_flow(step.drift))


def velocity(
    x_0: Tensor, x_1: Tensor, net: nn.Module, coupling: Coupling, config: IMFConfig, generator: Generator
) -> Iterator[Learned]:
    """One regression for an ODE."""
    yield Learned(1, "f", None, None, flow_matching(x_0, x_1, net, coupling, config, generator))


BRIDGES = ("DSBM-IPF", "DSBM-IMF", "DSBM-IMF+", "IMF-b", "DSB")
"""Methods that learn a stochastic process."""
NewNetwork = Callable[[int, Generator], nn.Module]
"""net(D, generator) -> a new network for (B, D) and times."""
ONE_PASS = ("SB-CFM", "OT-CFM", "CFM", "FM")
METHODS = (*BRIDGES, *ONE_PASS, "RF")


class Look(NamedTuple):
    """How a method is drawn, in all figures."""

    colour: str
    marker: str


LOOKS = {
    "DSB": Look(COLOURS[1], "s"),
    "SB-CFM": Look(COLOURS[2], "^"),
    "DSBM-IPF": Look(COLOURS[0], "o"),
    "DSBM-IMF": Look(COLOURS[3], "D"),
    "DSBM-IMF+": Look(COLOURS[4], "P"),
    "OT-CFM": Look(COLOURS[5], "v"),
    "CFM": Look(COLOURS[7], "X"),
    "FM": Look("#8a8a00", "h"),  # the palette's yellow can hardly be seen on white
    "RF": Look(COLOURS[9], "d"),
}
"""In the order of the figures. IMF-b is in no table of the paper, and not drawn."""


def learn(
    method: str, x_0: Tensor, x_1: Tensor, config: IMFConfig, generator: Generator, net: NewNetwork = network
) -> Iterator[Learned]:
    """Train `method` on samples x_0, x_1: (n, D) of π_0 and π_1, yielding what is learned after each pass.

    `config.sigma` is that of the Schrödinger bridge; the methods that have none of it take their own. CFM and OT-CFM
    have bridges of σ = 0.1 between their pairs. FM (Lipman et al. 2022, arXiv:2210.02747, σ_min = 0) has none, and is
    rectified flow's first pass with the velocity learned forward. Raises ValueError for an unknown method.
    """
    # Both networks are drawn whatever the method needs, so that all methods of a seed start from the same weights.
    nets: dict[Direction, nn.Module] = {"b": net(x_0.shape[1], generator)}
    nets["f"] = net(x_0.shape[1], generator)
    thin, straight = replace(config, sigma=CFM_SIGMA), replace(config, sigma=0.0)
    match method:
        case "DSBM-IMF":
            return bridges(x_0, x_1, nets, matching(independent, config), config, generator)
        case "DSBM-IMF+":
            return bridges(x_0, x_1, nets, matching(minibatch_ot(config.batch), config), config, generator)
        case "DSBM-IPF":
            return bridges(x_0, x_1, nets, matching(reference(config.sigma), config), config, generator)
        case "IMF-b":
            return bridges(x_0, x_1, {"b": nets["b"]}, matching(independent, config), config, generator, ("b",))
        case "DSB":
            steps: dict[Direction, nn.Module] = {key: StepNetwork(net, config.steps) for key, net in nets.items()}
            return bridges(x_0, x_1, steps, mean_matching(config), config, generator)
        case "SB-CFM":
            return velocity(x_0, x_1, nets["f"], minibatch_sinkhorn(config.sigma, config.batch), config, generator)
        case "OT-CFM":
            return velocity(x_0, x_1, nets["f"], minibatch_ot(config.batch), thin, generator)
        case "CFM":
            return velocity(x_0, x_1, nets["f"], independent, thin, generator)
        case "FM":
            return velocity(x_0, x_1, nets["f"], independent, straight, generator)
        case "RF":
            return rectified_flow(x_0, x_1, nets["b"], config, generator)
    raise ValueError(f"method is {method!r}; allowed are {', '.join(METHODS)}")
