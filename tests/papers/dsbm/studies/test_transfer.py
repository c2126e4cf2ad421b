"""The transfer of images: which data set is which end, what trains and how, and what it is judged on.

Data are stubs of constant images, whose values say what they are: training or test, π_0 or π_1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from common.harness.runs.rows import check
from common.nets.ema import ema_beta
from papers.dsbm.imf import IMFConfig, Method, Pass
from papers.dsbm.studies import transfer as study
from papers.dsbm.studies.methods import CHOICE, TEST, TRAIN, WEIGHTS
from papers.dsbm.studies.transfer import SIGMA, TransferConfig, networks, small_and_large_digits, training, transfer
from tests.papers.dsbm.alternation import Affine, Exact
from tests.papers.dsbm.cases import generator, is_stream
from tests.papers.fake_run import FakeRun

TINY = TransferConfig(
    "DSBM-IMF", "digits", passes=2, first_steps=2, inner_steps=2, batch=8, width=8, levels=2, steps=2, cache=16,
    refresh_every=2, n_test=70,
)  # fmt: skip
SIDES = {(True, 0): 1.0, (True, 1): 2.0, (False, 0): 30.0, (False, 1): 40.0}
"""Grey of the stub's images by training and end; each image adds a thousandth of its number."""


def images(train: bool, side: int) -> Tensor:
    n = 90 if side else 80
    return SIDES[train, side] + torch.arange(n)[:, None, None, None] / 1000 + torch.zeros(n, 1, 8, 8)


def grey(x: Tensor) -> float:
    """The grey that an image stands for, without its number."""
    return float(x.floor().unique())


Handed = dict[Any, Any]


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> Handed:
    """`transfer` on stub data, with one pass of either direction that adds 5 forward, and takes off 7 backward."""
    seen: Handed = {"compared": []}

    def alternate(
        x_0: Tensor, x_1: Tensor, nets: Mapping[str, nn.Module], method: Method, config: IMFConfig, g: torch.Generator
    ) -> Iterator[Pass]:
        seen.update(x_0=x_0, x_1=x_1, nets=nets, method=method, config=config, generator=g)
        forward, backward = (Exact(lambda x, t, v=v: torch.full_like(x, v)) for v in (5.0, -7.0))
        yield Pass(1, "b", None, backward)
        yield Pass(2, "f", forward, backward)

    def distance(made: Tensor, wanted: Tensor) -> float:
        seen["compared"].append((made, wanted))
        return float(len(seen["compared"]))

    def stream(seed: int, purpose: int, device: str = "cpu") -> torch.Generator:
        assert purpose not in seen, "each stream is for one purpose"
        seen[purpose] = found = torch.Generator().manual_seed(1000 * seed + purpose)
        return found

    monkeypatch.setattr(study, "stream", stream)
    monkeypatch.setitem(study.PAIRS, "digits", lambda train: (images(train, 0), images(train, 1)))
    monkeypatch.setitem(study.METRICS, "digits", distance)
    monkeypatch.setattr(study, "alternate", alternate)
    return seen


def test_digits_train_from_pi_0_at_t_0_and_are_judged_on_test_images_of_the_other_side(
    run: FakeRun, handed: Handed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(study, "SIGMA", 0.0)
    rows = transfer(TINY, 0, run)
    check(rows, transfer.columns)
    assert (grey(handed["x_0"]), grey(handed["x_1"])) == (SIDES[True, 0], SIDES[True, 1])
    assert len(handed["x_0"]) == len(handed["x_1"]) == 80  # as many of one as of the other
    assert len(handed["x_1"].unique(dim=0)) == 80
    (backwards, of_0), (forwards, of_1) = handed["compared"]
    assert (grey(backwards), grey(of_0)) == (SIDES[False, 1] - 7, SIDES[False, 0])
    assert (grey(forwards), grey(of_1)) == (SIDES[False, 0] + 5, SIDES[False, 1])
    assert len(backwards) == len(of_0) == 70
    assert [(row["pass_number"], row["direction"], row["fd"], row["n"]) for row in rows] == [
        (1, "b", 1.0, 70), (2, "f", 2.0, 70),
    ]  # fmt: skip
    # Root mean square per image of 64 pixels that all move by as much.
    assert [row["moved"] for row in rows] == pytest.approx([7 * 8, 5 * 8], rel=1e-4)
    assert {name: run.arrays[name].mean().round() for name in run.arrays} == {
        "start_b": 40, "transferred_b": 33, "start_f": 30, "transferred_f": 35,
    }  # fmt: skip
    assert np.allclose(run.arrays["transferred_f"], run.arrays["start_f"] + 5, atol=1e-4)
    assert {path.name for path in run.folder.iterdir()} == {"drift_b.safetensors", "drift_f.safetensors"}


def test_every_purpose_has_its_own_stream(run: FakeRun, handed: Handed) -> None:
    transfer(TINY, 3, run)
    assert handed["generator"] is handed[TRAIN]
    assert {TRAIN, TEST, CHOICE, WEIGHTS} <= set(handed)
    fresh = torch.Generator().manual_seed(3000 + WEIGHTS)
    for name, net in networks(TINY, 1, 8, fresh).items():
        for ours, theirs in zip(net.parameters(), handed["nets"][name].parameters(), strict=True):
            assert torch.equal(ours, theirs)
    # The training's and the test's are not the others', which are used up by then.
    assert torch.equal(handed[TRAIN].get_state(), torch.Generator().manual_seed(3000 + TRAIN).get_state())
    assert not torch.equal(handed[TEST].get_state(), torch.Generator().manual_seed(3000 + TEST).get_state())


def test_the_streams_are_those_of_the_seed(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[torch.Generator] = []

    def alternate(*arguments: Any) -> Iterator[Pass]:
        seen.append(arguments[5])
        yield Pass(1, "b", None, Exact(lambda x, t: torch.zeros_like(x)))

    monkeypatch.setattr(study, "alternate", alternate)
    transfer(TINY, 4, run)
    assert is_stream(seen[0], 4, TRAIN)


def test_test_images_move_by_the_noise_of_sigma_but_in_the_last_step(
    run: FakeRun, handed: Handed, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer(replace(TINY, steps=10), 0, run)
    backwards, _ = handed["compared"][0]
    moved = backwards - images(False, 1)[:70] + 7
    assert float(moved.var()) == pytest.approx(0.9 * SIGMA**2, rel=5 * (2 / moved.numel()) ** 0.5)
    assert pytest.approx(1.02) == SIGMA**2


@pytest.mark.parametrize("method", ["DSBM-IMF", "DSBM-IPF"])
def test_a_method_starts_from_its_own_pairs(method: str, run: FakeRun, handed: Handed) -> None:
    transfer(replace(TINY, method=method), 0, run)
    x_t, t, target = handed["method"](images(True, 0), images(True, 1)[:80], "f", None, generator())(generator(1))
    t = t[:, None, None, None]
    start, end = x_t - t * target, x_t + (1 - t) * target
    # (x_1 − x_t)/(1 − t) leads to x_1 whatever the noise; x_0 is what a mean over noise leaves.
    if method == "DSBM-IMF":
        assert float(end.mean()) == pytest.approx(2.04, abs=0.01)
    else:
        assert float(end.mean()) == pytest.approx(1.04, abs=5 * SIGMA / end.numel() ** 0.5)
        assert float((end - images(True, 0)).var()) == pytest.approx(SIGMA**2, rel=5 * (2 / end.numel()) ** 0.5)
    assert float(start.mean()) == pytest.approx(1.04, abs=1.0)


@pytest.mark.parametrize("method", ["DSBM-IMF", "DSBM-IPF"])
def test_it_trains_as_the_official_code_of_the_images(method: str) -> None:
    config = training(replace(TransferConfig(method), lr=0.7, cache=999, refresh_every=77))
    assert (config.sigma, config.steps, config.passes, config.lr) == (SIGMA, 30, 20, 0.7)
    assert (config.batch, config.cache, config.refresh_every, config.clip) == (128, 999, 77, 1.0)
    assert (config.t_eps, config.weighted, config.noisy_end, config.warm_start) == (1e-4, True, False, True)
    steps = [config.training(number).steps for number in (1, 2, 3)]
    assert steps == ([100_000, 100_000, 5000] if method == "DSBM-IMF" else [5000] * 3)
    assert config.first_passes == (2 if method == "DSBM-IMF" else 1)
    first = config.training(1)
    assert first.ema_halflife is not None
    for seen in (128, 128 * 5000):
        assert ema_beta(128, first.ema_halflife, seen, first.ema_rampup) == pytest.approx(0.999, rel=1e-9)


def test_networks_are_of_the_configs_size_and_drop_out_in_training_alone() -> None:
    def size(width: int, levels: int) -> int:
        nets = networks(replace(TINY, width=width, levels=levels), 1, 8, generator())
        return sum(parameter.numel() for parameter in nets["f"].parameters())

    assert size(8, 1) < size(8, 2) < size(16, 2) / 3
    nets = networks(TINY, 3, 8, generator())
    x, t = torch.randn(4, 3, 8, 8, generator=generator(1)), torch.tensor([0.1, 0.4, 0.6, 0.9])
    for net in nets.values():
        for parameter in net.parameters():  # a new U-Net gives zeros
            parameter.data.add_(0.1 * torch.randn(parameter.shape, generator=generator(2)))
        rates = {module.p for module in net.modules() if isinstance(module, nn.Dropout)}
        assert rates <= {0.1}
        net.train()
        assert not torch.equal(net(x, t), net(x, t))
        net.eval()
        assert torch.equal(net(x, t), net(x, t))
        assert not torch.allclose(net(x, t), net(x, 1 - t), atol=1e-4)
        assert net(x, t).shape == x.shape
    assert not torch.equal(*(next(net.parameters()) for net in nets.values()))


def test_it_learns_in_training_mode_and_simulates_the_average(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that counts its calls by mode: a refresh and a test are `steps` calls in eval mode."""
    modes: list[tuple[bool, bool]] = []

    class Watched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            modes.append((self.training, torch.is_grad_enabled()))
            return self.shift + 0 * x

    monkeypatch.setattr(study, "networks", lambda *_: {"b": Watched(), "f": Watched()})
    monkeypatch.setitem(study.METRICS, "digits", lambda made, wanted: 0.0)
    transfer(replace(TINY, passes=3), 0, run)
    learn, simulate = (True, True), (False, False)
    # IMF's first two passes are of two steps each on independent pairs; the third renews its pairs by the second.
    assert modes == [*[learn] * 2, *[simulate] * 2, *[learn] * 2, *[simulate] * 4, *[learn] * 2, *[simulate] * 2]


def test_images_of_gaussian_pixels_are_carried_to_the_other_side(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mathematics: pixels of N(−2, 1) and N(2, 9/4), affine networks, both passes of the first round.

    Each end has the other side's mean and variance (Euler's 20 steps and a short training are off by a tenth).
    """

    def pixels(train: bool) -> tuple[Tensor, Tensor]:
        n, seed = (4000, 0) if train else (1000, 10)
        return tuple(
            mean + spread * torch.randn(n, 1, 2, 2, generator=generator(seed + side))
            for side, (mean, spread) in enumerate(((-2.0, 1.0), (2.0, 1.5)))
        )  # type: ignore[return-value]

    found: list[tuple[float, float]] = []

    def moments(made: Tensor, wanted: Tensor) -> float:
        found.append((float(made.mean()), float(made.var(0).mean())))
        return float(wanted.mean())

    monkeypatch.setitem(study.PAIRS, "digits", pixels)
    monkeypatch.setitem(study.METRICS, "digits", moments)
    monkeypatch.setattr(study, "networks", lambda *_: {"b": Affine(), "f": Affine()})
    monkeypatch.setattr(study, "AVERAGE", 0.98)  # 300 steps are too few for one as long as the paper's
    config = replace(TINY, first_steps=300, batch=500, lr=0.05, steps=20, cache=4000, refresh_every=300, n_test=1000)
    rows = transfer(config, 0, run)
    assert [round(float(row["fd"])) for row in rows] == [-2, 2]
    (mean_b, variance_b), (mean_f, variance_f) = found
    assert (mean_b, mean_f) == pytest.approx((-2, 2), abs=0.15)
    # Without the last step's noise a twentieth of σ² is missing.
    assert variance_b == pytest.approx(1, abs=0.2)
    assert variance_f == pytest.approx(2.25, abs=0.4)


def test_the_pairs_have_disjoint_sides_and_splits() -> None:
    (small, large), (small_test, large_test) = (small_and_large_digits(train) for train in (True, False))
    labels = study.digits("all")
    by_image = {image.numpy().tobytes(): int(label) for image, label in zip(labels.x0, labels.labels, strict=True)}
    sides = [(small, range(5)), (small_test, range(5)), (large, range(5, 10)), (large_test, range(5, 10))]
    for images_of, digits_of in sides:
        assert {by_image[image.numpy().tobytes()] for image in images_of} == set(digits_of)
    train = {image.numpy().tobytes() for image in torch.cat([small, large])}
    test = {image.numpy().tobytes() for image in torch.cat([small_test, large_test])}
    assert not train & test


@pytest.mark.parametrize("train", [True, False])
def test_mnist_is_pi_0_and_five_letters_are_pi_1(train: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither is downloaded: stubs say which split was asked for, and letters lie on their side."""
    wanted = "train" if train else "test"

    class Letters:
        def __init__(self, root: str, *, split: str, train: bool, download: bool) -> None:
            assert (split, "train" if train else "test") == ("letters", wanted)
            self.data = torch.arange(7 * 28 * 28, dtype=torch.uint8).reshape(7, 28, 28)
            self.targets = torch.tensor([1, 2, 3, 4, 5, 6, 26])

    def mnist(split: str, resolution: int) -> Any:
        assert (split, resolution) == (wanted, 32)
        return study.digits("test")

    import torchvision.datasets

    monkeypatch.setattr(torchvision.datasets, "EMNIST", Letters)
    monkeypatch.setattr(study, "mnist", mnist)
    x_0, x_1 = study.PAIRS["mnist-letters"](train)
    assert torch.equal(x_0, study.digits("test").x0)
    assert x_1.shape == (5, 1, 32, 32)
    upright = Letters("", split="letters", train=train, download=False).data[0].T / 127.5 - 1
    torch.testing.assert_close(x_1[0, 0, 2:-2, 2:-2], upright)


def test_a_tiny_transfer_is_the_same_again(tmp_path: Any) -> None:
    first, again, other = (
        transfer(replace(TINY, first_steps=1, passes=1), seed, FakeRun(tmp_path / str(number)))
        for number, seed in enumerate((0, 0, 1))
    )
    assert first == again != other
    assert float(first[0]["moved"]) > 0
