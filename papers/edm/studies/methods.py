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

SOLVERS: Mapping[str, Method] = {"euler": Method("Euler", COLOURS[0]), "heun": Method("Heun", COLOURS[3], "D")}
