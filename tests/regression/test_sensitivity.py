"""A check that would pass a wrong number guards nothing: each committed number, times 1.1, must turn it red.

Nothing is run: the committed values stand for what today's code gives.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from common.harness.reports.compare import Baseline, compare, read_baseline
from common.harness.studies.claims import Claim, Judgement, Measurement, Quantity
from common.harness.studies.paper import discover
from common.harness.studies.statistics import student_t

REPORTS = Path(__file__).resolve().parents[2] / "reports"
COMMITTED = [slug for slug in discover() if (REPORTS / slug / "quick" / "claims.json").exists()]
FACTORS = (1.1, 1 / 1.1)

IDENTITY = "an identity in exact numbers: what is left is rounding, and another processor rounds otherwise"
EXEMPT: Mapping[tuple[str, str, str], str] = {
    ("edm", "preconditioning", "largest |effective weight - 1|"): IDENTITY,
    ("dsbm", "cost", "largest relative rise of the cost"): IDENTITY,
    ("dsbm", "cost", "largest relative error of the identity"): IDENTITY,
    **{
        ("flow_matching", "marginal-law", f"log-density, {path}"): "what the solver leaves"
        for path in ("OT", "VP", "VE")
    },
    ("flow_matching", "curvature", "conditional OT, mixture (2-D)"): IDENTITY,
    ("flow_matching", "curvature", "conditional OT, digits (64-D)"): IDENTITY,
    ("weighted_elbo", "weighted-elbos", "w against the table, worst of 16 objectives"): IDENTITY,
    ("weighted_elbo", "bound-exact", "bound less entropy"): "what the quadrature leaves",
    **{
        ("seeds", "identities", name): IDENTITY
        for name in (
            "variance 1 − e^{−2h}, data",
            "variance e^{2h} − 1, noise",
            "SEEDS-1, data = DDPM",
            "SEEDS-1, noise, VE = Euler–Maruyama in σ",
            "SEEDS-1, noise → DPM-Solver-1",
            "SEEDS-2a, noise → DPM-Solver-2",
            "SEEDS-3, noise → DPM-Solver-3",
        )
    },
    ("seeds", "ddim", "tAB-0 and DDIM"): IDENTITY,
    ("ctm", "no-jump", "largest change"): IDENTITY,
    **{
        ("ctm", "bits", f"bound, standard deviation {std}"): "bits less the law's own: what a sample of points leaves"
        for std in (0.5, 0.25, 0.1)
    },
    ("sedd", "bound", "largest |bound / entropy − 1|, enumerated"): "an identity: the rest is of the quadrature",
    ("sedd", "masked", "relative difference of the losses"): IDENTITY,
    ("sedd", "masked", "relative difference of the gradients"): IDENTITY,
    ("sedd", "tweedie", "largest |KL ratio − 1|, absorbing, loglinear noise"): IDENTITY,
}
"""Paper, claim and quantity of a number that may be any other zero, with the reason."""


def numbers(slug: str) -> Iterator[tuple[Claim, Quantity, Mapping[int, float], Baseline]]:
    """What the committed report has values of, and today's study claims."""
    baseline = read_baseline(REPORTS / slug / "quick")
    for claim in discover()[slug].claims:
        for quantity in claim.quantities:
            if values := baseline.values.get((claim.id, quantity.name)):
                yield claim, quantity, values, baseline


def caught(claim: Claim, quantity: Quantity, values: Mapping[int, float], baseline: Baseline, factor: float) -> bool:
    """Whether the number itself fails a check, whatever the verdict, where it is `factor` times what was committed."""
    now = {seed: value * factor for seed, value in values.items()}
    estimate = student_t(list(now.values()), quantity.scale, quantity.deterministic)
    measured = Measurement(quantity, now, estimate, quantity.criterion.judge(estimate))
    found = compare([Judgement(replace(claim, quantities=(quantity,)), (measured,))], baseline)
    return any(change.failed for change in found if (change.claim, change.what) == (claim.id, quantity.name))


@pytest.mark.parametrize("slug", COMMITTED)
def test_a_factor_of_1_1_on_any_number_is_caught(slug: str) -> None:
    let_through = [
        f"{claim.id}: {quantity.name} × {factor:.3g}"
        for claim, quantity, values, baseline in numbers(slug)
        for factor in FACTORS
        if (slug, claim.id, quantity.name) not in EXEMPT
        and any(values.values())
        and not caught(claim, quantity, values, baseline, factor)
    ]
    assert let_through == []


@pytest.mark.parametrize("slug", COMMITTED)
def test_what_is_exempt_is_there_and_is_zero_but_for_rounding(slug: str) -> None:
    """So that the list of exemptions can hide no other number."""
    there = {(slug, claim.id, quantity.name): (quantity, values) for claim, quantity, values, _ in numbers(slug)}
    exempt = [key for key in EXEMPT if key[0] == slug]
    assert [key for key in exempt if key not in there] == []
    assert [key for key in exempt if max(map(abs, there[key][1].values())) > there[key][0].zero] == []
    assert [key for key in exempt if not EXEMPT[key]] == []
