"""The papers' own numbers, each with where it was found. (Those of SEEDS's tables were found in no public text.)"""

from collections.abc import Mapping

SPEED_UP = (3.0, 5.0)
"""How many times fewer evaluations than earlier SDE solvers: SEEDS, abstract."""

FID_SEEDS: Mapping[str, float] = {"CelebA-64": 1.93, "CIFAR-10, VP, conditional": 2.24}
"""SEEDS, README of the official code."""

NFE_BASELINES = (12, 15, 20, 50, 200, 1000)
FID_BASELINES: Mapping[str, tuple[float, ...]] = {
    "DDPM": (246.3, 197.6, 137.3, 32.6, 4.03, 3.16),
    "DDIM": (11.02, 8.92, 6.94, 4.73, 4.07, 3.95),
    "Analytic-DDIM": (11.68, 9.16, 7.20, 4.28, 3.60, 3.86),
    "DPM-Solver-3": (8.20, 5.21, 3.81, 3.49, 3.45, 3.45),
}
"""CIFAR-10, the network of DDPM, by `NFE_BASELINES`: as a later paper quotes them."""

FID_TAB3: Mapping[str, Mapping[int, float]] = {
    "CIFAR-10, DDPM's network": {10: 7.12, 20: 4.53, 50: 3.78},
    "CIFAR-10, VP deep": {10: 4.17, 15: 3.37, 20: 2.86, 50: 2.57},
    "CelebA-64": {10: 6.95, 20: 3.41, 50: 2.95},
    "ImageNet-64": {10: 6.65, 20: 3.10},
}
"""DEIS, tAB3 on the quadratic grid, by evaluations: 4.17 and 2.86 are in its abstract, the others as later papers quote
them."""
