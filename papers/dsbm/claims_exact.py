"""What DSBM claims of its iterates, in exact arithmetic on Gaussians. Imports nothing heavy."""

from __future__ import annotations

from itertools import product

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.measures import Measure, paired_ratio, value_at
from papers.dsbm.measures import growth, largest_residual, largest_rise

EXACT = "Exact arithmetic, nothing is trained: Gaussians of one dimension, and of three with full covariances."
ALL = ("quick", "small", "gpu")


def _exact(
    name: str, experiment: str, measure: Measure, criterion: Criterion, published: float | None, floor: float
) -> Quantity:
    """`floor` is for rounding alone, which another processor does in another order."""
    return Quantity(name, experiment, measure, criterion, published, floor=floor, deterministic=True)


def _fewer_passes() -> tuple[Quantity, ...]:
    return tuple(
        Quantity(
            f"IPF over IMF after 2 passes, {pair} pair, sigma {sigma:g}",
            "exact_iterates",
            paired_ratio("kl", first={"method": "ipf"}, second={"method": "imf"}, pair=pair, sigma=sigma, iterate=2),
            Criterion(1.0, reason="the sign, in exact arithmetic"),
            unit="×",
            floor=1e-3,  # rounding: where the noise is large the divergences are 1e-10
            scale="log",
            deterministic=True,
        )
        for pair, sigma in product(("unit", "general"), (0.25, 1.0, 4.0))
    )


EXACT_CLAIMS = (
    Claim(
        "cost",
        "The regularised transport cost decreases along the iterates of IMF, by the Pythagorean identity of its "
        "projections.",
        "Section 3, Lemma 6 and Theorem 8",
        (
            _exact(
                "largest relative rise of the cost",
                "exact_iterates",
                largest_rise("entropic_cost", method="imf"),
                Criterion(upper=1e-12, reason="no rise but rounding"),
                0.0,
                floor=1e-13,
            ),
            _exact(
                "largest relative error of the identity",
                "exact_iterates",
                largest_residual,
                Criterion(upper=1e-8, reason="an identity, up to the tolerance of quadrature and of the ODE solver"),
                0.0,
                floor=1e-12,
            ),
        ),
        presets=ALL,
        deviation=EXACT,
    ),
    Claim(
        "limits",
        "Without noise one pass of IMF is rectified flow; with much noise the Schrödinger bridge is the independent "
        "coupling; and one pass is bridge matching.",
        "Section 5",
        (
            *(
                _exact(
                    f"one pass to rectified flow at sigma 0.03, {pair} pair",
                    "exact_limits",
                    value_at("first_to_rectified", pair=pair, sigma=0.03),
                    Criterion(upper=0.01, reason="a hundredth of the coupling's size"),
                    0.0,
                    floor=1e-8,
                )
                for pair in ("unit", "general")
            ),
            *(
                _exact(
                    f"order in sigma of one pass's distance to rectified flow, {pair} pair",
                    "exact_limits",
                    growth("first_to_rectified", "sigma", 0.03, 0.1, pair=pair),
                    Criterion(1.8, 2.2, "σ² enters the drift; the next terms bend the line"),
                    2.0,
                    floor=1e-5,
                )
                for pair in ("unit", "general")
            ),
            *(
                _exact(
                    f"order in sigma of the bridge's correlation, {pair} pair",
                    "exact_limits",
                    growth("bridge_to_independent", "sigma", 10.0, 30.0, pair=pair),
                    Criterion(-2.1, -1.9, "C is about S_0 S_1/σ² for large σ"),
                    -2.0,
                    floor=1e-5,
                )
                for pair in ("unit", "general")
            ),
            Quantity(
                "error of the first pass's drift, relative to the exact bridge matching",
                "gaussian",
                value_at("drift_error", method="DSBM-IMF", dim=5, pass_number=1),
                Criterion(upper=0.25, reason="a quarter; with the drift of the second pass it would be more"),
                floor=0.05,
            ),
        ),
        presets=ALL,
        deviation=EXACT + " The last is the trained network's, by its root mean square at ten times.",
    ),
    Claim(
        "passes",
        "Where the means differ, IMF is closer to the Schrödinger bridge than IPF after two passes.",
        "beyond the paper",
        _fewer_passes(),
        presets=ALL,
        deviation=EXACT + " KL divergence of the coupling to the bridge's. With equal means IPF may get ahead; and "
        "before any pass the reference is nearer than independent pairs where there is little noise.",
    ),
)
