"""EDM's experiments refuse what makes no sense, and what they have no data for, before anything runs."""

import re
from pathlib import Path

import pytest

from common.harness.cli.main import main
from common.harness.runs.plan import plan
from common.harness.studies.errors import UsageError
from papers.edm.paper import PAPER
from papers.edm.studies.images import look_at


@pytest.mark.parametrize(
    ("experiment", "fields", "message"),
    [
        ("convergence", {"steps": "64,0"}, "steps is at least 1, not 0"),
        ("convergence", {"field": "moons"}, "field is one of mixture, digits, not 'moons'"),
        ("sampling_cost", {"steps": "-3"}, "steps is at least 1, not -3"),
        ("sampling_cost", {"sampler": "ddim"}, "sampler is one of vp, ve, iddpm, edm, not 'ddim'"),
        ("rho_sweep", {"n_samples": "0"}, "n_samples is at least 1, not 0"),
        ("curvature", {"sigma_max": "0.01"}, "0 < sigma_min < sigma_max"),
        ("preconditioning", {"repeats": "0"}, "repeats is at least 1, not 0"),
        ("training", {"images": "0"}, "images is at least 1, not 0"),
        ("training", {"letter": "G"}, "letter is one of A, B, C, D, E, F, not 'G'"),
        ("training", {"dataset": "cats"}, "dataset is one of digits, mnist, cifar10, not 'cats'"),
        ("churn", {"steps": "0"}, "steps is at least 1, not 0"),
        ("churn", {"denoiser": "none"}, "denoiser is one of network, exact, not 'none'"),
    ],
)
def test_a_field_that_makes_no_sense_is_bad_input(experiment: str, fields: dict[str, str], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        plan(PAPER, "quick", only=[experiment], overrides=fields)


@pytest.mark.parametrize(
    ("preset", "only", "missing"),
    [
        ("small", "training", "MNIST/raw/train-images-idx3-ubyte"),
        ("small", "churn", "MNIST/raw/train-images-idx3-ubyte"),
    ],
)
def test_missing_data_is_bad_input_before_anything_runs(
    preset: str,
    only: str,
    missing: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REPRO_OFFLINE", "1")
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    look_at.cache_clear()
    assert main(["run", "edm", "--preset", preset, "--only", only, "--device", "cpu", "--offline"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "data" / missing) in line
    assert list(tmp_path.iterdir()) == []


def test_a_resolution_that_a_data_set_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="digits has the resolution 8, not 16"):
        look_at("digits", 16)
