"""FID at the paper's settings: Inception features of torch-fidelity, 50000 images against the CIFAR-10 training set."""

from __future__ import annotations

import torch
from torch import Tensor


def as_bytes(images: Tensor) -> Tensor:
    """Images in [-1, 1] to 0 .. 255, (n, 3, H, W) uint8: round half up after clipping, as the official sampler saves
    them."""
    return (images * 127.5 + 128).clip(0, 255).to(torch.uint8)


def fid_cifar10(images: Tensor) -> float:
    """FID of images (n, 3, 32, 32) in [-1, 1] against the CIFAR-10 training set.

    Raises ModuleNotFoundError without torch-fidelity (`pip install repro-generative[gpu]`).
    """
    import torch_fidelity
    from torch.utils.data import Dataset

    class Bytes(Dataset[Tensor]):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, index: int) -> Tensor:
            return as_bytes(images[index])

    metrics = torch_fidelity.calculate_metrics(
        input1=Bytes(), input2="cifar10-train", fid=True, cuda=torch.cuda.is_available(), verbose=False
    )
    return float(metrics["frechet_inception_distance"])
