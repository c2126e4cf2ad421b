"""The line's denoisers against the oracle of mixtures."""

import pytest
import torch

from common.diffusion.oracle import GaussianMixture
from papers.weighted_elbo.studies.line import DENOISERS, LAW, MEAN, VARIANCE
from tests.papers.weighted_elbo.cases import f64, randn, seeded

GAUSSIAN = GaussianMixture(MEAN[None, None], VARIANCE.sqrt()[None])


@pytest.mark.parametrize(("name", "oracle"), [("exact", LAW), ("linear", GAUSSIAN)])
@pytest.mark.parametrize("sigma", [f64(0.01, 0.3, 1, 4, 90), f64(0.5)[0]], ids=["each", "one"])
def test_denoisers_are_those_of_the_oracle(name, oracle, sigma):
    x = 2 * randn(5, 1)
    torch.testing.assert_close(DENOISERS[name](x, sigma), oracle(x, sigma), rtol=1e-10, atol=1e-12)


def test_moments_are_those_of_draws():
    x = LAW.sample(200_000, seeded())
    assert float(x.mean()) == pytest.approx(float(MEAN), abs=0.01)
    assert float(x.var()) == pytest.approx(float(VARIANCE), rel=0.01)


def test_the_wrong_denoiser_is_worse_at_every_noise_level_and_its_error_of_the_noise_is_bounded():
    x0, eps = LAW.sample(20_000, seeded()), randn(20_000, 1, seed=1)
    for sigma in (0.05, 0.5, 2.0):
        x = x0 + sigma * eps
        errors = {name: float((each(x, torch.tensor(sigma)) - x0).square().mean()) for name, each in DENOISERS.items()}
        assert errors["exact"] < min(errors["wrong"], errors["linear"])
        wrong = (DENOISERS["wrong"](x, torch.tensor(sigma)) - LAW(x, sigma)) / sigma
        assert 0.1 < float(wrong.abs().max()) <= 0.5
