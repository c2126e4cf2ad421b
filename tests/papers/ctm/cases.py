"""What the tests of CTM share: students that are exact for Gaussian data, and small ones that can be trained."""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from common.data.toy import eight_gaussians_mixture
from common.diffusion.oracle import GaussianMixture
from common.diffusion.precond import EDMPrecond
from common.training.members import Members
from papers.ctm.networks import TwoTimePerceptron
from papers.ctm.times import TimeGrid
from papers.ctm.trajectory import Trajectory

GRID = TimeGrid(N=8, sigma_min=0.02, sigma_max=10.0)
MEANS, STD = eight_gaussians_mixture()
RING = GaussianMixture(MEANS, torch.full((8,), STD))
SKEW = GaussianMixture(
    torch.tensor([[1.5, 0.0], [-0.5, 1.0]]),
    torch.tensor([[[0.4, 0.1], [0.1, 0.2]], [[0.2, -0.1], [-0.1, 0.3]]]),
    torch.tensor([1.0, 3.0]),
)


def seeded(seed: int = 0) -> Generator:
    return torch.Generator().manual_seed(seed)


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=torch.float64)


class GaussianNet(nn.Module):
    """The raw network F that is right for data N(0, std² I) under EDM's preconditioning with `sigma_data`.

    Both times are read off what the network is told, ¼ ln t, and x off its scaled input; then F is what Equation 4 and
    the solution x √((s² + std²)/(t² + std²)) leave for it.
    """

    def __init__(self, std: float, sigma_data: float) -> None:
        super().__init__()
        self.std, self.sigma_data = std, sigma_data

    def forward(self, x_in: Tensor, c_t: Tensor, c_s: Tensor) -> Tensor:
        shape = (*c_t.shape, *[1] * (x_in.ndim - c_t.ndim))
        t, s = (4 * c_t.double()).exp().reshape(shape), (4 * c_s.double()).exp().reshape(shape)
        total = t**2 + self.sigma_data**2
        x = x_in * total.sqrt()
        end = x * ((s**2 + self.std**2) / (t**2 + self.std**2)).sqrt()
        diagonal = (t - s).abs() < 1e-9 * t
        inner = (t * end - s * x) / torch.where(diagonal, 1.0, t - s)
        inner = torch.where(diagonal, x * self.std**2 / (t**2 + self.std**2), inner)
        return (inner - self.sigma_data**2 / total * x) / (t * self.sigma_data / total.sqrt())


def gaussian_student(std: float, sigma_data: float = 0.7) -> Trajectory:
    """A student that is exact for data N(0, std² I)."""
    return Trajectory(GaussianNet(std, sigma_data), EDMPrecond(sigma_data), torch.float64)


def stretch(std: float, t: Tensor | float, s: Tensor | float) -> Tensor:
    """What a jump from t to s multiplies Gaussian data by."""
    t, s = (torch.as_tensor(time, dtype=torch.float64) for time in (t, s))
    return ((s**2 + std**2) / (t**2 + std**2)).sqrt()


def network(seed: int = 0, hidden: int = 16, gain: float = 1.0) -> TwoTimePerceptron:
    """A small network whose output is not near zero."""
    net = TwoTimePerceptron((2,), hidden=hidden, hidden_layers=2, features=8, generator=seeded(seed))
    with torch.no_grad():
        net.last.weight.mul_(1e5 * gain)
    return net


def student(*seeds: int, hidden: int = 16) -> Trajectory:
    """A small student; several seeds are several at once."""
    nets = [network(seed, hidden) for seed in seeds or (0,)]
    return Trajectory(Members(nets) if len(seeds) > 1 else nets[0], EDMPrecond(1.0))
