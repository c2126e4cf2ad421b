"""What methods, paths and solvers are called in claims and figures, and how they are drawn: the one table of them.

Colours are seaborn's colour-blind palette, and never the only difference. A path has the colour of the flow matching
that is trained on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from common.harness.studies.looks import Look
from common.harness.studies.panels import COLOURS

if TYPE_CHECKING:
    pass


METHODS: Mapping[str, Look] = {
    "fm-ot": Look("FM, OT", COLOURS[0], "o"),
    "fm-vp": Look("FM, diffusion", COLOURS[3], "s", "--"),
    "score": Look("score matching", COLOURS[2], "^", "-."),
    "scoreflow": Look("ScoreFlow", COLOURS[4], "v", ":"),
    "ddpm": Look("DDPM", COLOURS[7], "D", (0, (6, 2, 1, 2, 1, 2))),
}
"""By the name of the objective (`papers.flow_matching.objective.OBJECTIVES`), in the order of the figures. "FM,
diffusion" is the paper's "FM w/ Diffusion": on the VP path."""

PATHS: Mapping[str, Look] = {
    "ot": Look("OT", COLOURS[0], "o"),
    "vp": Look("VP", COLOURS[3], "s", "--"),
    "ve": Look("VE", COLOURS[1], "^", "-."),
}
"""Conditional paths."""

SOLVERS: Mapping[str, Look] = {
    "euler": Look("Euler", COLOURS[5], "v", ":"),
    "midpoint": Look("midpoint", COLOURS[9], "o"),
    "rk4": Look("RK4", "black", "D", "--"),
    "dopri5": Look("dopri5", COLOURS[1], "s", "-."),
}


LAWS: Mapping[str, Look] = {
    "mixture": Look("mixture (2-D)", COLOURS[7], "o"),
    "digits": Look("digits (64-D)", "black", "s"),
}
"""Of exact trajectories."""
TARGETS: Mapping[str, Look] = {
    "cfm": Look("conditional velocity", COLOURS[0], "o"),
    "no-sigma-min": Look("x₁ − x₀ as target", COLOURS[1], "^", "-."),
    "other-path": Look("target of the VP path", COLOURS[3], "s", "--"),
}
"""What a network is regressed on."""
WAYS: Mapping[str, Look] = {
    "cfm": Look("CFM, OT path", COLOURS[0], "o"),
    "likelihood": Look("maximum likelihood", COLOURS[1], "^", "-."),
}
"""Of training."""
RESTORED: Mapping[str, Look] = {
    "fm-ot": METHODS["fm-ot"],
    "regression": Look("regression", COLOURS[8], "P", ":"),
    "bicubic": Look("bicubic", "0.4", "X", ":"),
}
"""How images of high resolution are made from those of low."""
