"""The claim about the precision that sampling takes (not in the paper). Nothing heavy."""

from __future__ import annotations

from common.harness.studies.claims import Claim, Criterion, Quantity
from papers.sedd.measures import entropy_kept, entropy_lost, over_derived

PRECISION = Claim(
    "precision",
    "Races of float32 clocks cut off rare tokens by x/(e^x − 1) with x = h/p; float64 does not.",
    "not in the paper; Zheng et al. (2409.02908)",
    (
        *(
            Quantity(
                f"drawn over derived at p = {ratio:g} h, float16",
                "race",
                over_derived(ratio, "float16"),
                Criterion(0.9, 1.1, "one tenth, about three standard errors of a seed's count"),
                published=1.0,
                floor=0.05,
            )
            for ratio in (0.5, 1.0)
        ),
        Quantity(
            "drawn over right at p = h/2, float32",
            "race",
            lambda table: table[table["dtype"] == "float32"].set_index("seed")["rate"],
            Criterion(upper=0.6, reason="0.31 derived, 1 were it right; a seed draws about three"),
            published=0.313,
            floor=0.3,
        ),
        Quantity(
            "drawn over right at p = h of float16, float64",
            "race",
            lambda table: table[table["dtype"] == "float64"].set_index("seed")["rate"],
            Criterion(0.95, 1.05, "5 %, about three standard errors of a seed's count"),
            published=1.0,
            floor=0.03,
        ),
        Quantity(
            "entropy lost over derived loss, float16, 192 steps",
            "truncation",
            entropy_lost("float16", 192),
            Criterion(0.7, 1.3, "30 %: about what the 20 000 draws of a seed can tell"),
            published=1.0,
            floor=0.15,
        ),
        Quantity(
            "entropy over the law's, float64, 192 steps",
            "truncation",
            entropy_kept("float64", 192),
            Criterion(0.98, 1.02, "2 %: about what the 20 000 draws of a seed can tell"),
            published=1.0,
            floor=0.01,
        ),
    ),
    presets=("quick", "small", "gpu"),
    deviation="The formula depends on p/h alone. In float16 (h = 2⁻¹¹) a second shows what takes float32 "
    "(h = 2⁻²⁴) a vocabulary of tens of thousands; float64 is tried at float16's p.",
)
