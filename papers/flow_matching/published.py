"""The paper's own numbers (Lipman et al. 2022), each with its table or figure."""

from typing import NamedTuple


class Cell(NamedTuple):
    """One method on one data set of Table 1."""

    nll: float
    """Bits per dimension."""
    fid: float
    nfe: int
    """Evaluations of dopri5 at atol = rtol = 1e-5, on average over the samples."""


TABLE_1: dict[str, dict[str, Cell]] = {
    "ddpm": {
        "CIFAR-10": Cell(3.12, 7.48, 274),
        "ImageNet-32": Cell(3.54, 6.99, 262),
        "ImageNet-64": Cell(3.32, 17.36, 264),
    },
    "score": {
        "CIFAR-10": Cell(3.16, 19.94, 242),
        "ImageNet-32": Cell(3.56, 5.68, 178),
        "ImageNet-64": Cell(3.40, 19.74, 441),
    },
    "scoreflow": {
        "CIFAR-10": Cell(3.09, 20.78, 428),
        "ImageNet-32": Cell(3.55, 14.14, 195),
        "ImageNet-64": Cell(3.36, 24.95, 601),
    },
    "fm-vp": {
        "CIFAR-10": Cell(3.10, 8.06, 183),
        "ImageNet-32": Cell(3.54, 6.37, 193),
        "ImageNet-64": Cell(3.33, 16.88, 187),
    },
    "fm-ot": {
        "CIFAR-10": Cell(2.99, 6.35, 142),
        "ImageNet-32": Cell(3.53, 5.02, 122),
        "ImageNet-64": Cell(3.31, 14.45, 138),
    },
}
"""By objective and data set: Table 1, left. (For ImageNet-32, the appendix's table has .01 to .02 more in two NLLs.)"""

IMAGENET_128 = (2.90, 20.9)
"""NLL in bits per dimension and FID of `fm-ot` on ImageNet at 128×128: Table 1, right."""

NLL_BY_K = {1: 3.11, 20: 3.01, 50: 2.99}
"""Bits per dimension of `fm-ot` on CIFAR-10 by K, the draws of the likelihood estimate: Appendix, Table 4."""

NFE_RATIO = 0.6
"""Evaluations that `fm-ot` needs for an error that the diffusion path reaches: "roughly 60 %", Figure 7."""

MIDPOINT_NFE = (4, 8, 10, 20)
"""Evaluations of the midpoint method in the checkerboard figure: Figure 4."""


class SuperResolution(NamedTuple):
    """One method of Table 2: ImageNet validation set, 64×64 to 256×256."""

    fid: float
    inception_score: float
    psnr: float | None
    ssim: float | None


TABLE_2 = {
    "reference": SuperResolution(1.9, 240.8, None, None),
    "regression": SuperResolution(15.2, 121.1, 27.9, 0.801),
    "SR3": SuperResolution(5.2, 180.1, 26.4, 0.762),
    "fm-ot": SuperResolution(3.4, 200.8, 24.7, 0.747),
}
"""Super-resolution by a factor of four: Table 2."""
