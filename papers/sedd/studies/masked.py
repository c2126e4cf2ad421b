"""Is absorbing SEDD, with the ratios of a guess p_θ(x_0 | x_t), masked cross-entropy? (Section 3; MDLM, 2406.07524)

With s = r p_θ and r = 1/(e^σ̄ − 1) score entropy and the cross-entropy of masked tokens are one number. Both are
computed on the same x_t, in float64, and so are their gradients in the guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import PRESETS, Row, Run, at_least, experiment
from common.harness.studies.measures import value_at
from common.harness.studies.study import Study
from common.training.stream import stream
from papers.sedd.cross_entropy import masked_cross_entropy
from papers.sedd.graph import Absorbing
from papers.sedd.loss import dwdse_loss, uniform_times
from papers.sedd.noise import LogLinear
from papers.sedd.studies.grids import everywhere
from papers.sedd.studies.languages import SAMPLING, TEST


@dataclass(frozen=True)
class MaskedIdentityConfig:
    """Random guesses p_θ(x_0 | x_t), each as good as another: `n` sequences with a noise level each."""

    vocab: int = 27
    length: int = 64
    n: int = 256

    def __post_init__(self) -> None:
        at_least(2, self, "vocab")
        at_least(1, self, "length", "n")


@experiment(
    MaskedIdentityConfig,
    everywhere([MaskedIdentityConfig()], 3, 3),
    {"loss_difference": float, "gradient_difference": float},
)
def masked_identity(config: MaskedIdentityConfig, seed: int, run: Run) -> Sequence[Row]:
    """Score entropy at s = r p_θ beside masked cross-entropy, on the same x_t: values, and gradients in the guess."""
    generator, graph, noise = stream(seed, TEST), Absorbing(config.vocab), LogLinear()
    x0 = torch.randint(config.vocab, (config.n, config.length), generator=generator)
    t = uniform_times(config.n, generator)
    logits = 3 * torch.randn(config.n, config.length, config.vocab, generator=generator, dtype=torch.float64)
    logits.requires_grad_(True)

    def log_posterior(x_t: Tensor, sigma: Tensor) -> Tensor:
        known = torch.where(x_t[..., None] == torch.arange(config.vocab), 0.0, -torch.inf).double()
        return torch.where(x_t[..., None] == graph.mask, logits.log_softmax(dim=-1), known)

    def log_score(x_t: Tensor, sigma: Tensor) -> Tensor:
        return graph.log_score_of(log_posterior(x_t, sigma), x_t, sigma)

    entropy_loss = dwdse_loss(log_score, x0, t, graph, noise, stream(seed, SAMPLING))
    cross_entropy = masked_cross_entropy(log_posterior, x0, t, graph, noise, stream(seed, SAMPLING))
    (of_entropy,) = torch.autograd.grad(entropy_loss.sum(), logits, retain_graph=True)
    (of_cross,) = torch.autograd.grad(cross_entropy.sum(), logits)
    return [
        {
            "loss_difference": float((entropy_loss - cross_entropy).norm().detach() / cross_entropy.norm().detach()),
            "gradient_difference": float((of_entropy - of_cross).norm() / of_cross.norm()),
        }
    ]


IDENTITY = Criterion(upper=1e-6, reason="an identity in float64, with room for the sum over a vocabulary")

STUDY = Study(
    "Masked cross-entropy",
    "Is score entropy on the absorbing graph the same loss as masked cross-entropy, gradients and all?",
    (masked_identity,),
    (
        Claim(
            "masked",
            "Absorbing SEDD with s = r p_θ is masked cross-entropy.",
            "Section 3; MDLM (2406.07524)",
            (
                Quantity(
                    "relative difference of the losses",
                    masked_identity,
                    value_at("loss_difference"),
                    IDENTITY,
                    expected=0.0,
                    metric="norm of the difference over the norm, over sequences",
                    zero=1e-12,
                ),
                Quantity(
                    "relative difference of the gradients",
                    masked_identity,
                    value_at("gradient_difference"),
                    IDENTITY,
                    expected=0.0,
                    metric="norm of the difference over the norm, gradients in the guess",
                    zero=1e-12,
                ),
            ),
            presets=PRESETS,
            kind="theorem",
            excludes="score entropy with a weight that is a thousandth off",
            deviation="Random guesses p_θ on 27 tokens, L = 64, at 256 noise levels.",
        ),
    ),
)
