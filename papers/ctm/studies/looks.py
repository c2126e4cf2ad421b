"""What students, teachers and samplers are called in claims and figures, and how they are drawn: the one table of them.

Colours are seaborn's colour-blind palette, and never the only difference.
"""

from __future__ import annotations

from collections.abc import Mapping

from common.harness.studies.looks import Look
from common.harness.studies.panels import COLOURS

METHODS: Mapping[str, Look] = {
    "ctm": Look("CTM", COLOURS[0], "o"),
    "without-dsm": Look("CTM without DSM", COLOURS[4], "^", "--"),
    "gan": Look("CTM with GAN", COLOURS[3], "D"),
    "gan-without-dsm": Look("CTM with GAN, without DSM", COLOURS[3], "v", ":"),
    "judge": Look("GAN on the judge's features", COLOURS[6], "P", "-."),
    "no-teacher": Look("without a teacher", COLOURS[9], "X", "-."),
    "no-teacher-gan": Look("with GAN, without a teacher", COLOURS[9], "p", "--"),
    "cd": Look("consistency distillation", COLOURS[1], "s", "--"),
    "teacher": Look("teacher, Heun", "0.45", "h", (0, (6, 2, 1, 2))),
    "untrained": Look("untrained", "0.7", "x", ":"),
}
"""Students, and what they are held to. "CTM" is soft matching with DSM, a teacher, and no GAN."""

MATCHING: Mapping[str, Look] = {
    "soft": Look("soft matching", COLOURS[0], "o"),
    "local": Look("local matching", COLOURS[5], "v", "--"),
    "global": Look("global matching", COLOURS[2], "s", "-."),
}
"""How far the teacher goes. Soft matching has the colour of CTM, which it is a part of."""

GAMMAS: Mapping[float, Look] = {
    0.0: Look("γ = 0", COLOURS[0], "o"),
    0.5: Look("γ = 0.5", COLOURS[2], "^", "-."),
    1.0: Look("γ = 1", "black", "s", "--"),
}
"""γ-sampling of one student: deterministic as CTM is used, and as consistency models are sampled."""

LAWS: Mapping[str, Look] = {
    "official": Look("official", COLOURS[0], "o"),
    "uniform-k": Look("k uniform", COLOURS[1], "s", "--"),
    "uniform-u": Look("u uniform on [s, t)", COLOURS[4], "^", "-."),
    "no-average": Look("no average", COLOURS[7], "X", ":"),
}
"""Training as the official code has it, and with one thing changed."""
