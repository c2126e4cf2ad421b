"""What weightings and noise schedules are called in claims and figures, and how they are drawn: the one table of them.

Colours are seaborn's colour-blind palette, and never the only difference. A weighting that never rises with λ is drawn
with a full line, any other with dashes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from common.harness.studies.looks import Look
from common.harness.studies.panels import COLOURS

if TYPE_CHECKING:
    pass


DASHES = (0, (4, 2))

WEIGHTINGS: Mapping[str, Look] = {
    "elbo": Look("ELBO (w = 1)", "black", "o"),
    "v-cosine": Look("v, cosine", COLOURS[0], "s"),
    "fm-ot": Look("FM, OT", COLOURS[9], "P"),
    "indi": Look("InDI", COLOURS[2], "v"),
    "snr-trunc": Look("truncated SNR", COLOURS[7], "<"),
    "sigmoid": Look("sigmoid", COLOURS[4], "^"),
    "edm-monotonic": Look("EDM-monotonic", COLOURS[3], "D"),
    "edm": Look("EDM", COLOURS[1], "d", DASHES),
    "eps-cosine": Look("ε, cosine (iDDPM)", COLOURS[5], "X", DASHES),
    "eps-vp": Look("ε, VP (DDPM)", "0.35", ">", DASHES),
    "p2": Look("P2", COLOURS[6], "p", DASHES),
    "min-snr": Look("Min-SNR", COLOURS[8], "h", DASHES),
}
"""By name (`papers.weighted_elbo.weighting.WEIGHTINGS`), in the order of the figures: the monotone ones first."""

OBJECTIVES: Mapping[str, Look] = {
    **WEIGHTINGS,
    "fm-vp": Look("FM, VP", "0.5", "*"),
    "score": Look("score matching", "0.35", ">", DASHES),
    "scoreflow": Look("ScoreFlow", "black", "o"),
}
"""By name (`papers.weighted_elbo.objectives.OBJECTIVES`): two of them have a weighting that another has, too."""

SCHEDULES: Mapping[str, Look] = {
    "linear": Look("λ linear in t", "black", "o"),
    "cosine": Look("cosine", COLOURS[0], "s", "--"),
    "straight": Look("straight line", COLOURS[2], "v", ":"),
    "vp": Look("VP", COLOURS[1], "D", "-."),
    "adaptive": Look("adaptive", COLOURS[3], "^"),
    "optimal": Look("optimal", COLOURS[4], "P", (0, (1, 1))),
}
"""Laws over noise levels between fixed endpoints: four fixed schedules and two that follow the loss."""
