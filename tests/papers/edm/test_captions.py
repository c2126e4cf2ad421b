"""What EDM's captions say of the data is true of the committed rows of every preset whose report shows them."""

from pathlib import Path

import pandas as pd
import pytest

from common.harness.studies.panels import where
from papers.edm.paper import PAPER
from papers.edm.published import BASELINE_NFE
from papers.edm.studies.comparison import student_interval

REPORTS = Path(__file__).resolve().parents[3] / "reports" / "edm"
CAPTIONS = {figure.name: figure.caption for study in PAPER.load().values() for figure in study.figures}
pytestmark = pytest.mark.parametrize("preset", ["quick", "small"])


def rows(preset: str, experiment: str) -> pd.DataFrame:
    table = pd.read_csv(REPORTS / preset / "runs.csv", low_memory=False)
    return table[table["experiment"] == experiment]


def test_uniform_steps_fail_and_both_curves_fall_up_to_10(preset: str) -> None:
    mean = rows(preset, "rho_sweep").groupby("rho")[["error", "fd_digits"]].mean()
    fd = mean["fd_digits"]
    assert "Uniform steps (ρ = 1) fail, and both fall steeply up to ρ = 5" in CAPTIONS["rho-sweep"]
    assert (mean.loc[1.0] > 100 * mean.loc[5.0]).all()
    assert (mean.loc[[1.0, 2.0, 3.0, 4.0, 5.0]].diff().dropna() < 0).all().all()
    assert "they still fall, by about half at most" in CAPTIONS["rho-sweep"]
    assert (mean.loc[[10.0]].to_numpy() / mean.loc[[5.0]].to_numpy() > 0.45).all()
    assert (mean.loc[[10.0]].to_numpy() / mean.loc[[5.0]].to_numpy() < 0.95).all()
    assert "Beyond it fd_digits hardly changes" in CAPTIONS["rho-sweep"]
    assert (fd.loc[[15.0, 20.0, 40.0]] / fd.loc[10.0]).between(0.75, 1.25).all()


def test_heun_on_the_edm_steps_takes_a_fraction_of_the_evaluations(preset: str) -> None:
    assert "with a fraction of the evaluations" in CAPTIONS["error-against-nfe"]
    mean = rows(preset, "sampling_cost").groupby(["sampler", "nfe"])["error"].mean()
    for sampler, nfe in BASELINE_NFE.items():
        edm = mean["edm"]
        assert edm[edm.index < nfe / 2].min() < mean[sampler, nfe]


def test_edm_is_the_straightest_and_ve_the_least(preset: str) -> None:
    assert "Further left is straighter" in CAPTIONS["curvature"]
    for _, group in where(rows(preset, "curvature"), sigma_max=80.0).groupby("field"):
        mean = group.groupby("schedule")["curvature"].mean()
        assert list(mean.sort_values().index) == ["edm", "cosine", "vp", "ve"]


def test_the_exact_denoiser_stays_near_the_floor_with_every_amount_of_churn(preset: str) -> None:
    assert "every amount stays near the floor" in CAPTIONS["churn"]
    of_exact = where(rows(preset, "churn"), denoiser="exact")
    for _, group in of_exact.groupby("amount"):
        low, high = student_interval(group["fd"])
        assert low < 1.2 * group["floor"].mean()
        assert 0.6 < group["fd"].mean() / group["floor"].mean() < 1.6
        assert high < 3 * group["floor"].mean()


def test_networks_churned_do_not_stay_where_they_were(preset: str) -> None:
    """The caption speaks of falling and rising lines: it would be wrong if nothing moved."""
    assert "Where the line falls the first is larger, where it rises the second" in CAPTIONS["churn"]
    for letter in "CE":
        mean = where(rows(preset, "churn"), letter=letter).groupby("amount")["fd"].mean()
        assert abs(mean["moderate"] / mean["none"] - 1) > 0.1
