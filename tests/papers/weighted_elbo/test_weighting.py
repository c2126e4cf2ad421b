"""Weightings against known peaks, integrals and limits, and p_w against the differences of w."""

from math import log, pi

import pytest
import torch
from scipy.integrate import quad

from papers.weighted_elbo.published import MONOTONE
from papers.weighted_elbo.weighting import (
    EDM,
    P2,
    TABLE,
    WEIGHTINGS,
    EDMMonotonic,
    MinSNR,
    Sigmoid,
    clean_share,
    monotone,
    p_w,
    peak,
    sech,
    slope,
    snr_trunc,
)
from tests.papers.weighted_elbo.cases import f64, seeded

RANGE = (-9.0, 12.0)
RISING = {"eps-cosine", "eps-vp", "edm", "p2", "min-snr", "score"}
every_weighting = pytest.mark.parametrize("name", WEIGHTINGS)


def grid(points: int = 20001) -> torch.Tensor:
    return torch.linspace(*RANGE, points, dtype=torch.float64)


def test_the_table_has_eleven_rows_and_the_paper_s_own_flags():
    assert len(TABLE) == 11
    assert {name: monotone(WEIGHTINGS[name], *RANGE) for name in MONOTONE} == MONOTONE


@every_weighting
def test_a_weighting_rises_where_it_is_said_to(name):
    assert monotone(WEIGHTINGS[name], *RANGE) == (name not in RISING)


def test_a_single_rise_is_seen():
    assert not monotone(lambda log_snr: 2 - log_snr / 100 + 2e-3 * torch.exp(-(log_snr.square()) * 50), *RANGE)


def test_peaks():
    assert peak(sech, *RANGE) == pytest.approx(0, abs=1e-9)
    # The slope of log w is ½ − 2 sigmoid(λ), zero at −log 3.
    assert peak(P2(), *RANGE) == pytest.approx(-log(3), abs=1e-9)
    assert peak(WEIGHTINGS["eps-vp"], *RANGE) == pytest.approx(-0.92, abs=5e-3)
    assert peak(EDM(), *RANGE) == pytest.approx(-3.31, abs=5e-3)
    # At a flank the end of the range.
    assert peak(Sigmoid(), *RANGE) == pytest.approx(RANGE[0], abs=1e-9)


@pytest.mark.parametrize(
    ("weighting", "integral"),
    [
        (sech, 2 * pi),
        # ∫ sech(λ/2) sigmoid(−λ) dλ is half of it: sigmoid(−λ) − ½ is odd.
        (P2(), pi),
        # ∫ sech(λ/2) min(1, e^{−λ}) dλ, with u = e^{λ/2}: π + 4 (1 − π/4).
        (MinSNR(1.0), pi + 4 * (1 - pi / 4)),
        # Uniform time on [0, 1]: ∫ −dt/dλ dλ.
        (WEIGHTINGS["eps-vp"], 1.0),
        # E e^{−λ} under N(2.4, 2.4²) is e^{−2.4 + 2.4²/2}.
        (EDM(), 2.4 * (2 * pi) ** 0.5 * (2.718281828459045 ** (-2.4 + 2.88) + 0.25)),
    ],
    ids=["sech", "p2", "min-snr", "eps-vp", "edm"],
)
def test_integrals(weighting, integral):
    # VP ends at λ = −10.05, where t = 1.
    low = -log(torch.tensor(10.05, dtype=torch.float64).expm1()) if weighting is WEIGHTINGS["eps-vp"] else -60
    found, _ = quad(lambda x: float(weighting(f64(x))), low, 60, limit=200, points=[0, 2, -4])
    assert found == pytest.approx(integral, rel=1e-6)


def test_edm_monotonic_is_flat_up_to_the_peak_of_edm():
    edm, flat = EDM(), EDMMonotonic()
    above, below = torch.linspace(-3.3, 15, 100).double(), torch.linspace(-15, -3.4, 100).double()
    torch.testing.assert_close(flat(above), edm(above))
    torch.testing.assert_close(flat(below), edm(grid()).max().expand(100), rtol=1e-6, atol=0)


def test_edm_monotonic_does_not_depend_on_the_batch():
    flat = EDMMonotonic()
    batch = torch.rand(64, generator=seeded()).double() * 20 - 10
    assert torch.equal(flat(batch.flip(0)).flip(0), flat(batch))
    assert torch.equal(torch.stack([flat(each) for each in batch]), flat(batch))
    # Even where no level of the batch comes near the peak.
    assert float(flat(f64(-9.0))) == pytest.approx(float(EDM()(f64(flat.peak))), rel=1e-12)


def test_clipped_weightings_meet_where_they_are_clipped():
    for clipped, at in ((MinSNR(5.0), log(5)), (snr_trunc, 0.0)):
        a, b = clipped(f64(at - 1e-9)), clipped(f64(at + 1e-9))
        assert float(a) == pytest.approx(float(b), rel=1e-8)
        assert float(clipped(f64(at)) / sech(f64(at))) == pytest.approx(1)
    assert float(MinSNR(5.0)(f64(1.0)) / sech(f64(1.0))) == 1
    assert float(snr_trunc(f64(1.0)) / sech(f64(1.0))) == 1


def test_sigmoid_is_one_half_at_k():
    assert float(Sigmoid(3.0)(f64(3.0))) == 0.5
    assert float(Sigmoid(3.0)(f64(-9.0))) > 0.999


@every_weighting
def test_p_w_is_what_w_loses(name):
    """Its integral from λ_min on is 1 − w(λ)/w(λ_min), and with the clean share it is 1."""
    w, at = WEIGHTINGS[name], grid()
    density = p_w(w, at, RANGE[0])
    lost = 1 - w(at) / w(at[:1])
    scale = float(density.abs().max())  # where w has a kink, the rule is wrong by half a step of it, 5e-4
    torch.testing.assert_close(torch.cumulative_trapezoid(density, at), lost[1:], rtol=1e-4, atol=1e-3 * scale)
    whole = float(torch.trapezoid(density, at)) + clean_share(w, *RANGE)
    assert whole == pytest.approx(1, abs=1e-3 * max(scale, 1))


@every_weighting
def test_p_w_is_a_probability_density_where_w_is_monotone(name):
    density = p_w(WEIGHTINGS[name], grid(), RANGE[0])
    assert bool((density >= 0).all()) == (name not in RISING)


def test_the_slope_is_that_of_differences():
    at = torch.linspace(-8, 8, 41, dtype=torch.float64) + 0.013
    for w in WEIGHTINGS.values():
        torch.testing.assert_close(slope(w, at), (w(at + 1e-5) - w(at - 1e-5)) / 2e-5, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("make", [P2, MinSNR])
def test_a_gamma_that_is_not_positive_is_named(make):
    with pytest.raises(ValueError, match="gamma is 0; it must be positive"):
        make(0)
