"""The sweep over rho at tiny settings."""

from papers.edm.studies.rho import RhoSweepConfig, rho_sweep
from tests.papers.edm.made import by, made
from tests.papers.fake_run import FakeRun


def test_rho_sweep_finds_nothing_where_the_sampler_is_the_reference(run: FakeRun) -> None:
    config = RhoSweepConfig(70, rhos=(1.0, 7.0), steps=18, reference_steps=18, n_points=5)
    rows = by(made(rho_sweep, config, 0, run), "rho")
    assert rows[7.0]["error"] == 0
    assert float(rows[7.0]["fd_digits"]) < 1e-9
    assert float(rows[1.0]["error"]) > 1
    assert float(rows[1.0]["fd_digits"]) > 1
