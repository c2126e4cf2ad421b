"""The derivative of the ELBO: that a wrong formula shows, and the figure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from papers.weighted_elbo.studies import derivative as study
from papers.weighted_elbo.studies.derivative import CLAIMS, DENOISERS, FIGURES, POINTS, DerivativeConfig, derivative
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, shows, table, verdict

(CLAIM,) = CLAIMS
CONFIG = derivative.presets["quick"].configs[0]


def found(run: FakeRun) -> Any:
    rows = iter(made(derivative, CONFIG, (0,), (run,))[0])
    keys = [{"denoiser": name, "steps": steps} for name in DENOISERS for steps in CONFIG.lengths]
    errors = {(row["denoiser"], row["steps"]): row["error"] for row in rows}
    return table(derivative, "quick", lambda config: keys, lambda row: {"error": errors[row["denoiser"], row["steps"]]})


def test_the_derivative_is_half_of_the_squared_error(run: FakeRun) -> None:
    assert verdict(CLAIM, (derivative, found(run))) == "holds"
    for name in DENOISERS:
        numeric, formula = (run.arrays[f"{name}_{kind}"] for kind in ("numeric", "formula"))
        np.testing.assert_allclose(numeric, formula, rtol=0.02, atol=1e-3)
        assert numeric.shape == (len(run.arrays[f"{name}_log_snr"]), len(POINTS))


@pytest.mark.parametrize("wrong", ["without its half", "of the data"])
def test_another_formula_does_not_meet_the_criterion(run: FakeRun, monkeypatch: pytest.MonkeyPatch, wrong: str) -> None:
    real: Any = study.mean_square

    def other(denoiser: Any, log_snr: Tensor) -> Tensor:
        error = real(denoiser, log_snr)
        return 2 * error if wrong == "without its half" else torch.exp(-log_snr)[:, None] * error

    monkeypatch.setattr(study, "mean_square", other)
    assert verdict(CLAIM, (derivative, found(run))) == "fails"


@pytest.mark.parametrize("denoiser", DENOISERS)
@pytest.mark.parametrize(
    ("size", "order", "expected"), [(2e-3, 1.0, "holds"), (2e-2, 1.0, "fails"), (2e-3, 0.3, "fails")]
)
def test_both_size_and_order_are_asked_of_both_denoisers(
    denoiser: str, size: float, order: float, expected: str
) -> None:
    longest = max(CONFIG.lengths)

    def plant(row: Row) -> dict[str, float]:
        own = (size, order) if row["denoiser"] == denoiser else (1e-3, 1.0)
        return {"error": own[0] * (longest / row["steps"]) ** own[1]}

    keys = [{"denoiser": name, "steps": steps} for name in DENOISERS for steps in CONFIG.lengths]
    assert verdict(CLAIM, (derivative, table(derivative, "quick", lambda config: keys, plant))) == expected


def test_the_figure_has_the_formula_as_lines_and_differences_as_marks() -> None:
    log_snr = np.linspace(-8, 8, 65)
    arrays: dict[str, np.ndarray] = {}
    for k, name in enumerate(DENOISERS, 1):
        arrays[f"{name}_log_snr"] = log_snr
        arrays[f"{name}_formula"] = k + np.outer(np.arange(65.0), np.arange(1, 5))
        arrays[f"{name}_numeric"] = 10 * k + np.outer(np.arange(65.0), np.arange(1, 5))
    rows = table(derivative, "quick", lambda config: [{"denoiser": "exact", "steps": 1}])
    panels = FIGURES[0].draw(MadeUp({derivative: rows}, lambda run: arrays)).axes
    for panel, name in zip(panels, DENOISERS, strict=True):
        assert panel.get_title() == f"{name} denoiser"
        for i in range(4):
            assert shows(panel, np.stack([log_snr, arrays[f"{name}_formula"][:, i]], 1))
            assert shows(panel, np.stack([log_snr, arrays[f"{name}_numeric"][:, i]], 1)[i::6])


def test_a_bad_config_is_refused() -> None:
    with pytest.raises(ValueError, match="lengths is at least 3, not 2"):
        replace(DerivativeConfig(), lengths=(2, 4))
