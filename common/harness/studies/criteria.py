"""The criteria that a run will be judged by, as hashes: a report then finds by itself which are younger than its runs.

A run stores, for every quantity that reads its experiment, the hash of what decides the quantity's verdict besides the
rows: the bounds, the columns read and the values picked, the experiment, the scale, and whether chance enters. Names,
statements and reasons are words, and are left out.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from common.harness.studies.claims import Claim, Quantity


def criterion_hash(quantity: Quantity) -> str:
    """8 hex digits of SHA-256 over what decides the verdict of `quantity`."""
    decides = {
        "lower": float(quantity.criterion.lower),
        "upper": float(quantity.criterion.upper),
        "reads": list(quantity.measure.reads),
        "picks": [dict(pick) for pick in quantity.measure.picks],
        "experiment": quantity.experiment.name,
        "scale": quantity.scale,
        "deterministic": quantity.deterministic,
    }
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=repr).encode()).hexdigest()[:8]


def criterion_hashes(claims: Iterable[Claim]) -> dict[str, dict[str, str]]:
    """By experiment: "<claim id>/<quantity name>" and the hash, for every quantity that reads the experiment.

    Of all presets: a run that `quick` made may be one of `small` too.
    """
    found: dict[str, dict[str, str]] = {}
    for claim in claims:
        for quantity in claim.quantities:
            found.setdefault(quantity.experiment.name, {})[f"{claim.id}/{quantity.name}"] = criterion_hash(quantity)
    return found


def younger(claim: Claim, quantity: Quantity, runs: Iterable[Mapping[str, str] | None]) -> bool:
    """Whether one of `runs` was made under another criterion for `quantity` than today's, or under none.

    Each of `runs` is what the run stored; None, where it stored nothing, says nothing of age. A name is a word: what
    was stored for this claim under a name that it has no more is the same criterion, if it decides the same.
    """
    name, today = f"{claim.id}/{quantity.name}", criterion_hash(quantity)
    names = criterion_hashes([claim])[quantity.experiment.name]

    def known(stored: Mapping[str, str]) -> bool:
        if name in stored:
            return stored[name] == today
        gone = (key for key in stored if key.startswith(f"{claim.id}/") and key not in names)
        return any(stored[key] == today for key in gone)

    return not all(known(stored) for stored in runs if stored is not None)
