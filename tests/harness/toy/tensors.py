"""The part of the toy that needs torch: tests that need none start faster without."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from common.harness.studies.experiment import Grid, Resources, Row, Run, experiment
from common.harness.studies.study import Study
from toy.experiments import say


@dataclass(frozen=True)
class Net:
    width: int = 64


@experiment(
    Net,
    {"quick": Grid((Net(),), seeds=2), "small": Grid((Net(),))},
    {"threads": int, **dict.fromkeys(("gradient", "product", "sum", "blas", "global"), float)},
    resources={"small": Resources(cpus=2)},
)
def convolve(config: Net, seed: int, run: Run) -> Sequence[Row]:
    """Sums whose last bits depend on how many threads share the work, and a draw from a global generator."""
    say("start", run)
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(8, 3, 64, 64, generator=generator)
    kernel = torch.randn(config.width, 3, 5, 5, generator=generator, requires_grad=True)
    torch.nn.functional.conv2d(image, kernel).square().mean().backward()
    matrix = torch.randn(400, 3000, generator=generator)
    product = matrix @ matrix.T
    assert kernel.grad is not None
    return [
        {
            "threads": torch.get_num_threads(),
            "gradient": kernel.grad.double().sum(),
            "product": product.double().norm(),
            "sum": matrix.sum(),
            "blas": float((np.asarray(matrix) @ np.asarray(matrix).T).sum()),
            "global": torch.rand(()).item() + np.random.rand(),
        }
    ]


STUDY = Study("Tensors", "Are sums the same everywhere?", (convolve,))
