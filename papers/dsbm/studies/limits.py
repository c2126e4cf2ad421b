"""What is DSBM where σ goes to 0 and to infinity, and what is its first pass (Section 5)?

By exact arithmetic between Gaussians: one pass of IMF against rectified flow, and the Schrödinger bridge against
optimal transport and independent ends, over σ. That a trained first pass is bridge matching is seen by its drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from common.harness.studies.claims import Claim, Criterion, Quantity
from common.harness.studies.experiment import PRESETS, Grid, Row, Run, experiment, positive
from common.harness.studies.figure import Figure, Results
from common.harness.studies.measures import Measure, value_at
from common.harness.studies.panels import finish, where
from common.harness.studies.study import Study
from papers.dsbm.gaussian import independent_bridge, markovian_projection, schrodinger_bridge
from papers.dsbm.studies.drawing import key, sheet
from papers.dsbm.studies.gaussian import BUDGET, gaussian
from papers.dsbm.studies.growth import growth
from papers.dsbm.studies.methods import LOOKS
from papers.dsbm.studies.pairs import EXACT, PAIRS

if TYPE_CHECKING:
    from matplotlib.figure import Figure as MatplotlibFigure


@dataclass(frozen=True)
class LimitsConfig:
    sigmas: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)

    def __post_init__(self) -> None:
        positive(self, "sigmas")


@experiment(
    LimitsConfig,
    {preset: Grid([LimitsConfig()]) for preset in PRESETS},
    {
        "pair": PAIRS,
        "sigma": float,
        "first_to_rectified": float,
        "first_to_independent": float,
        "bridge_to_transport": float,
        "bridge_to_independent": float,
    },
)
def exact_limits(config: LimitsConfig, seed: int, run: Run) -> list[Row]:
    """How far, by σ, one pass of IMF is from rectified flow, and the Schrödinger bridge from optimal transport and from
    independence. Relative to the size of the optimal transport's C, in the Frobenius norm."""
    rows: list[Row] = []
    for name, ends in PAIRS.items():
        transport = schrodinger_bridge(*ends, 0.0).cross
        rectified = markovian_projection(independent_bridge(*ends, 0.0)).cross
        for sigma in config.sigmas:
            bridge = schrodinger_bridge(*ends, sigma).cross
            first = markovian_projection(independent_bridge(*ends, sigma)).cross
            distances = {
                "first_to_rectified": first - rectified,
                "first_to_independent": first,
                "bridge_to_transport": bridge - transport,
                "bridge_to_independent": bridge,
            }
            relative = {key: float(gap.norm() / transport.norm()) for key, gap in distances.items()}
            rows.append({"pair": name, "sigma": sigma, **relative})
    return rows


def _exact(name: str, measure: Measure, criterion: Criterion, expected: float, metric: str) -> Quantity:
    return Quantity(name, exact_limits, measure, criterion, expected=expected, metric=metric, deterministic=True)


SIZE = "distance of couplings, relative to that of optimal transport from independent ends"
CLAIMS = (
    Claim(
        "limits",
        "Without noise one pass of IMF is rectified flow, and with much noise the Schrödinger bridge is the "
        "independent coupling.",
        "Section 5",
        (
            *(
                _exact(
                    f"one pass to rectified flow at sigma 0.03, {pair} pair",
                    value_at("first_to_rectified", pair=pair, sigma=0.03),
                    Criterion(upper=0.01, reason="a hundredth of the coupling's size"),
                    0.0,
                    SIZE,
                )
                for pair in PAIRS
            ),
            *(
                _exact(
                    f"order in sigma of one pass's distance to rectified flow, {pair} pair",
                    growth("first_to_rectified", "sigma", 0.03, 0.1, pair=pair),
                    Criterion(1.8, 2.2, "σ² enters the drift; the next terms bend the line"),
                    2.0,
                    "exponent of σ from 0.03 to 0.1",
                )
                for pair in PAIRS
            ),
            *(
                _exact(
                    f"order in sigma of the bridge's correlation, {pair} pair",
                    growth("bridge_to_independent", "sigma", 10.0, 30.0, pair=pair),
                    Criterion(-2.1, -1.9, "C is about S_0 S_1/σ² for large σ"),
                    -2.0,
                    "exponent of σ from 10 to 30",
                )
                for pair in PAIRS
            ),
        ),
        presets=PRESETS,
        deviation=EXACT,
        kind="theorem",
        headline=True,
        excludes="the other couplings: independent ends where there is little noise, optimal transport where much",
    ),
    Claim(
        "bridge-matching",
        "The first pass of DSBM-IMF is bridge matching.",
        "Section 5",
        (
            Quantity(
                "error of the first pass's drift, relative to the exact bridge matching",
                gaussian,
                value_at("drift_error", method="DSBM-IMF", dim=5, pass_number=1),
                Criterion(upper=0.25, reason="a quarter; the drift of the second pass is 0.53 away"),
                expected=0.0,
                metric="root mean square error of the drift over ten times, relative",
            ),
        ),
        presets=PRESETS,
        deviation=BUDGET + " d = 5. Until the studies were taken apart it was a quantity of the claim above.",
        headline=True,
        excludes="the exact drift of the second pass",
    ),
)

LINES = {
    "first_to_rectified": ("one pass of IMF to rectified flow", LOOKS["RF"], "-"),
    "bridge_to_transport": ("bridge to optimal transport", LOOKS["OT-CFM"], "-"),
    "bridge_to_independent": ("bridge to independent ends", LOOKS["DSBM-IMF"], "--"),
}
"""Each distance with the look of the method nearest to it."""


def limits(results: Results) -> MatplotlibFigure:
    table = where(results.table(exact_limits), pair="general")
    figure, ((axes,),) = sheet(1, 1, height=4.2)
    for column, (label, look, style) in LINES.items():
        axes.plot(table["sigma"], table[column], color=look.colour, marker=look.marker, ls=style, label=label)
    axes.set(xscale="log", yscale="log", xlabel="σ of the reference", ylabel="relative distance of couplings")
    key(figure, columns=2)
    return finish(figure)


STUDY = Study(
    title="Little and much noise",
    question="What is DSBM where the reference has little noise and where it has much, and what is its first pass?",
    experiments=(exact_limits,),
    claims=CLAIMS,
    figures=(
        Figure(
            "limits",
            "Relative distances between couplings against sigma on logarithmic axes, for Gaussians with full "
            "covariances.",
            "To the left, one pass of IMF becomes rectified flow and the bridge becomes optimal transport. To the "
            "right the bridge loses all relation between its ends. A straight line is a power of σ.",
            (exact_limits,),
            limits,
        ),
    ),
)
