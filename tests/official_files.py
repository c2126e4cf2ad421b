"""Files in the format of the official EDM networks, of random weights, for the tests that read such files."""

from __future__ import annotations

import pickle
import sys
import types
from collections.abc import Callable, Mapping
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from common.nets.unet import UNet, ddpmpp, ncsnpp

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
ATTRIBUTES: Mapping[str, dict[str, float]] = {
    # sigma_min and sigma_max as the official classes compute them, in float32.
    "VPPrecond": {
        "beta_d": 19.9, "beta_min": 0.1, "M": 1000, "epsilon_t": 1e-5,
        "sigma_min": 0.0009765625, "sigma_max": 152.16697692871094,
    },
    "VEPrecond": {"sigma_min": 0.02, "sigma_max": 100},
    "iDDPMPrecond": {
        "C_1": 0.001, "C_2": 0.008, "M": 1000, "sigma_min": 0.006422337144613266, "sigma_max": 20291.169921875,
    },
    "EDMPrecond": {"sigma_data": 0.5, "sigma_min": 0, "sigma_max": inf},
}  # fmt: skip
"""The numbers that an object of each class holds, by the defaults of the official code."""


def _reconstruct_persistent_obj(meta: dict[str, Any]) -> None:
    raise AssertionError("the official function would run the source in the file")


class EasyDict(dict[str, Any]):
    """Pickled by its name, as the official one is."""


def official_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names under which the official code pickles, for the pickling; reading must do without them."""
    persistence, util = types.ModuleType("torch_utils.persistence"), types.ModuleType("dnnlib.util")
    _reconstruct_persistent_obj.__module__, EasyDict.__module__ = persistence.__name__, util.__name__
    vars(persistence)["_reconstruct_persistent_obj"], vars(util)["EasyDict"] = _reconstruct_persistent_obj, EasyDict
    for module in (types.ModuleType("torch_utils"), persistence, types.ModuleType("dnnlib"), util):
        monkeypatch.setitem(sys.modules, module.__name__, module)


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


def write_official(
    path: Path,
    build: Callable[..., UNet] = ddpmpp,
    protocol: int = 4,
    precond: str = "EDMPrecond",
    attributes: Mapping[str, Any] = {},
    label_dim: int = 4,
    **changes: Any,
) -> UNet:
    """Write a file of random weights at `path` and return its raw network, of 8×8 images in colour.

    `precond` is the class of its preconditioning and `attributes` what that has otherwise than by default; `changes`
    are of the arguments that the file says its network was made with.
    """
    learns_variance = precond == "iDDPMPrecond"
    out_channels = 6 if learns_variance else 3
    generator = torch.Generator().manual_seed(0)
    sizes = {**SIZES, "label_dim": label_dim, "augment_dim": 9}
    network = build(8, 3, out_channels, **sizes, generator=generator)
    for k, parameter in enumerate(network.parameters()):
        nn.init.normal_(parameter, std=0.1, generator=torch.Generator().manual_seed(k))
    witness = path.with_name("witness")
    shared: dict[str, Any] = {**sizes, **FORMS[build]}
    outer = Persistent(precond, witness, img_resolution=8, img_channels=3, model_type="SongUNet", **shared)
    for name, value in {**ATTRIBUTES.get(precond, {}), **attributes}.items():
        if value is not None:
            setattr(outer, name, value)
    arguments = {"img_resolution": 8, "in_channels": 3, "out_channels": out_channels, **shared, **changes}
    outer.model = as_official(network, arguments.pop("class_name", "SongUNet"), witness, **arguments)
    content = {
        "ema": outer,
        "loss_fn": Persistent("EDMLoss", witness),
        "augment_pipe": Persistent("AugmentPipe", witness),
        "dataset_kwargs": EasyDict(path="cifar10-32x32.zip", use_labels=True),
    }
    path.write_bytes(pickle.dumps(content, protocol=protocol))
    return network.eval()
