"""Does DSBM carry images of digits to letters and back, and how far does it move them (Section 6)?

Between MNIST and five letters of EMNIST, trained as by the official code of the images, with another U-Net. It takes a
GPU; no claim is made of it yet.

`digits` is a stand-in that every machine has, for the tests: the digits 0 to 4 for π_0 and 5 to 9 for π_1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from math import log, sqrt
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor, nn

from common.data.home import data_home, is_offline
from common.data.images import digits, mnist, resize_mnist
from common.harness.studies.experiment import Grid, Resources, Row, Run, at_least, experiment, one_of, positive
from common.harness.studies.figure import Figure, Results
from common.harness.studies.panels import finish
from common.harness.studies.study import Study
from common.metrics.frechet import fd_digits, fd_mnist
from common.nets.unet import ddpmpp
from common.training.checkpoint import save_checkpoint
from common.training.stream import stream
from common.transport.coupling import independent
from papers.dsbm.bridge import Direction
from papers.dsbm.coupling import reference
from papers.dsbm.imf import IMFConfig, Method, alternate, matching
from papers.dsbm.studies.drawing import sheet
from papers.dsbm.studies.methods import CHOICE, TEST, TRAIN, TRAINED, WEIGHTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure

LETTERS = 5
"""The first letters of EMNIST that the paper takes, A to E in both cases."""
SIGMA = sqrt(1.02)
"""Of the official configuration: thirty steps, the square of σ being the sum of theirs."""
T_EPS = 1e-4
"""Of the official code of the images; that of the Gaussians has ten times as much."""
DROPOUT = 0.1
AVERAGE = 0.999
"""What the average of the weights keeps at each step, from the first on."""


@dataclass(frozen=True)
class TransferConfig:
    """The paper: MNIST and letters, 30 steps, batches of 128, 5000 steps per pass and 100 000 in IMF's first two."""

    method: str
    pair: str = "mnist-letters"
    passes: int = 20
    first_steps: int = 100_000
    inner_steps: int = 5000
    batch: int = 128
    lr: float = 1e-4
    width: int = 128
    levels: int = 3
    steps: int = 30
    cache: int = 10_000
    refresh_every: int = 1000
    n_test: int = 5000

    def __post_init__(self) -> None:
        one_of(("DSBM-IMF", "DSBM-IPF"), self, "method")
        one_of(PAIRS, self, "pair")
        at_least(1, self, "passes", "first_steps", "inner_steps", "batch", "width", "levels", "steps", "refresh_every")
        at_least(2, self, "n_test")
        positive(self, "lr")


class Drift(nn.Module):
    """A U-Net of images x: (B, C, H, W) and t in [0, 1], of which it is told as DDPM++ is of a step in 1000."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """t: () or (B,)."""
        return self.net(x, 999 * t)


def emnist_letters(train: bool) -> Tensor:
    """The letters A to E of EMNIST (Cohen et al. 2017, arXiv:1702.05373) at 32×32, (N, 1, 32, 32) in [-1, 1].

    Raises FileNotFoundError where they are neither in the data home nor to be downloaded.
    """
    from torchvision.datasets import EMNIST

    try:
        data = EMNIST(str(data_home()), split="letters", train=train, download=not is_offline())
    except (RuntimeError, OSError) as error:
        raise FileNotFoundError(f"EMNIST is not in {data_home()} and cannot be downloaded: {error}") from error
    # EMNIST's images lie on their side; its letters count from 1.
    pixels = data.data[data.targets <= LETTERS].transpose(1, 2)[:, None].float() / 127.5 - 1
    return resize_mnist(pixels, 32)


def mnist_and_letters(train: bool) -> tuple[Tensor, Tensor]:
    """π_0 of MNIST and π_1 of letters, at 32×32."""
    return mnist("train" if train else "test", 32).x0, emnist_letters(train)


def small_and_large_digits(train: bool) -> tuple[Tensor, Tensor]:
    """The digits 0 to 4, and 5 to 9, of scikit-learn."""
    images = digits("train" if train else "test")
    return images.x0[images.labels < LETTERS], images.x0[images.labels >= LETTERS]


PAIRS = {"mnist-letters": mnist_and_letters, "digits": small_and_large_digits}
METRICS = {"mnist-letters": fd_mnist, "digits": fd_digits}


@cache
def look_at(pair: str) -> None:
    """Download or check what a pair takes, once, before anything runs."""
    PAIRS[pair](True)


def as_many(x_0: Tensor, x_1: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """As many of one side as of the other, in random order."""
    n = min(len(x_0), len(x_1))
    chosen = [x[torch.randperm(len(x), generator=generator)[:n]] for x in (x_0, x_1)]
    return chosen[0], chosen[1]


def networks(config: TransferConfig, channels: int, side: int, generator: Generator) -> Mapping[Direction, nn.Module]:
    """A U-Net for each direction, of images (B, channels, side, side)."""
    new = partial(
        ddpmpp,
        side,
        channels,
        model_channels=config.width,
        channel_mult=(1, 2, 2, 2)[: config.levels],
        num_blocks=2,
        attn_resolutions=(side // 2,),
        dropout=DROPOUT,
    )
    names: tuple[Direction, Direction] = ("b", "f")
    return {name: Drift(new(generator=generator)) for name in names}


def training(config: TransferConfig) -> IMFConfig:
    """As the official code of the images: both passes of IMF's first round on independent pairs, a weighted loss, an
    average of the weights, and no noise in the last step of a simulation."""
    independent_first = config.method == "DSBM-IMF"
    return IMFConfig(
        SIGMA,
        config.steps,
        config.passes,
        config.inner_steps,
        first_steps=config.first_steps if independent_first else None,
        first_passes=2 if independent_first else 1,
        batch=config.batch,
        lr=config.lr,
        cache=config.cache,
        refresh_every=config.refresh_every,
        t_eps=T_EPS,
        clip=1.0,
        ema_halflife=config.batch * log(0.5) / log(AVERAGE),
        ema_rampup=None,
        weighted=True,
        noisy_end=False,
    )


@experiment(
    TransferConfig,
    {"gpu": Grid([TransferConfig(method) for method in ("DSBM-IMF", "DSBM-IPF")])},
    {"pass_number": int, "direction": ("b", "f"), "fd": float, "moved": float, "n": int},
    resources={"gpu": Resources(cpus=4, gpus=1.0)},
    prepare=lambda config: look_at(config.pair),
    tolerance=TRAINED,
)
def transfer(config: TransferConfig, seed: int, run: Run) -> list[Row]:
    """After every pass: the Frechet distance of what its process makes of test images of the other side, and how far it
    carries them (root mean square per image)."""
    x_0, x_1 = (x.to(run.device) for x in as_many(*PAIRS[config.pair](True), stream(seed, CHOICE)))
    test_0, test_1 = (x[: config.n_test].to(run.device) for x in PAIRS[config.pair](False))
    nets = networks(config, x_0.shape[1], x_0.shape[-1], stream(seed, WEIGHTS))
    for net in nets.values():
        net.to(run.device)
    imf_config = training(config)
    method: Method = matching(independent if config.method == "DSBM-IMF" else reference(SIGMA), imf_config)
    train, test = stream(seed, TRAIN, run.device), stream(seed, TEST, run.device)
    rows: list[Row] = []
    shown: dict[str, Tensor] = {}
    for step in alternate(x_0, x_1, nets, method, imf_config, train):
        source, wanted = (test_0, test_1) if step.direction == "f" else (test_1, test_0)
        ends = step.couple(source, imf_config, test)
        made = ends[1] if step.direction == "f" else ends[0]
        moved = (made - source).square().flatten(1).sum(1).mean().sqrt()
        fd = METRICS[config.pair](made.cpu(), wanted.cpu())
        rows.append(
            {"pass_number": step.number, "direction": step.direction, "fd": fd, "moved": float(moved), "n": len(made)}
        )
        run.log(pass_number=step.number, fd=fd)
        shown |= {f"start_{step.direction}": source[:32], f"transferred_{step.direction}": made[:32]}
        drift = {key: value.contiguous() for key, value in step.drift.state_dict().items()}
        save_checkpoint(run.folder / f"drift_{step.direction}.safetensors", drift, {"pass": step.number})
    run.save_arrays(**{name: images.float().cpu().numpy() for name, images in shown.items()})
    return rows


def draw(results: Results) -> MatplotlibFigure:
    runs = results.arrays(transfer, seed=0)
    figure, axes = sheet(2 * len(runs), 2, height=2.3)
    ways = [(config["method"], arrays, way) for config, arrays in runs for way in ("forward", "backward")]
    for row, (method, arrays, way) in zip(axes, ways, strict=True):
        for panel, word in zip(row, ("start", "transferred"), strict=True):
            images = arrays[f"{word}_{way[0]}"][:32, 0]
            tiles = images.reshape(-1, 8, *images.shape[1:]).transpose(0, 2, 1, 3)
            panel.imshow(tiles.reshape(-1, 8 * images.shape[-1]), cmap="gray_r", vmin=-1, vmax=1)
            panel.set_title(f"{method}, {way}, {word}")
            panel.axis("off")
    return finish(figure, despine=False)


STUDY = Study(
    title="Digits to letters",
    question="Does DSBM carry images of digits to letters and back, and how far does it move them?",
    experiments=(transfer,),
    figures=(
        Figure(
            "transfer",
            "Grids of images before and after the transfer, in both directions.",
            "Each image on the right is made from the one in the same place on the left. What is kept of its shape "
            "shows how little the bridge moves.",
            (transfer,),
            draw,
        ),
    ),
)
