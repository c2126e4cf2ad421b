"""The gradient by time: variances that are known for a network that is one number, and the claim on made-up tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.training.checkpoint import save_checkpoint
from common.training.stream import stream
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.studies import gradient_noise as study
from papers.flow_matching.studies.gradient_noise import (
    CLAIMS,
    FIGURES,
    MIDPOINTS,
    TIMES,
    gradient_noise,
    gradient_variances,
)
from papers.flow_matching.studies.looks import METHODS
from papers.flow_matching.studies.stability import DIFFUSION, GRADIENTS, RATES, StabilityConfig, new_network, stability
from tests.papers.fake_run import FakeRun
from tests.papers.flow_matching.cases import randn, seeded
from tests.papers.planted import MadeUp, Row, shows, table, verdict, wobble


class Constant(nn.Module):
    """The same numbers everywhere: the gradient of a sample's loss is 2/D (b − target) times the loss's weight."""

    def __init__(self) -> None:
        super().__init__()
        self.b = nn.Parameter(torch.tensor([0.3, -0.2], dtype=torch.float64))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        return self.b.expand_as(x)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_variances_of_a_constant_network(name: str) -> None:
    x_1, D = 2 + randn(300, 2), 2
    found = gradient_variances(OBJECTIVES[name], Constant(), x_1, seeded(4))
    x_0 = torch.randn(300, 2, generator=seeded(4), dtype=torch.float64)
    s = 1 - torch.tensor(TIMES, dtype=torch.float64)[:, None, None]
    beta, integral = 0.1 + 19.9 * s, 0.1 * s + 9.95 * s**2
    m, sigma = (-integral / 2).exp(), (1 - (-integral).exp()).sqrt()
    targets = {
        "fm-ot": x_1 - (1 - 1e-4) * x_0 + 0 * s,
        "fm-vp": beta * m / 2 * (x_1 - m / sigma * x_0),
        "score": sigma**2 * (x_0 / sigma),
        "scoreflow": beta * (x_0 / sigma),
        "ddpm": x_0 + 0 * s,
    }
    wanted = (2 / D) ** 2 * targets[name].var(dim=1).sum(-1)
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), wanted, rtol=1e-6, atol=0)


def test_the_network_of_the_middle_rate_is_looked_at_and_variances_are_relative_to_their_mean(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = StabilityConfig("score", 1e-2, width=8)
    need = gradient_noise.needs(config, 5)["net"]
    assert (need.experiment, need.config, need.seed) == (stability, config, 5)
    trained = new_network(config, 77)
    save_checkpoint(run.folder / "net.safetensors", trained.state_dict(), {})
    run.needs = {"net": run.folder}
    seen: dict[str, Any] = {}

    def variances(objective: Any, net: nn.Module, x_1: Tensor, generator: torch.Generator) -> list[float]:
        seen.update(objective=objective, net=net.state_dict(), x_1=x_1, seed=generator.initial_seed())
        return [3.0] * 5 + [5.0] * 5 + [40.0, 80.0]

    monkeypatch.setattr(study, "gradient_variances", variances)
    rows = gradient_noise(config, 5, run)
    assert [row["t"] for row in rows] == list(TIMES)
    assert [row["variance"] for row in rows] == [0.75] * 5 + [1.25] * 5 + [10.0, 20.0]
    assert np.mean(MIDPOINTS) == pytest.approx(0.5)
    assert seen["objective"] is OBJECTIVES["score"]
    assert seen["x_1"].shape == (64, 2)
    assert seen["seed"] == stream(5, GRADIENTS).initial_seed()
    for name, weights in trained.state_dict().items():
        assert torch.equal(seen["net"][name], weights)


def test_only_the_middle_rate_is_looked_at() -> None:
    for preset, grid in gradient_noise.presets.items():
        assert all(config.lr == sorted(RATES[config.law])[1] for config in grid.configs)
        assert grid.seeds == stability.presets[preset].seeds
        assert set(grid.configs) <= set(stability.presets[preset].configs)


def keys(config: Any) -> list[Row]:
    return [{"t": t} for t in TIMES]


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
def test_flow_matching_has_more_than_an_average_and_score_matching_less_than_a_tenth(preset: str) -> None:
    def planted(flow: float, score: float) -> str:
        near = {"fm-vp": flow, "score": score}

        def plant(row: Row) -> dict[str, float]:
            told = row["t"] == 0.99 and row["law"] == "mixture" and row["objective"] in near
            return {"variance": near[row["objective"]] * wobble(row)} if told else {}

        return verdict(CLAIMS[0], (gradient_noise, table(gradient_noise, preset, keys, plant)))

    assert planted(1.2, 0.08) == "holds"
    assert planted(0.08, 1.2) == "fails"
    assert planted(0.8, 0.08) == "fails"
    assert planted(1.2, 0.2) == "fails"


def test_the_figure_shows_geometric_means_over_seeds_by_the_distance_to_the_data() -> None:
    (figure,) = FIGURES
    for preset in ("quick", "small"):
        rows = table(gradient_noise, preset, keys)
        (panel,) = figure.draw(MadeUp({gradient_noise: rows})).axes
        low, high = panel.get_xlim()
        assert low > high, "the data are on the right"
        for name in DIFFUSION:
            runs = rows[(rows["law"] == "mixture") & (rows["objective"] == name)]
            if len(runs):
                mean = np.exp(np.log(runs["variance"]).groupby(runs["t"]).mean())
                assert shows(panel, np.column_stack([1 - mean.index, mean]), METHODS[name].colour)
