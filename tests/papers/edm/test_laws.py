"""Laws of known denoiser: their scale, their denoiser against the mixture's, and the error that is taken."""

import pytest
import torch

from common.data.images import digits
from common.data.sets import Standard
from common.diffusion.oracle import GaussianMixture
from papers.edm.studies.laws import around, median_error


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_standard_images_have_the_sigma_data_of_the_paper_and_come_back() -> None:
    images = digits().x0
    standard = Standard.of(images)
    x0 = standard.encode(images)
    assert float(x0.mean()) == pytest.approx(0, abs=1e-5)
    assert float(x0.std(correction=0)) == pytest.approx(0.5, abs=1e-5)
    torch.testing.assert_close(standard.decode(x0), images)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 2.0, 80.0])
def test_denoiser_around_points_is_that_of_the_gaussian_mixture(sigma: float) -> None:
    points = torch.randn(7, 3, generator=generator(), dtype=torch.float64)
    x = points[:5] + sigma * torch.randn(5, 3, generator=generator(1), dtype=torch.float64)
    mixture = GaussianMixture(points, torch.full((7,), 0.2, dtype=torch.float64))
    level = torch.tensor(sigma, dtype=torch.float64)
    torch.testing.assert_close(around(points, 0.2)(x, level), mixture(x, level), rtol=1e-9, atol=1e-9)


def test_median_error_is_over_samples_of_the_distance_over_all_dimensions() -> None:
    exact = torch.zeros(3, 2, 2)
    x = torch.stack([torch.full((2, 2), value) for value in (1.0, 3.0, 100.0)])
    assert median_error(x, exact) == pytest.approx(6.0)
