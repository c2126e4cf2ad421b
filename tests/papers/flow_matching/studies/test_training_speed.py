"""Training speed: which average is looked at, and the claims and figures on made-up tables."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from common.harness.runs.rows import check
from common.training.stream import stream
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.studies import training_speed as study
from papers.flow_matching.studies.images import SAMPLING
from papers.flow_matching.studies.looks import METHODS
from papers.flow_matching.studies.networks import NETWORKS, network, noise
from papers.flow_matching.studies.training_speed import CLAIMS, FIGURES, TOLERANCE, ProgressConfig, progress
from tests.papers.fake_run import FakeRun
from tests.papers.planted import MadeUp, Row, shows, table, verdict, wobble

OF = {claim.id: claim for claim in CLAIMS}
DRAWN = {figure.name: figure.draw for figure in FIGURES}


def test_each_look_is_at_its_own_average_from_the_same_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look's velocity is its number, and dopri5 takes as many evaluations."""
    config, judged = ProgressConfig("perceptron", "score", n_samples=20, n_solved=6), []
    solved: list[tuple[Tensor, dict[str, float]]] = []

    def trained_velocity(made: Any, folder: Path, device: str, look: int) -> Any:
        assert (made, folder) == (network("perceptron", "score"), tmp_path / "trained")
        return lambda x, t: torch.full_like(x, look)

    def dopri5(velocity: Any, x: Tensor, t_0: float = 0.0, t_1: float = 1.0, **tolerances: float) -> Tensor:
        solved.append((x, {"t_1": t_1, **tolerances}))
        look = int(velocity(x, torch.tensor(0.0)).flatten()[0])
        for _ in range(look - 1):
            velocity(x, torch.tensor(0.0))
        return x + look

    class Data:
        def fd(self, samples: Tensor) -> float:
            judged.append(samples)
            return float(len(judged))

    monkeypatch.setattr(study, "trained_velocity", trained_velocity)
    monkeypatch.setattr(study, "dopri5", dopri5)
    monkeypatch.setattr(study, "DATASETS", {"digits": Data()})
    rows = progress(config, 4, FakeRun(tmp_path / "run", network=tmp_path / "trained"))
    check(rows, progress.columns)
    made = NETWORKS["perceptron"]
    seen = [steps * made.batch for steps in made.kept_after]
    assert rows == [{"seen": n, "fd": look, "nfe": look} for look, n in enumerate(seen, 1)]
    x_0, last = noise(made, 20, stream(4, SAMPLING)), OBJECTIVES["score"].path.last
    for look, samples in enumerate(judged, 1):
        torch.testing.assert_close(samples, x_0 + look)
    for (sampled, loosely), (counted, exactly) in zip(solved[::2], solved[1::2], strict=True):
        assert torch.equal(sampled, x_0)
        assert torch.equal(counted, x_0[:6])
        assert loosely == {"t_1": last, "atol": TOLERANCE, "rtol": TOLERANCE}
        assert exactly == {"t_1": last}, "at the tolerance of the paper"


def keys(config: ProgressConfig) -> list[Row]:
    made = NETWORKS[config.network]
    return [{"seen": steps * made.batch} for steps in made.kept_after]


def courses(preset: str, faster: float = 1.0, drift: dict[str, float] | None = None) -> Any:
    """Distances fall as images⁻¹, on OT with `faster` times as many; evaluations go from 100 to 100 times `drift`."""

    def plant(row: Row) -> dict[str, float]:
        end = NETWORKS[row["network"]].kept_after[-1] * NETWORKS[row["network"]].batch
        share = row["seen"] / end
        speed = faster if row["objective"] == "fm-ot" else 1.0
        change = (drift or {}).get(row["objective"], 1.0)
        return {"fd": 10 / (share * speed) * wobble(row), "nfe": 100 * change**share * wobble(row)}

    return table(progress, preset, keys, plant)


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
@pytest.mark.parametrize(("faster", "expected"), [(2.0, "holds"), (1.0, "fails"), (0.7, "fails")])
def test_images_are_counted_to_where_the_diffusion_path_ends(preset: str, faster: float, expected: str) -> None:
    rows = courses(preset, faster)
    claim = OF["training-speed"]
    assert verdict(claim, (progress, rows)) == expected
    if faster >= 1:
        assert claim.quantities[0].measure(rows).to_numpy() == pytest.approx(1 / faster)


@pytest.mark.parametrize("preset", ["small", "gpu"])
@pytest.mark.parametrize(("change", "stays"), [(1.1, True), (0.9, True), (1.5, False), (0.6, False)])
def test_evaluations_stay_with_ot_and_drift_with_score_matching(preset: str, change: float, stays: bool) -> None:
    for id, objective in (("training-evaluations", "fm-ot"), ("training-evaluations-score", "score")):
        rows = courses(preset, drift={objective: change, "fm-vp": 9.0})
        holds = stays == (objective == "fm-ot")
        assert verdict(OF[id], (progress, rows)) == ("holds" if holds else "fails")
        (quantity,) = OF[id].quantities
        assert quantity.measure(rows).to_numpy() == pytest.approx(max(change, 1 / change) ** 0.75, rel=0.01)


@pytest.mark.parametrize("preset", ["quick", "small"])
def test_the_figures_show_means_over_seeds_by_images(preset: str) -> None:
    rows = courses(preset, 2.0, {"score": 1.5})
    for figure, column in (("training-speed", "fd"), ("training-evaluations", "nfe")):
        (panel,) = DRAWN[figure](MadeUp({progress: rows})).axes
        for name in set(rows["objective"]):
            mean = rows[rows["objective"] == name].groupby("seen")[column].mean()
            assert shows(panel, list(zip(mean.index / 1000, mean, strict=True)), METHODS[name].colour)


def test_a_bad_config_is_refused() -> None:
    with pytest.raises(ValueError, match="n_samples is at least 2, not 1"):
        replace(ProgressConfig("unet", "fm-ot"), n_samples=1)
    with pytest.raises(ValueError, match="network is one of"):
        ProgressConfig("vgg", "fm-ot")
