"""Score entropy beside masked cross-entropy: the comparison would show a difference."""

import pytest

from papers.sedd.graph import Absorbing
from papers.sedd.studies.masked import MaskedIdentityConfig, masked_identity


def test_masked_identity_would_show_a_difference(run, monkeypatch):
    config = MaskedIdentityConfig(vocab=5, length=6, n=8)
    (row,) = masked_identity(config, 0, run)
    assert max(float(value) for value in row.values()) < 1e-12
    shifted = Absorbing.score_entropy
    monkeypatch.setattr(Absorbing, "score_entropy", lambda *args: 1.001 * shifted(*args))
    (row,) = masked_identity(config, 0, run)
    assert row["loss_difference"] == pytest.approx(1e-3, rel=1e-6)
    assert row["gradient_difference"] == pytest.approx(1e-3, rel=1e-6)
