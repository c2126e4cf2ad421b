"""Variational diffusion models: the ELBO of whole numbers in bits per dimension, and ancestral sampling (2107.00630).

Data x are whole numbers 0 … count − 1 in D dimensions; f(x) is what the diffusion sees of them. With
z_t = α_t f + σ_t ε, α² = sigmoid(λ), σ² = sigmoid(−λ), and λ(t) falling from λ_0 to λ_1, the negative ELBO is (eq. 11)

    KL(q(z_1|x) ‖ N(0, I))                      prior            ½ Σ_d (α_1² f_d² + σ_1² − 1 − log σ_1²)
    + E[−log p(x|z_0)]                          reconstruction   p(x_d|z_0) ∝ exp(−½ e^{λ_0} (z_0/α_0 − f(x_d))²)
    + the diffusion loss: in continuous time    (eq. 17)         ½ ∫_0^1 (−dλ/dt) E‖ε̂ − ε‖² dt,
                          in T steps            (eq. 14)         ½ Σ_{i=1}^T expm1(λ_{(i−1)/T} − λ_{i/T}) E‖ε̂ − ε‖².

The paper writes γ = −λ. Here everything is in nats, until `Bound.bits`. Shapes: x, f, z and ε are (B, *D), times and
log-SNRs (B,); for S networks at once (S, B, *D) and (S, B). An `EpsNet` is called `eps_net(z, log_snr)`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import isfinite, log

import torch
from torch import Tensor, nn

from common.training.members import Generators, normal, uniform

EpsNet = Callable[[Tensor, Tensor], Tensor]
"""eps_net(z, log_snr) -> ε̂, shaped like z; it runs in its own dtype."""


@dataclass(frozen=True)
class Numbers:
    """Whole numbers 0 … count − 1, and what the diffusion sees of them: f(x) = (x − offset) / scale.

    offset, scale   numbers, or tensors that multiply an x (of one scale for each dimension, say)
    """

    count: int
    offset: Tensor | float
    scale: Tensor | float

    def __post_init__(self) -> None:
        if self.count < 2:
            raise ValueError(f"count is {self.count}; there are at least two whole numbers")
        if not bool((torch.as_tensor(self.scale) > 0).all()):
            raise ValueError(f"scale is {self.scale}; it must be positive")

    def encode(self, x: Tensor) -> Tensor:
        """f(x), in the dtype of scale where that is a tensor, and float64 else."""
        dtype = self.scale.dtype if isinstance(self.scale, Tensor) else torch.float64
        return (x.to(dtype) - self.offset) / self.scale

    def logits(self, z: Tensor, log_snr: Tensor) -> Tensor:
        """log p(x_d = v|z_0) up to what is the same for all v, (*z.shape, count), for z = z_0/α_0."""
        values = torch.arange(self.count, dtype=z.dtype, device=z.device)
        # In units of whole numbers, where the distance of neighbours is 1.
        place = (z * self.scale + self.offset)[..., None]
        precision = (leading(log_snr, z).exp() / torch.as_tensor(self.scale, device=z.device) ** 2)[..., None]
        return -0.5 * precision * (place - values).square()

    def log_prob(self, x: Tensor, z: Tensor, log_snr: Tensor) -> Tensor:
        """log p(x|z_0) in nats, of the leading shape: a sum over dimensions; z = z_0/α_0, x: whole numbers."""
        log_p = self.logits(z, log_snr).log_softmax(-1).gather(-1, x.long()[..., None])[..., 0]
        return log_p.flatten(log_snr.ndim).sum(-1)

    def sample(self, z: Tensor, log_snr: Tensor, generator: Generators) -> Tensor:
        """x ~ p(x|z_0), whole numbers (int64), shaped like z = z_0/α_0."""
        u = uniform(z.shape, generator, torch.float64, z.device)
        return (self.logits(z, log_snr).softmax(-1).cumsum(-1) < u[..., None]).sum(-1).clamp(max=self.count - 1)


class LinearLogSnr(nn.Module):
    """λ(t) = −(|w| t + b), from λ_0 = −b at the data to λ_1 = −(|w| + b), with both ends learned.

    In continuous time the bound depends on λ(t) through its ends alone (eq. 18), so that the line costs nothing.
    Weights are scalars; stacked with the network that they are a part of they are (S,), and times then (S, B).
    Raises ValueError unless the ends are finite and log_snr_max > log_snr_min.
    """

    def __init__(self, log_snr_max: float, log_snr_min: float) -> None:
        super().__init__()
        if not (isfinite(log_snr_max) and isfinite(log_snr_min) and log_snr_max > log_snr_min):
            raise ValueError(
                f"log_snr_max is {log_snr_max} and log_snr_min {log_snr_min}; they must be finite, the first larger"
            )
        self.w = nn.Parameter(torch.tensor(log_snr_max - log_snr_min))
        self.b = nn.Parameter(torch.tensor(-log_snr_max))

    def forward(self, t: Tensor) -> Tensor:
        """λ(t), in the dtype of t, float64 at best."""
        return -(self.w.to(t).abs()[..., None] * t + self.b.to(t)[..., None])

    def slope(self, t: Tensor) -> Tensor:
        """dλ/dt, shaped like t."""
        return (-self.w.to(t).abs()[..., None]).expand(t.shape)


def leading(coefficient: Tensor, x: Tensor) -> Tensor:
    """A coefficient of the leading shape, (B,) or (S, B), ready to multiply x."""
    return coefficient.reshape(coefficient.shape + (1,) * (x.ndim - coefficient.ndim)).to(x)


def alpha_sigma(log_snr: Tensor) -> tuple[Tensor, Tensor]:
    """(α, σ) with α² + σ² = 1 and α²/σ² = e^λ."""
    return log_snr.sigmoid().sqrt(), (-log_snr).sigmoid().sqrt()


@dataclass(frozen=True)
class Bound:
    """The three terms of the negative ELBO in nats, each of the leading shape."""

    prior: Tensor
    reconstruction: Tensor
    diffusion: Tensor

    @property
    def total(self) -> Tensor:
        return self.prior + self.reconstruction + self.diffusion

    def bits(self, D: int) -> Bound:
        """The same in bits per dimension, for D dimensions."""
        return Bound(*(term / (D * log(2)) for term in (self.prior, self.reconstruction, self.diffusion)))


def prior_loss(f: Tensor, log_snr_1: Tensor) -> Tensor:
    """KL(q(z_1|x) ‖ N(0, I)), of the leading shape; f: (B, *D), log_snr_1: (B,)."""
    alpha, sigma = (leading(value, f) for value in alpha_sigma(log_snr_1))
    terms = (alpha * f).square() + sigma.square() - 1 - 2 * sigma.log()
    return terms.flatten(log_snr_1.ndim).sum(-1) / 2


def reconstruction_loss(x: Tensor, eps: Tensor, numbers: Numbers, log_snr_0: Tensor) -> Tensor:
    """−log p(x|z_0) at z_0 = α_0 f + σ_0 ε, of the leading shape."""
    z = numbers.encode(x) + leading((-log_snr_0 / 2).exp(), eps) * eps
    return -numbers.log_prob(x, z, log_snr_0)


def squared_error(eps_net: EpsNet, f: Tensor, eps: Tensor, log_snr: Tensor) -> Tensor:
    """‖ε̂ − ε‖² at z = α f + σ ε, of the leading shape: a sum over dimensions."""
    alpha, sigma = (leading(value, f) for value in alpha_sigma(log_snr))
    error = eps_net(alpha * f + sigma * eps, log_snr) - eps
    return error.square().flatten(log_snr.ndim).sum(-1)


def diffusion_loss(eps_net: EpsNet, f: Tensor, eps: Tensor, t: Tensor, schedule: LinearLogSnr) -> Tensor:
    """½ (−dλ/dt) ‖ε̂ − ε‖², whose mean over t ~ U[0, 1] is the diffusion loss in continuous time (eq. 17)."""
    return -schedule.slope(t) / 2 * squared_error(eps_net, f, eps, schedule(t))


def discrete_diffusion_loss(
    eps_net: EpsNet, f: Tensor, eps: Tensor, t: Tensor, schedule: LinearLogSnr, steps: int
) -> Tensor:
    """½ T expm1(λ_s − λ_t) ‖ε̂ − ε‖² with s = t − 1/T, whose mean over t in {1/T, …, 1} is the loss of T steps
    (eq. 14). Raises ValueError for steps < 1."""
    if steps < 1:
        raise ValueError(f"steps is {steps}; a chain has at least 1")
    ratio = torch.expm1(schedule(t - 1 / steps) - schedule(t))
    return steps * ratio / 2 * squared_error(eps_net, f, eps, schedule(t))


def uniform_times(shape: tuple[int, ...], generator: Generators) -> Tensor:
    """t ~ U[0, 1), each by itself; float64."""
    return uniform(shape, generator, torch.float64)


def spread_times(shape: tuple[int, ...], generator: Generators) -> Tensor:
    """t_i = (u + i/B) mod 1 with one u ~ U[0, 1) for a batch of B: each is uniform, and together they cover [0, 1)
    evenly, which lowers the variance (Appendix I.1)."""
    B = shape[-1]
    u = uniform((*shape[:-1], 1), generator, torch.float64)
    return (u + torch.arange(B, dtype=torch.float64, device=u.device) / B) % 1


Times = Callable[[tuple[int, ...], Generators], Tensor]


def bound(
    eps_net: EpsNet,
    x: Tensor,
    numbers: Numbers,
    schedule: LinearLogSnr,
    generator: Generators,
    steps: int | None = None,
    times: Times = spread_times,
) -> Bound:
    """The negative ELBO of each x, estimated by one time and two draws of noise, of the leading shape (B,) or (S, B).

    Args:
        x: whole numbers, (B, *D), or (S, B, *D) with a tuple of S generators.
        steps: T of the chain; None for continuous time.
        times: how the times of a batch are drawn.
    """
    shape = tuple(x.shape[: 2 if isinstance(generator, tuple) else 1])
    f = numbers.encode(x)
    eps_0, eps = (normal(f.shape, generator, f.dtype, f.device) for _ in range(2))
    t = times(shape, generator).to(f.device)
    if steps is None:
        diffusion = diffusion_loss(eps_net, f, eps, t, schedule)
    else:
        on_grid = ((t * steps).floor() + 1) / steps
        diffusion = discrete_diffusion_loss(eps_net, f, eps, on_grid, schedule, steps)
    first, last = schedule(torch.zeros_like(t)), schedule(torch.ones_like(t))
    return Bound(prior_loss(f, last), reconstruction_loss(x, eps_0, numbers, first), diffusion)


def ancestral_step(eps_hat: Tensor, z: Tensor, log_snr_t: Tensor, log_snr_s: Tensor, noise: Tensor) -> Tensor:
    """z_s ~ p(z_s|z_t) for s < t, as the authors' 2-D example has it:

    z_s = (α_s/α_t) (z_t − c σ_t ε̂) + σ_s √c · noise,    c = −expm1(λ_t − λ_s).
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = alpha_sigma(log_snr_t), alpha_sigma(log_snr_s)
    c = -torch.expm1(log_snr_t - log_snr_s)
    mean = leading(alpha_s / alpha_t, z) * (z - leading(c * sigma_t, z) * eps_hat)
    return mean + leading(sigma_s * c.sqrt(), z) * noise


@torch.no_grad()
def ancestral_sample(
    eps_net: EpsNet,
    shape: tuple[int, ...],
    numbers: Numbers,
    schedule: LinearLogSnr,
    steps: int,
    generator: Generators,
    device: torch.device | str | None = None,
) -> Tensor:
    """Whole numbers of `shape`, (B, *D) or (S, B, *D): z_1 ~ N(0, I), T ancestral steps, and x ~ p(x|z_0).

    Raises ValueError for steps < 1.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}; a chain has at least 1")
    z = normal(shape, generator, torch.float64, device)
    times = torch.ones(shape[: 2 if isinstance(generator, tuple) else 1], dtype=torch.float64, device=z.device)
    for i in range(steps, 0, -1):
        log_snr_t, log_snr_s = schedule(times * i / steps), schedule(times * (i - 1) / steps)
        noise = normal(shape, generator, torch.float64, device)
        z = ancestral_step(eps_net(z, log_snr_t).to(z), z, log_snr_t, log_snr_s, noise)
    first = schedule(torch.zeros_like(times))
    return numbers.sample(z / leading(alpha_sigma(first)[0], z), first, generator)
