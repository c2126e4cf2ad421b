"""What solvers are called in claims and figures, and how they are drawn: the one table of them.

Colours are seaborn's colour-blind palette, and never the only difference. A family has one colour where it is compared
with others; where its members are compared among themselves, a dash and a marker tell them apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from common.harness.studies.looks import Look
from common.harness.studies.panels import COLOURS

FIRST, SECOND, THIRD = COLOURS[0], COLOURS[2], COLOURS[3]
DENSE = (0, (1, 1))
SOLVERS: Mapping[str, Look] = {
    "seeds-1-data": Look("SEEDS-1, data", FIRST, "o"),
    "seeds-1-noise": Look("SEEDS-1, noise", FIRST, "s", "--"),
    "seeds-1-edm": Look("SEEDS-1, EDM", FIRST, "^", ":"),
    "seeds-2a-data": Look("SEEDS-2a, data", SECOND, "o"),
    "seeds-2b-data": Look("SEEDS-2b, data", SECOND, "D", DENSE),
    "seeds-2a-noise": Look("SEEDS-2a, noise", SECOND, "s", "--"),
    "seeds-2b-noise": Look("SEEDS-2b, noise", SECOND, "P", "-."),
    "seeds-2b-edm": Look("SEEDS-2b, EDM", SECOND, "^", ":"),
    "seeds-3-data": Look("SEEDS-3, data", THIRD, "o"),
    "seeds-3-noise": Look("SEEDS-3, noise", THIRD, "s", "--"),
    "seeds-3-edm": Look("SEEDS-3, EDM", THIRD, "^", ":"),
    "em-sigma-squared": Look("Euler–Maruyama in σ²", COLOURS[7], "v"),
    "2m-sde": Look("SDE-DPM-Solver++ 2M", COLOURS[4], "X", "-."),
    "fresh-stages": Look("SEEDS-2a, stage noise afresh", "black", "1", ":"),
    "official-phi": Look("SEEDS-3, official φ", "black", "2", "--"),
}
"""Of the SDE: what a name says is predicted is the data, the noise, or the raw output of EDM's network."""

ODE_SOLVERS: Mapping[str, Look] = {
    "euler": Look("Euler in t", COLOURS[7], "v"),
    "frozen-score": Look("exponential, score held", COLOURS[5], "x", ":"),
    "ddim": Look("DDIM = tAB-0", COLOURS[9], "o"),
    "tab1": Look("tAB-1", COLOURS[1], "s", "--"),
    "tab2": Look("tAB-2", COLOURS[1], "^", "-."),
    "tab3": Look("tAB-3", COLOURS[1], "D"),
    "rho-ab3": Look("ρAB-3", COLOURS[4], "P", "--"),
    "rho-heun": Look("ρHeun", COLOURS[3], "o", "--"),
    "rho-kutta": Look("ρKutta", COLOURS[3], "s", ":"),
}
"""Of the probability-flow ODE."""

IN_DATA = {"seeds-1-data": "SEEDS-1", "seeds-2b-data": "SEEDS-2", "seeds-3-data": "SEEDS-3"}
"""How those of SEEDS are called where all are in data prediction, and SEEDS-2 of type 2b."""
SAMPLERS: Mapping[str, Look] = {
    **{name: replace(SOLVERS[name], name=short, dash="-") for name, short in IN_DATA.items()},
    "em-sigma": Look("Euler–Maruyama in σ", COLOURS[8], "<"),
    "em-sigma-squared": SOLVERS["em-sigma-squared"],
    "em-vp": Look("Euler–Maruyama, VP", COLOURS[5], ">"),
    "ddpm": Look("DDPM", COLOURS[9], "p"),
    "churn": Look("EDM, stochastic", "black", "h"),
    "ddim": Look("DDIM", COLOURS[9], "o", "--"),
    "tab3": Look("DEIS, tAB-3", COLOURS[1], "D", "--"),
    "dpm-3": Look("DPM-Solver-3", COLOURS[4], "^", "--"),
    "2m": Look("DPM-Solver++ 2M", COLOURS[4], "X", "--"),
    "heun": Look("Heun", "0.5", "s", "--"),
}
"""Those that draw samples (`samplers.SAMPLERS`): stochastic ones with full lines, deterministic ones with dashes."""
