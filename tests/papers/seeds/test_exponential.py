"""The forms of the SDE against the SDE itself: integrals of drift and diffusion that know nothing of λ."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from common.diffusion.path import EDM, VP, Cosine, GaussianPath
from papers.seeds.exponential import (
    DataPrediction,
    DataPredictionODE,
    EDMPrediction,
    Form,
    NoisePrediction,
    NoisePredictionODE,
    checked,
    phi_1,
    phi_2,
)
from tests.papers.seeds.cases import DETERMINISTIC, FORMS, PATHS, at

forms = pytest.mark.parametrize("name", FORMS)


class Integrals:
    """dx = [f x + c g²/σ² (x − αD)] dt + g dw with D = (F − p x)/q, c = 1 for the SDE and ½ for the ODE: solved for
    constant and for linear F by quadrature in log t."""

    def __init__(self, form: Form, path: GaussianPath, s: float, t: float, c: float = 1.0) -> None:
        self.form, self.path, self.c = form, path, c
        self.s, self.t = s, t

    def rates(self, time: float) -> tuple[float, float, float]:
        """Of x, of F, and g², at a time."""
        tau = at(time)
        p, q = self.form.from_denoised(tau)
        alpha, g2 = self.path.alpha(tau), self.path.squared_diffusion(tau)
        pull = self.c * g2 / self.path.sigma(tau).square()
        return float(self.path.drift(tau) + pull * (1 + alpha * p / q)), float(-pull * alpha / q), float(g2)

    def over(self, f, start: float) -> float:
        value, _ = quad(
            lambda u: f(math.exp(u)) * math.exp(u), math.log(start), math.log(self.t), epsabs=0, epsrel=1e-9
        )
        return value

    def propagator(self, start: float) -> float:
        return math.exp(self.over(lambda tau: self.rates(tau)[0], start))

    def constant(self) -> float:
        return self.over(lambda tau: self.propagator(tau) * self.rates(tau)[1], self.s)

    def linear(self) -> float:
        """With F = (λ − λ_s)/h."""
        l_s, l_t = (self.half_log_snr(time) for time in (self.s, self.t))

        def integrand(tau: float) -> float:
            return self.propagator(tau) * self.rates(tau)[1] * (self.half_log_snr(tau) - l_s) / (l_t - l_s)

        return self.over(integrand, self.s)

    def half_log_snr(self, time: float) -> float:
        return float(self.form.half_log_snr(at(time)))

    def variance(self) -> float:
        return -self.over(lambda tau: self.propagator(tau) ** 2 * self.rates(tau)[2], self.s)


def ends(t_max: float, t_min: float) -> tuple[float, float]:
    """A step from the middle of the range, in log t."""
    return math.exp(0.6 * math.log(t_max) + 0.4 * math.log(t_min)), math.exp(
        0.5 * math.log(t_max) + 0.5 * math.log(t_min)
    )


@forms
def test_the_closed_forms_are_the_integrals_of_the_sde(name):
    form, path, t_max, t_min = FORMS[name]
    s, t = ends(t_max, t_min)
    exact = Integrals(form, path, s, t)
    h = form.half_log_snr(at(t)) - form.half_log_snr(at(s))
    assert h > 0
    assert float(form.propagator(at(s), at(t))) == pytest.approx(exact.propagator(s), rel=1e-7)
    assert float(form.gain(at(t)) * form.constant_weight(h)) == pytest.approx(exact.constant(), rel=1e-6)
    assert float(form.gain(at(t)) * form.linear_weight(h)) == pytest.approx(exact.linear(), rel=1e-6)
    assert float(form.scale(at(t)) * form.deviation(h)) ** 2 == pytest.approx(exact.variance(), rel=1e-6)


@pytest.mark.parametrize("kind", DETERMINISTIC)
@pytest.mark.parametrize("name", ["VP", "rectified"])
def test_the_forms_of_the_ode_are_its_integrals(kind, name):
    path, t_max, t_min = PATHS[name]
    form = DETERMINISTIC[kind](path)
    s, t = ends(t_max, t_min)
    exact = Integrals(form, path, s, t, c=0.5)
    h = form.half_log_snr(at(t)) - form.half_log_snr(at(s))
    assert float(form.propagator(at(s), at(t))) == pytest.approx(exact.propagator(s), rel=1e-7)
    assert float(form.gain(at(t)) * form.constant_weight(h)) == pytest.approx(exact.constant(), rel=1e-6)
    assert float(form.gain(at(t)) * form.linear_weight(h)) == pytest.approx(exact.linear(), rel=1e-6)
    assert float(form.deviation(h)) == 0


@forms
def test_time_is_the_inverse_of_half_log_snr(name):
    form, path, t_max, t_min = FORMS[name]
    times = torch.logspace(math.log10(t_min), math.log10(t_max), 9, dtype=torch.float64)
    torch.testing.assert_close(form.time(form.half_log_snr(times)), times, rtol=1e-9, atol=0)
    if not isinstance(form, EDMPrediction):
        torch.testing.assert_close(form.half_log_snr(times), (path.alpha(times) / path.sigma(times)).log())


def test_edm_reads_the_raw_output_of_the_preconditioned_network():
    """D = c_skip x + c_out F, with the coefficients from what they are for: c_out F has the variance of x0 given x."""
    form, t, x, F = EDMPrediction(0.6), at(1.7), at(0.9), at(-0.4)
    regression = 0.6**2 / (0.6**2 + 1.7**2)  # of x0 on x
    residual = math.sqrt(0.6**2 * (1 - regression))  # its standard deviation
    p, q = form.from_denoised(t)
    assert float(p * x + q * (regression * x + residual * F)) == pytest.approx(float(F), rel=1e-12)


def test_noise_prediction_is_where_edm_goes_as_sigma_data_grows():
    """c_skip → 1 and c_out F → −t ε: F is then −ε, and the two forms take the same step."""
    wide, noise = EDMPrediction(1e4), NoisePrediction(PATHS["EDM"][0])
    s, t = at(3.0), at(1.0)
    steps = []
    for form in (wide, noise):
        h = form.half_log_snr(t) - form.half_log_snr(s)
        step = [
            form.propagator(s, t),
            (form.gain(t) * form.constant_weight(h)).abs(),
            form.scale(t) * form.deviation(h),
        ]
        steps.append(torch.stack(step))
    torch.testing.assert_close(steps[0], steps[1], rtol=1e-6, atol=0)


@pytest.mark.parametrize("h", [1e-9, 1e-6, 1e-3, 0.3, 0.9, 4.0])
def test_coefficients_keep_their_digits_for_any_step(h):
    """Against the integrals with 60 digits. In double precision e^h − 1 − h has none left at h = 1e-9."""
    with localcontext(prec=60):
        exact = Decimal(h)
        for form in (DataPrediction(VP()), NoisePrediction(VP()), NoisePredictionODE(VP()), DataPredictionODE(VP())):
            a, b, weight = (Decimal(value) for value in (form.kernel, form.linear, form.weight))
            constant = weight * ((a * exact).exp() - 1) / a
            line = weight * ((a * exact).exp() - 1 - a * exact) / (a**2 * exact)
            assert float(form.constant_weight(at(h))) == pytest.approx(float(constant), rel=1e-14)
            assert float(form.linear_weight(at(h))) == pytest.approx(float(line), rel=1e-14)
            if form.stochastic:
                deviation = (((2 * b * exact).exp() - 1) / b).sqrt()
                assert float(form.deviation(at(h))) == pytest.approx(float(deviation), rel=1e-14)


def series(y: float, m: int) -> float:
    """Σ_k y^k/(k + m)!, with 60 digits."""
    with localcontext(prec=60):
        return float(sum(Decimal(y) ** k / math.factorial(k + m) if y else Decimal(k == 0) / m for k in range(200)))


def test_phi_functions_at_zero_and_across_their_seam():
    y = torch.tensor(
        [-30.0, -1.0000001, -0.9999999, -1e-12, 0.0, 1e-12, 0.9999999, 1.0000001, 30.0], dtype=torch.float64
    )
    exact = [[series(value, m) for value in y.tolist()] for m in (1, 2)]
    for ours, values in zip((phi_1(y), phi_2(y)), exact, strict=True):
        np.testing.assert_allclose(ours.numpy(), np.array(values), rtol=4e-15)


@pytest.mark.parametrize(
    ("form", "times", "message"),
    [
        (DataPrediction(VP()), [1.0], "at least two times"),
        (DataPrediction(VP()), [1.0, math.nan], "must be finite"),
        (DataPrediction(VP()), [0.5, 0.5], "must decrease"),
        (DataPrediction(VP()), [0.5, -0.1], "not below 0"),
        (NoisePrediction(Cosine()), [1.0, 0.5], "α must be above 0"),
        (DataPrediction(EDM()), [1e5, math.nextafter(1e5, 0)], "too close"),
    ],
)
def test_a_grid_that_is_none_is_named(form, times, message):
    with pytest.raises(ValueError, match=message):
        checked(form, times)


def test_sigma_data_is_positive():
    with pytest.raises(ValueError, match="sigma_data is 0"):
        EDMPrediction(0.0)
