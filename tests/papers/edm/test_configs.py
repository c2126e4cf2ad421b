"""The training configurations: each changes what Table 2 says it changes, and its parts fit together."""

from dataclasses import fields

import pytest
import torch

from common.diffusion.precond import EDMPrecond
from papers.edm.configs import VE_CONFIGS, VP_CONFIGS
from papers.edm.published import VE_FID, VP_FID

CONFIGS = [VP_CONFIGS, VE_CONFIGS]
NAMES = ["VP", "VE"]
CHANGES = {
    "B": {"batch", "lr", "lr_rampup_mimg", "grad_clip", "ema_halflife_mimg", "ema_rampup_ratio", "dropout"},
    "C": {"channel_mult"},
    "D": {"precond"},
    "E": {"noise", "weight"},
    "F": {"x_flip", "augment_p"},
}


@pytest.mark.parametrize("configs", CONFIGS, ids=NAMES)
def test_each_changes_one_thing_in_the_last(configs):
    assert list(configs) == list("ABCDEF")
    assert [config.name for config in configs.values()] == list("ABCDEF")
    for last, (name, config) in zip(configs.values(), list(configs.items())[1:], strict=False):
        changed = {f.name for f in fields(config) if getattr(config, f.name) != getattr(last, f.name)}
        assert changed - {"name", "change"} == CHANGES[name]


@pytest.mark.parametrize("configs", CONFIGS, ids=NAMES)
def test_weight_and_preconditioning_fit_except_in_d(configs):
    """The effective weight λ c_out² is uniform, but for D: the new c_out under the old 1/σ² (which E then mends)."""
    sigma = torch.logspace(-2, 1.5, 20, dtype=torch.float64)
    for name, config in configs.items():
        effective = config.weight(sigma) * config.precond.c_out(sigma) ** 2
        if name == "D":
            assert effective[0] / effective[-1] > 1000
        else:
            torch.testing.assert_close(effective, torch.ones_like(sigma))


@pytest.mark.parametrize("configs", CONFIGS, ids=NAMES)
def test_training_noise_lies_where_the_network_can_be_used(configs):
    for config in configs.values():
        sigma = config.noise.sample(10_000, torch.Generator().manual_seed(0))
        assert config.precond.sigma_min <= sigma.min() * (1 + 1e-9)
        assert sigma.max() <= config.precond.sigma_max * (1 + 1e-9)
    assert configs["D"].precond == configs["F"].precond == EDMPrecond(0.5)


def test_baseline_averages_keep_half_after_their_half_life():
    for configs, decay in ((VP_CONFIGS, 0.9999), (VE_CONFIGS, 0.999)):
        steps = configs["A"].ema_halflife_mimg * 1e6 / configs["A"].batch
        assert decay**steps == pytest.approx(0.5)


def test_published_fids_show_what_the_text_says():
    """Table 2: E is where it falls, F is best of all, and the two formulations end alike."""
    for published in (VP_FID, VE_FID):
        assert list(published) == list("ABCDEF")
        for kind in ("conditional", "unconditional"):
            fid = {name: getattr(cell, kind) for name, cell in published.items()}
            gains = {name: fid[last] - fid[name] for last, name in zip("BCDE", "CDEF", strict=True)}
            assert max(gains, key=lambda name: gains[name]) == "E"
            assert min(fid, key=lambda name: fid[name]) == "F"
    assert VP_FID["F"].conditional == VE_FID["F"].conditional == 1.79
    assert (VP_FID["F"].unconditional, VE_FID["F"].unconditional) == (1.97, 1.98)
