"""What does each step of the training configurations A to F bring (Section 5, Table 2)?

Each configuration is trained at another scale (`networks`), on the same seeds, and its samples at 35 NFE are judged by
their Frechet distance to the data. The loss is also taken by noise level, before and after training (Figure 5a).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from common.diffusion.solvers import Denoiser
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Resources, Row, Run, experiment
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import Measure, paired_ratio
from common.harness.studies.panels import COLOURS, finish, panels, where
from common.harness.studies.study import Study
from common.training.checkpoint import save_checkpoint
from common.training.loop import train
from common.training.stream import stream
from papers.edm.configs import VP_CONFIGS
from papers.edm.loss import edm_loss, loss_per_noise_level
from papers.edm.published import VP_FID
from papers.edm.studies.comparison import better, student_interval
from papers.edm.studies.images import DATASETS, FLOOR, SAMPLING, TRAINING, distance_floor, generate, look_at, scaling_of
from papers.edm.studies.networks import AblationConfig, at_scale, batches, denoiser_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

_QUICK = AblationConfig("E", "digits", 8, images=1000 * 128, batch=128, width=256, n_samples=1797)
_SMALL = AblationConfig("E", "mnist", 16, images=1500 * 64, batch=64, width=8, levels=2, checkpoint_every=500)
_GPU = tuple(
    AblationConfig("E", dataset, 32, images, 512, width, 3, blocks, n_samples, checkpoint_every=2000)
    for dataset, images, width, blocks, n_samples in (
        ("mnist", 20_000_000, 64, 2, 10_000),
        ("cifar10", 200_000_000, 128, 4, 50_000),
    )
)
TRAINED: Mapping[str, AblationConfig] = {"digits": _QUICK, "mnist": _SMALL}


def _letters(letters: str, *bases: AblationConfig) -> list[AblationConfig]:
    return [replace(base, letter=letter) for base in bases for letter in letters]


@experiment(
    AblationConfig,
    {
        "quick": Grid(_letters("CDE", _QUICK), 4),
        "small": Grid(_letters("ABCDEF", _SMALL), 3),
        "gpu": Grid(_letters("ABCDEF", *_GPU), 3),
    },
    {"fd": float, "n": int, "floor": float, "nfe": int},
    resources={"gpu": Resources(cpus=4, gpus=1.0)},
    prepare=lambda config: look_at(config.dataset, config.resolution),
)
def training(config: AblationConfig, seed: int, run: Run) -> list[Row]:
    """Train one configuration; its Frechet distance at 35 NFE (18 steps of Heun's method), and its loss by noise
    level."""
    spec, data = VP_CONFIGS[config.letter], DATASETS[config.dataset]
    images = data.load(config.resolution)
    standard, shape = scaling_of(images, config.dataset), tuple(images.x0.shape[1:])
    x0 = standard.encode(images.x0).to(run.device)
    denoiser = denoiser_of(config, shape, seed).to(run.device)

    sigmas = torch.logspace(-2.5, 1.9, 12, dtype=torch.float64)

    def loss_levels(network: Denoiser) -> Tensor:
        held = torch.Generator(run.device).manual_seed(0)
        return loss_per_noise_level(network, x0[:: max(1, len(x0) // 256)], sigmas.to(run.device), held).mean(1).cpu()

    initial = loss_levels(denoiser)
    loss = partial(edm_loss, noise=spec.noise, weight=spec.weight)
    sampler = batches(x0, spec, mirrored=config.dataset == "cifar10")
    checkpoint = run.folder / "training.safetensors" if config.checkpoint_every else None
    generator = stream(seed, TRAINING, run.device)
    trained = train(denoiser, loss, sampler, at_scale(config), generator, log=run.log, checkpoint=checkpoint)
    save_checkpoint(run.folder / "ema.safetensors", trained.ema.state_dict(), {"letter": config.letter})

    sampled, nfe = generate(trained.ema, config.n_samples, shape, 18, stream(seed, SAMPLING, run.device))
    samples = standard.decode(sampled).cpu()
    run.save_arrays(
        sigma=sigmas.numpy(),
        loss_initial=initial.numpy(),
        loss_final=loss_levels(trained.ema).numpy(),
        samples=samples[:32].float().numpy(),
    )
    lowest = distance_floor(config.dataset, config.resolution, images, config.n_samples, stream(seed, FLOOR))
    return [{"fd": data.distance(samples), "n": config.n_samples, "floor": lowest, "nfe": nfe}]


SCALED_DOWN = (
    "`quick` trains a perceptron on 8×8 scikit-learn digits, `small` a U-Net on MNIST at 16×16; both without classes. "
    "Batch, warm-up and averaging are scaled to the length of the training; no image is mirrored in the data set, "
    "since a mirrored digit is none. Quality is fd_digits or fd_mnist at 35 NFE. "
    "The width and the gain path of the perceptron of `quick` were settled after pilots had shown numbers."
)
"""How a claim about these networks deviates from the paper."""


def _over(worse: str, better: str, **where: str) -> Measure:
    return paired_ratio("fd", first={"letter": worse}, second={"letter": better}, **where)


def _improves(worse: str, by: str, **where: str) -> Quantity:
    published = VP_FID[worse].unconditional / VP_FID[by].unconditional
    return better(f"{worse} over {by}", training, _over(worse, by, **where), published)


CLAIMS = (
    Claim(
        "training",
        "EDM's loss weight and noise distribution (E) improve on its preconditioning alone (D).",
        "Section 5, Table 2",
        (_improves("D", "E"),),
        deviation=SCALED_DOWN,
    ),
    Claim(
        "training-preconditioning",
        "EDM's preconditioning alone (D) leaves the FID about as it was (C).",
        "Section 5, Table 2",
        (
            Quantity(
                "C over D",
                training,
                _over("C", "D"),
                Criterion(0.8, 1.25, "equivalence margin of 80 to 125 %, the usual one for a ratio"),
                published=VP_FID["C"].unconditional / VP_FID["D"].unconditional,
                unit="×",
                floor=0.2,
                scale="log",
            ),
        ),
        deviation=SCALED_DOWN
        + " The networks are small and trained briefly: under C their error at high noise is multiplied by sigma (see "
        "the loss per noise level), and D is much better. The paper's networks, trained on a thousand times as many "
        "images, show the two alike.",
    ),
    Claim(
        "training-total",
        "All the training improvements together (F) are better than the baseline (A).",
        "Section 5, Table 2",
        (_improves("A", "F"),),
        presets=("small",),
        deviation=SCALED_DOWN,
    ),
    Claim(
        "training-cifar10",
        "On CIFAR-10, E improves on D and F on A.",
        "Section 5, Table 2",
        (_improves("D", "E", dataset="cifar10"), _improves("A", "F", dataset="cifar10")),
        presets=("gpu",),
        deviation="Unconditional networks. Quality is FID at 35 NFE.",
    ),
)


def _runs(results: Results) -> tuple[pd.DataFrame, Sequence[str], str]:
    """The rows on one data set (the paper's, where there are several), its letters, and its name."""
    table = results.table(training)
    dataset = "cifar10" if "cifar10" in set(table["dataset"]) else str(table["dataset"].iloc[0])
    table = where(table, dataset=dataset)
    return table, sorted(table["letter"].unique()), dataset


def draw_loss_by_noise_level(results: Results) -> MatplotlibFigure:
    figure, axes = panels("edm", width=8, height=4.6)
    panel = axes[0, 0]
    _, letters, dataset = _runs(results)
    for letter, style in zip(letters, ("-", "--", "-.", ":", "-", "--"), strict=False):
        runs = [arrays for _, arrays in results.arrays(training, letter=letter, dataset=dataset)]
        mean = np.mean([run["loss_final"] for run in runs], axis=0)
        spread = np.std([run["loss_final"] for run in runs], axis=0)
        colour = COLOURS["ABCDEF".index(letter)]
        panel.plot(runs[0]["sigma"], mean, ls=style, color=colour, label=f"{letter}, trained")
        panel.fill_between(runs[0]["sigma"], mean - spread, mean + spread, color=colour, alpha=0.2, lw=0)
    sigma, initial = runs[0]["sigma"], runs[0]["loss_initial"]
    panel.plot(sigma, initial, color="0.5", ls=(0, (1, 1)), label=f"{letters[-1]}, at the start")
    density = np.exp(-0.5 * ((np.log(sigma) + 1.2) / 1.2) ** 2)
    panel.fill_between(sigma, 0, 0.25 * density, color="0.88", label="where E draws σ")
    panel.set(xscale="log", xlabel="noise level σ (data std 0.5)", ylabel="mean squared error × λ(σ) of E", ylim=(0, 2))
    panel.legend(frameon=False, ncols=3, loc="upper left", fontsize="small")
    return finish(figure)


def draw_samples(results: Results) -> MatplotlibFigure:
    _, letters, dataset = _runs(results)
    figure, axes = panels("edm", columns=len(letters), width=2.4 * len(letters) + 0.5, height=5.2)
    for panel, letter in zip(axes[0], letters, strict=True):
        _, arrays = results.arrays(training, letter=letter, dataset=dataset, seed=0)[0]
        panel.imshow(_tiles(arrays["samples"][:32], columns=4), cmap="gray_r", vmin=-1, vmax=1)
        panel.set_title(letter)
        panel.axis("off")
    return finish(figure, despine=False)


def _tiles(images: np.ndarray, columns: int) -> np.ndarray:
    """Images (n, C, H, W) side by side with a white border of one pixel, (H', W') or (H', W', C)."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-1)
    n, C, H, W = padded.shape
    rows = padded.reshape(n // columns, columns, C, H, W).transpose(0, 3, 1, 4, 2)
    return rows.reshape(n // columns * H, columns * W, C).squeeze()


def draw_ablation(results: Results) -> MatplotlibFigure:
    import seaborn as sns

    table, letters, dataset = _runs(results)
    figure, axes = panels("edm", columns=2, width=12.5, height=0.55 * len(letters) + 1.8)
    ours, published = axes[0]
    labels = [f"{letter}  {VP_CONFIGS[letter].change}" for letter in letters]
    sns.pointplot(
        table, x="fd", y="letter", order=letters, linestyle="none", color=COLOURS[3], errorbar=student_interval,
        capsize=0.25, ax=ours,
    )  # fmt: skip
    sns.stripplot(table, x="fd", y="letter", order=letters, color="0.5", size=5, jitter=0, ax=ours)
    floor = table["floor"].mean()
    ours.axvline(floor, color="0.4", ls=":", lw=1.5)
    ours.annotate("floor", (floor, -0.35), (5, 0), textcoords="offset points", color="0.3")
    metric = f"{DATASETS[dataset].metric}, n = {table['n'].iloc[0]}, 35 NFE"
    ours.set(xlabel=metric, ylabel="", title="here", xlim=(0, None))
    ours.set_yticks(range(len(letters)), labels)
    fid = [VP_FID[letter].unconditional for letter in letters]
    published.scatter(fid, range(len(letters)), color=COLOURS[0], marker="D")
    for row, value in enumerate(fid):
        published.annotate(f"{value:.2f}", (value, row), (8, -4), textcoords="offset points")
    published.set(xlabel="FID, CIFAR-10 unconditional, 35 NFE", title="published (VP)", yticks=range(len(letters)))
    published.set(yticklabels=letters, ylim=ours.get_ylim(), xlim=(1.85, 3.2))
    for panel in (ours, published):
        panel.grid(axis="y", color="0.9")
    return finish(figure)


FIGURES = (
    Figure(
        "loss-per-noise-level",
        "Loss against noise level before and after training, for every configuration (the paper's Figure 5a).",
        "All are weighted as in E, where an untrained network has a loss of 1 everywhere. Training lowers the loss at "
        "the middle levels only: at low noise there is nothing to see, at high noise nothing to know. There, in grey, "
        "E draws σ. From A to C the network's error is multiplied by σ: at high noise their curves leave the figure.",
        (training,),
        draw_loss_by_noise_level,
    ),
    Figure(
        "samples",
        "Grids of generated digits, one for each training configuration.",
        "From the same noise at 35 NFE, so that a column's change from one configuration to the next can be followed.",
        (training,),
        draw_samples,
    ),
    Figure(
        "ablation",
        "The Frechet distance of each training configuration with its interval over seeds, beside the published FID.",
        "Grey dots are seeds, bars 95 % intervals. The scales cannot be compared across the panels: what can is the "
        "order, and which step brings the most.",
        (training,),
        draw_ablation,
    ),
)

STUDY = Study(
    "Training configurations",
    "Which of the changes from the baseline A to F improve the samples, and which leave them as they were?",
    (training,),
    CLAIMS,
    FIGURES,
)
