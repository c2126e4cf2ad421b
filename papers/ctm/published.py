"""The paper's own numbers, each with where it was found."""

from collections.abc import Mapping

FID_UNCONDITIONAL: Mapping[int, float] = {1: 1.98, 2: 1.87}
FID_CONDITIONAL: Mapping[int, float] = {1: 1.73, 2: 1.63}
"""CIFAR-10, CTM with DSM and GAN, by network evaluations: Table 1; the abstract has 1.73."""
FID_TEACHER_UNCONDITIONAL, FID_TEACHER_CONDITIONAL, NFE_TEACHER = 2.01, 1.82, 35
"""EDM, by its 35 evaluations: Table 1."""
FID_WITHOUT_TEACHER = 2.39
"""CIFAR-10, unconditional, 1 evaluation, trained from data alone: Table 1."""
FID_DISTILLATION = 3.55
"""Consistency distillation at 1 evaluation, as its own paper reports it: Table 1."""
FID_DISTILLATION_RERUN, FID_DISTILLATION_GAN = 10.53, 2.65
"""The authors' rerun of consistency distillation, and consistency distillation with a GAN."""
FID_IMAGENET: Mapping[int, float] = {1: 1.92, 2: 1.73}
"""ImageNet 64×64, by network evaluations: Table 2. (The caption of Figure 16 has 2.19 and 1.90.)"""

FID_WITHOUT_GAN: Mapping[int, float] = {1: 5.19, 18: 3.00}
FID_WITH_GAN: Mapping[int, float] = {1: 2.28, 18: 2.23}
"""CIFAR-10, CTM and DSM, without and with the GAN, by network evaluations: Table 3."""

FID_GAMMA_0: Mapping[int, float] = {1: 4.1, 35: 2.25}
FID_GAMMA_1: Mapping[int, float] = {1: 4.0, 35: 10.5}
"""CIFAR-10, by network evaluations, read off Figure 7."""

BPD, BPD_TEACHER = 2.43, 2.56
"""CIFAR-10, bits per dimension: Table 1. By the script whose residual is at another noise level than its ODE."""

COST_GLOBAL_OVER_LOCAL, COST_SOFT_OVER_GLOBAL = 3.0, 0.5
"""Seconds of a training step: global matching against local, soft against global (Section 3.2)."""
