"""The entropic plan against the closed form of Gaussians, and against the structure that no other plan has."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from papers.dsbm import plan as plan_module
from papers.dsbm.gaussian import schrodinger_bridge
from papers.dsbm.plan import barycentric_map, draw_partners, entropic_plan, joint_w2


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_on_a_grid_it_is_the_gaussian_bridge(sigma: float) -> None:
    x = torch.linspace(-5, 5, 126, dtype=torch.float64)
    a, b = (torch.softmax(-((x - mean) ** 2) / (2 * var), 0) for mean, var in ((-0.3, 0.25), (0.3, 0.64)))
    plan = entropic_plan(x[:, None], x[:, None], sigma, a, b)
    found = (x - a @ x) @ plan @ (x - b @ x)
    ends = [torch.tensor(value, dtype=torch.float64) for value in ([-0.3], [0.3], [[0.25]], [[0.64]])]
    bridge = schrodinger_bridge(ends[0], ends[1], ends[2], ends[3], sigma)
    # The marginals are within 1e-6 in total variation, on points within ±5: at most 25e-6 in a second moment.
    assert float(found) == pytest.approx(bridge.cross.item(), abs=25e-6)
    # Its conditional means are affine with the bridge's regression of x_1 on x_0.
    middle = (x.abs() < 1).nonzero()[:, 0]
    slope, _ = np.polyfit(x[middle], barycentric_map(plan, x[:, None])[middle, 0], 1)
    assert slope == pytest.approx((bridge.cross / bridge.cov_0).item(), abs=1e-4)


@pytest.mark.parametrize("sigma", [0.3, 1.0])
def test_it_has_its_marginals_and_the_density_of_a_bridge(sigma: float) -> None:
    # log P_ij = f_i + g_j - |x_i - y_j|²/(2σ²): double differences leave the cost alone, and no other plan with these
    # marginals does so.
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(12, 2, generator=generator), torch.randn(9, 2, generator=generator) + 1
    plan = entropic_plan(x, y, sigma)
    torch.testing.assert_close(plan.sum(1), torch.full((12,), 1 / 12, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(plan.sum(0), torch.full((9,), 1 / 9, dtype=torch.float64), rtol=0, atol=1e-6)
    log = plan.log()
    inner = -2 * (x[1:] - x[:1]).double() @ (y[1:] - y[:1]).double().T  # of |x_i - y_j|², all else cancels
    differences = log[1:, 1:] - log[1:, :1] - log[:1, 1:] + log[:1, :1]
    torch.testing.assert_close(differences, -inner / (2 * sigma**2), rtol=1e-6, atol=1e-5)


def test_partners_are_drawn_with_the_weights_of_the_row() -> None:
    x_1 = torch.tensor([[10.0], [20.0], [30.0]])
    rows = torch.tensor([[0.1, 0.0, 0.4], [0.2, 0.3, 0.0]], dtype=torch.float64)  # not normalised
    n = 10_000
    partners = draw_partners(rows.repeat_interleave(n, 0), x_1, torch.Generator().manual_seed(0)).reshape(2, n)
    for row, drawn in zip(rows, partners, strict=True):
        for weight, value in zip(row / row.sum(), x_1[:, 0], strict=True):
            share = (drawn == value).double().mean().item()
            assert share == pytest.approx(weight.item(), abs=5 * (0.25 / n) ** 0.5)
            assert weight > 0 or share == 0


def test_the_distance_of_pairs_sees_the_coupling_where_the_marginals_agree() -> None:
    x = torch.linspace(-1, 1, 50)[:, None]
    straight, crossed = torch.cat([x, x], 1), torch.cat([x, -x], 1)
    assert joint_w2(straight, straight.flip(0)) == pytest.approx(0, abs=1e-6)
    # Two uniform laws on diagonals that are each other's mirror image: (x, x) to (y, -y) costs
    # (x - y)² + (x + y)² = 2 (x² + y²), whatever the plan.
    expected = (4 * x.double().square().mean()).sqrt().item()
    assert joint_w2(straight, crossed) == pytest.approx(expected, rel=1e-6)


def test_bad_input_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(2, 1)
    with pytest.raises(ValueError, match="sigma is 0"):
        entropic_plan(x, x, 0.0)
    monkeypatch.setattr(plan_module, "ITERATIONS", 1000)
    far = torch.tensor([[0.0], [1.0], [2.5]])
    with pytest.raises(ArithmeticError, match="too small"):
        entropic_plan(far, torch.tensor([[0.7], [1.1], [9.0]]), 1e-3)
