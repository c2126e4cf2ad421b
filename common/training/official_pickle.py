"""The official EDM networks (github.com/NVlabs/edm), loaded without running what is in the file.

Such a file is a pickle of {ema, loss_fn, augment_pipe, dataset_kwargs}. Its objects are rebuilt by
`torch_utils.persistence._reconstruct_persistent_obj(meta)`, meta = {type, version, module_src, class_name, state},
which in the official code executes `module_src`. Here that function only keeps `class_name` and `state`; tensors are
rebuilt by PyTorch's own restricted rules; every other global of the pickle is refused by name.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from common.nets.unet import UNet, ddpmpp, ncsnpp


class UnsafePickle(ValueError):
    """The file asks for something that data does not need; nothing of it was run."""


@dataclass(frozen=True)
class Stored:
    """An object of the pickle as plain data: the name of its class and its attributes."""

    class_name: str
    state: Mapping[str, Any] = field(default_factory=dict)

    def tensors(self, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
        """The parameters and buffers below this module, under the names that `state_dict` gives them."""
        for kind in ("_parameters", "_buffers"):
            for name, tensor in self.state.get(kind, {}).items():
                if tensor is not None:
                    yield prefix + name, tensor
        for name, module in self.state.get("_modules", {}).items():
            if module is not None:
                yield from module.tensors(f"{prefix}{name}.")


class _EasyDict(dict[str, Any]):
    """Stands in for `dnnlib.util.EasyDict`: a plain dict, whose pickled attributes are dropped."""

    def __setstate__(self, state: object) -> None: ...


class _Sealed:
    """A function that the pickle may call, and may not set attributes of."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setattr__(self, name: str, value: object) -> None:
        raise UnsafePickle(f"the pickle sets {name} of a function")

    def __setstate__(self, state: object) -> None:
        raise UnsafePickle("the pickle sets the state of a function")


def _keep(meta: Mapping[str, Any]) -> Stored:
    """Stands in for `_reconstruct_persistent_obj`: keeps the state, and leaves `module_src` unread."""
    if not isinstance(meta, dict) or not isinstance(meta.get("state"), dict):
        raise UnsafePickle("an object of the pickle has no state of the official form")
    return Stored(str(meta.get("class_name")), meta["state"])


def _plain_module(class_name: str) -> Callable[[], Stored]:
    """Stands in for a class of `torch.nn`: `__reduce_ex__` makes an empty object and then sets its state."""

    class Module(Stored):
        def __init__(self) -> None:
            super().__init__(class_name)

        def __setstate__(self, state: Mapping[str, Any]) -> None:
            if not isinstance(state, dict):
                raise UnsafePickle(f"a {class_name} of the pickle has no state of the official form")
            object.__setattr__(self, "class_name", class_name)
            object.__setattr__(self, "state", state)

    return Module


def _storage(raw: bytes) -> torch.UntypedStorage:
    """Stands in for `torch.storage._load_from_bytes`, which is a pickle inside the pickle: read with `weights_only`."""
    return torch.load(io.BytesIO(raw), weights_only=True, map_location="cpu")


class _NumpyDtype:
    """Stands in for `numpy.dtype`: little-endian numbers only; the further state (byte order, fields) is dropped."""

    def __init__(self, name: object, *_: object) -> None:
        dtype = np.dtype(str(name))
        if dtype.kind not in "biuf":
            raise UnsafePickle(f"a numpy number of the pickle has dtype {name}")
        self.dtype = dtype

    def __setstate__(self, state: object) -> None: ...


def _numpy_scalar(dtype: _NumpyDtype, raw: bytes) -> Any:
    """Stands in for numpy's `scalar`."""
    if not isinstance(dtype, _NumpyDtype):
        raise UnsafePickle("a numpy number of the pickle has no dtype")
    return np.frombuffer(raw, dtype.dtype)[0].item()


_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _Sealed(_keep),
    ("dnnlib.util", "EasyDict"): _EasyDict,
    ("collections", "OrderedDict"): OrderedDict,
    ("builtins", "set"): set,
    ("torch._utils", "_rebuild_tensor_v2"): _Sealed(torch._utils._rebuild_tensor_v2),
    ("torch._utils", "_rebuild_parameter"): _Sealed(torch._utils._rebuild_parameter),
    ("torch.storage", "_load_from_bytes"): _Sealed(_storage),
    ("torch.nn.modules.container", "ModuleDict"): _plain_module("ModuleDict"),
    ("torch.nn.modules.container", "ModuleList"): _plain_module("ModuleList"),
    ("numpy", "dtype"): _NumpyDtype,
    ("numpy.core.multiarray", "scalar"): _Sealed(_numpy_scalar),
    ("numpy._core.multiarray", "scalar"): _Sealed(_numpy_scalar),
}


class _Reader(pickle.Unpickler):
    """An unpickler that knows the names above and no others."""

    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ALLOWED[module, name]
        except KeyError:
            raise UnsafePickle(
                f"the pickle asks for {module}.{name}, which an official EDM network does not need"
            ) from None


def read_official_pickle(path: Path) -> dict[str, Any]:
    """The top-level dict of an official file, its objects as `Stored`.

    Raises FileNotFoundError; UnsafePickle where it asks for anything but data; ValueError where it is no such pickle.
    """
    with path.open("rb") as file:
        try:
            content = _Reader(file).load()
        except UnsafePickle as error:
            raise UnsafePickle(f"{path}: {error}") from None
        # A broken or hostile stream can make any of these, and no other error class of its own is defined by pickle.
        except (
            pickle.UnpicklingError,
            EOFError,
            TypeError,
            AttributeError,
            IndexError,
            KeyError,
            RuntimeError,
        ) as error:
            raise ValueError(f"{path} is not an official EDM pickle: {error}") from error
    if not isinstance(content, dict) or not isinstance(content.get("ema"), Stored):
        raise ValueError(f"{path} is not an official EDM pickle: it holds no network under 'ema'")
    return content


@dataclass(frozen=True)
class OfficialNetwork:
    """What an official file holds that sampling needs."""

    network: UNet
    """The raw network F, averaged, in eval mode."""
    precond: str
    """The class of the preconditioning that it was trained under, one of `PRECONDS`. Under any other it gives wrong
    images, and no error."""
    settings: Mapping[str, float]
    """The numbers of that preconditioning: what `PRECONDS` names, and its range `sigma_min` and `sigma_max`."""
    dataset: Mapping[str, Any]
    """The settings of its data set."""


PRECONDS: Mapping[str, tuple[str, ...]] = {
    "VPPrecond": ("beta_d", "beta_min", "M", "epsilon_t"),
    "VEPrecond": (),
    "iDDPMPrecond": ("M", "C_1", "C_2"),
    "EDMPrecond": ("sigma_data",),
}
"""The official classes of preconditioning, and the numbers that set each beside its range of noise levels."""


def load_official_edm(path: Path) -> OfficialNetwork:
    """The averaged network of an official EDM file, and the preconditioning that its pickle says it has.

    Raises as `read_official_pickle` does; ValueError for networks other than DDPM++ and NCSN++ (ImageNet's ADM), and
    for a preconditioning that is none of `PRECONDS` or leaves out a number.
    """
    content = read_official_pickle(path)
    precond: Stored = content["ema"]
    settings = _settings(path, precond)
    model = precond.state.get("_modules", {}).get("model")
    if not isinstance(model, Stored) or model.class_name != "SongUNet":
        found = getattr(model, "class_name", "nothing")
        raise ValueError(f"{path} holds {found} as its network; only SongUNet (DDPM++, NCSN++) can be loaded")
    network = _build(path, model.state.get("_init_kwargs") or {})
    try:
        network.load_state_dict(dict(model.tensors()))
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit the network that it describes: {error}") from error
    dataset = dict(content.get("dataset_kwargs") or {})
    return OfficialNetwork(network.eval().requires_grad_(False), precond.class_name, settings, dataset)


def _settings(path: Path, precond: Stored) -> dict[str, float]:
    """The numbers of a preconditioning: attributes of the pickled object, so that defaults of its time are in them."""
    if precond.class_name not in PRECONDS:
        raise ValueError(f"{path} holds a network under {precond.class_name}; allowed are {', '.join(PRECONDS)}")
    names = ("sigma_min", "sigma_max", *PRECONDS[precond.class_name])
    values = {name: precond.state.get(name) for name in names}
    if bad := [name for name, value in values.items() if isinstance(value, bool) or not isinstance(value, int | float)]:
        raise ValueError(f"{path} holds {precond.class_name} and does not say its {', '.join(bad)}")
    return {name: float(value) for name, value in values.items() if value is not None}


# The arguments of the official SongUNet that set a size, with its own defaults.
_SIZES: Mapping[str, Any] = {
    "model_channels": 128,
    "channel_mult": (1, 2, 2, 2),
    "channel_mult_emb": 4,
    "num_blocks": 4,
    "attn_resolutions": (16,),
    "dropout": 0.10,
    "label_dim": 0,
    "augment_dim": 0,
}
# The arguments that make the flavour, with its own defaults, and the two flavours.
_FORM: Mapping[str, Any] = {
    "embedding_type": "positional",
    "encoder_type": "standard",
    "decoder_type": "standard",
    "channel_mult_noise": 1,
    "resample_filter": (1, 1),
}
_FLAVOURS: Mapping[tuple[Any, ...], Callable[..., UNet]] = {
    ("positional", "standard", "standard", 1, (1, 1)): ddpmpp,
    ("fourier", "residual", "standard", 2, (1, 3, 3, 1)): ncsnpp,
}


def _build(path: Path, arguments: Mapping[str, Any]) -> UNet:
    """The empty network that the arguments of the official SongUNet describe."""
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in arguments.items()}
    form = tuple(given.get(name, default) for name, default in _FORM.items())
    if form not in _FLAVOURS:
        raise ValueError(f"{path} holds a SongUNet of the form {form}; allowed are {list(_FLAVOURS)}")
    missing = {"img_resolution", "in_channels", "out_channels"} - given.keys()
    if missing:
        raise ValueError(f"{path} does not say its network's {sorted(missing)}")
    sizes = {name: given.get(name, default) for name, default in _SIZES.items()}
    return _FLAVOURS[form](given["img_resolution"], given["in_channels"], given["out_channels"], **sizes)
