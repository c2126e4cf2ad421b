"""The claims about stochastic sampling (Section 4, Figure 5b). Imports nothing heavy."""

from __future__ import annotations

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.measures import Measure, paired_ratio, value_at
from papers.edm.claims_sampling import EXACT, better
from papers.edm.claims_training import TRAINED
from papers.edm.measures import saved_by_churn

AMOUNTS = (
    " All amounts start from the same noise and take 159 evaluations. Moderate is the published setting for CIFAR-10 "
    "(VP); excessive is all that Algorithm 2 allows, at every noise level and with S_noise = 1."
)


def _amounts(first: str, second: str, letter: str) -> Measure:
    return paired_ratio("fd", first={"amount": first}, second={"amount": second}, letter=letter)


STOCHASTIC_CLAIMS = (
    Claim(
        "churn",
        "With a network trained the original way (here C) moderate churn improves on deterministic sampling, and too "
        "much harms.",
        "Section 4, Figure 4",
        (
            better("none over moderate", "churn", _amounts("none", "moderate", "C")),
            better("excessive over moderate", "churn", _amounts("excessive", "moderate", "C")),
        ),
        deviation=TRAINED + AMOUNTS + " The published 2.93 to 2.27 compares 35 with 383 evaluations.",
    ),
    Claim(
        "churn-edm",
        "With a network trained the paper's way (here E) deterministic sampling is the best on a small data set, and "
        "churn only harms.",
        "Section 5, Figure 5b",
        (better("moderate over none", "churn", _amounts("moderate", "none", "E")),),
        deviation=TRAINED + AMOUNTS,
    ),
    Claim(
        "churn-exact",
        "With an exact denoiser churn has no error to correct, and does not help.",
        "Section 4",
        (
            Quantity(
                "fd_digits saved by moderate churn, in floors",
                "churn",
                saved_by_churn("exact"),
                Criterion(upper=1.0, reason="less than two samples of one distribution differ by is no improvement"),
                floor=0.5,
            ),
            Quantity(
                "spread about the digits with moderate churn",
                "churn",
                value_at("spread", denoiser="exact", amount="moderate"),
                Criterion(0.95, 1.05, "1 but for 0.02 that 80 lengthened steps and 0.007 that S_noise = 1.007 add"),
                floor=0.01,
            ),
        ),
        deviation=EXACT
        + " All Frechet distances lie at the floor of their n, where a ratio of two of them means nothing: a pilot "
        "with the criterion on the ratio was replaced. Spread is the root mean square distance to the nearest digit in "
        "units of the mixture's; its margin was set after a review had measured 1.027.",
    ),
)
