"""The papers' own numbers: Kingma & Gao 2023 (2303.00848) and, where said so, Kingma et al. 2021 (2107.00630)."""

IMAGENET_64 = {
    "eps-cosine": 1.85,
    "sigmoid k=1": 1.75,
    "sigmoid k=2": 1.68,
    "sigmoid k=3": 1.73,
    "sigmoid k=4": 1.80,
    "sigmoid k=5": 1.94,
}
"""FID on ImageNet 64×64 by weighting: network for ε, cosine schedule, DDPM sampler (Table 2)."""

IMAGENET_64_ADAPTIVE = {"sigmoid k=2": 1.70, "edm-monotonic": 1.67}
"""As above, with the adaptive noise schedule."""

IMAGENET_64_EDM = {"edm": 1.43, "edm-monotonic": 1.43, "sigmoid k=2": 1.55}
"""FID on ImageNet 64×64 with the network and sampler of EDM and the adaptive noise schedule (Table 2)."""

MONOTONE = {
    "eps-cosine": False,
    "v-cosine": True,
    "fm-ot": True,
    "indi": True,
    "edm": False,
    "p2": False,
    "min-snr": False,
}
"""Whether the weighting of an objective in use never rises with λ (Table 1)."""
