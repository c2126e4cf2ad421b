"""Table 1: what is measured of which network, and the claims and figures on made-up tables."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from common.data.images import digits
from common.harness.runs.rows import check
from common.harness.studies.statistics import student_t
from common.training.stream import stream
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.published import TABLE_1
from papers.flow_matching.studies import table as study
from papers.flow_matching.studies.images import LIKELIHOOD, SAMPLING
from papers.flow_matching.studies.looks import METHODS
from papers.flow_matching.studies.networks import network, noise
from papers.flow_matching.studies.table import CLAIMS, FIGURES, TableConfig, table_1
from papers.flow_matching.studies.training import QUICK, training
from tests.papers.fake_run import FakeRun
from tests.papers.planted import MadeUp, Row, shows, table, verdict, wobble

OF = {claim.id: claim for claim in CLAIMS}
DRAWN = {figure.name: figure.draw for figure in FIGURES}


@dataclass
class Handed:
    network: tuple[Any, ...] = ()
    solved: list[tuple[Tensor, dict[str, float]]] = field(default_factory=list)
    judged: tuple[Any, ...] = ()
    likelihood: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    times: set[float] = field(default_factory=set)


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Handed:
    """What the measures are handed. Samples are the noise plus one; dopri5 takes seven evaluations."""
    seen = Handed()

    def trained_velocity(config: Any, folder: Path, device: str) -> Any:
        seen.network = (config, folder)
        return velocity

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return x

    def dopri5(velocity: Any, x: Tensor, t_0: float = 0.0, t_1: float = 1.0, **tolerances: float) -> Tensor:
        seen.solved.append((x, {"t_0": t_0, "t_1": t_1, **tolerances}))
        for _ in range(7):
            velocity(x, torch.tensor(t_0))
        return x + 1

    def bits_per_dim(
        field: Any, images: Tensor, K: int, generator: torch.Generator, levels: int, **rest: Any
    ) -> Tensor:
        assert field is velocity
        seen.likelihood, seen.options = (images, K, generator.initial_seed(), levels), rest
        return torch.tensor([2.0, 4.0])

    class Data:
        levels = 17

        def load(self, split: Any, side: int) -> Tensor:
            return digits(split).x0

        def fd(self, samples: Tensor) -> float:
            seen.judged = (samples,)
            return 5.0

        def floor(self, side: int, n: int, generator: torch.Generator) -> float:
            return float(n)

    for name, stand_in in {
        "trained_velocity": trained_velocity,
        "dopri5": dopri5,
        "bits_per_dim": bits_per_dim,
    }.items():
        monkeypatch.setattr(study, name, stand_in)
    monkeypatch.setattr(study, "DATASETS", {"digits": Data()})
    return seen


@pytest.mark.parametrize("objective", ["fm-ot", "ddpm"])
def test_a_row_is_of_its_own_network_its_seed_and_the_paper_s_tolerance(
    objective: str, handed: Handed, tmp_path: Path
) -> None:
    config = TableConfig("perceptron", objective, 700, 11, 0.02, 0.03, n_solved=9, n_solves=2, K=3)
    need = table_1.needs(config, 6)["network"]
    made = network("perceptron", objective)
    assert (need.config, need.seed) == (made, 6)
    run = FakeRun(tmp_path / "run", network=tmp_path / "trained")
    rows = table_1(config, 6, run)
    check(rows, table_1.columns)
    assert rows == [{"bpd": 3.0, "fd": 5.0, "floor": 700.0, "nfe": 7}]
    assert handed.network == (made, tmp_path / "trained")
    x_0 = noise(made, 700, stream(6, SAMPLING))
    *sampled, (counted, exactly), (next_counted, _) = handed.solved
    assert torch.equal(torch.cat([x for x, _ in sampled]), x_0)
    last = OBJECTIVES[objective].path.last
    for _, how in sampled:
        assert how == {"t_0": 0, "t_1": last, "atol": 0.02, "rtol": 0.02}
    assert torch.equal(torch.cat([counted, next_counted]), x_0[:18])
    assert exactly == {"t_0": 0, "t_1": last}, "at the tolerance of the paper"
    assert torch.equal(handed.judged[0], x_0 + 1)
    np.testing.assert_allclose(run.arrays["samples"], (x_0 + 1)[:32].numpy(), rtol=1e-6)
    images, *others = handed.likelihood
    assert torch.equal(images, digits("test").x0[:11])
    assert others == [3, stream(6, LIKELIHOOD).initial_seed(), 17]
    assert handed.options == {"t_1": last, "tolerance": 0.03}


def test_the_networks_of_the_table_are_trained_by_the_same_preset() -> None:
    for preset, grid in table_1.presets.items():
        for config in grid.configs:
            need = table_1.needs(config, 0)["network"]
            trained_there = need.experiment.presets[preset]
            assert need.config in trained_there.configs
            assert grid.seeds <= trained_there.seeds
    assert len(training.presets["small"].configs) == 5


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"network": "vgg"}, "network is one of perceptron, unet, large unet, not 'vgg'"),
        ({"objective": "edm"}, "objective is one of"),
        ({"n_samples": 1}, "n_samples is at least 2"),
        ({"tolerance": 0.0}, "tolerance is 0.0; it must be positive"),
        ({"K": 0}, "K is at least 1"),
        ({"n_samples": 20, "n_solves": 3}, "n_samples is at least 24, not 20"),
    ],
)
def test_a_bad_config_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TableConfig("perceptron", "fm-ot"), **fields)


def keys(config: Any) -> list[Row]:
    return [{}]


BEST = {"bpd": 3.0, "fd": 6.0, "nfe": 140}
COLUMN = {"table-bits": "bpd", "table-fd": "fd", "table-nfe": "nfe"}


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
@pytest.mark.parametrize("id", COLUMN)
@pytest.mark.parametrize("rest", ["", "-all"])
def test_each_column_s_claim_asks_for_ot_below_each_of_the_others(preset: str, id: str, rest: str) -> None:
    claim, column = OF[id + rest], COLUMN[id]
    if preset not in claim.presets:
        return
    others = [name for name in OBJECTIVES if (name in QUICK) == (rest == "") and name != "fm-ot"]
    assert len(claim.quantities) == len(others)

    def planted(**factors: float) -> Any:
        return table(
            table_1,
            preset,
            keys,
            lambda row: {column: BEST[column] * wobble(row) * factors.get(row["objective"], 1.0)},
        )

    better = dict.fromkeys(others, 1.1)
    assert verdict(claim, (table_1, planted(**better))) == "holds"
    for name in others:
        assert verdict(claim, (table_1, planted(**{**better, name: 1.0}))) == "fails", "as good is not better"
        assert verdict(claim, (table_1, planted(**{**better, name: 0.9}))) == "fails"


def test_what_table_1_has_is_beside_each_quantity() -> None:
    expected = {
        ("table-bits", "fm-vp"): 3.10 - 2.99,
        ("table-bits", "score"): 3.16 - 2.99,
        ("table-fd", "fm-vp"): 8.06 / 6.35,
        ("table-nfe-all", "scoreflow"): 428 / 142,
        ("table-nfe-all", "ddpm"): 274 / 142,
    }
    for (id, name), value in expected.items():
        (quantity,) = [each for each in OF[id].quantities if each.name.startswith(METHODS[name].name)]
        assert quantity.expected == pytest.approx(value)


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_the_figure_shows_means_with_their_intervals_beside_the_published_cells(preset: str) -> None:
    rows = table(table_1, preset, keys)
    figure = DRAWN["table-1"](MadeUp({table_1: rows}))
    axes = figure.axes
    methods = [name for name in METHODS if name in set(rows["objective"])]
    for row, (column, cell) in enumerate((("bpd", "nll"), ("fd", "fid"), ("nfe", "nfe"))):
        ours, published = axes[2 * row], axes[2 * row + 1]
        for place, name in enumerate(methods):
            values = rows[rows["objective"] == name][column]
            estimate = student_t([float(value) for value in values])
            assert shows(ours, [(estimate.mean, place)], METHODS[name].colour)
            assert shows(ours, [(estimate.low, place), (estimate.high, place)], METHODS[name].colour)
            for offset, data in zip((-0.2, 0.0, 0.2), TABLE_1[name], strict=True):
                assert shows(published, [(getattr(TABLE_1[name][data], cell), place + offset)])
    assert [label.get_text() for label in axes[0].get_yticklabels()] == [METHODS[name].name for name in methods]


def test_the_grids_of_samples_are_those_of_their_method_at_one_seed() -> None:
    rows = table(table_1, "small", keys)

    def arrays(run: Any) -> Any:
        level = list(OBJECTIVES).index(run["objective"]) / 10 + run["seed"] / 1000
        return {"samples": np.full((32, 1, 4, 4), level, dtype=np.float32)}

    figure = DRAWN["table-1-samples"](MadeUp({table_1: rows}, arrays))
    for panel, name in zip(figure.axes, METHODS, strict=False):
        shown = np.asarray(panel.images[0].get_array())
        assert shown.shape == (4 * 6, 8 * 6)
        assert float(shown[3, 3]) == pytest.approx(list(OBJECTIVES).index(name) / 10)
        assert panel.get_title() == METHODS[name].name
