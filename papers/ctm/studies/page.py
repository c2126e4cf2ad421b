"""The student that a reader plays with on the page of week 8, trained by `python -m papers.ctm.studies.page`.

Data in one dimension, a mixture of three Gaussians, with its exact denoiser as teacher, whose trajectories are solved
once and stored: CTM with soft matching and denoising score matching, no discriminator. The network is small, so that
its errors can be seen and its weights fit a page. They are written to `docs/javascripts/ctm-student.json`, to float32's
digits; the tests of the page read them back and compare the page's jumps with the package's.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import Generator, Tensor

from common.diffusion.precond import EDMPrecond
from papers.ctm.exact import EqualMixture
from papers.ctm.losses import HalfLogNormal
from papers.ctm.networks import TwoTimePerceptron
from papers.ctm.teacher import Stored
from papers.ctm.times import TimeGrid
from papers.ctm.training import CTMTraining, Objective, begin, train
from papers.ctm.trajectory import Trajectory

WEIGHTS = Path(__file__).parents[3] / "docs" / "javascripts" / "ctm-student.json"
GRID = TimeGrid(N=18, sigma_min=0.02, sigma_max=10.0)
MEANS, STD = (-1.2, 0.0, 1.2), 0.3
SIGMA_DATA = (sum(mean**2 for mean in MEANS) / len(MEANS) + STD**2) ** 0.5
HIDDEN, LAYERS, FEATURES = 48, 3, 16
TRAJECTORIES = 8192
"""From each level of the grid."""
SEED = 0
CONFIG = CTMTraining(steps=6000, batch_size=512, lr=2e-3, ema=0.999, log_every=500)


def mixture() -> EqualMixture:
    return EqualMixture(torch.tensor(MEANS, dtype=torch.float64)[:, None], STD)


def sample(n: int, generator: Generator) -> tuple[Tensor, dict[str, Tensor]]:
    """x0: (n, 1), and no condition."""
    modes = torch.tensor(MEANS)[torch.randint(len(MEANS), (n, 1), generator=generator)]
    return modes + STD * torch.randn(n, 1, generator=generator), {}


def network(generator: Generator | None = None) -> TwoTimePerceptron:
    return TwoTimePerceptron((1,), hidden=HIDDEN, hidden_layers=LAYERS, features=FEATURES, generator=generator)


def train_student(seed: int = SEED, config: CTMTraining = CONFIG, log: Any = None) -> Trajectory:
    """The averaged student, after `config.steps` updates from the exact teacher."""
    init, draws, steps, solved = (torch.Generator().manual_seed(4 * seed + k) for k in range(4))
    x0, _ = sample((GRID.N - 1) * TRAJECTORIES, solved)
    pairs = Stored.make(mixture(), x0.reshape(GRID.N - 1, TRAJECTORIES, 1), GRID, solved)
    learner = begin(Trajectory(network(init), EDMPrecond(SIGMA_DATA)), config)
    objective = Objective(pairs, GRID, dsm=HalfLogNormal(GRID))
    return train(learner, sample, objective, config, draws, steps, log).average.eval()


def weights(student: Trajectory) -> dict[str, Any]:
    """What the page reads: the law, the times, and the network's tensors by name, to seven digits."""
    tensors = {name: _digits(value.tolist()) for name, value in student.net.state_dict().items()}
    law = {"means": MEANS, "std": STD, "sigma_data": SIGMA_DATA}
    times = {"sigma_min": GRID.sigma_min, "sigma_max": GRID.sigma_max, "rho": GRID.rho}
    return {"law": law, "times": times, "tensors": tensors}


def untrained() -> Trajectory:
    """A student whose network is zero: what training begins with, but for a hundred thousandth."""
    net = network(torch.Generator().manual_seed(4 * SEED))
    for layer in (net.last, net.gain):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return Trajectory(net, EDMPrecond(SIGMA_DATA)).eval()


def read(path: Path = WEIGHTS) -> Trajectory:
    """The student of the page."""
    net = network()
    net.load_state_dict({name: torch.tensor(value) for name, value in json.loads(path.read_text())["tensors"].items()})
    return Trajectory(net, EDMPrecond(SIGMA_DATA)).eval()


def _digits(values: Any) -> Any:
    return [_digits(value) for value in values] if isinstance(values, list) else float(f"{values:.7g}")


if __name__ == "__main__":
    trained = train_student(log=lambda **values: print(" ".join(f"{k} {v:.4g}" for k, v in values.items()), flush=True))
    WEIGHTS.write_text(json.dumps(weights(trained), separators=(",", ":")) + "\n", encoding="utf-8")
