"""The committed classifiers are as good as they say, and fd_digits and fd_mnist measure what they should."""

import json
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import scipy.linalg
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from common.data.images import MNIST_RESOLUTIONS, Images, digits, mnist, resize_mnist
from common.metrics import train_features
from common.metrics.features import (
    WEIGHTS,
    as_mnist,
    digit_features,
    empty_classifier,
    load_classifier,
    mnist_features,
    weights_metadata,
)
from common.metrics.floor import floor, resampled
from common.metrics.frechet import digits_reference, fd_digits, fd_mnist, mnist_reference
from common.metrics.train_features import RECIPES, accuracy, train


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@lru_cache(maxsize=2)
def real_mnist(split) -> Images:
    try:
        return mnist(split, offline=True)
    except FileNotFoundError as error:
        pytest.skip(f"MNIST is not here: {error}")


# The committed weights


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_weights_are_small_and_say_what_they_are(name):
    assert (WEIGHTS / f"{name}.safetensors").stat().st_size < 1_000_000
    facts = json.loads((WEIGHTS / f"{name}.json").read_text())
    metadata = weights_metadata(name)
    assert metadata.keys() == facts.keys()
    for key, value in facts.items():
        assert (metadata[key] if isinstance(value, str) else json.loads(metadata[key])) == value
    recipe = RECIPES[name]
    assert facts["recipe"] == {field: getattr(recipe, field) for field in recipe.__dataclass_fields__}


def test_digits_classifier_has_its_recorded_accuracy():
    recorded = float(weights_metadata("digits")["test_accuracy"])
    assert recorded >= 0.975
    # Another CPU's kernels may turn the closest call.
    assert accuracy(load_classifier("digits"), digits("test")) == pytest.approx(recorded, abs=1.5 / 355)


@pytest.mark.parametrize("resolution", [28, 7])
def test_mnist_classifier_has_its_recorded_accuracy(resolution):
    held_out = real_mnist("test")
    recorded = json.loads(weights_metadata("mnist")["test_accuracy_at_resolution"])[str(resolution)]
    assert recorded >= {28: 0.985, 7: 0.95}[resolution]
    seen = Images(as_mnist(resize_mnist(held_out.x0, resolution)), held_out.labels)
    assert accuracy(load_classifier("mnist"), seen) == pytest.approx(recorded, abs=5 / 10_000)


def test_features_have_unit_mean_variance_over_the_training_set():
    assert float(digit_features(digits("train").x0).var(0).mean()) == pytest.approx(1, abs=1e-4)
    assert float(mnist_reference(28).cov.diag().mean()) == pytest.approx(1, abs=1e-4)


def test_the_features_are_what_the_last_layer_reads():
    net, x0 = load_classifier("digits"), digits("test").x0
    torch.testing.assert_close(F.linear(net.features(x0) * net.scale, net.head.weight, net.head.bias), net(x0))


@pytest.fixture
def one_thread():
    """What the training script sets for its process, put back for the tests that follow."""
    threads, deterministic = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(deterministic)


def test_training_is_deterministic_and_learns(one_thread):
    """Bit for bit in one process; the full recipe does the same for longer."""
    short = replace(RECIPES["digits"], epochs=3)
    state = torch.get_rng_state()
    first, again = (train("digits", digits("train"), short) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    for key, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
    other = train("digits", digits("train"), replace(short, epochs=1, seed=1))
    assert not torch.equal(first.head.weight, other.head.weight)
    assert accuracy(first, digits("test")) > 0.7


def test_the_script_writes_the_same_file_twice_with_its_moments(one_thread, tmp_path, monkeypatch):
    """The MNIST branch on digits enlarged to 28×28: the moments written are those of the features read back."""
    everything = digits()
    large = F.interpolate(everything.x0, size=(28, 28), mode="nearest")
    train_set, test_set = (
        Images(large[:400], everything.labels[:400]),
        Images(large[400:500], everything.labels[400:500]),
    )
    monkeypatch.setattr(train_features, "mnist", lambda split: train_set if split == "train" else test_set)
    monkeypatch.setitem(RECIPES, "mnist", replace(RECIPES["mnist"], epochs=2, batch=50))
    for folder in ("once", "twice"):
        train_features.main("mnist", tmp_path / folder)
    once, twice = (load_file(tmp_path / folder / "mnist.safetensors") for folder in ("once", "twice"))
    assert once.keys() == twice.keys()
    assert all(torch.equal(once[key], twice[key]) for key in once)

    net = empty_classifier("mnist")
    net.load_state_dict({key: once[key] for key in net.state_dict()}, assign=True)
    for resolution in (28, 16, 14, 8, 7):
        features = net.features(as_mnist(resize_mnist(train_set.x0, resolution))).detach().double().numpy()
        np.testing.assert_allclose(once[f"reference.{resolution}.mean"], features.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(once[f"reference.{resolution}.cov"], np.cov(features.T), rtol=1e-3, atol=1e-5)
    facts = json.loads((tmp_path / "once" / "mnist.json").read_text())
    assert facts["test_accuracy"] == pytest.approx(accuracy(net, test_set), abs=1e-9)


# Resolutions


def test_mnist_with_a_border_is_mnist():
    x0 = 2 * torch.rand(4, 1, 28, 28, generator=generator()) - 1
    assert torch.equal(as_mnist(resize_mnist(x0, 32)), x0)
    assert torch.equal(as_mnist(x0), x0)
    assert fd_mnist(resize_mnist(x0, 32), x0) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("resolution", [7, 8, 14, 16])
def test_enlarging_is_linear_interpolation_between_pixel_centres(resolution):
    """A ramp over the width stays that ramp in the inside, at pixel centres; a flip commutes with it."""
    centres = (torch.arange(resolution) + 0.5) / resolution
    ramp = centres.expand(1, 1, resolution, resolution)
    full = 28 if 28 % resolution == 0 else 32
    fine = (torch.arange(full) + 0.5) / full
    border = (full - 28) // 2
    inside = (fine > centres[0]) & (fine < centres[-1])
    inside = inside[border : full - border]
    torch.testing.assert_close(as_mnist(ramp)[0, 0, 5, inside], fine[border : full - border][inside])
    x0 = torch.rand(2, 1, resolution, resolution, generator=generator())
    torch.testing.assert_close(as_mnist(x0.flip(-1)), as_mnist(x0).flip(-1))


# The distances


def test_fd_digits_is_the_frechet_distance_of_the_features():
    x, y = digits("test").x0, digits("train").x0
    a, b = digit_features(x).numpy(), digit_features(y).numpy()
    c1, c2 = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    gap = ((a.mean(0) - b.mean(0)) ** 2).sum()
    # The root of 1e-10 I keeps scipy's root away from the nearly singular; it moves FD by < 64 · 2e-5.
    root = scipy.linalg.sqrtm((c1 + 1e-10 * np.eye(64)) @ (c2 + 1e-10 * np.eye(64))).real
    assert fd_digits(x, y) == pytest.approx(gap + np.trace(c1 + c2 - 2 * root), abs=2e-3)


def test_fd_digits_of_the_digits_is_zero_whatever_their_order():
    x0 = digits().x0
    assert fd_digits(x0) == pytest.approx(0, abs=1e-6)
    assert fd_digits(x0.flip(0), x0) == pytest.approx(0, abs=1e-6)
    assert fd_digits(x0, digits_reference()) == fd_digits(x0)


def test_fd_digits_grows_with_damage():
    data = digits()
    noise = torch.randn(data.x0.shape, generator=generator())
    noisy = [fd_digits(data.x0 + level * noise) for level in (0.05, 0.1, 0.2, 0.4, 0.8)]
    assert noisy == sorted(noisy)
    limit = floor(fd_digits, resampled(data.x0), 1500, generator(), 5, digits_reference())
    assert noisy[2] > limit.mean + 3 * limit.std
    assert fd_digits(data.x0[data.labels != 3]) > limit.mean + 3 * limit.std
    assert fd_digits(data.x0.flip(-1)) > limit.mean + 3 * limit.std


def test_the_floor_of_fd_digits_falls_like_one_over_n():
    """The mean alone gives E|mu - mu_ref|² = tr C / n for draws with replacement; covariances add at the same rate."""
    source, reference = resampled(digits().x0), digits_reference()
    small, large = (floor(fd_digits, source, n, generator(), 8, reference) for n in (300, 2400))
    assert small.mean > float(reference.cov.trace()) / 300
    assert small.mean / large.mean == pytest.approx(8, rel=0.3)


def test_what_cannot_be_shown_is_clamped():
    x0 = digits("test").x0
    assert torch.equal(digit_features(torch.where(x0 == -1, -3.0, x0)), digit_features(x0))
    big = as_mnist(2 * torch.rand(3, 1, 28, 28, generator=generator()) - 1)
    assert torch.equal(mnist_features(big * 9), mnist_features((big * 9).clamp(-1, 1)))


@pytest.mark.parametrize("resolution", MNIST_RESOLUTIONS)
def test_the_committed_mnist_moments_are_those_of_mnist(resolution):
    """10000 of the 60000 images: every feature's mean, and their total variance, within 5 standard errors."""
    x0 = resize_mnist(real_mnist("train").x0[:10_000], resolution)
    features, reference = mnist_features(x0), mnist_reference(resolution)
    error = (features.mean(0) - reference.mean).abs() / (features.std(0) / 100)
    assert float(error.max()) < 5
    square = (features - features.mean(0)).square().sum(1)
    assert abs(square.mean() - reference.cov.trace()) < 5 * square.std() / 100
    assert fd_mnist(x0) < 0.1


def test_fd_mnist_grows_with_damage():
    x0 = real_mnist("test").x0[:2000]
    noise = torch.randn(x0.shape, generator=generator())
    noisy = [fd_mnist(x0 + level * noise) for level in (0.0, 0.1, 0.3, 0.6)]
    assert noisy == sorted(noisy)
    assert noisy[1] > 1.2 * noisy[0]


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"shape \(5, 1, 9, 9\); allowed: \(N, 1, 8, 8\)"):
        fd_digits(torch.zeros(5, 1, 9, 9))
    with pytest.raises(ValueError, match=r"shape \(5, 3, 28, 28\); allowed: .* 7, 8, 14, 16, 28, 32"):
        mnist_features(torch.zeros(5, 3, 28, 28))
    with pytest.raises(ValueError, match="no reference moments at MNIST resolution 20"):
        mnist_reference(20)
    with pytest.raises(ValueError, match="NaN or infinity"):
        fd_digits(torch.full((5, 1, 8, 8), float("nan")))
    with pytest.raises(ValueError, match="no classifier 'cifar10'"):
        load_classifier("cifar10")
