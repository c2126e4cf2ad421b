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
from common.harness.studies.looks import tiles
from common.harness.studies.measures import Measure, paired_ratio
from common.harness.studies.panels import finish, panels, where
from common.harness.studies.study import Study
from common.nets import small_unet
from common.training.checkpoint import save_checkpoint
from common.training.loop import train
from common.training.stream import stream
from papers.edm.configs import VP_CONFIGS
from papers.edm.loss import edm_loss, loss_per_noise_level
from papers.edm.published import VP_FID
from papers.edm.studies.comparison import better, student_interval
from papers.edm.studies.images import DATASETS, FLOOR, SAMPLING, TRAINING, distance_floor, generate, look_at, scaling_of
from papers.edm.studies.methods import LETTERS
from papers.edm.studies.networks import AblationConfig, at_scale, batches, denoiser_of

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure as MatplotlibFigure

_QUICK = AblationConfig("E", "digits", 8, images=400 * 128, batch=128, width=256, n_samples=1797)
_SMALL = AblationConfig(
    "E",
    "mnist",
    resolution=small_unet.RESOLUTION,
    images=small_unet.IMAGES,
    batch=small_unet.BATCH,
    width=small_unet.WIDTH,
    levels=small_unet.LEVELS,
    blocks=small_unet.BLOCKS,
    checkpoint_every=500,
)
_GPU = tuple(
    AblationConfig("E", dataset, 32, images, 512, width, 3, blocks, n_samples, checkpoint_every=2000)
    for dataset, images, width, blocks, n_samples in (
        ("mnist", 20_000_000, 64, 2, 10_000),
        ("cifar10", 200_000_000, 128, 4, 50_000),
    )
)
TRAINED: Mapping[str, AblationConfig] = {"digits": _QUICK, "mnist": _SMALL}


TRAINED_TOLERANCE = 0.01
"""Rounding grows while a network trains. With other vector instructions these distances moved by 3e-7 in `quick`; the
rest is for libraries that sum in yet another order."""


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
    tolerance=TRAINED_TOLERANCE,
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

    initial = loss_levels(denoiser.eval())
    loss = partial(edm_loss, noise=spec.noise, weight=spec.weight)
    sampler = batches(x0, spec, mirrored=config.dataset == "cifar10")
    checkpoint = run.folder / "training.safetensors" if config.checkpoint_every else None
    generator = stream(seed, TRAINING, run.device)
    trained = train(denoiser, loss, sampler, at_scale(config), generator, log=run.log, checkpoint=checkpoint)
    save_checkpoint(run.folder / "ema.safetensors", trained.ema.state_dict(), {"letter": config.letter})

    sampled, nfe = generate(
        trained.ema, config.n_samples, shape, denoiser.precond.sigmas(18), stream(seed, SAMPLING, run.device)
    )
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
    "since a mirrored digit is no digit. "
    "The width and the gain path of the perceptron of `quick` were settled after pilots had shown numbers. Its "
    "training was cut from 1000 to 600 and then to 400 steps, so that `quick` takes a minute, when the numbers of the "
    "longer ones were known; criteria stayed."
)
"""How a claim about these networks deviates from the paper, whatever judges their samples."""
QUALITY = " Quality is fd_digits or fd_mnist at 35 NFE."


def _over(worse: str, better: str, **where: str) -> Measure:
    return paired_ratio("fd", first={"letter": worse}, second={"letter": better}, **where)


def _published(worse: str, by: str) -> tuple[float, str]:
    """The ratio of two published FIDs, and what it is a ratio of."""
    first, second = VP_FID[worse].unconditional, VP_FID[by].unconditional
    return first / second, f"Frechet distance at 35 NFE; Table 2 has an FID of {first} over {second}"


def _improves(worse: str, by: str, **where: str) -> Quantity:
    expected, metric = _published(worse, by)
    return better(f"{worse} over {by}", training, _over(worse, by, **where), metric, expected=expected)


CLAIMS = (
    Claim(
        "training-total",
        "All the training improvements together (F) are better than the baseline (A).",
        "Section 5, Table 2",
        (_improves("A", "F"),),
        presets=("small",),
        headline=True,
        excludes="the baseline A in the place of F (a ratio of 1 or less)",
        deviation=SCALED_DOWN + QUALITY,
    ),
    Claim(
        "training-cifar10",
        "On CIFAR-10, E improves on D and F on A.",
        "Section 5, Table 2",
        (_improves("D", "E", dataset="cifar10"), _improves("A", "F", dataset="cifar10")),
        presets=("gpu",),
        headline=True,
        excludes="D in the place of E, or A in the place of F (a ratio of 1 or less)",
        deviation="Unconditional networks. Quality is FID at 35 NFE.",
    ),
    Claim(
        "training",
        "EDM's loss weight and noise distribution (E) improve on its preconditioning alone (D).",
        "Section 5, Table 2",
        (_improves("D", "E"),),
        excludes="D in the place of E (a ratio of 1 or less)",
        deviation=SCALED_DOWN + QUALITY,
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
                expected=_published("C", "D")[0],
                metric=_published("C", "D")[1],
                unit="×",
                scale="log",
            ),
        ),
        excludes="a step as large as the one from A to F (1.53 in Table 2), either way",
        deviation=SCALED_DOWN
        + QUALITY
        + " The networks are small and trained briefly: under C their error at high noise is multiplied by sigma (see "
        "the loss per noise level). On the pilot seeds of `quick` D was better by 1.6 after 600 steps and by 1.1 after "
        "400, so that its verdict is one on the length of the training. The paper's networks, trained on a thousand "
        "times as many images, show the two alike.",
    ),
)


def _runs(results: Results) -> tuple[pd.DataFrame, Sequence[str], str]:
    """The rows on one data set (the paper's, where there are several), its letters, and its name."""
    table = results.table(training)
    dataset = "cifar10" if "cifar10" in set(table["dataset"]) else str(table["dataset"].iloc[0])
    table = where(table, dataset=dataset)
    return table, sorted(table["letter"].unique()), dataset


def draw_loss_by_noise_level(results: Results) -> MatplotlibFigure:
    figure, axes = panels("edm", width=7.5, height=5)
    panel = axes[0, 0]
    _, letters, dataset = _runs(results)
    for letter in letters:
        runs = [arrays for _, arrays in results.arrays(training, letter=letter, dataset=dataset)]
        mean = np.mean([run["loss_final"] for run in runs], axis=0)
        spread = np.std([run["loss_final"] for run in runs], axis=0)
        sigma, initial, method = runs[0]["sigma"], runs[0]["loss_initial"], LETTERS[letter]
        panel.plot(sigma, mean, ls=method.dash, color=method.colour, label=f"{letter}, trained")
        panel.fill_between(sigma, mean - spread, mean + spread, color=method.colour, alpha=0.2, lw=0)
    panel.plot(sigma, initial, color="0.5", ls=(0, (1, 1)), label=f"{letters[-1]}, at the start")
    density = np.exp(-0.5 * ((np.log(sigma) + 1.2) / 1.2) ** 2)
    panel.fill_between(sigma, 0, 0.25 * density, color="0.88", label="where E draws σ")
    panel.set(xscale="log", xlabel="noise level σ (data std 0.5)", ylabel="mean squared error × λ(σ) of E", ylim=(0, 2))
    panel.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.45, 1), fontsize="small")
    return finish(figure)


def draw_samples(results: Results) -> MatplotlibFigure:
    _, letters, dataset = _runs(results)
    rows = -(-len(letters) // 2)
    figure, axes = panels("edm", rows, columns=2, width=7.5, height=2.2 * rows)
    for panel in axes.flat:
        panel.axis("off")
    for panel, letter in zip(axes.flat, letters, strict=False):
        _, arrays = results.arrays(training, letter=letter, dataset=dataset, seed=0)[0]
        sheet = tiles(arrays["samples"][:32], columns=8)
        # Colours are drawn from 0 to 1, whatever vmin and vmax say.
        panel.imshow(sheet if sheet.ndim == 2 else ((sheet + 1) / 2).clip(0, 1), cmap="gray_r", vmin=-1, vmax=1)
        panel.set_title(letter)
    return finish(figure, despine=False)


def draw_ablation(results: Results) -> MatplotlibFigure:
    table, letters, dataset = _runs(results)
    figure, axes = panels("edm", rows=2, width=7.5, height=0.8 * len(letters) + 2.8)
    ours, published = axes[:, 0]
    places = range(len(letters))
    for row, letter in zip(places, letters, strict=True):
        fd, colour = where(table, letter=letter)["fd"], LETTERS[letter].colour
        low, high = student_interval(fd)
        ours.plot(fd, [row] * len(fd), ls="", marker="o", ms=5, color="0.6", label="one seed" if row == 0 else None)
        ours.plot([low, high], [row, row], color=colour, lw=2.5, solid_capstyle="butt")
        ours.plot(fd.mean(), row, ls="", marker="D", color=colour)
        fid = VP_FID[letter].unconditional
        published.plot(fid, row, ls="", marker="D", color=colour)
        published.annotate(f"{fid:.2f}", (fid, row), (9, -5), textcoords="offset points")
    ours.axvline(table["floor"].mean(), color="0.4", ls=":", lw=1.5, label="same-distribution floor")
    ours.set(xlabel=f"{DATASETS[dataset].metric}, n = {table['n'].iloc[0]}, 35 NFE", xlim=(0, None))
    ours.legend(frameon=False, ncols=2, loc="lower left", bbox_to_anchor=(-0.02, 1), fontsize="small")
    published.set(xlabel="published (VP): FID, CIFAR-10 unconditional, 35 NFE", xlim=(1.85, 3.2))
    for panel in (ours, published):
        panel.set_yticks(places, [f"{letter}  {VP_CONFIGS[letter].change}" for letter in letters])
        panel.set_ylim(len(letters) - 0.5, -0.5)
        panel.tick_params(axis="y", labelsize="small")
        panel.grid(axis="y", color="0.9")
    return finish(figure)


FIGURES = (
    Figure(
        "loss-per-noise-level",
        "Loss against noise level before and after training, for every configuration (the paper's Figure 5a).",
        "Every loss has the weight of E. Under it, those of D, E and F that are shown begin with a loss of about 1 at "
        "every level (the grey dotted line). Training lowers it most at the middle levels; there E draws σ (the grey "
        "area). At the lowest noise there is least to gain, and after a short training the loss can even be above "
        "where it began: the target is the noise, hidden in the image. At high noise the network learns the mean "
        "image, and no more can be known. Before D its error is multiplied by σ: at high noise the curves of A to C, "
        "where they are shown, leave the figure.",
        (training,),
        draw_loss_by_noise_level,
    ),
    Figure(
        "samples",
        "Grids of generated images, one for each training configuration.",
        "All grids start from the same noise and take 35 NFE, so that an image can be followed by its place from one "
        "configuration to the next.",
        (training,),
        draw_samples,
    ),
    Figure(
        "ablation",
        "The Frechet distance of each training configuration with its interval over seeds, above the published FID.",
        "Diamonds are means, bars 95 % intervals. The two scales cannot be compared. What can be compared is the "
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
