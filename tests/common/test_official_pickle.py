"""Files in the format of the official EDM networks are read as data, and whatever is more than data is refused."""

from __future__ import annotations

import builtins
import os
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from common.nets.unet import UNet, ddpmpp, ncsnpp
from common.training.official_pickle import (
    PRECONDS,
    Stored,
    UnsafePickle,
    load_official_edm,
    read_official_pickle,
)
from tests.official_files import ATTRIBUTES, _reconstruct_persistent_obj, official_names, write_official

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def names_of_the_official_code(monkeypatch: pytest.MonkeyPatch) -> None:
    official_names(monkeypatch)


@pytest.mark.parametrize("build", [ddpmpp, ncsnpp])
@pytest.mark.parametrize("protocol", [3, 4])
def test_the_network_in_the_file_is_the_one_loaded(build: Callable[..., UNet], protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "edm.pkl"
    network = write_official(path, build, protocol)
    official = load_official_edm(path)
    loaded = official.network
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    c_noise, labels = torch.tensor([0.1, 0.7]), torch.tensor([3, 0])
    assert torch.equal(loaded(x, c_noise, labels), network(x, c_noise, labels))
    assert official.dataset == {"path": "cifar10-32x32.zip", "use_labels": True}
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert not path.with_name("witness").exists(), "the source in the file was run"


@pytest.mark.parametrize("precond", PRECONDS)
def test_the_preconditioning_is_what_the_file_says(precond: str, tmp_path: Path) -> None:
    path = tmp_path / "net.pkl"
    # One number of each class is not the default, and one is a numpy number, as some files have them.
    own = {"VPPrecond": "beta_min", "VEPrecond": "sigma_max", "iDDPMPrecond": "C_2", "EDMPrecond": "sigma_data"}[
        precond
    ]
    write_official(path, precond=precond, attributes={own: 0.375, "sigma_min": np.float64(0.25)})
    official = load_official_edm(path)
    assert official.precond == precond
    assert official.settings == {**ATTRIBUTES[precond], own: 0.375, "sigma_min": 0.25}
    assert official.network.out_channels == (6 if precond == "iDDPMPrecond" else 3)


def test_a_preconditioning_that_is_unknown_or_incomplete_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.pkl"
    write_official(path, precond="Precond2")
    with pytest.raises(
        ValueError, match=r"net\.pkl holds a network under Precond2; allowed are VPPrecond, VEPrecond, "
    ):
        load_official_edm(path)
    for wrong in (None, "0.5", True):
        write_official(path, attributes={"sigma_data": wrong})
        with pytest.raises(ValueError, match="holds EDMPrecond and does not say its sigma_data"):
            load_official_edm(path)
    write_official(path, precond="VPPrecond", attributes={"beta_d": None, "sigma_max": None})
    with pytest.raises(ValueError, match="does not say its sigma_max, beta_d"):
        load_official_edm(path)


def test_the_rest_of_the_file_is_plain_data(tmp_path: Path) -> None:
    path = tmp_path / "edm.pkl"
    write_official(path, ddpmpp)
    content = read_official_pickle(path)
    assert isinstance(content["loss_fn"], Stored)
    assert content["loss_fn"].class_name == "EDMLoss"
    assert content["loss_fn"].state["skip_scale"] == pytest.approx(0.5**0.5)
    assert type(content["dataset_kwargs"]).__mro__[1] is dict


class Reduced:
    """An object that pickles as the call of a function."""

    def __init__(self, function: Any, *args: Any, state: Any = None) -> None:
        self.reduction = (function, args, state) if state is not None else (function, args)

    def __reduce__(self) -> tuple[Any, ...]:
        return self.reduction


def attacks(witness: Path) -> dict[str, Any]:
    leave = f"open({str(witness)!r}, 'w').close()"
    return {
        "os.system": Reduced(os.system, f"touch {witness}"),
        "builtins.eval": Reduced(builtins.eval, leave),
        "builtins.exec": Reduced(builtins.exec, leave),
        "nested": {"ema": Reduced(_reconstruct_persistent_obj, {"state": {"x": Reduced(builtins.eval, leave)}})},
        "inside the storage": Reduced(torch.storage._load_from_bytes, pickle.dumps(Reduced(builtins.eval, leave))),
        "getattr": Reduced(builtins.getattr, {}, "get"),
        "a torch function": Reduced(torch.load, str(witness)),
        "another name of the same module": Reduced(torch._utils._rebuild_tensor, 1, 2, 3, 4),
        "numpy's object scalar": Reduced(np.float64(1).__reduce__()[0], np.dtype("O"), pickle.dumps(1)),
    }


NAMES = tuple(attacks(Path("x")))


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("protocol", [2, 4])
def test_malicious_files_are_refused_and_not_run(name: str, protocol: int, tmp_path: Path) -> None:
    path, witness = tmp_path / "evil.pkl", tmp_path / "witness"
    path.write_bytes(pickle.dumps({"ema": attacks(witness)[name]}, protocol=protocol))
    # A storage is a pickle inside the pickle, and it is PyTorch that refuses what is in it.
    refusal = ValueError if name == "inside the storage" else UnsafePickle
    with pytest.raises(refusal, match=r"evil\.pkl"):
        load_official_edm(path)
    assert not witness.exists()


def test_the_refused_name_is_told(tmp_path: Path) -> None:
    path = tmp_path / "evil.pkl"
    path.write_bytes(pickle.dumps({"ema": Reduced(builtins.eval, "1")}))
    with pytest.raises(
        UnsafePickle, match=r"evil\.pkl: the pickle asks for builtins\.eval, which an official EDM network"
    ):
        load_official_edm(path)


def test_functions_of_the_reader_cannot_be_changed_by_a_file(tmp_path: Path) -> None:
    """The pickle opcodes GLOBAL, state, BUILD would set attributes of the function itself."""
    path = tmp_path / "evil.pkl"
    path.write_bytes(b"ctorch._utils\n_rebuild_parameter\n}(V__defaults__\nNub.")
    with pytest.raises(ValueError, match=r"evil\.pkl"):
        read_official_pickle(path)
    for state in (b"}V__defaults__\nNs", b"N}V__defaults__\nNs\x86"):
        path.write_bytes(b"ctorch._utils\n_rebuild_parameter\n" + state + b"b.")
        with pytest.raises(UnsafePickle, match="sets the state of a function"):
            read_official_pickle(path)


def test_files_of_another_kind_are_named(tmp_path: Path) -> None:
    path = tmp_path / "edm.pkl"
    with pytest.raises(FileNotFoundError):
        load_official_edm(path)
    path.write_bytes(b"not a pickle")
    with pytest.raises(ValueError, match=r"edm\.pkl is not an official EDM pickle"):
        load_official_edm(path)
    path.write_bytes(pickle.dumps(OrderedDict(net=1)))
    with pytest.raises(ValueError, match="holds no network under 'ema'"):
        load_official_edm(path)
    write_official(path, ddpmpp, class_name="DhariwalUNet")
    with pytest.raises(ValueError, match="holds DhariwalUNet as its network; only SongUNet"):
        load_official_edm(path)
    write_official(path, ddpmpp, decoder_type="skip")
    with pytest.raises(ValueError, match=r"a SongUNet of the form .*skip.*; allowed are"):
        load_official_edm(path)
    write_official(path, ddpmpp, num_blocks=2)
    with pytest.raises(ValueError, match="does not fit the network that it describes"):
        load_official_edm(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"edm\.pkl is not an official EDM pickle"):
        load_official_edm(path)
