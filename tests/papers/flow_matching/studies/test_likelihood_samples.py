"""Draws of the likelihood: what is drawn, that K is nested, and the claims and figures on made-up tables."""

from __future__ import annotations

from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from common.data.images import digits
from common.harness.runs.rows import check
from common.training.stream import stream
from papers.flow_matching.likelihood import exact, hutchinson
from papers.flow_matching.published import NLL_BY_K
from papers.flow_matching.studies import likelihood_samples as study
from papers.flow_matching.studies.images import LIKELIHOOD
from papers.flow_matching.studies.likelihood_samples import (
    CLAIMS,
    DIVERGENCES,
    FIGURES,
    KS,
    DrawsConfig,
    divergence_draws,
    likelihood_draws,
)
from papers.flow_matching.studies.networks import network
from tests.papers.fake_run import FakeRun
from tests.papers.planted import MadeUp, Row, shows, table, verdict, wobble

OF = {claim.id: claim for claim in CLAIMS}
DRAWN = {figure.name: figure.draw for figure in FIGURES}
CONFIG = DrawsConfig("perceptron", 3)


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the estimator is handed; log-likelihoods are normal, with a spread of 4 and a mean of their own by image."""
    seen: list[dict[str, Any]] = []

    def log_likelihoods(
        velocity: Any, images: Tensor, K: int, generator: Any, levels: int, divergence: Any, **rest: Any
    ) -> Tensor:
        seen.append({"velocity": velocity, "images": images, "K": K, "seed": generator.initial_seed(),
                     "levels": levels, "divergence": divergence, **rest})  # fmt: skip
        noise = 4 * torch.randn(len(images), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        return (100 * torch.arange(3).repeat(len(images) // 3) + noise)[None]

    monkeypatch.setattr(study, "dequantised_log_likelihoods", log_likelihoods)
    monkeypatch.setattr(study, "trained_velocity", lambda made, folder, device: (made, folder))
    return seen


def test_all_draws_are_of_the_same_test_images_and_serve_for_every_K(
    handed: list[dict[str, Any]], tmp_path: Path
) -> None:
    run = FakeRun(tmp_path / "run", network=tmp_path / "trained")
    rows = likelihood_draws(CONFIG, 2, run)
    check(rows, likelihood_draws.columns)
    (call,) = handed
    need = likelihood_draws.needs(CONFIG, 2)["network"]
    assert (need.config, need.seed) == (network("perceptron", "fm-ot"), 2)
    assert call["velocity"] == (network("perceptron", "fm-ot"), tmp_path / "trained")
    assert torch.equal(call["images"], digits("test").x0[:3].repeat(50, 1, 1, 1))
    assert (call["K"], call["levels"], call["t_1"], call["tolerance"]) == (1, 17, 1.0, 1e-3)
    assert call["seed"] == stream(2, LIKELIHOOD).initial_seed()
    assert call["divergence"] is hutchinson
    # By NumPy: each image's log of the mean of its first K densities, in bits per pixel with bins of 1/8.
    noise = 4 * torch.randn(150, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    draws = noise.reshape(50, 3).numpy() + 100 * np.arange(3)
    for row, K in zip(rows, NLL_BY_K, strict=True):
        # K = 50 has one mean; of the smaller there are 50 runs, round and round.
        runs = [np.arange(start, start + K) % 50 for start in range(50)]
        mean_density = np.stack([np.exp(draws[each] - 100).mean(0) for each in runs])
        bits = -((np.log(mean_density) + 100) / 64 + log(1 / 8)) / log(2)
        assert row["K"] == K
        assert row["bpd"] == pytest.approx(bits.mean())
        assert row["spread"] == pytest.approx(np.sqrt(draws.var(0, ddof=1).mean()))


def test_both_divergences_have_the_same_images_and_places(handed: list[dict[str, Any]], tmp_path: Path) -> None:
    rows = divergence_draws(CONFIG, 2, FakeRun(tmp_path / "run", network=tmp_path / "trained"))
    check(rows, divergence_draws.columns)
    first, second = handed
    assert (first["divergence"], second["divergence"]) == (hutchinson, exact)
    for key in first:
        if key not in ("divergence", "images"):
            assert first[key] == second[key]
    assert torch.equal(first["images"], second["images"])
    assert [row["divergence"] for row in rows] == ["hutchinson"] * 3 + ["exact"] * 3


def bits(experiment: Any, preset: str, fall: dict[Any, float], share: float = 1.0) -> Any:
    """3 bits at K = 1, less `fall` at K; with the exact divergence `share` of it."""

    def plant(row: Row) -> dict[str, float]:
        part = share if row.get("divergence") == "exact" else 1.0
        return {"bpd": 3.0 * wobble(row) - part * fall.get(row["K"], 0.0) * wobble(row)}

    def keys(config: DrawsConfig) -> list[Row]:
        if experiment is likelihood_draws:
            return [{"K": K} for K in KS]
        return [{"K": K, "divergence": name} for K in KS for name in DIVERGENCES]

    return table(experiment, preset, keys, plant)


@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
@pytest.mark.parametrize(
    ("fall", "expected"),
    [
        ({20: 0.10, 50: 0.12}, "holds"),
        ({20: 0.0, 50: 0.0}, "fails"),
        ({20: 0.10, 50: 0.05}, "fails"),
        ({20: -0.1, 50: 0.1}, "fails"),
    ],
)
def test_bits_must_fall_at_each_step_of_K(preset: str, fall: dict[int, float], expected: str) -> None:
    """No change with K, as with the mean of the logarithms, is no fall."""
    claim = OF["likelihood-draws"]
    assert verdict(claim, (likelihood_draws, bits(likelihood_draws, preset, fall))) == expected
    assert [quantity.expected for quantity in claim.quantities] == [pytest.approx(0.10), pytest.approx(0.02)]


@pytest.mark.parametrize(("share", "expected"), [(0.4, "holds"), (1.0, "fails"), (1.3, "fails")])
def test_the_exact_divergence_must_win_less(share: float, expected: str) -> None:
    rows = bits(divergence_draws, "small", {20: 0.10, 50: 0.12}, share)
    claim = OF["likelihood-draws-exact"]
    assert verdict(claim, (divergence_draws, rows)) == expected
    assert claim.quantities[0].measure(rows).to_numpy() == pytest.approx(share)


def test_the_figures_show_ours_beside_the_published() -> None:
    rows = bits(likelihood_draws, "small", {20: 0.10, 50: 0.12})
    ours, published = DRAWN["likelihood-draws"](MadeUp({likelihood_draws: rows})).axes
    means = rows.groupby("K")["bpd"].mean()
    assert shows(ours, list(zip(means.index, means, strict=True)))
    assert shows(published, [(1, 3.11), (20, 3.01), (50, 2.99)])
    of_both = bits(divergence_draws, "small", {20: 0.10, 50: 0.12}, 0.4)
    (panel,) = DRAWN["likelihood-draws-exact"](MadeUp({divergence_draws: of_both})).axes
    for name in DIVERGENCES:
        means = of_both[of_both["divergence"] == name].groupby("K")["bpd"].mean()
        assert shows(panel, list(zip(means.index, means, strict=True)))


def test_a_bad_config_is_refused() -> None:
    with pytest.raises(ValueError, match="n_images is at least 1, not 0"):
        replace(CONFIG, n_images=0)
    with pytest.raises(ValueError, match="it must be positive"):
        replace(CONFIG, tolerance=0.0)
