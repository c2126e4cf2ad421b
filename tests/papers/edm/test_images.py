"""Images: samples have the law of their denoiser, and the floor is that of the data."""

from math import sqrt

import pytest
import torch

from common.data.images import digits
from common.diffusion.oracle import GaussianMixture, gaussian_flow
from common.diffusion.solvers import heun
from papers.edm.sampler import Churn
from papers.edm.schedule import edm_sigmas
from papers.edm.studies.images import distance_floor, generate
from papers.edm.studies.laws import median_error


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_generate_samples_the_law_of_its_denoiser_and_starts_alike_however_churned() -> None:
    mean, std = torch.full((2,), 0.3, dtype=torch.float64), 0.5
    denoiser = GaussianMixture(mean[None], torch.tensor([std]))
    samples, nfe = generate(denoiser, 4000, (2,), 80, generator(), chunk=1500)
    assert nfe == 159
    assert samples.shape == (4000, 2)
    # Four standard errors of 8000 values; what 80 steps change is far below.
    assert float(samples.mean()) == pytest.approx(0.3, abs=4 * std / sqrt(8000))
    assert float(samples.std()) == pytest.approx(std, abs=4 * std / sqrt(16000))
    noise = edm_sigmas(1)[0] * torch.randn(4000, 2, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(samples, heun(denoiser, noise, edm_sigmas(80)))
    exact = gaussian_flow(noise, 80.0, 0.0, mean, std**2 * torch.eye(2))
    assert median_error(samples, exact) < 0.01
    churned, _ = generate(denoiser, 4000, (2,), 80, generator(), Churn(1e-9), chunk=1500)
    torch.testing.assert_close(churned, samples, rtol=0, atol=1e-2)


def test_floor_is_the_distance_of_the_data_to_itself() -> None:
    images = digits()
    few, many = (distance_floor("digits", 8, images, n, generator()) for n in (100, 1797))
    # The bias of a Frechet distance falls as 1/n.
    assert 8 < few / many < 40
    assert many < 0.5
