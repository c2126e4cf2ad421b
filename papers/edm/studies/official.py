"""Do the published CIFAR-10 networks reach their FID with this sampler (Section 5, Table 2, F)?

Their files are read without running what they contain; each network draws 50 000 images in 18 steps of Heun's method,
three times. The files are not to be had from everywhere: this study runs where both are in the data home.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import torch

from common.data.home import data_home
from common.diffusion.precond import Preconditioned, official_precond
from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import Grid, Resources, Row, Run, at_least, experiment
from common.harness.studies.measures import value_at
from common.harness.studies.study import Study
from common.nets.unet import UNet
from common.training.official_pickle import load_official_edm
from papers.edm.published import VP_FID
from papers.edm.studies.fid import fid_cifar10
from papers.edm.studies.images import generate, look_at

SOURCE = "https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/"


@dataclass(frozen=True)
class OfficialConfig:
    file: str
    """Name of the official pickle, in the folder `edm` of the data home."""
    n_samples: int = 50_000
    chunk: int = 500

    def __post_init__(self) -> None:
        at_least(1, self, "n_samples", "chunk")


CONDITIONAL, UNCONDITIONAL = (OfficialConfig(f"edm-cifar10-32x32-{kind}-vp.pkl") for kind in ("cond", "uncond"))
PUBLISHED = (CONDITIONAL, UNCONDITIONAL)


def official_file(config: OfficialConfig) -> Path:
    """The network's file. Raises FileNotFoundError, which says where it is from, if it is not there."""
    path = data_home() / "edm" / config.file
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; the official file is {SOURCE}{config.file}")
    return path


def official_denoiser(path: Path) -> Preconditioned:
    """The denoiser of an official file, under the preconditioning that the file says its network was trained with.

    Raises as `load_official_edm` and `official_precond` do.
    """
    official = load_official_edm(path)
    precond = official_precond(official.precond, official.settings)
    return Preconditioned(official.network, precond).eval().requires_grad_(False)


def look(config: OfficialConfig) -> None:
    """Check what the experiment takes, before anything runs."""
    official_file(config)
    look_at("cifar10", 32)


def given(configs: Sequence[OfficialConfig] = PUBLISHED) -> list[OfficialConfig]:
    """Those of the published networks whose files are in the data home."""
    return [config for config in configs if (data_home() / "edm" / config.file).is_file()]


@experiment(
    OfficialConfig,
    # Without the files it has no seeds, so that the preset trains on without them. The configs stay: claims name them.
    {"gpu": Grid(PUBLISHED, 3 if len(given()) == len(PUBLISHED) else 0)},
    {"fid": float, "n": int, "nfe": int},
    resources={"gpu": Resources(cpus=4, gpus=1.0)},
    prepare=look,
)
def official_fid(config: OfficialConfig, seed: int, run: Run) -> list[Row]:
    """FID of an official network, 18 steps of Heun's method within its range of noise levels; classes, where it has
    any, are drawn uniformly."""
    denoiser = official_denoiser(official_file(config)).to(run.device)
    net, sigmas = cast(UNet, denoiser.net), denoiser.precond.sigmas(18)
    generator = torch.Generator(run.device).manual_seed(seed)
    shape = (net.in_channels, net.resolution, net.resolution)
    samples = []
    for start in range(0, config.n_samples, config.chunk):
        n = min(config.chunk, config.n_samples - start)
        labels = torch.randint(max(net.label_dim, 1), (n,), generator=generator, device=run.device)
        labelled = partial(denoiser, class_labels=labels) if net.label_dim else denoiser
        sampled, nfe = generate(labelled, n, shape, sigmas, generator, chunk=n)
        samples.append(sampled.float().cpu())
    return [{"fid": fid_cifar10(torch.cat(samples)), "n": config.n_samples, "nfe": nfe}]


CLAIMS = (
    Claim(
        "fid",
        "The published networks reach an FID of 1.79 (conditional) and 1.97 (unconditional) on CIFAR-10 at 35 NFE.",
        "Section 5, Table 2",
        tuple(
            Quantity(
                f"FID, {kind}",
                official_fid,
                value_at("fid", file=network.file),
                Criterion(
                    upper=published + 0.1, reason="the paper gives the least of three runs; 0.1 covers their spread"
                ),
                published=published,
                metric="FID of 50 000 images to the CIFAR-10 training set, 35 NFE",
                # Convolutions in another order round otherwise; FID is a mean over 50 000 images.
                tolerance=0.01,
            )
            for kind, network, published in (
                ("conditional", CONDITIONAL, VP_FID["F"].conditional),
                ("unconditional", UNCONDITIONAL, VP_FID["F"].unconditional),
            )
        ),
        presets=("gpu",),
        headline=True,
        excludes="the networks of configuration D (2.09 and 2.29)",
        deviation=f"Judged where the official files ({SOURCE}) lie in the folder edm of the data home. Noise is drawn "
        "from other seeds. The margin does not tell F from E (1.88 and 2.05).",
    ),
)

STUDY = Study(
    "The published networks",
    "Do the official CIFAR-10 networks reach their published FID at 35 evaluations with our sampler?",
    (official_fid,),
    CLAIMS,
)
