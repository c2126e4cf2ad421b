"""Several seeds as one network: S networks of one architecture, trained by one loop on x: (S, B, *D).

Each member draws from a generator of its own, so that it is what it would be alone, to rounding. A generator below is
one `torch.Generator`, or for S members a tuple of S.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

import torch
from torch import Generator, Tensor, nn
from torch.func import functional_call

Generators = Generator | tuple[Generator, ...]
Net = TypeVar("Net", bound=nn.Module)


def each(draw: Callable[[Generator], Tensor], generator: Generators) -> Tensor:
    """draw(generator); for a tuple of S the stack (S, ...) of what each draws."""
    return torch.stack([draw(own) for own in generator]) if isinstance(generator, tuple) else draw(generator)


def normal(
    shape: Sequence[int],
    generator: Generators,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """ε ~ N(0, I) of `shape`; with a tuple of generators shape[0] is their number, and slice s is drawn from
    generator[s] alone.

    Drawn where the generator is and brought to `device`. Raises ValueError where shape[0] is another number.
    """
    own = _own(shape, generator)
    return each(lambda g: torch.randn(own, generator=g, dtype=dtype, device=g.device), generator).to(device=device)


def uniform(
    shape: Sequence[int],
    generator: Generators,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str | None = None,
) -> Tensor:
    """u ~ U[0, 1) of `shape`, drawn as `normal` draws. Raises ValueError likewise."""
    own = _own(shape, generator)
    return each(lambda g: torch.rand(own, generator=g, dtype=dtype, device=g.device), generator).to(device=device)


def _own(shape: Sequence[int], generator: Generators) -> tuple[int, ...]:
    """The shape that one generator draws."""
    shape = tuple(shape)
    if not isinstance(generator, tuple):
        return shape
    if shape[:1] != (len(generator),):
        raise ValueError(f"the shape is {shape}; {len(generator)} generators draw ({len(generator)}, ...)")
    return shape[1:]


class Members(nn.Module, Generic[Net]):
    """S networks of one architecture as one: F(x, t, **cond) with x: (S, B, *D), member s seeing x[s] only.

    networks    the members as they start; copied. Raises ValueError where there is none, or where two differ in their
                modules or in the shapes of their weights
    members     S

    Parameters and buffers are the stacks (S, ...) of the members' own. What is elementwise in them (Adam, the average)
    goes member by member of itself; `common.training.loop.train` clips each member's gradient by its own norm.

    A network whose class has `takes_stacked_weights` runs all members at once, each layer one batched product. Any
    other runs them one after another, with the arithmetic that it has alone: a convolution fills a core by itself, so
    U-Nets gain nothing here, and their seeds may as well be trained one by one.
    """

    def __init__(self, networks: Sequence[Net]) -> None:
        super().__init__()
        if not networks:
            raise ValueError("no networks are given; at least 1 is needed")
        for s, network in enumerate(networks):
            if _architecture(network) != _architecture(networks[0]):
                raise ValueError(f"network {s} is of another architecture than network 0; members must share one")
        self.members = len(networks)
        self.stacked: Net = copy.deepcopy(networks[0])
        _fill(self.stacked, networks, _stack)
        self._streams: list[Tensor] = []

    def forward(self, x: Tensor, t: Tensor, **cond: Tensor) -> Tensor:
        """x: (S, B, *D); t: (), (B,) or (S, B); cond: each (S, B, ...) -> (S, B, ...), what each member returns.

        Raises ValueError where x is not of S members.
        """
        if x.shape[:1] != (self.members,):
            raise ValueError(f"x has shape {tuple(x.shape)}; {self.members} members take ({self.members}, B, ...)")
        if getattr(self.stacked, "takes_stacked_weights", False):
            return self.stacked(x, t, **cond)
        stacks = [*self.stacked.named_parameters(), *self.stacked.named_buffers()]
        slices = [(name, stack.unbind()) for name, stack in stacks]
        outputs = []
        for s in range(self.members):
            inputs = (x[s], t[s] if t.ndim > 1 else t)
            own_cond = {key: value[s] for key, value in cond.items()}
            with self._stream(s, x.device):
                outputs.append(functional_call(self.stacked, {name: own[s] for name, own in slices}, inputs, own_cond))
        return torch.stack(outputs)

    def member(self, s: int) -> Net:
        """Member s as a network of its own: a copy, in the mode (training or eval) that the members are in."""
        network = copy.deepcopy(self.stacked)
        _fill(network, [self.stacked], lambda stacks: _stack([stacks[0][s]])[0])
        return network

    def seed(self, seeds: Sequence[int]) -> None:
        """From here on layers of member s that draw in training (dropout) do so as after `torch.manual_seed(seeds[s])`.

        Before it, all draw from torch's default stream, one after another.
        """
        device = next(self.parameters()).device
        self._streams = [Generator(device).manual_seed(seed).get_state() for seed in seeds]

    @property
    def streams(self) -> tuple[Tensor, ...]:
        """The states of these streams, one a member; none before `seed`. Set them to go on from there."""
        return tuple(self._streams)

    @streams.setter
    def streams(self, states: Sequence[Tensor]) -> None:
        self._streams = list(states)

    @contextmanager
    def _stream(self, s: int, device: torch.device) -> Iterator[None]:
        """In here torch's default stream is member s's."""
        if not (self.training and self._streams):
            yield
            return
        cuda = device.type == "cuda"
        with torch.random.fork_rng(devices=[device] if cuda else []):
            if cuda:
                torch.cuda.set_rng_state(self._streams[s], device)
            else:
                torch.set_rng_state(self._streams[s])
            yield
            self._streams[s] = torch.cuda.get_rng_state(device) if cuda else torch.get_rng_state()


@torch.no_grad()
def clip_members_(parameters: Iterable[Tensor], max_norm: float) -> Tensor:
    """Scale each member's gradient, in place, to a norm of at most `max_norm`; returns the norms that it had: (S,).

    The norm is over the member's slice of every parameter (S, ...); `torch.nn.utils.clip_grad_norm_` for each alone.
    """
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(g.reshape(len(g), -1), dim=1) for g in gradients])
    norm = torch.linalg.vector_norm(norms, dim=0)
    scale = (max_norm / (norm + 1e-6)).clamp(max=1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.ndim - 1)))
    return norm


def _architecture(network: nn.Module) -> list[object]:
    """What members must share."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return [
        *((name, type(module)) for name, module in network.named_modules()),
        *((name, tensor.shape, tensor.dtype) for name, tensor in tensors),
    ]


@torch.no_grad()
def _fill(network: nn.Module, sources: Sequence[nn.Module], combine: Callable[[Sequence[Tensor]], Tensor]) -> None:
    """Replace each parameter and buffer of `network` by `combine` of those in its place in `sources`.

    What the modules of a network share, they share afterwards.
    """
    done: dict[int, Tensor] = {}
    for module, *others in zip(network.modules(), *(source.modules() for source in sources), strict=True):
        for kind in ("_parameters", "_buffers"):
            own = getattr(module, kind)
            for name, tensor in own.items():
                if tensor is None:
                    continue
                if id(tensor) not in done:
                    combined = combine([getattr(other, kind)[name] for other in others])
                    done[id(tensor)] = (
                        nn.Parameter(combined, tensor.requires_grad) if kind == "_parameters" else combined
                    )
                own[name] = done[id(tensor)]


def _stack(tensors: Sequence[Tensor]) -> Tensor:
    """(S, *shape) of S tensors, each slice in the memory format of the first: convolutions are fast in theirs."""
    like = torch.empty_like(tensors[0])
    layout = (like.numel(), *like.stride())
    stack = torch.empty_strided((len(tensors), *like.shape), layout, dtype=like.dtype, device=like.device)
    for place, tensor in zip(stack, tensors, strict=True):
        place.copy_(tensor)
    return stack
