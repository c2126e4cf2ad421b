"""What a pass is measured by, on exact drifts and couplings."""

from __future__ import annotations

from itertools import islice

import pytest
import torch

from papers.dsbm.gaussian import independent_bridge, schrodinger_bridge, unit_gaussians
from papers.dsbm.studies.methods import METHODS, Learned
from papers.dsbm.studies.pairs import SIGMA, A, samples
from papers.dsbm.studies.passes import coupling_row, drift_error, exact_iterates_of, mean_kl, path_of
from tests.papers.dsbm.cases import doubled, generator


def test_the_exact_drift_measures_as_the_exact_bridge() -> None:
    # Simulated with 20 steps of Euler's: the endpoint has variance 1.0156 and the covariance is .618 (by the recursion
    # of a linear chain), each within five standard errors over 10 000 points and two coordinates.
    ends = unit_gaussians(2, A)
    bridge = schrodinger_bridge(*ends, SIGMA)
    for direction, drift in (("f", bridge.forward_drift), ("b", bridge.backward_drift)):
        learned = Learned(1, direction, doubled(drift), None, None)  # type: ignore[arg-type]
        path = path_of(learned, *samples(ends, 10_000, generator()), generator(1))
        row = coupling_row(path, bridge)
        assert row["var_1" if direction == "f" else "var_0"] == pytest.approx(1.0156, abs=5 * (2 / 20_000) ** 0.5)
        assert row["correlation"] == pytest.approx(0.618, abs=5 * (1.4 / 20_000) ** 0.5)
        assert (row["mean_0"], row["mean_1"]) == pytest.approx((-A, A), abs=5 / 20_000**0.5)
        # 2 D/(2n) is the bias of the fit, 0.2e-3; Euler's error adds (0.0156/2)² D at the end, 0.12e-3, less before.
        assert mean_kl(path, bridge, diagonal=True) < 1.0


def test_another_coupling_is_told_from_the_bridge() -> None:
    # The independent coupling's variance at t = ½ is 3/4 and the bridge's 1.059: KL is largest there.
    ends = unit_gaussians(2, A)
    bridge, other = schrodinger_bridge(*ends, SIGMA), independent_bridge(*ends, SIGMA)
    times = torch.linspace(0, 1, 21, dtype=torch.float64)
    x_0, x_1 = other.sample(10_000, generator())
    eps = torch.randn(21, *x_0.shape, generator=generator(1), dtype=x_0.dtype)
    t = times[:, None, None]
    path = (1 - t) * x_0 + t * x_1 + (t * (1 - t)).sqrt() * eps
    ratios = [other.cov(float(s))[0, 0] / bridge.cov(float(s))[0, 0] for s in times]
    expected = 1e3 * float(sum(ratio - 1 - ratio.log() for ratio in ratios)) / 21  # two coordinates, ½ each
    assert mean_kl(path, bridge, diagonal=True) == pytest.approx(expected, rel=0.1)


def test_the_error_of_a_drift_is_relative() -> None:
    bridge = independent_bridge(*unit_gaussians(3, A), SIGMA)
    for scale in (1.0, 1.3):
        scaled = lambda x, t, s=scale: (s * bridge.forward_drift(x.double(), t)).float()  # noqa: E731
        assert drift_error(scaled, bridge, True, generator()) == pytest.approx(scale - 1, abs=1e-5)
    assert drift_error(doubled(bridge.forward_drift), bridge, False, generator()) > 0.5


def test_every_method_is_compared_with_its_own_iterates() -> None:
    ends = unit_gaussians(1, A)
    first = {method: [b.cross.item() for b in islice(exact_iterates_of(method, ends), 3)] for method in METHODS}
    for method in ("DSB", "DSBM-IPF"):
        assert first[method] == pytest.approx([1, 1 / 2, 2 / 3])
    for method in ("DSBM-IMF", "IMF-b"):
        assert first[method] == pytest.approx([0, 0.5463, 0.6111], abs=5e-5)
    assert first["SB-CFM"] == pytest.approx([0.6180] * 3, abs=5e-5)
