"""Image sets against their sources, and the data home: what is missing, cut short or changed is named."""

import gzip
import hashlib
import pickle
import struct
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from common.data import home, images
from common.data.images import MNIST_RESOLUTIONS, Split, cifar10, digits, mnist, resize_mnist


def test_digits_are_scikit_learns():
    source = load_digits()
    found = digits()
    np.testing.assert_allclose((found.x0[:, 0].numpy() + 1) * 8, source.images)
    assert found.labels.tolist() == source.target.tolist()
    assert float(found.x0.min()) == -1
    assert float(found.x0.max()) == 1
    assert found.sigma_data == pytest.approx(source.images.std() / 8, rel=1e-12)
    assert found.sigma_data == pytest.approx(0.752, abs=5e-4)  # the number in the module's table


def test_digits_split_is_a_stratified_partition():
    train, test, everything = digits("train"), digits("test"), digits()
    assert len(train) + len(test) == len(everything) == 1797

    def rows(data):
        return sorted(map(tuple, torch.cat([data.x0.flatten(1), data.labels[:, None]], 1).tolist()))

    assert sorted(rows(train) + rows(test)) == rows(everything)
    share = torch.bincount(test.labels) / torch.bincount(everything.labels)
    assert (share - 0.2).abs().max() < 0.01
    assert torch.equal(digits("test").x0, test.x0)


def test_changing_a_copy_of_the_digits_does_not_change_the_digits():
    digits().x0.zero_()
    assert digits().sigma_data > 0.7


@pytest.mark.parametrize("resolution", MNIST_RESOLUTIONS)
def test_resized_mnist_pixels_are_block_means(resolution):
    torch.manual_seed(0)
    x0 = torch.rand(3, 1, 28, 28) * 2 - 1
    resized = resize_mnist(x0, resolution)
    assert resized.shape == (3, 1, resolution, resolution)
    canvas = torch.full((3, 1, 32, 32), -1.0)
    canvas[..., 2:30, 2:30] = x0
    full = x0 if 28 % resolution == 0 else canvas
    k = full.shape[-1] // resolution
    for i, j in [(0, 0), (resolution // 2, 1), (resolution - 1, resolution - 2)]:
        block = full[..., i * k : (i + 1) * k, j * k : (j + 1) * k]
        torch.testing.assert_close(resized[..., i, j], block.mean((-2, -1)))


def write_idx(path: Path, array: np.ndarray) -> None:
    """The file format of MNIST: magic number with type (8: bytes) and rank, the sizes, the values; big-endian."""
    path.write_bytes(
        struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    )


@pytest.fixture
def tiny_mnist(tmp_path, monkeypatch):
    """A data home with an MNIST of 20 training and 10 test images, with checksums to match."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    random = np.random.default_rng(0)
    arrays = {}
    for part, count in [("train", 20), ("t10k", 10)]:
        arrays[f"{part}-images-idx3-ubyte"] = random.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = random.integers(0, 10, count, dtype=np.uint8)
    for name, array in arrays.items():
        write_idx(raw / name, array)
    sums = {name: hashlib.sha256((raw / name).read_bytes()).hexdigest() for name in arrays}
    monkeypatch.setattr(images, "MNIST_SHA256", sums)
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))
    return raw, arrays


def test_mnist_is_read_from_a_complete_home_without_writing(tiny_mnist):
    raw, arrays = tiny_mnist
    before = sorted((path, path.stat().st_mtime_ns) for path in raw.parents[1].rglob("*"))
    cases: list[tuple[Split, list[str]]] = [("train", ["train"]), ("test", ["t10k"]), ("all", ["train", "t10k"])]
    for split, parts in cases:
        data = mnist(split, offline=True)
        pixels = np.concatenate([arrays[f"{part}-images-idx3-ubyte"] for part in parts])
        np.testing.assert_allclose((data.x0[:, 0].numpy() + 1) * 127.5, pixels, atol=1e-4)
        assert data.labels.tolist() == np.concatenate([arrays[f"{part}-labels-idx1-ubyte"] for part in parts]).tolist()
    assert sorted((path, path.stat().st_mtime_ns) for path in raw.parents[1].rglob("*")) == before


@pytest.mark.parametrize("damage", ["truncated", "one bit"])
def test_damaged_mnist_is_named_and_not_read(tiny_mnist, damage):
    raw, _ = tiny_mnist
    victim = raw / "train-images-idx3-ubyte"
    content = bytearray(victim.read_bytes())
    if damage == "truncated":
        content = content[:-1]
    else:
        content[5000] ^= 1
    victim.write_bytes(content)
    with pytest.raises(ValueError, match=f"{victim} is truncated or corrupted") as error:
        mnist("test")
    assert "\n" not in str(error.value)


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    """A folder and the address at which this machine serves it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    folder = tmp_path / "mirror"
    folder.mkdir()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_missing_mnist_is_downloaded_once_and_a_bad_mirror_leaves_nothing(tiny_mnist, mirror, tmp_path, monkeypatch):
    """torchvision's own download, from a mirror on this machine."""
    from torchvision.datasets import MNIST

    raw, arrays = tiny_mnist
    folder, address = mirror
    resources = []
    for name in arrays:
        packed = gzip.compress((raw / name).read_bytes())
        (folder / f"{name}.gz").write_bytes(packed)
        resources.append((f"{name}.gz", hashlib.md5(packed).hexdigest()))
    monkeypatch.setattr(MNIST, "mirrors", [address])
    monkeypatch.setattr(MNIST, "resources", resources)

    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "fresh"))
    mnist("train")
    assert sorted(path.name for path in (tmp_path / "fresh/MNIST/raw").iterdir()) == sorted(arrays)
    assert len(mnist("all", offline=True)) == 30

    victim = folder / "t10k-labels-idx1-ubyte.gz"
    victim.write_bytes(victim.read_bytes()[:-3])
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "unlucky"))
    with pytest.raises(FileNotFoundError, match=r"unlucky/MNIST/raw/.* could not be downloaded"):
        mnist("train")
    assert not [path for path in (tmp_path / "unlucky").rglob("*") if path.is_file()]


def test_offline_names_the_path_it_wants_and_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv("REPRO_DATA", str(tmp_path / "nothing"))
    for load, wanted in [(mnist, "MNIST/raw/train-images-idx3-ubyte"), (cifar10, "cifar-10-batches-py/data_batch_1")]:
        with pytest.raises(FileNotFoundError, match=f"{tmp_path}/nothing/{wanted}"):
            load(offline=True)
        monkeypatch.setenv("REPRO_OFFLINE", "1")
        with pytest.raises(FileNotFoundError, match=f"{tmp_path}/nothing/{wanted}"):
            load()
    assert not (tmp_path / "nothing").exists()


def test_cifar10_is_read_once_its_checksums_match(tmp_path, monkeypatch):
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (6, 3, 32, 32), dtype=np.uint8)
    contents = {
        "data_batch_1": {"data": pixels[:4].reshape(4, -1), "labels": [3, 1, 4, 1]},
        "test_batch": {"data": pixels[4:].reshape(2, -1), "labels": [5, 9]},
        "batches.meta": {"label_names": list("abcdefghij")},
    }
    sums = {}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setenv("REPRO_DATA", str(tmp_path))
    monkeypatch.setattr(images, "CIFAR10_MD5", sums)
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", sums["data_batch_1"]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})

    np.testing.assert_allclose((cifar10("all").x0.numpy() + 1) * 127.5, pixels, atol=1e-4)
    assert cifar10("test").labels.tolist() == [5, 9]

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "exploded",))

    (folder / "test_batch").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="test_batch is truncated or corrupted"):
        cifar10("train")
    assert not (tmp_path / "exploded").exists()


def test_the_checksums_are_those_that_torchvision_knows():
    """CIFAR-10's; of MNIST torchvision knows the archives only."""
    from torchvision.datasets import CIFAR10

    known = dict([*CIFAR10.train_list, *CIFAR10.test_list, (CIFAR10.meta["filename"], CIFAR10.meta["md5"])])
    assert dict(images.CIFAR10_MD5) == known


def test_real_mnist_has_its_well_known_statistics():
    try:
        data = mnist("train", offline=True)
    except FileNotFoundError as error:
        pytest.skip(f"MNIST is not here: {error}")
    # LeCun's class counts; mean and deviation as every PyTorch example normalises by (in [0, 1]: 0.1307, 0.3081).
    assert torch.bincount(data.labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert (float(data.x0.double().mean()) + 1) / 2 == pytest.approx(0.1307, abs=1e-4)
    assert data.sigma_data / 2 == pytest.approx(0.3081, abs=1e-4)


def test_the_home_is_repro_data_then_xdg_then_the_cache(monkeypatch):
    monkeypatch.setenv("REPRO_DATA", "/a/data")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b/cache")
    monkeypatch.setenv("HOME", "/c")
    assert home.data_home() == Path("/a/data")
    monkeypatch.delenv("REPRO_DATA")
    assert home.data_home() == Path("/b/cache/repro-generative")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert home.data_home() == Path("/c/.cache/repro-generative")


@pytest.mark.parametrize(("value", "offline"), [(None, False), ("", False), ("0", False), ("1", True)])
def test_repro_offline(monkeypatch, value, offline):
    monkeypatch.delenv("REPRO_OFFLINE", raising=False)
    if value is not None:
        monkeypatch.setenv("REPRO_OFFLINE", value)
    assert home.is_offline() is offline


CONTENTS = {"one": b"first", "two": b"second"}
SUMS = {name: hashlib.sha256(content).hexdigest() for name, content in CONTENTS.items()}


def test_ensure_fetches_what_is_missing_and_then_nothing(tmp_path):
    calls = []

    def download(scratch: Path) -> Path:
        calls.append(scratch)
        for name, content in CONTENTS.items():
            (scratch / name).write_bytes(content)
        return scratch

    folder = tmp_path / "set"
    for _ in range(2):
        assert home.ensure(folder, SUMS, "sha256", download, offline=False) == folder
    assert len(calls) == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == CONTENTS


def test_a_download_cut_short_leaves_nothing_behind(tmp_path):
    def fails(scratch: Path) -> Path:
        (scratch / "one").write_bytes(b"fir")
        raise OSError("connection lost")

    def truncates(scratch: Path) -> Path:
        (scratch / "one").write_bytes(b"fir")
        return scratch

    with pytest.raises(FileNotFoundError, match=r"one is missing and could not be downloaded \(connection lost\)"):
        home.ensure(tmp_path, SUMS, "sha256", fails, offline=False)
    with pytest.raises(FileNotFoundError, match=f"{tmp_path}/one is missing and .* came truncated"):
        home.ensure(tmp_path, SUMS, "sha256", truncates, offline=False)
    assert not list(tmp_path.iterdir())


def test_a_corrupted_file_is_named_before_anything_is_fetched(tmp_path):
    (tmp_path / "two").write_bytes(b"sEcond")

    def never(scratch: Path) -> Path:
        raise AssertionError("downloaded")

    with pytest.raises(ValueError, match=f"{tmp_path}/two is truncated or corrupted"):
        home.ensure(tmp_path, SUMS, "sha256", never, offline=False)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="split is 'valid'; allowed: 'train', 'test', 'all'"):
        digits("valid")  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ValueError, match="resolution is 20; allowed: 7, 8, 14, 16, 28, 32"):
        mnist("train", 20)
