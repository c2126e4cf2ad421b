"""Every method runs, and takes its own pairs, sigma, networks and directions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from common.transport.coupling import Coupling
from papers.dsbm.dsb import StepNetwork, zero_drift
from papers.dsbm.imf import IMFConfig
from papers.dsbm.process import Drift, reversed_flow
from papers.dsbm.studies import methods as study
from papers.dsbm.studies.methods import METHODS, learn
from tests.papers.dsbm.cases import generator

REPEATED = ("SB-CFM", "DSBM-IMF", "DSB")
"""One of each kind: of one pass, of bridge matching in passes, and of the older Schrödinger bridge."""


@pytest.mark.parametrize("method", METHODS)
def test_every_method_runs_and_is_repeatable(method: str) -> None:
    config = IMFConfig(1.0, 4, passes=2, inner_steps=40, batch=32, lr=1e-2, cache=64, refresh_every=40)
    x_0, x_1 = torch.randn(64, 2, generator=generator()), torch.randn(64, 2, generator=generator(1)) + 4
    x = torch.randn(5, 2, generator=generator(2)) + 2

    def flow() -> torch.Tensor:
        *_, last = learn(method, x_0, x_1, config, generator(3))
        velocity = last.flow or reversed_flow(last.backward or zero_drift)  # IMF-b has no ODE
        assert (last.backward is None) == (method in ("SB-CFM", "OT-CFM", "CFM", "FM", "RF"))
        with torch.no_grad():
            return velocity(x, torch.tensor(0.5))

    there = flow()
    assert (there > 0).all()  # from π_0 to π_1, whatever its networks run
    if method in REPEATED:
        assert torch.equal(flow(), there)


@pytest.mark.parametrize("method", ["DSBM-IMF", "IMF-b", "RF", "DSBM-IMF+", "DSBM-IPF"])
def test_every_method_starts_from_its_own_pairs(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    couplings: list[Coupling] = []

    def matching(first: Coupling, config: IMFConfig) -> Any:
        couplings.append(first)
        return None

    monkeypatch.setattr(study, "matching", matching)
    monkeypatch.setattr(study, "alternate", lambda *arguments: iter(()))
    n = 512
    x_0, x_1 = torch.randn(n, 1, generator=generator()), torch.randn(n, 1, generator=generator(1)) + 5
    list(learn(method, x_0, x_1, IMFConfig(2.0, batch=n), generator()))
    left, right = couplings[0](x_0, x_1, generator(2))
    if method == "DSBM-IPF":
        # The reference's pairs, x_1 = x_0 + 2 ε: five standard errors of a mean and of a variance.
        assert (right - left).mean().item() == pytest.approx(0, abs=5 * 2 / n**0.5)
        assert (right - left).var().item() == pytest.approx(4, rel=5 * (2 / n) ** 0.5)
        return
    assert torch.equal(right.sort(0).values, x_1.sort(0).values)
    correlation = torch.corrcoef(torch.cat([left, right], 1).T)[0, 1].item()
    if method == "DSBM-IMF+":
        assert correlation > 0.99  # one batch: sorted against sorted
    else:
        assert abs(correlation) < 5 / n**0.5


@pytest.mark.parametrize(
    ("method", "sigma", "correlation"), [("SB-CFM", 1.0, 0.618), ("OT-CFM", 0.1, 1), ("CFM", 0.1, 0), ("FM", 0, 0)]
)
def test_methods_of_one_pass_take_their_own_pairs_and_sigma(
    method: str, sigma: float, correlation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[tuple[Coupling, IMFConfig]] = []

    def flow_matching(x_0: Tensor, x_1: Tensor, net: nn.Module, coupling: Coupling, config: IMFConfig, _: Any) -> Drift:
        handed.append((coupling, config))
        return zero_drift

    monkeypatch.setattr(study, "flow_matching", flow_matching)
    n = 512
    x_0, x_1 = torch.randn(n, 1, generator=generator()), torch.randn(n, 1, generator=generator(1)) + 5
    list(learn(method, x_0, x_1, IMFConfig(1.0, batch=n), generator()))
    ((coupling, config),) = handed
    assert config.sigma == sigma
    measured = torch.corrcoef(torch.cat(coupling(x_0, x_1, generator(2)), 1).T)[0, 1].item()
    # One batch holds all points: five standard errors, and what so many points differ from their law by.
    assert measured == pytest.approx(correlation, abs=0.01 if correlation == 1 else 5 / n**0.5)


@pytest.mark.parametrize("method", ["DSB", "DSBM-IPF", "DSBM-IMF", "DSBM-IMF+", "IMF-b", "RF"])
def test_methods_of_many_passes_take_their_own_sigma_networks_and_directions(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed: list[tuple[Mapping[str, nn.Module], IMFConfig, tuple[str, ...]]] = []
    seen: list[float] = []

    def alternate(
        x_0: Tensor, x_1: Tensor, nets: Mapping[str, nn.Module], _: Any, config: IMFConfig, g: Any, directions: Any
    ) -> Iterator[Any]:
        handed.append((nets, config, tuple(directions)))
        return iter(())

    monkeypatch.setattr(study, "alternate", alternate)
    monkeypatch.setattr(study, "matching", lambda first, config: seen.append(config.sigma))
    monkeypatch.setattr(study, "mean_matching", lambda config: seen.append(config.sigma))
    x = torch.randn(8, 2, generator=generator())
    list(learn(method, x, x + 1, IMFConfig(2.0, 7, batch=8), generator()))
    ((nets, config, directions),) = handed
    assert {config.sigma, *seen} == {0.0 if method == "RF" else 2.0}
    assert directions == (("b",) if method in ("RF", "IMF-b") else ("b", "f"))
    for net in nets.values():
        assert isinstance(net, StepNetwork) == (method == "DSB")
        assert not isinstance(net, StepNetwork) or net.steps == 7
