"""When the picture appears: what is read of which states, and the claims and figures on made-up tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from common.data.images import Images, digits
from common.harness.studies.experiment import Experiment
from common.training.stream import stream
from papers.flow_matching.marginal import EmpiricalField
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.studies import class_time as study
from papers.flow_matching.studies.class_time import (
    CLAIMS,
    FIGURES,
    PATHS,
    READERS,
    ClassTimeConfig,
    NetworkClassTimeConfig,
    class_time,
    class_time_networks,
)
from papers.flow_matching.studies.images import SAMPLING
from papers.flow_matching.studies.looks import METHODS
from papers.flow_matching.studies.networks import network
from papers.flow_matching.studies.readers import on_the_clock_of_ot
from papers.flow_matching.studies.training import training
from tests.papers.fake_run import FakeRun
from tests.papers.planted import MadeUp, Row, lines, table, verdict, wobble

TINY = ClassTimeConfig(steps=32, n_samples=8)
OF = {claim.id: claim for claim in CLAIMS}
GRIDS = [(class_time, "quick"), (class_time, "small"), (class_time_networks, "small"), (class_time_networks, "gpu")]


def keys(config: Any) -> list[Row]:
    return [{"objective": name, "reader": reader} for name in PATHS for reader in READERS]


def test_with_exact_fields_ot_is_read_earlier_and_on_one_clock_at_the_same_time(run: FakeRun) -> None:
    rows = {(row["objective"], row["reader"]): row for row in class_time(replace(TINY, steps=64), 7, run)}
    for reader in READERS:
        ot, vp = rows["fm-ot", reader], rows["fm-vp", reader]
        assert float(vp["time"]) > float(ot["time"]) + 0.1
        assert ot["time_on_ot"] == pytest.approx(ot["time"], abs=1e-12)
        # 8 samples on a grid of 1/64.
        assert vp["time_on_ot"] == pytest.approx(ot["time"], abs=0.03)


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[Any, ...]]:
    """By the name of the path, what `read_along` is handed."""
    seen: dict[str, tuple[Any, ...]] = {}
    names = {id(OBJECTIVES[name].path): name for name in PATHS}

    def read_along(velocity: Any, path: Any, x_0: Tensor, steps: int, images: Images) -> Any:
        seen[names[id(path)]] = (velocity, x_0, steps, images)
        times = torch.linspace(0, path.last, steps + 1, dtype=torch.float64)
        states = times[:, None, None, None, None].expand(-1, *x_0.shape)
        sure_from = {"posterior": 5, "classifier": 9}
        read = {}
        for reader, first in sure_from.items():
            read[reader] = torch.zeros(steps + 1, len(x_0), 10)
            read[reader][first:, :, 4] = 1
        return times, states, read

    monkeypatch.setattr(study, "read_along", read_along)
    return seen


def test_both_paths_start_from_the_noise_of_the_seed_in_the_exact_fields_of_all_digits(
    handed: dict[str, tuple[Any, ...]], run: FakeRun
) -> None:
    rows = class_time(TINY, 3, run)
    images = digits().x0
    x_0 = torch.randn(8, 1, 8, 8, generator=stream(3, SAMPLING), dtype=torch.float64)
    assert set(handed) == set(PATHS)
    for name, (velocity, start, steps, law) in handed.items():
        assert torch.equal(start, x_0)
        assert steps == 32
        assert torch.equal(law.x0, images)
        assert torch.equal(law.labels, digits().labels)
        exact = EmpiricalField(OBJECTIVES[name].path, images)
        t = torch.tensor(0.6, dtype=torch.float64)
        torch.testing.assert_close(velocity(x_0, t), exact.velocity(x_0, t))
    for row in rows:
        path, index = OBJECTIVES[str(row["objective"])].path, {"posterior": 5, "classifier": 9}[str(row["reader"])]
        t = torch.tensor(path.last * index / 32, dtype=torch.float64)
        assert row["time"] == pytest.approx(float(t))
        assert row["time_on_ot"] == pytest.approx(float(on_the_clock_of_ot(path, t)))
        np.testing.assert_allclose(run.arrays[f"settled_{row['reader']}_{row['objective']}"], [float(t)] * 8)
    # Eleven states of three trajectories, the first and the last among them.
    shown = run.arrays["states_fm-ot"]
    assert shown.shape == (11, 3, 8, 8)
    np.testing.assert_allclose(shown[[0, 5, 10], 0, 0, 0], [0, 0.5, 1])


def test_each_path_has_the_network_that_was_trained_on_it(
    handed: dict[str, tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = NetworkClassTimeConfig(32, 8, n_images=25)
    needs = class_time_networks.needs(config, 2)
    for name in PATHS:
        assert needs[name].experiment is training
        assert needs[name].config == network("unet", name)
        assert needs[name].seed == 2

    def trained_velocity(config: Any, folder: Path, device: str) -> tuple[str, Path]:
        return config.objective, folder

    split: list[Any] = []

    def mnist(*which: Any) -> Images:
        split.append(which)
        return Images(torch.zeros(40, 1, 16, 16), torch.arange(40) % 10)

    monkeypatch.setattr(study, "trained_velocity", trained_velocity)
    monkeypatch.setattr(study, "mnist", mnist)
    run = FakeRun(tmp_path / "run", **{name: tmp_path / name for name in PATHS})
    class_time_networks(config, 2, run)
    assert split == [("train", 16)]
    x_0 = torch.randn(8, 1, 16, 16, generator=stream(2, SAMPLING), dtype=torch.float64)
    for name, (velocity, start, _, law) in handed.items():
        assert velocity == (name, tmp_path / name)
        assert torch.equal(start, x_0)
        assert law.labels.tolist() == [k % 10 for k in range(25)]


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"steps": 5}, "steps is at least 11"), ({"n_samples": 0}, "n_samples is at least 1")],
)
def test_a_bad_config_is_refused(fields: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **fields)


def test_networks_are_those_on_mnist() -> None:
    with pytest.raises(ValueError, match="network is one of unet, large unet, not 'perceptron'"):
        NetworkClassTimeConfig(network="perceptron")


@pytest.mark.parametrize(("of", "preset"), GRIDS)
def test_ot_must_be_ahead_by_a_tenth_with_both_readers(of: Experiment, preset: str) -> None:
    claim = OF["class-time" if of is class_time else "class-time-networks"]
    assert preset in claim.presets or preset == "gpu"

    def planted(late: dict[str, float], early: str = "fm-ot") -> str:
        def plant(row: Row) -> dict[str, float]:
            return {"time": 0.4 * wobble(row) + (0 if row["objective"] == early else late[row["reader"]])}

        return verdict(claim, (of, table(of, preset, keys, plant)))

    assert planted({"posterior": 0.12, "classifier": 0.12}) == "holds"
    assert planted({"posterior": 0.12, "classifier": 0.08}) == "fails"
    assert planted({"posterior": 0.08, "classifier": 0.12}) == "fails"
    assert planted({"posterior": 0.12, "classifier": 0.12}, early="fm-vp") == "fails"


def test_on_one_clock_they_must_be_equal() -> None:
    def planted(apart: float) -> str:
        def plant(row: Row) -> dict[str, float]:
            vp = row["objective"] == "fm-vp"
            return {"time": 0.5 + 0.24 * vp, "time_on_ot": 0.5 * wobble(row) + apart * vp}

        return verdict(OF["class-time-clock"], (class_time, table(class_time, "quick", keys, plant)))

    assert planted(0.02) == "holds"
    assert planted(0.24) == "fails"
    assert planted(-0.04) == "fails"


@pytest.mark.parametrize(("of", "preset"), GRIDS)
def test_figures_show_the_shares_and_the_states(of: Experiment, preset: str) -> None:
    def arrays(run: Row) -> dict[str, np.ndarray]:
        random = np.random.default_rng(run["seed"])
        settled = {f"settled_{reader}_{name}": random.random(6) for reader in READERS for name in PATHS}
        return settled | {f"states_{name}": random.random((11, 3, 8, 8)) for name in PATHS}

    results = MadeUp({of: table(of, preset, keys)}, arrays)
    figures = {figure.name: figure for figure in FIGURES if figure.experiments == (of,)}
    tail = "" if of is class_time else "-networks"
    own, one = figures[f"class-read{tail}"].draw(results).axes
    runs = [values for _, values in results.arrays(of)]
    for name in PATHS:
        for reader in READERS:
            times = np.sort(np.concatenate([values[f"settled_{reader}_{name}"] for values in runs]))
            (shown,) = lines(own, f"{METHODS[name].name}, {reader}")
            np.testing.assert_allclose(shown[:, 0], times)
            np.testing.assert_allclose(shown[:, 1], np.arange(1, len(times) + 1) / len(times))
            (shown,) = lines(one, f"{METHODS[name].name}, {reader}")
            on_ot = on_the_clock_of_ot(OBJECTIVES[name].path, torch.from_numpy(times))
            np.testing.assert_allclose(shown[:, 0], on_ot)
    above, below = figures[f"appearance{tail}"].draw(results).axes
    for panel, name in ((above, "fm-ot"), (below, "fm-vp")):
        assert panel.get_title() == f"{METHODS[name].name}, by time t"
        sheet = np.asarray(panel.images[0].get_array())
        states = results.arrays(of, seed=0)[0][1][f"states_{name}"]
        assert sheet.shape == (3 * 9, 11 * 9)
        np.testing.assert_allclose(sheet[9:17, 4 * 9 : 4 * 9 + 8], states[4, 1])
