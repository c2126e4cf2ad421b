"""Super-resolution: what is trained on which images and judged on which, and the claim on made-up tables."""

from __future__ import annotations

import copy
from dataclasses import replace
from math import log10
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.training.checkpoint import load_checkpoint
from common.training.loop import Trained, train
from common.training.stream import stream
from papers.flow_matching import published
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.studies import super_resolution as study
from papers.flow_matching.studies.fidelity import fd_pixels, psnr, ssim
from papers.flow_matching.studies.images import SAMPLING, TRAINING
from papers.flow_matching.studies.looks import RESTORED
from papers.flow_matching.studies.networks import NETWORKS
from papers.flow_matching.studies.super_resolution import (
    CLAIMS,
    FIGURES,
    SuperResolutionConfig,
    flow,
    super_resolution,
)
from papers.flow_matching.super_resolution import conditional_loss, downsample, regression_loss, upsample
from tests.papers.fake_run import FakeRun
from tests.papers.flow_matching.cases import randn, seeded
from tests.papers.planted import MadeUp, Row, shows, table, verdict, wobble

TINY = SuperResolutionConfig("fm-ot", images=640, n_images=6, steps=3)


def keys(config: Any) -> list[Row]:
    return [{"n_images": config.n_images}]


def test_psnr_of_a_known_error() -> None:
    truth = randn(3, 1, 16, 16)
    off = torch.tensor([0.1, 0.2, 1.0]).reshape(3, 1, 1, 1)
    # 20 log_10(range/error): grey levels from -1 to 1 have a range of 2.
    assert psnr(truth + off, truth).tolist() == pytest.approx([20 * log10(2 / each) for each in (0.1, 0.2, 1.0)])


def test_ssim_is_one_for_equal_images_and_its_constants_are_those_of_grey_levels_from_0_to_1() -> None:
    truth = torch.rand(4, 1, 16, 16, generator=seeded()) * 2 - 1
    assert float(ssim(truth, truth)) == pytest.approx(1)
    assert float(ssim(-truth, truth)) < -0.5, "the negative of an image is anything but like it"
    # For flat images only the luminance is left: (2ab + C)/(a² + b² + C) with C = 0.01², black being 0.
    a, b, C = 0.5, 0.3, 0.01**2
    flat = [torch.full((1, 1, 16, 16), 2 * value - 1) for value in (a, b)]
    assert float(ssim(*flat)) == pytest.approx((2 * a * b + C) / (a**2 + b**2 + C), rel=1e-4)


def test_the_distance_of_pixels_is_that_of_two_gaussians() -> None:
    """Independent pixels of means a and b and standard deviations s and r: Σ (a − b)² + (s − r)² (n = 20 000)."""
    one, other = 0.5 + 2.0 * randn(20_000, 1, 2, 2, seed=1), randn(20_000, 1, 2, 2, seed=2)
    assert fd_pixels(one, other) == pytest.approx(4 * (0.5**2 + 1.0**2), rel=0.05)
    assert fd_pixels(other, other) == pytest.approx(0, abs=1e-9)


class Drawn(nn.Module):
    """In the place of a U-Net: the exact field towards the upsampled image that it is shown; float32."""

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        assert x.dtype == torch.float32
        path = OBJECTIVES["fm-ot"].path
        return self.one * path.conditional_velocity(x[:, :1], x[:, 1:], t)


def test_the_flow_ends_where_its_field_leads_and_each_image_has_its_own_condition(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(study, "CHUNK", 4)
    low, x_0 = torch.rand(6, 1, 4, 4, generator=seeded()), randn(6, 1, 16, 16)
    made, nfe = flow(Drawn(), low, x_0, steps=5)
    assert nfe == 10
    # Straight lines at constant speed: the solver is exact, and ends σ_min x_0 beside the condition.
    torch.testing.assert_close(made.float(), upsample(low, 4) + 1e-4 * x_0.float(), atol=1e-5, rtol=0)


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand-ins for data, training and distance, and what they are handed."""
    seen: dict[str, Any] = {"judged": [], "splits": {}}
    images = {
        split: torch.rand(20, 1, 16, 16, generator=seeded(number)) * 2 - 1
        for number, split in enumerate(("train", "test"))
    }

    class Data:
        levels = 256

        def load(self, split: str, resolution: int) -> Tensor:
            assert resolution == 16
            return images[split]

        def fd(self, made: Tensor) -> float:
            seen["judged"].append(made)
            return float(len(seen["judged"]))

    def stand_in(network: Any, loss: Any, data: Any, config: Any, generator: Any, **others: Any) -> Trained[Any]:
        seen.update(network=network, loss=loss, data=data, config=config, generator=generator, **others)
        average = copy.deepcopy(network)
        for parameter in average.parameters():
            nn.init.constant_(parameter, 0.0)
        return Trained(network, average, config.steps)

    monkeypatch.setattr(study, "DATASETS", {"mnist": Data()})
    monkeypatch.setattr(study, "train", stand_in)
    return {**seen, "seen": seen, "images": images}


@pytest.mark.parametrize("method", ["fm-ot", "regression"])
def test_both_are_trained_alike_on_the_training_images_and_made_from_the_test_images(
    method: str, handed: dict[str, Any], run: FakeRun
) -> None:
    (row,) = super_resolution(replace(TINY, method=method), 3, run)
    seen, images = handed["seen"], handed["images"]
    assert torch.equal(seen["data"], images["train"])
    unet = NETWORKS["unet"]
    assert (seen["config"].steps, seen["config"].batch_size, seen["config"].lr) == (10, 64, unet.lr)
    assert seen["generator"].initial_seed() == stream(3, TRAINING).initial_seed()
    assert (seen["network"].net.in_channels, seen["network"].net.out_channels) == (2, 1)
    x_1 = images["train"][:5]
    torch.manual_seed(0)
    for parameter in seen["network"].parameters():
        nn.init.normal_(parameter, std=0.2)
    with torch.no_grad():
        found = seen["loss"](seen["network"], x_1, seeded(9))
        if method == "fm-ot":
            wanted = conditional_loss(OBJECTIVES["fm-ot"], seen["network"], x_1, seeded(9), 4)
        else:
            wanted = regression_loss(seen["network"], x_1, 4)
    assert torch.equal(found, wanted)
    kept, _ = load_checkpoint(run.folder / "net.safetensors")
    assert all((weights == 0).all() for name, weights in kept.items() if "weight" in name)

    # The average of the weights makes the images: here a network that is 0 everywhere.
    made, truth = seen["judged"]
    assert torch.equal(truth, images["test"][:6])
    x_0 = torch.randn(6, 1, 16, 16, generator=stream(3, SAMPLING), dtype=torch.float64)
    wanted = x_0.float().clamp(-1, 1) if method == "fm-ot" else torch.zeros(6, 1, 16, 16)
    torch.testing.assert_close(made, wanted)
    assert (row["fd"], row["reference"], row["nfe"]) == (1.0, 2.0, 6 if method == "fm-ot" else 1)
    assert row["psnr"] == pytest.approx(float(psnr(made, truth).mean()))
    assert row["ssim"] == pytest.approx(float(ssim(made, truth)))
    assert row["fd_pixels"] == pytest.approx(fd_pixels(made, images["train"]))
    assert row["reference_pixels"] == pytest.approx(fd_pixels(truth, images["train"]))
    np.testing.assert_allclose(run.arrays["low"], downsample(truth, 4).numpy())
    np.testing.assert_allclose(run.arrays["made"], made.numpy())


def test_bicubic_takes_no_training(handed: dict[str, Any], run: FakeRun) -> None:
    (row,) = super_resolution(replace(TINY, method="bicubic"), 0, run)
    assert "network" not in handed["seen"]
    test = handed["images"]["test"][:6]
    torch.testing.assert_close(handed["seen"]["judged"][0], upsample(downsample(test, 4), 4).clamp(-1, 1))
    assert row["nfe"] == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"method": "SR3"}, "method is one of fm-ot, regression, bicubic, not 'SR3'"),
        ({"network": "resnet"}, "network is one of"),
        ({"n_images": 1}, "n_images is at least 2"),
    ],
)
def test_a_bad_config_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **fields)


@pytest.mark.parametrize(
    ("number", "column", "preset"), [(0, "fd_pixels", "small"), (0, "fd_pixels", "gpu"), (1, "fd", "gpu")]
)
def test_flow_matching_must_have_the_lower_distance_and_regression_the_higher_psnr_and_ssim(
    number: int, column: str, preset: str
) -> None:
    good = {"fm-ot": (5.0, 14.0, 0.5), "regression": (15.0, 17.0, 0.6)}

    def planted(values: dict[str, tuple[float, float, float]]) -> str:
        def plant(row: Row) -> dict[str, float]:
            if row["method"] not in values:
                return {}
            return {
                name: value * wobble(row)
                for name, value in zip((column, "psnr", "ssim"), values[row["method"]], strict=True)
            }

        return verdict(CLAIMS[number], (super_resolution, table(super_resolution, preset, keys, plant)))

    assert planted(good) == "holds"
    assert planted({"fm-ot": good["regression"], "regression": good["fm-ot"]}) == "fails"
    assert planted({"fm-ot": good["regression"], "regression": good["regression"]}) == "fails"
    for place in range(len(CLAIMS[number].quantities)):
        off = list(good["fm-ot"])
        off[place] = 20.0
        assert planted({**good, "fm-ot": (off[0], off[1], off[2])}) == "fails"


def test_what_the_paper_has_is_beside_each_quantity() -> None:
    ratio, psnr_less, ssim_less = CLAIMS[0].quantities
    assert ratio.expected == pytest.approx(15.2 / 3.4)
    assert psnr_less.expected == pytest.approx(27.9 - 24.7)
    assert ssim_less.expected == pytest.approx(0.801 - 0.747)


def arrays(run: Row) -> dict[str, np.ndarray]:
    random = np.random.default_rng(list(RESTORED).index(run["method"]))
    return {"low": random.random((10, 1, 4, 4)), **{name: random.random((10, 1, 16, 16)) for name in ("made", "truth")}}


@pytest.mark.parametrize("preset", ["small", "gpu"])
def test_figures_show_the_images_the_seeds_and_the_published_values(preset: str) -> None:
    results = MadeUp({super_resolution: table(super_resolution, preset, keys)}, arrays)
    pictures, marks = (figure.draw(results) for figure in FIGURES)
    names = [panel.get_ylabel() for panel in pictures.axes]
    assert names == ["input", "bicubic", "regression", RESTORED["fm-ot"].name, "original"]
    for panel, name in zip(pictures.axes[1:4], ("bicubic", "regression", "fm-ot"), strict=True):
        shown = np.asarray(panel.images[0].get_array())
        np.testing.assert_allclose(shown[:, 2 * 17 : 2 * 17 + 16], arrays({"method": name})["made"][2, 0])
    rows = results.table(super_resolution)
    pixels, features, theirs, _ = marks.axes
    for name, look in RESTORED.items():
        runs = rows[rows["method"] == name]
        assert shows(pixels, runs[["psnr", "fd_pixels"]], look.colour)
        assert shows(features, runs[["psnr", "fd"]], look.colour)
    for panel, column in ((pixels, "reference_pixels"), (features, "reference")):
        assert shows(panel, [[0, rows[column].mean()], [1, rows[column].mean()]])
    for name in ("fm-ot", "regression", "SR3"):
        assert shows(theirs, [[published.TABLE_2[name].psnr, published.TABLE_2[name].fid]])


def test_a_short_training_of_each_makes_images(
    handed: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(study, "train", train)
    rows = {
        method: super_resolution(replace(TINY, method=method, images=320), 0, FakeRun(tmp_path / method))[0]
        for method in ("fm-ot", "regression")
    }
    # Random images: nothing but the mean can be learned, and a drawn image is off by as much again.
    assert float(rows["regression"]["psnr"]) > float(rows["fm-ot"]["psnr"])
