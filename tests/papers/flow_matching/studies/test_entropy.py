"""Bits and entropy: the law itself, and that wrong bits do not meet the criterion."""

from __future__ import annotations

from dataclasses import replace
from math import log2
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import binom

from common.harness.runs.rows import check
from papers.flow_matching import likelihood
from papers.flow_matching.studies import entropy as study
from papers.flow_matching.studies.entropy import CLAIMS, KnownLawConfig, draw, entropy, known_law, log_prob
from tests.papers.fake_run import FakeRun
from tests.papers.planted import Row, table, verdict, wobble

(CLAIM,) = CLAIMS


def test_the_law_is_a_mixture_of_products_of_binomials() -> None:
    """SciPy's, image by image; and it sums to one."""
    counts = np.array([[0, 3, 16, 8], [13, 12, 14, 13], [2, 4, 3, 3]])
    images = torch.tensor(counts / 8 - 1).reshape(-1, 1, 2, 2)
    expected = 0.5 * binom.pmf(counts, 16, 0.2).prod(1) + 0.5 * binom.pmf(counts, 16, 0.8).prod(1)
    np.testing.assert_allclose(log_prob(images).exp(), expected, rtol=1e-10)
    levels = torch.linspace(-1, 1, 17, dtype=torch.float64)
    total = log_prob(torch.cartesian_prod(*[levels] * 4).reshape(-1, 1, 2, 2)).exp().sum()
    assert float(total) == pytest.approx(1, rel=1e-9)


def test_draws_follow_the_law_and_code_at_its_entropy() -> None:
    images = draw(20_000, torch.Generator().manual_seed(0))
    steps = (images + 1) * 8
    assert torch.equal(steps, steps.round())
    bits = -log_prob(images) / (4 * np.log(2))
    # The mean of -log P is the entropy; the standard error is from the draws themselves.
    assert float(bits.mean()) == pytest.approx(entropy(), abs=4 * float(bits.std()) / len(bits) ** 0.5)
    # Between one binomial's entropy (known brightness) and that plus a bit for four pixels.
    pmf = binom.pmf(np.arange(17), 16, 0.2)
    one = -(pmf * np.log2(pmf)).sum()
    assert one < entropy() <= one + log2(2) / 4


@pytest.fixture
def trained_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first training's result serves all that follow."""
    kept: list[Any] = []
    real = study.train

    def train(*given: Any, **others: Any) -> Any:
        kept.append(kept[0] if kept else real(*given, **others))
        return kept[0]

    monkeypatch.setattr(study, "train", train)


@pytest.mark.usefixtures("trained_once")
def test_a_trained_network_is_above_the_entropy_and_wrong_bits_are_below(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bits without the volume of the bins, and with a divergence of the wrong sign."""
    config = KnownLawConfig("fm-vp", steps=100, n_images=40, K=1)

    def excess() -> float:
        ((row,),) = known_law(config, (4,), (FakeRun(tmp_path / "run"),))
        check([row], known_law.columns)
        assert float(row["excess"]) == pytest.approx(float(row["bpd"]) - float(row["law"]))
        return float(row["excess"])

    right = excess()
    assert 0 < right < 0.6
    real_bits, real_flow = likelihood.bpd, likelihood.integrate_divergence

    with monkeypatch.context() as wrong:
        wrong.setattr(likelihood, "bpd", lambda log_prob, D, width: real_bits(log_prob, D, 1.0))
        # A bin is 2/16 wide: three bits are missing.
        assert excess() == pytest.approx(right - 3, abs=1e-6)

    def reversed_divergence(*given: Any) -> Any:
        x, integral = real_flow(*given)
        return x, -integral

    with monkeypatch.context() as wrong:
        wrong.setattr(likelihood, "integrate_divergence", reversed_divergence)
        assert not 0 <= excess() <= 0.15


def test_seeds_draw_for_themselves(tmp_path: Path) -> None:
    config = KnownLawConfig("fm-ot", steps=3, n_images=20, K=1)
    together = known_law(config, (1, 2), (FakeRun(tmp_path / "1"), FakeRun(tmp_path / "2")))
    ((alone,),) = known_law(config, (2,), (FakeRun(tmp_path / "3"),))
    assert together[1][0]["law"] == alone["law"]
    assert float(together[1][0]["bpd"]) == pytest.approx(float(alone["bpd"]), rel=1e-3)
    assert together[0][0]["law"] != alone["law"]


@pytest.mark.parametrize(("excess", "expected"), [(0.06, "holds"), (-0.05, "fails"), (0.3, "fails"), (-3.0, "fails")])
@pytest.mark.parametrize("preset", ["quick", "small"])
def test_the_claim_asks_for_bits_a_little_above_the_entropy(preset: str, excess: float, expected: str) -> None:
    def plant(row: Row) -> dict[str, float]:
        return {"excess": excess * wobble(row)}

    assert verdict(CLAIM, (known_law, table(known_law, preset, lambda config: [{}], plant))) == expected


def test_a_bad_config_is_refused() -> None:
    with pytest.raises(ValueError, match="K is at least 1, not 0"):
        replace(KnownLawConfig("fm-ot"), K=0)
    with pytest.raises(ValueError, match="objective is one of"):
        KnownLawConfig("edm")
