"""What claims and figures call the schedules and solvers of Table 1, and how figures draw them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from common.harness.studies.panels import COLOURS


@dataclass(frozen=True)
class Method:
    name: str
    colour: str
    marker: str = "o"
    dash: str = "-"
    alias: str = ""
    """Another name that claims give beside it."""

    @property
    def full_name(self) -> str:
        return f"{self.name} ({self.alias})" if self.alias else self.name


SCHEDULES: Mapping[str, Method] = {
    "vp": Method("VP", COLOURS[0]),
    "ve": Method("VE", COLOURS[1], "s"),
    "iddpm": Method("iDDPM", COLOURS[2], "^", alias="DDIM"),
    "cosine": Method("iDDPM (cosine)", COLOURS[2]),
    "edm": Method("EDM", COLOURS[3], "D"),
}
"""'iddpm' are its time steps, which the paper takes on σ(t) = t; 'cosine' is its forward process."""

SOLVERS: Mapping[str, Method] = {"euler": Method("Euler", COLOURS[4]), "heun": Method("Heun", COLOURS[3], "D")}
"""On the EDM time steps: Heun's method on them is the EDM sampler, and has its colour."""

ORDER: Mapping[str, float] = {"euler": 1.0, "heun": 2.0}
"""Order of each solver's global error: what the local errors O(h²) and O(h³) give over 1/h steps."""

LETTERS: Mapping[str, Method] = {
    letter: Method(letter, colour, dash=dash)
    for letter, colour, dash in zip(
        "ABCDEF",
        (COLOURS[7], COLOURS[9], COLOURS[0], COLOURS[1], COLOURS[3], COLOURS[2]),
        ("-", "--", "-.", ":", "-", "--"),
        strict=True,
    )
}
"""The training configurations of Table 2; `configs.py` says what each changes."""

EXACT_DENOISER = Method("exact denoiser", "0.3")
LAWS: Mapping[str, Method] = {
    "mixture": Method("mixture (2-D)", "0.2"),
    "digits": Method("digits (64-D)", COLOURS[9], "s"),
}
