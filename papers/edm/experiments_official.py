"""FID of the published CIFAR-10 networks at 35 NFE (Table 2, F), given their files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

from common.data.home import data_home
from common.harness.studies.experiment import Experiment, Grid, Resources, Row, Run, at_least
from common.training.official_pickle import load_official_edm
from papers.edm.experiments_training import generate, look_at
from papers.edm.fid import fid_cifar10
from papers.edm.precond import EDMPrecond, Preconditioned

SOURCE = "https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/"


@dataclass(frozen=True)
class OfficialConfig:
    file: str
    """Name of the official pickle, in the folder `edm` of the data home."""
    n_samples: int = 50_000
    chunk: int = 500

    def __post_init__(self) -> None:
        at_least(1, self, "n_samples", "chunk")


def official_file(config: OfficialConfig) -> Path:
    """The network's file. Raises FileNotFoundError, which says where it is from, if it is not there."""
    path = data_home() / "edm" / config.file
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; the official file is {SOURCE}{config.file}")
    return path


def look(config: OfficialConfig) -> None:
    """Check what the experiment takes, before anything runs."""
    official_file(config)
    look_at("cifar10", 32)


def official_fid(config: OfficialConfig, seed: int, run: Run) -> list[Row]:
    """FID of an official network, 18 steps of Heun's method; classes, where it has any, are drawn uniformly."""
    net, _ = load_official_edm(official_file(config))
    denoiser = Preconditioned(net, EDMPrecond()).to(run.device).eval().requires_grad_(False)
    generator = torch.Generator(run.device).manual_seed(seed)
    shape = (net.in_channels, net.resolution, net.resolution)
    samples = []
    for start in range(0, config.n_samples, config.chunk):
        n = min(config.chunk, config.n_samples - start)
        labels = torch.randint(max(net.label_dim, 1), (n,), generator=generator, device=run.device)
        labelled = partial(denoiser, class_labels=labels) if net.label_dim else denoiser
        sampled, nfe = generate(labelled, n, shape, 18, generator, chunk=n)
        samples.append(sampled.float().cpu())
    return [{"fid": fid_cifar10(torch.cat(samples)), "n": config.n_samples, "nfe": nfe}]


PUBLISHED = tuple(OfficialConfig(f"edm-cifar10-32x32-{kind}-vp.pkl") for kind in ("cond", "uncond"))


def given(configs: Sequence[OfficialConfig] = PUBLISHED) -> list[OfficialConfig]:
    """Those of the published networks whose files are in the data home: the preset trains on without them."""
    return [config for config in configs if (data_home() / "edm" / config.file).is_file()]


OFFICIAL_EXPERIMENTS = (
    Experiment(
        official_fid,
        OfficialConfig,
        {"gpu": Grid(given(), 3)},
        resources={"gpu": Resources(cpus=4, gpus=1.0)},
        prepare=look,
    ),
)
