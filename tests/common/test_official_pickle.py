"""Files in the format of the official EDM networks are read as data, and whatever is more than data is refused."""

from __future__ import annotations

import builtins
import os
import pickle
import sys
import types
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from common.nets.unet import UNet, ddpmpp, ncsnpp
from common.training.official_pickle import Stored, UnsafePickle, load_official_edm, read_official_pickle

torch.set_num_threads(1)
SIZES: dict[str, Any] = {"model_channels": 8, "channel_mult": [1, 2], "num_blocks": 1, "attn_resolutions": [4]}
FORMS: dict[Callable[..., UNet], dict[str, Any]] = {
    ddpmpp: {"embedding_type": "positional", "encoder_type": "standard", "resample_filter": [1, 1]},
    ncsnpp: {
        "embedding_type": "fourier",
        "encoder_type": "residual",
        "channel_mult_noise": 2,
        "resample_filter": [1, 3, 3, 1],
    },
}


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
    raise AssertionError("the official function would run the source in the file")


class EasyDict(dict[str, Any]):
    """Pickled by its name, as the official one is."""


@pytest.fixture(autouse=True)
def official_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The names under which the official code pickles, for the pickling; reading must do without them."""
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")
    _reconstruct_persistent_obj.__module__, EasyDict.__module__ = persistence.__name__, util.__name__
    vars(persistence)["_reconstruct_persistent_obj"], vars(util)["EasyDict"] = _reconstruct_persistent_obj, EasyDict
    for module in (types.ModuleType("torch_utils"), persistence, types.ModuleType("dnnlib"), util):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return iter(())


class Persistent(nn.Module):
    """Reduced as `torch_utils.persistence` reduces a decorated class, with a source that would leave a witness."""

    def __init__(self, class_name: str, witness: Path, **init_kwargs: Any) -> None:
        super().__init__()
        self.class_name, self.witness = class_name, witness
        self.skip_scale = np.sqrt(np.float64(0.5))
        self._init_args, self._init_kwargs = (), init_kwargs

    def __reduce__(self) -> tuple[Any, ...]:
        state = {key: value for key, value in self.__dict__.items() if key not in ("class_name", "witness")}
        source = f"import pathlib\npathlib.Path({str(self.witness)!r}).touch()\n"
        meta = {"type": "class", "version": 6, "module_src": source, "class_name": self.class_name, "state": state}
        return _reconstruct_persistent_obj, (meta,), None


def as_official(module: nn.Module, class_name: str, witness: Path, **init_kwargs: Any) -> nn.Module:
    """The tree of `module` with every class but torch's containers replaced by `Persistent`."""
    copy = nn.ModuleDict() if isinstance(module, nn.ModuleDict) else Persistent(class_name, witness, **init_kwargs)
    for name, parameter in module._parameters.items():
        copy.register_parameter(name, parameter)
    for name, buffer in module._buffers.items():
        if name not in module._non_persistent_buffers_set:
            copy.register_buffer(name, buffer)
    for name, child in module._modules.items():
        copy.add_module(name, None if child is None else as_official(child, type(child).__name__, witness))
    return copy


def write_official(path: Path, build: Callable[..., UNet], protocol: int = 4, **changes: Any) -> UNet:
    network = build(8, 3, **SIZES, label_dim=4, augment_dim=9, generator=torch.Generator().manual_seed(0))
    for k, parameter in enumerate(network.parameters()):
        nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(k))
    witness = path.with_name("witness")
    shared: dict[str, Any] = {**SIZES, **FORMS[build], "label_dim": 4, "augment_dim": 9}
    precond = Persistent("EDMPrecond", witness, img_resolution=8, img_channels=3, model_type="SongUNet", **shared)
    arguments: dict[str, Any] = {"img_resolution": 8, "in_channels": 3, "out_channels": 3, **shared, **changes}
    precond.model = as_official(network, arguments.pop("class_name", "SongUNet"), witness, **arguments)
    content = {
        "ema": precond,
        "loss_fn": Persistent("EDMLoss", witness),
        "augment_pipe": Persistent("AugmentPipe", witness),
        "dataset_kwargs": EasyDict(path="cifar10-32x32.zip", use_labels=True),
    }
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return network.eval()


@pytest.mark.parametrize("build", [ddpmpp, ncsnpp])
@pytest.mark.parametrize("protocol", [3, 4])
def test_the_network_in_the_file_is_the_one_loaded(build: Callable[..., UNet], protocol: int, tmp_path: Path) -> None:
    path = tmp_path / "edm.pkl"
    network = write_official(path, build, protocol)
    loaded, meta = load_official_edm(path)
    x = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    c_noise, labels = torch.tensor([0.1, 0.7]), torch.tensor([3, 0])
    assert torch.equal(loaded(x, c_noise, labels), network(x, c_noise, labels))
    assert meta["precond"] == "EDMPrecond"
    assert meta["dataset"] == {"path": "cifar10-32x32.zip", "use_labels": True}
    assert meta["img_resolution"] == 8
    assert not loaded.training
    assert not any(p.requires_grad for p in loaded.parameters())
    assert not path.with_name("witness").exists(), "the source in the file was run"


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
