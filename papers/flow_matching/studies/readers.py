"""Readers: who says which digit a noisy image shows, and from when on.

posterior    the probabilities of the classes given the state, by the exact law: no reader can know more
classifier   the digit classifier of `common/metrics`, that was trained on clean images
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from common.data.images import Images
from common.metrics.features import as_mnist, load_classifier
from papers.flow_matching.marginal import SMALLEST_SCALE
from papers.flow_matching.path import OT, ConditionalPath
from papers.flow_matching.solvers import Velocity, grid, midpoint

READERS = ("posterior", "classifier")
SURE = 0.5
"""The probability at which a reader has read a class: more than all others together. Less is a guess: the flow is
deterministic, so that even the noise at the start says something of the picture at the end."""


def class_posterior(x: Tensor, noise: Tensor, images: Images, chunk: int = 256) -> Tensor:
    """P(c | x) for x = x_1 + noise ε with x_1 one of `images`, each equally likely; x: (B, *D), noise: ().

    It is the sum of softmax_i(−‖x − y_i‖²/(2 noise²)) over the images y_i of class c. Returns (B, 10), float64.
    """
    mean = images.x0.double().flatten(1).mean(0)  # the differences of large numbers are taken about it
    data = images.x0.double().flatten(1) - mean
    of_class = torch.nn.functional.one_hot(images.labels, 10).double()
    found = []
    for z in (x.double().flatten(1) - mean).split(chunk):
        weights = torch.softmax(torch.addmm(-data.square().sum(1) / 2, z, data.T) / noise.double().square(), dim=1)
        found.append(weights @ of_class)
    return torch.cat(found)


def settled(probabilities: Tensor) -> Tensor:
    """Index of the state from which on the final class has a probability of at least `SURE`: (K, B, 10) -> (B,).

    The final class is the most probable one in the last state; where even that is not sure of it, the index is the
    last.
    """
    final = probabilities[-1].argmax(1)
    of_final = probabilities.gather(2, final.expand(len(probabilities), -1)[..., None])[..., 0]
    sure = (of_final >= SURE).long()
    sure[-1] = 1
    return sure.flip(0).cumprod(0).flip(0).argmax(0)


def on_the_clock_of_ot(path: ConditionalPath, t: Tensor) -> Tensor:
    """The time at which OT has the signal-to-noise ratio r = m(t)/σ_t that `path` has at t: r/(1 + (1 − σ_min) r)."""
    r = path.mean_scale(t) / path.sigma(t)
    return r / (1 + (1 - OT().sigma_min) * r)


def classifier(picture: Tensor) -> Tensor:
    """The probabilities by the classifier of digits (8×8) or MNIST (16×16 and more); (B, 1, R, R) -> (B, 10)."""
    shown = picture.float().cpu().clamp(-1, 1)
    digits = shown.shape[-1] == 8
    net = load_classifier("digits" if digits else "mnist")
    return net(shown if digits else as_mnist(shown)).softmax(1)


def read_along(
    velocity: Velocity, path: ConditionalPath, x_0: Tensor, steps: int, images: Images
) -> tuple[Tensor, Tensor, Mapping[str, Tensor]]:
    """Times (K,), states (K, B, *D) and, by reader, the probability of each class in each of them (K, B, 10).

    `images` are the law of the posterior.
    """
    times, states = grid(path, steps), list[Tensor]()
    midpoint(velocity, x_0, times, callback=lambda x: states.append(x.cpu()))
    read: dict[str, list[Tensor]] = {reader: [] for reader in READERS}
    for t, x in zip(times, states, strict=True):
        m = path.mean_scale(t).clamp(min=SMALLEST_SCALE)
        picture = x / m
        read["posterior"].append(class_posterior(picture, path.sigma(t) / m, images))
        read["classifier"].append(classifier(picture))
    return times, torch.stack(states), {reader: torch.stack(read[reader]) for reader in READERS}
