"""EDM's experiments at tiny settings: what they measure, by cases whose answer is known."""

import sys
from dataclasses import replace
from math import sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from common.data.images import Images, digits
from common.diffusion.oracle import GaussianMixture, gaussian_flow
from common.diffusion.solvers import heun
from common.harness.studies.experiment import Experiment, Row
from common.nets.unet import ddpmpp
from papers.edm import experiments_official, experiments_stochastic, experiments_training
from papers.edm.configs import VP_CONFIGS
from papers.edm.experiments import EXPERIMENTS
from papers.edm.experiments_official import OfficialConfig, given, official_fid
from papers.edm.experiments_precond import PreconditioningConfig, preconditioning
from papers.edm.experiments_sampling import (
    SAMPLERS,
    ConvergenceConfig,
    CurvatureConfig,
    RhoSweepConfig,
    SamplingCostConfig,
    Standard,
    around,
    convergence,
    curvature,
    curvature_of,
    median_error,
    rho_sweep,
    sampling_cost,
)
from papers.edm.experiments_stochastic import ChurnConfig, churn, spread
from papers.edm.experiments_training import (
    TRAINED,
    AblationConfig,
    at_scale,
    batches,
    distance_floor,
    generate,
    training,
)
from papers.edm.fid import as_bytes, fid_cifar10
from papers.edm.sampler import Churn
from papers.edm.schedule import edm_sigmas
from tests.papers.fake_run import FakeRun

TINY = AblationConfig("E", "digits", 8, images=2 * 64, batch=64, width=16, n_samples=70)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def by(rows: list[Row], *keys: str) -> dict[Any, Row]:
    return {tuple(row[key] for key in keys) if len(keys) > 1 else row[keys[0]]: row for row in rows}


def test_standard_images_have_the_sigma_data_of_the_paper_and_come_back() -> None:
    images = digits().x0
    standard = Standard.of(images)
    x0 = standard.encode(images)
    assert float(x0.mean()) == pytest.approx(0, abs=1e-5)
    assert float(x0.std(correction=0)) == pytest.approx(0.5, abs=1e-5)
    torch.testing.assert_close(standard.decode(x0), images)


@pytest.mark.parametrize("sigma", [0.01, 0.3, 2.0, 80.0])
def test_denoiser_around_points_is_that_of_the_gaussian_mixture(sigma: float) -> None:
    points = torch.randn(7, 3, generator=generator(), dtype=torch.float64)
    x = points[:5] + sigma * torch.randn(5, 3, generator=generator(1), dtype=torch.float64)
    mixture = GaussianMixture(points, torch.full((7,), 0.2, dtype=torch.float64))
    level = torch.tensor(sigma, dtype=torch.float64)
    torch.testing.assert_close(around(points, 0.2)(x, level), mixture(x, level), rtol=1e-9, atol=1e-9)


def test_median_error_is_over_samples_of_the_distance_over_all_dimensions() -> None:
    exact = torch.zeros(3, 2, 2)
    x = torch.stack([torch.full((2, 2), value) for value in (1.0, 3.0, 100.0)])
    assert median_error(x, exact) == pytest.approx(6.0)


def test_convergence_halves_the_error_of_euler_and_quarters_that_of_heun(run: FakeRun) -> None:
    config = ConvergenceConfig("mixture", steps=(64, 128), reference_steps=1024, n_samples=32)
    rows = by(convergence(config, 0, run), "solver", "n_steps")
    assert [rows["euler", n]["nfe"] for n in (64, 128)] == [64, 128]
    assert [rows["heun", n]["nfe"] for n in (64, 128)] == [127, 255]
    # The next term of the error is smaller by the step's size: 10 % of the ratio at these steps.
    assert float(rows["euler", 64]["error"]) / float(rows["euler", 128]["error"]) == pytest.approx(2, rel=0.1)
    assert float(rows["heun", 64]["error"]) / float(rows["heun", 128]["error"]) == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize(("sampler", "order", "per_step"), [("vp", 1, 1), ("ve", 1, 1), ("iddpm", 1, 1), ("edm", 2, 2)])
def test_samplers_converge_to_their_own_limit(sampler: str, order: int, per_step: int, run: FakeRun) -> None:
    config = SamplingCostConfig(sampler, (120, 240), reference_steps=1000, n_samples=8, n_points=5)
    coarse, fine = sampling_cost(config, 0, run)
    assert [coarse["nfe"], fine["nfe"]] == [per_step * n - (per_step - 1) for n in (120, 240)]
    # 15 % for the next term of the error, and for the rounding of iDDPM's levels to whole numbers.
    assert float(coarse["error"]) / float(fine["error"]) == pytest.approx(2**order, rel=0.15)


def test_the_samplers_are_those_of_table_1() -> None:
    limits = {name: [float(level) for level in sigmas_of(2)] for name, (_, sigmas_of, _) in SAMPLERS.items()}
    assert limits["ve"] == pytest.approx([100, 0.02, 0])
    assert limits["edm"] == pytest.approx([80, 0.002, 0])
    assert limits["vp"][0] == pytest.approx(sqrt(np.expm1(19.9 / 2 + 0.1)))
    assert limits["iddpm"][0] == pytest.approx(81, abs=1)


def test_rho_sweep_finds_nothing_where_the_sampler_is_the_reference(run: FakeRun) -> None:
    config = RhoSweepConfig(70, rhos=(1.0, 7.0), steps=18, reference_steps=18, n_points=5)
    rows = by(rho_sweep(config, 0, run), "rho")
    assert rows[7.0]["error"] == 0
    assert float(rows[7.0]["fd_digits"]) < 1e-9
    assert float(rows[1.0]["error"]) > 1
    assert float(rows[1.0]["fd_digits"]) > 1


def test_curvature_of_known_curves() -> None:
    u = torch.linspace(0, 1, 2001, dtype=torch.float64)
    start, end = torch.randn(2, 1, 4, 3, generator=generator(), dtype=torch.float64)
    straight = start + u[:, None, None] * (end - start)
    assert curvature_of(u, straight) == pytest.approx(0, abs=1e-12)
    # x = u²: ∫ (2u)² du - 1 = 1/3; the trapezia of the polygon are exact to 1/K².
    parabola = start + u[:, None, None] ** 2 * (end - start)
    assert curvature_of(u, parabola) == pytest.approx(1 / 3, abs=1e-6)
    assert curvature_of(5 + 100 * u, 7 * parabola) == pytest.approx(1 / 3, abs=1e-6)
    # At one speed round a half circle: the arc is π/2 times the chord, and the energy its square.
    half = torch.stack([(torch.pi * u).cos(), (torch.pi * u).sin()], dim=1)[:, None]
    assert curvature_of(u, half) == pytest.approx((torch.pi / 2) ** 2 - 1, abs=1e-4)


def test_curvature_of_the_schedules_on_pure_noise(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """For data at one point x(t) = s(t) σ(t) ε: straight under EDM, √t under VE, and sin(πt/2) under the cosine."""
    point = around(torch.zeros(1, 2, dtype=torch.float64), std=1e-6)
    monkeypatch.setattr("papers.edm.experiments_sampling.exact_denoiser", lambda *_: (point, (2,)))
    low, high = 0.02, 80.0
    rows = by(curvature(CurvatureConfig("mixture", low, high, steps=4096, n_samples=4), 0, run), "schedule")
    found = {name: float(row["curvature"]) for name, row in rows.items()}
    assert found["edm"] == pytest.approx(0, abs=1e-6)
    # ∫ (d√t/dt)² dt = ¼ ln(T/t0) = ½ ln(high/low), times T over (high - low)².
    assert found["ve"] == pytest.approx(0.5 * np.log(high / low) * (high**2 - low**2) / (high - low) ** 2 - 1, rel=1e-3)
    # ∫ cos² over a quarter turn is π/4, over a chord of 1: π²/8 - 1, but for the ends that are cut off.
    assert found["cosine"] == pytest.approx(np.pi**2 / 8 - 1, rel=0.05)
    assert set(run.arrays) >= {"sigma", "unscaled", "t_vp", "x_vp", "t_edm", "x_edm"}


def test_preconditioning_rows_are_the_identities(run: FakeRun) -> None:
    rows = by(preconditioning(PreconditioningConfig(sigmas=(0.01, 80.0), repeats=1), 0, run), "precond", "sigma")
    for sigma in (0.01, 80.0):
        edm = rows["edm", sigma]
        # Four standard errors, √(2/n) each, of a variance of n nearly Gaussian values.
        tolerance = 4 * sqrt(2 / float(edm["n"]))
        assert float(edm["var_input"]) == pytest.approx(1, abs=tolerance)
        assert float(edm["var_target"]) == pytest.approx(1, abs=tolerance)
        assert float(edm["effective_weight"]) == pytest.approx(1, abs=1e-9)
        assert float(rows["ve", sigma]["var_input"]) == pytest.approx(0.25 + sigma**2, rel=tolerance)


def test_training_starts_at_a_loss_of_one_and_learns_the_same_twice(tmp_path: Path) -> None:
    config = replace(TINY, images=30 * 64)
    runs = [FakeRun(tmp_path / name) for name in "ab"]
    first, second = (training(config, 3, run) for run in runs)
    assert first == second
    for array in runs[0].arrays:
        np.testing.assert_array_equal(runs[0].arrays[array], runs[1].arrays[array])
    # An untrained network returns 0, whose loss under E is 1 at every level (16384 values: 1.1 % each, 12 levels).
    np.testing.assert_allclose(runs[0].arrays["loss_initial"], 1, atol=0.06)
    assert runs[0].arrays["loss_final"][5:8].max() < 0.9
    assert runs[0].arrays["samples"].shape == (32, 1, 8, 8)
    assert first[0]["nfe"] == 35
    assert first[0]["n"] == 70
    assert 0 < float(first[0]["floor"]) < float(first[0]["fd"])


@pytest.mark.parametrize("letter", "ABF")
def test_every_letter_trains_a_unet(letter: str, run: FakeRun) -> None:
    config = replace(TINY, letter=letter, width=4, levels=2, images=128, checkpoint_every=1)
    (row,) = training(config, 0, run)
    assert np.isfinite(float(row["fd"]))
    assert (run.folder / "training.safetensors").exists()


def test_hyperparameters_keep_their_proportions() -> None:
    a, b = (at_scale(replace(TINY, letter=letter, images=128_000)) for letter in "AB")
    assert (b.batch_size, b.steps, b.lr, b.clip) == (64, 2000, 1e-3, None)
    assert (a.batch_size, a.steps, a.lr, a.clip) == (16, 8000, 2e-4, 1.0)
    assert b.lr_rampup == 128_000 // 20  # 10 of 200 million images
    assert a.lr_rampup == int(128_000 * 0.64 / 200)
    for config in (a, b):
        assert config.ema_rampup == 0.05
        assert config.ema_halflife is not None
        assert config.ema_halflife > 0.05 * 128_000, "the ramp-up is what decides at this length"


def test_batches_are_mirrored_augmented_and_labelled_only_where_asked() -> None:
    x0 = torch.arange(9.0).reshape(1, 1, 3, 3)
    plain, cond = batches(x0, VP_CONFIGS["B"], mirrored=False)(400, generator())
    assert (plain == x0).all()
    assert not cond
    mirrored, _ = batches(x0, VP_CONFIGS["B"], mirrored=True)(400, generator())
    is_mirrored = (mirrored == x0.flip(3)).flatten(1).all(1)
    assert ((mirrored == x0).flatten(1).all(1) ^ is_mirrored).all()
    assert 160 < int(is_mirrored.sum()) < 240  # four standard deviations about 200
    augmented, cond = batches(x0, VP_CONFIGS["F"], mirrored=True)(400, generator())
    untouched = (cond["augment_labels"] == 0).all(1)
    assert (augmented[untouched] == x0).all()
    assert 0 < int(untouched.sum()) < 400


def test_generate_samples_the_law_of_its_denoiser_and_starts_alike_however_churned() -> None:
    mean, std = torch.full((2,), 0.3, dtype=torch.float64), 0.5
    denoiser = GaussianMixture(mean[None], torch.tensor([std]))
    samples, nfe = generate(denoiser, 4000, (2,), 80, generator(), chunk=1500)
    assert nfe == 159
    assert samples.shape == (4000, 2)
    # Four standard errors of 8000 values; what 80 steps change is far below.
    assert float(samples.mean()) == pytest.approx(0.3, abs=4 * std / sqrt(8000))
    assert float(samples.std()) == pytest.approx(std, abs=4 * std / sqrt(16000))
    noise = edm_sigmas(1)[0] * torch.randn(4000, 2, generator=generator(), dtype=torch.float64)
    torch.testing.assert_close(samples, heun(denoiser, noise, edm_sigmas(80)))
    exact = gaussian_flow(noise, 80.0, 0.0, mean, std**2 * torch.eye(2))
    assert median_error(samples, exact) < 0.01
    churned, _ = generate(denoiser, 4000, (2,), 80, generator(), Churn(1e-9), chunk=1500)
    torch.testing.assert_close(churned, samples, rtol=0, atol=1e-2)


def test_floor_is_the_distance_of_the_data_to_itself() -> None:
    images = digits()
    few, many = (distance_floor(TINY, images, n, generator()) for n in (100, 1797))
    # The bias of a Frechet distance falls as 1/n.
    assert 8 < few / many < 40
    assert many < 0.5


def test_churn_reads_the_network_that_it_needs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(experiments_training.TRAINED, "digits", TINY)
    monkeypatch.setattr(experiments_stochastic, "TRAINED", experiments_training.TRAINED)
    trained = FakeRun(tmp_path / "trained")
    training(TINY, 0, trained)
    config = ChurnConfig("network", "digits", n_samples=70, letter="E", steps=18)
    needs = experiments_stochastic.STOCHASTIC_EXPERIMENTS[0].needs(config, 0)
    assert needs["network"].experiment == "training"
    assert (needs["network"].config, needs["network"].seed) == (TINY, 0)
    rows = by(churn(config, 0, FakeRun(tmp_path / "run", network=trained.folder)), "amount")
    # Without churn, from the same noise at 35 NFE, these are the samples that training itself judged.
    assert float(rows["none"]["fd"]) == pytest.approx(float(training(TINY, 0, trained)[0]["fd"]), rel=1e-5)
    assert rows["none"]["fd"] != rows["moderate"]["fd"] != rows["excessive"]["fd"]


def test_exact_denoiser_samples_at_its_floor_churned_or_not(run: FakeRun) -> None:
    config = ChurnConfig("exact", "digits", n_samples=400, n_points=20)
    assert not experiments_stochastic.STOCHASTIC_EXPERIMENTS[0].needs(config, 0)
    for row in churn(config, 0, run):
        assert row["nfe"] == 159
        assert 0.3 < float(row["fd"]) / float(row["floor"]) < 3
        # Four standard errors of 400 × 64 values, and 0.03 that S_noise adds.
        assert float(row["spread"]) == pytest.approx(1.015, abs=0.015 + 4 / sqrt(2 * 400 * 64))


def test_spread_is_the_standard_deviation_about_the_nearest_point() -> None:
    points = 10 * torch.randn(5, 1, 8, 8, generator=generator())
    noise = torch.randn(2000, 1, 8, 8, generator=generator(1))
    centres = points.repeat(400, 1, 1, 1)
    for std in (0.05, 0.06):
        found = spread(centres + std * noise, points)
        assert found == pytest.approx(std / 0.05, rel=4 / sqrt(2 * noise.numel()))


def _config_rows(experiment: Experiment) -> list[Any]:
    return [config for grid in experiment.presets.values() for config in grid.configs]


@pytest.mark.parametrize("experiment", EXPERIMENTS, ids=lambda experiment: experiment.name)
def test_grids_are_of_their_config_and_nothing_is_run_twice(experiment: Experiment) -> None:
    for grid in experiment.presets.values():
        assert len(set(grid.configs)) == len(grid.configs)
    assert all(isinstance(config, experiment.config) for config in _config_rows(experiment))


def test_the_networks_that_churn_needs_are_trained_by_the_same_preset() -> None:
    grids = {experiment.name: experiment.presets for experiment in EXPERIMENTS}
    for preset, grid in grids["churn"].items():
        for config in grid.configs:
            if config.denoiser == "network":
                assert replace(TRAINED[config.dataset], letter=config.letter) in grids["training"][preset].configs
                assert grid.seeds <= grids["training"][preset].seeds


@pytest.fixture
def torch_fidelity(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stands in for torch-fidelity: keeps what it is asked for, and answers with the mean byte."""
    asked: dict[str, Any] = {}

    def calculate_metrics(**arguments: Any) -> dict[str, float]:
        asked.update(arguments)
        data = arguments["input1"]
        asked["images"] = torch.stack([data[i] for i in range(len(data))])
        return {"frechet_inception_distance": float(asked["images"].double().mean())}

    monkeypatch.setitem(sys.modules, "torch_fidelity", SimpleNamespace(calculate_metrics=calculate_metrics))
    return asked


def test_fid_hands_over_bytes_and_names_the_training_set(torch_fidelity: dict[str, Any]) -> None:
    assert as_bytes(torch.tensor([-2.0, -1.0, 0.0, 1.0, 2.0])).tolist() == [0, 0, 128, 255, 255]
    every_byte = torch.arange(256) / 127.5 - 1
    assert as_bytes(every_byte).tolist() == list(range(256))
    assert fid_cifar10(torch.zeros(3, 3, 32, 32)) == 128
    assert torch_fidelity["input2"] == "cifar10-train"
    assert torch_fidelity["fid"] is True
    assert torch_fidelity["images"].dtype == torch.uint8


@pytest.mark.parametrize("label_dim", [0, 10])
def test_official_network_samples_at_35_nfe(
    label_dim: int,
    run: FakeRun,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    torch_fidelity: dict[str, Any],
) -> None:
    net = ddpmpp(8, 3, model_channels=4, channel_mult=(1,), num_blocks=1, label_dim=label_dim, generator=generator())
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))
    monkeypatch.setattr(experiments_official, "load_official_edm", lambda path: (net, {}))
    config = OfficialConfig("net.pkl", n_samples=5, chunk=3)
    with pytest.raises(FileNotFoundError, match=r"net\.pkl is not there; the official file is https://"):
        official_fid(config, 0, run)
    (tmp_path / "edm").mkdir()
    assert given([config]) == []
    (tmp_path / "edm" / "net.pkl").touch()
    assert given([config, OfficialConfig("other.pkl")]) == [config]
    (row,) = official_fid(config, 0, run)
    assert (row["n"], row["nfe"]) == (5, 35)
    assert torch_fidelity["images"].shape == (5, 3, 8, 8)
    # An untrained network returns about 0, so that D = c_skip x: samples are N(0, 0.5²) about byte 128.
    assert float(row["fid"]) == pytest.approx(128, abs=40)


def test_cifar10_is_judged_by_fid_and_keeps_its_range(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch, torch_fidelity: dict[str, Any]
) -> None:
    x0 = torch.rand(40, 3, 16, 16, generator=generator()) * 2 - 1
    monkeypatch.setattr(experiments_training, "cifar10", lambda split: Images(x0, torch.zeros(40, dtype=torch.long)))
    config = AblationConfig("F", "cifar10", 16, images=8, batch=4, width=4, levels=2, n_samples=4)
    (row,) = training(config, 0, run)
    assert row["n"] == 4
    assert torch_fidelity["input2"] == "cifar10-train"
    np.testing.assert_allclose(run.arrays["loss_initial"][-1], 4 * float(x0.square().mean()), rtol=0.1)


def test_rows_hold_plain_numbers_and_no_field_of_the_config(run: FakeRun) -> None:
    config = ConvergenceConfig("mixture", steps=(8, 16), reference_steps=32, n_samples=4)
    table = pd.DataFrame(convergence(config, 0, run))
    assert not set(table.columns) & set(vars(config))
    assert not table.isna().any().any()
