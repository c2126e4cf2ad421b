"""The claims about preconditioning and training (Section 5). Imports nothing heavy."""

from __future__ import annotations

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.measures import Measure, paired_ratio, value_at
from papers.edm.claims_sampling import better
from papers.edm.measures import worst_deviation

TRAINED = (
    "`quick` trains a perceptron on 8×8 scikit-learn digits, `small` a U-Net on MNIST at 16×16; both without classes. "
    "Batch, warm-up and averaging are scaled to the length of the training; no image is mirrored in the data set, "
    "since a mirrored digit is none. Quality is fd_digits or fd_mnist at 35 NFE. "
    "The width and the gain path of the perceptron of `quick` were settled after pilots had shown numbers."
)


def _identities() -> tuple[Quantity, ...]:
    unit = Criterion(upper=0.01, reason="an identity: 1 % is more than four Monte Carlo standard errors at the n used")
    return tuple(
        Quantity(f"largest |{name} - 1|", "preconditioning", worst_deviation(column), unit, published=0.0, floor=0.005)
        for column, name in (
            ("var_input", "variance of the input"),
            ("var_target", "variance of the target"),
            ("effective_weight", "effective weight"),
        )
    )


def _letters(worse: str, better: str, **where: str) -> Measure:
    return paired_ratio("fd", first={"letter": worse}, second={"letter": better}, **where)


TRAINING_CLAIMS = (
    Claim(
        "preconditioning",
        "The EDM preconditioning gives the network inputs and training targets of unit variance, and a uniform "
        "effective weight, at every noise level.",
        "Section 5, Appendix B.6",
        _identities(),
        deviation="Measured on scikit-learn digits, standardised to mean 0 and standard deviation 0.5.",
    ),
    Claim(
        "training",
        "EDM's loss weight and noise distribution (E) improve on its preconditioning alone (D).",
        "Section 5, Table 2",
        (better("D over E", "training", _letters("D", "E"), 2.29 / 2.05),),
        deviation=TRAINED,
    ),
    Claim(
        "training-preconditioning",
        "EDM's preconditioning alone (D) leaves the FID about as it was (C).",
        "Section 5, Table 2",
        (
            Quantity(
                "C over D",
                "training",
                _letters("C", "D"),
                Criterion(0.8, 1.25, "equivalence margin of 80 to 125 %, the usual one for a ratio"),
                published=2.31 / 2.29,
                unit="×",
                floor=0.2,
                scale="log",
            ),
        ),
        deviation=TRAINED
        + " The networks are small and trained briefly: under C their error at high noise is multiplied by sigma (see "
        "the loss per noise level), and D is much better. The paper's networks, trained on a thousand times as many "
        "images, show the two alike.",
    ),
    Claim(
        "training-total",
        "All the training improvements together (F) are better than the baseline (A).",
        "Section 5, Table 2",
        (better("A over F", "training", _letters("A", "F"), 3.01 / 1.97),),
        presets=("small",),
        deviation=TRAINED,
    ),
    Claim(
        "training-cifar10",
        "On CIFAR-10, E improves on D and F on A.",
        "Section 5, Table 2",
        (
            better("D over E", "training", _letters("D", "E", dataset="cifar10"), 2.29 / 2.05),
            better("A over F", "training", _letters("A", "F", dataset="cifar10"), 3.01 / 1.97),
        ),
        presets=("gpu",),
        deviation="Unconditional networks. Quality is FID at 35 NFE.",
    ),
    Claim(
        "fid",
        "The published networks reach an FID of 1.79 (conditional) and 1.97 (unconditional) on CIFAR-10 at 35 NFE.",
        "Section 5, Table 2",
        tuple(
            Quantity(
                f"FID, {name}",
                "official_fid",
                value_at("fid", file=f"edm-cifar10-32x32-{kind}-vp.pkl"),
                Criterion(
                    upper=published + 0.1, reason="the paper gives the least of three runs; 0.1 covers their spread"
                ),
                published=published,
                floor=0.05,
            )
            for kind, name, published in (("cond", "conditional", 1.79), ("uncond", "unconditional", 1.97))
        ),
        presets=("gpu",),
        deviation="Judged where the official files (https://nvlabs-fi-cdn.nvidia.com/edm/pretrained/) lie in the "
        "folder edm of the data home. Noise is drawn from other seeds.",
    ),
)
