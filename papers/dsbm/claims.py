"""What DSBM claims, as numbers with criteria: those of trained Gaussian bridges here, those of exact ones in
`claims_exact`, those in the plane in `claims_plane`.

The criteria were written before the runs that are reported, and after pilots on seeds 100 and 101, which settled the
training (learning rates, the average of the weights, how long a cache serves, the length of the first pass, the network
in the plane) and the σ of the task between data sets. This module imports nothing heavy, because the card does not.
"""

from __future__ import annotations

from itertools import product

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.measures import paired_ratio, value_at
from papers.dsbm.claims_exact import EXACT_CLAIMS
from papers.dsbm.claims_plane import PLANE_CLAIMS
from papers.dsbm.measures import generated_variance, growth
from papers.dsbm.published import GAUSSIAN_KL

IMF_CROSS = (0.5463, 0.6111, 0.6174, 0.6180)
IPF_CROSS = (1 / 2, 2 / 3, 3 / 5, 5 / 8)
"""Cov(x_0, x_1) after passes 1 to 4 in exact arithmetic, σ = 1."""

BUDGET = (
    "`small` trains 10 passes of 1000 steps (the first of 2000) where the paper has 40 of 10 000: about 3 % of its "
    "steps, at ten times its learning rate, with an average of the weights, and 10 000 simulated pairs serve 500 steps "
    "in place of 78. `quick` trains 4 passes. SB-CFM makes as many steps as each of DSBM's two networks would "
    "without the longer first pass. "
    "Pilots on seeds 100 and 101 settled the training, before the criteria were written."
)
ESTIMATOR = (
    " The paper's estimator is not public. Here a Gaussian with diagonal covariance is fitted to 10 000 test points at "
    "each of 21 times; with the full covariance the fit alone costs more than the published values at d = 50."
)


def _gaussian_table(dims: tuple[int, ...], methods: tuple[str, ...]) -> tuple[Quantity, ...]:
    return tuple(
        Quantity(
            f"{method}, d = {dim}",
            "gaussian",
            value_at("kl_diagonal", method=method, dim=dim, final=True),
            Criterion(
                GAUSSIAN_KL[method, dim].mean / 3,
                GAUSSIAN_KL[method, dim].mean * 3,
                "a factor of three: another estimator and 3 % of the training",
            ),
            published=GAUSSIAN_KL[method, dim].mean,
            unit="10⁻³ nats",
            floor=0.3,
            scale="log",
        )
        for dim, method in product(dims, methods)
    )


def _over(worse: str, better: str, dim: int) -> Quantity:
    twice = Criterion(2.0, reason="'significantly': at least twice, of published ratios of 3.4 to 5.6")
    measure = paired_ratio("kl_diagonal", first={"method": worse}, second={"method": better}, dim=dim, final=True)
    published = GAUSSIAN_KL[worse, dim].mean / GAUSSIAN_KL[better, dim].mean
    return Quantity(
        f"{worse} over {better}, d = {dim}", "gaussian", measure, twice, published, unit="×", floor=0.3, scale="log"
    )


def _covariances() -> tuple[Quantity, ...]:
    return tuple(
        Quantity(
            f"{method}, pass {number}",
            "gaussian",
            value_at("correlation", method=method, dim=5, pass_number=number),
            Criterion(
                exact - 0.03, exact + 0.03, "the exact value ± 0.03; the other iteration's second value is 0.056 away"
            ),
            published=round(exact, 4),
            floor=0.02,
        )
        for method, values in (("DSBM-IMF", IMF_CROSS), ("DSBM-IPF", IPF_CROSS))
        for number, exact in enumerate(values, 1)
    )


def _variances() -> tuple[Quantity, ...]:
    kept = Criterion(0.9, 1.1, "1 within a tenth, well within the quarter that IPF departs by in its first pass")
    imf = tuple(
        Quantity(
            f"DSBM-IMF, variance after pass {number}",
            "gaussian",
            generated_variance(number, method="DSBM-IMF", dim=5),
            kept,
            published=1.0,
            floor=0.04,
        )
        for number in (1, 2, 3, 4)
    )
    ipf = tuple(
        Quantity(
            f"DSBM-IPF, variance after pass {number}",
            "gaussian",
            generated_variance(number, method="DSBM-IPF", dim=5),
            Criterion(exact - 0.05, exact + 0.05, f"the exact {fraction} ± 0.05"),
            published=round(exact, 4),
            floor=0.04,
        )
        for number, exact, fraction in ((1, 3 / 4, "3/4"), (2, 10 / 9, "10/9"))
    )
    means = tuple(
        Quantity(
            f"{method}, mean after pass 1",
            "gaussian",
            value_at("mean_0", method=method, dim=5, pass_number=1),
            Criterion(mean - 0.03, mean + 0.03, "the exact value ± 0.03, a third of the distance of the two"),
            published=mean,
            floor=0.02,
        )
        for method, mean in (("DSBM-IMF", -0.1), ("DSBM-IPF", 0.0))
    )
    return (*imf, *ipf, *means)


GAUSSIAN_SOURCE = "Section 6, Table 2"
ALL = ("quick", "small", "gpu")

CLAIMS = (
    Claim(
        "gaussian-kl-5",
        "Between Gaussians in five dimensions the marginals of DSBM are close to the Schrödinger bridge's throughout.",
        GAUSSIAN_SOURCE,
        _gaussian_table((5,), ("SB-CFM", "DSBM-IPF", "DSBM-IMF")),
        presets=ALL,
        deviation=BUDGET + ESTIMATOR,
    ),
    Claim(
        "gaussian-kl",
        "The mean KL divergence to the Schrödinger bridge over all times, in 5, 20 and 50 dimensions.",
        GAUSSIAN_SOURCE,
        _gaussian_table((5, 20, 50), ("DSB", "SB-CFM", "DSBM-IPF", "DSBM-IMF")),
        presets=("small", "gpu"),
        deviation=BUDGET + ESTIMATOR,
    ),
    Claim(
        "gaussian-order",
        "In high dimension DSBM is significantly more accurate than DSB and SB-CFM.",
        GAUSSIAN_SOURCE,
        tuple(_over(worse, better, 50) for worse in ("DSB", "SB-CFM") for better in ("DSBM-IPF", "DSBM-IMF")),
        presets=("small", "gpu"),
        deviation=BUDGET + ESTIMATOR,
    ),
    Claim(
        "gaussian-growth",
        "The error of DSBM grows about linearly with the dimension.",
        GAUSSIAN_SOURCE,
        tuple(
            Quantity(
                f"exponent from d = 5 to 50, {method}",
                "gaussian",
                growth("kl_diagonal", "dim", 5, 50, method=method, final=True),
                Criterion(0.7, 1.3, "1 ± 0.3, below SB-CFM's published 1.5; DSB's is 1.0 as well"),
                published=published,
                floor=0.15,
            )
            for method, published in (("DSBM-IPF", 0.852), ("DSBM-IMF", 0.862))
        ),
        presets=("small", "gpu"),
        deviation=BUDGET + ESTIMATOR + " The bias of the fit itself grows linearly, so that a perfect method has the "
        "exponent 1: what the claim excludes is a growth like SB-CFM's.",
    ),
    Claim(
        "gaussian-estimator",
        "The published values are above what a diagonal fit to 10 000 exact samples gives, and below what a full fit "
        "does, so that they were not made with the latter.",
        "beside Table 2",
        (
            Quantity(
                "diagonal fit, d = 50",
                "gaussian_floor",
                value_at("floor_diagonal", dim=50),
                Criterion(upper=8.75, reason="the least published value at d = 50"),
                published=8.75,
                unit="10⁻³ nats",
            ),
            Quantity(
                "full fit, d = 50",
                "gaussian_floor",
                value_at("floor_full", dim=50),
                Criterion(49.4, reason="the largest published value at d = 50"),
                published=49.4,
                unit="10⁻³ nats",
            ),
        ),
        presets=("small", "gpu"),
        deviation="A check of our reading of the paper, which does not say how it estimates the divergence.",
    ),
    Claim(
        "iterates",
        "The covariance between the two ends follows the exact iterates of IMF and of IPF, pass by pass.",
        "Section 3; exact values by this repository",
        _covariances(),
        presets=ALL,
        deviation=BUDGET + " d = 5. In the place of a published number stands the exact one. Until a review of the "
        "first report IPF had ± 0.05, which IMF's values meet as well.",
    ),
    Claim(
        "marginals",
        "IMF keeps both marginals at every iterate; IPF keeps one, and the other comes right only in the limit.",
        "Section 3",
        _variances(),
        presets=ALL,
        deviation=BUDGET + " d = 5. Variance and mean at the end where a pass's simulation arrives; in the place of "
        "a published number stands the exact one.",
    ),
    *EXACT_CLAIMS,
    *PLANE_CLAIMS,
)
