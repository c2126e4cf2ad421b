"""Image sets as tensors in [-1, 1]: scikit-learn's digits (embedded), MNIST and CIFAR-10 (torchvision).

EDM (arXiv:2206.00364) assumes data of standard deviation `sigma_data` = 0.5; the sets here are measured, over all
pixels of the training split, at

| set          | resolution | mean   | std   |
|--------------|------------|--------|-------|
| digits (all) | 8          | -0.389 | 0.752 |
| MNIST        | 28         | -0.739 | 0.616 |
| MNIST        | 14         | -0.739 | 0.560 |
| MNIST        | 7          | -0.739 | 0.462 |
| MNIST        | 32         | -0.800 | 0.550 |
| MNIST        | 16         | -0.800 | 0.503 |
| MNIST        | 8          | -0.800 | 0.414 |

so that an experiment takes `sigma_data=images.sigma_data` rather than the constant.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from common.data.home import data_home, ensure

Split = Literal["train", "test", "all"]

MNIST_SHA256: Mapping[str, str] = {
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
CIFAR10_MD5: Mapping[str, str] = {
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
}

# Both sides divide exactly, so every pixel of a smaller image is the plain mean of a k×k block.
MNIST_RESOLUTIONS = (7, 8, 14, 16, 28, 32)


@dataclass(frozen=True, eq=False)
class Images:
    """A labelled image set.

    Attributes:
        x0: float32 (N, C, H, W) in [-1, 1].
        labels: int64 (N,) in 0 .. 9.
    """

    x0: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.x0)

    @property
    def sigma_data(self) -> float:
        """Standard deviation over all pixels of all images (one number, about the one overall mean)."""
        return float(self.x0.double().std(correction=0))


_PARTS: Mapping[str, tuple[bool, ...]] = {"train": (True,), "test": (False,), "all": (True, False)}
"""torchvision's `train` flag of each file that makes up a split."""


def _check_split(split: str) -> None:
    if split not in _PARTS:
        raise ValueError(f"split is {split!r}; allowed: 'train', 'test', 'all'")


@lru_cache(maxsize=1)
def _all_digits() -> tuple[Tensor, Tensor, Tensor]:
    from sklearn.datasets import load_digits

    raw = load_digits()
    labels = torch.from_numpy(raw.target).long()
    x0 = torch.from_numpy(raw.images).float()[:, None] / 8 - 1
    # The rank of each image within its own class: a split by rank is stratified and needs no random numbers.
    rank = (F.one_hot(labels, 10).cumsum(0).gather(1, labels[:, None]) - 1)[:, 0]
    return x0, labels, rank % 5 == 4


def digits(split: Split = "all") -> Images:
    """The 1797 handwritten digits of scikit-learn, (N, 1, 8, 8), grey levels 0 .. 16 mapped to [-1, 1] by v/8 - 1.

    The split is fixed: every fifth image of each class is 'test' (355), the others are 'train' (1442). Source: UCI
    Optical Recognition of Handwritten Digits; it lies inside scikit-learn, nothing is read from the data home.
    """
    _check_split(split)
    x0, labels, held_out = _all_digits()
    if split == "all":
        return Images(x0.clone(), labels.clone())
    keep = held_out if split == "test" else ~held_out
    return Images(x0[keep], labels[keep])


def resize_mnist(x0: Tensor, resolution: int) -> Tensor:
    """(N, 1, 28, 28) images at another resolution, by exact block means.

    7 and 14 are means over 4×4 and 2×2 blocks; 32 is a border of two black (-1) pixels, and 16 and 8 are block means of
    that.
    """
    if resolution not in MNIST_RESOLUTIONS:
        raise ValueError(f"MNIST resolution is {resolution}; allowed: {', '.join(map(str, MNIST_RESOLUTIONS))}")
    if 32 % resolution == 0:
        x0 = F.pad(x0, (2, 2, 2, 2), value=-1.0)
    block = x0.shape[-1] // resolution
    return F.avg_pool2d(x0, block) if block > 1 else x0


def mnist(split: Split = "train", resolution: int = 28, *, offline: bool | None = None) -> Images:
    """MNIST (LeCun et al. 1998), (N, 1, R, R): 60000 'train', 10000 'test', 70000 'all'; v/127.5 - 1.

    Resolutions other than 28 are made by `resize_mnist`. Files lie in `<data home>/MNIST/raw`, as torchvision lays them
    out, and are downloaded by torchvision when missing.

    Raises:
        ValueError: unknown split or resolution; a file is truncated or corrupted.
        FileNotFoundError: a file is missing and cannot be downloaded.
    """
    _check_split(split)
    resize_mnist(torch.zeros(1, 1, 28, 28), resolution)  # a wrong resolution is told before 50 MB are downloaded

    def download(scratch: Path) -> Path:
        from torchvision.datasets import MNIST

        return Path(MNIST(str(scratch), download=True).raw_folder)

    ensure(data_home() / "MNIST" / "raw", MNIST_SHA256, "sha256", download, offline)

    from torchvision.datasets import MNIST  # seconds: not before a missing file is told

    parts = [MNIST(str(data_home()), train=train) for train in _PARTS[split]]
    pixels = torch.cat([part.data for part in parts])[:, None].float() / 127.5 - 1
    return Images(resize_mnist(pixels, resolution), torch.cat([part.targets for part in parts]).long())


def cifar10(split: Split = "train", *, offline: bool | None = None) -> Images:
    """CIFAR-10 (Krizhevsky 2009), (N, 3, 32, 32): 50000 'train', 10000 'test', 60000 'all'; v/127.5 - 1.

    Files lie in `<data home>/cifar-10-batches-py`. They are pickles, and are only opened once their checksums match.

    Raises:
        ValueError: unknown split; a file is truncated or corrupted.
        FileNotFoundError: a file is missing and cannot be downloaded.
    """
    _check_split(split)

    folder = "cifar-10-batches-py"

    def download(scratch: Path) -> Path:
        from torchvision.datasets import CIFAR10

        return Path(CIFAR10(str(scratch), download=True).root) / folder

    ensure(data_home() / folder, CIFAR10_MD5, "md5", download, offline)

    from torchvision.datasets import CIFAR10

    parts = [CIFAR10(str(data_home()), train=train) for train in _PARTS[split]]
    pixels = torch.cat([torch.from_numpy(part.data) for part in parts]).permute(0, 3, 1, 2).float() / 127.5 - 1
    return Images(pixels.contiguous(), torch.cat([torch.tensor(part.targets) for part in parts]).long())
