"""Schedules: equal means on the study's own rows, the variance that theory gives, and claims and figure by planting."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from common.data.images import digits
from common.diffusion.objective import Objective, UniformLogSnr, weighted
from common.diffusion.path import Cosine
from papers.weighted_elbo.adaptive import bin_centres, flattening
from papers.weighted_elbo.identity import network
from papers.weighted_elbo.studies.looks import SCHEDULES as LOOKS
from papers.weighted_elbo.studies.schedules import (
    CLAIMS,
    CONTROL,
    FIGURES,
    FIXED,
    LAWS,
    MOVED,
    RANGE,
    WEIGHTING,
    ScheduleConfig,
    binned_errors,
    drawn,
    estimates,
    learnt,
    linear_denoiser,
)
from tests.papers.committed import committed
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, lines, table, verdict, wobble
from tests.papers.weighted_elbo.cases import randn, seeded

INVARIANT, INVARIANT_DIGITS, VARIANCE, VARIANCE_DIGITS = CLAIMS
SMALL = ScheduleConfig("plane", draws=20_000, batches=40, of_bin=50)


def objective() -> Objective:
    return Objective("error", Cosine(), "eps", UniformLogSnr(*RANGE), WEIGHTING)


def test_every_schedule_has_a_look_and_the_same_endpoints() -> None:
    assert [*FIXED, "adaptive", "optimal"] == list(LOOKS)
    for levels in FIXED.values():
        assert (levels.log_snr_min, levels.log_snr_max) == pytest.approx(RANGE)


def test_the_rows_have_equal_means_but_for_the_moved_endpoint(run: FakeRun) -> None:
    ((*rows,),) = made(estimates, SMALL, (3,), (run,))
    found = pd.DataFrame(rows).set_index("schedule")
    error = (found["variance"] / SMALL.draws).pow(0.5)
    for name in (*FIXED, "optimal"):
        spread = 4 * (error[name] ** 2 + error["adaptive"] ** 2) ** 0.5
        assert abs(found["loss"][name] / found["loss"]["adaptive"] - 1) < spread
    assert found["loss"][CONTROL] / found["loss"]["linear"] < 0.98
    # By the integrand that the run has kept: ½ ∫ w E‖ε̂ − ε‖² dλ, from 50 draws in each of 100 bins.
    integral = run.arrays["integrand"].mean() * (RANGE[1] - RANGE[0]) / 2
    assert found["loss"]["adaptive"] == pytest.approx(integral, rel=0.06)
    assert found["variance"]["adaptive"] < 0.8 * found["variance"][list(FIXED)].min()
    assert found["variance"]["optimal"] < 1.02 * found["variance"]["adaptive"]
    assert set(run.arrays) == {"log_snr", "integrand", *LOOKS, CONTROL}
    # The density of the control ends where it says.
    beyond = run.arrays["log_snr"] > MOVED
    assert (run.arrays[CONTROL][beyond] == 0).all()
    assert (run.arrays[CONTROL][~beyond] > 0).all()


def test_the_loss_is_half_the_weighted_integral_of_the_error() -> None:
    """By bins, on the plane: the mean of the estimates is ½ ∫ w E‖ε̂ − ε‖² dλ."""
    net = network(objective(), linear_denoiser("plane"))
    centres = bin_centres(*RANGE)
    integrand = flattening(WEIGHTING(centres), binned_errors(net, centres, SMALL, 0))
    integral = float(integrand.sum()) * (RANGE[1] - RANGE[0]) / len(centres) / 2
    loss = drawn(weighted("linear", Cosine(), "eps", FIXED["linear"], WEIGHTING), net, SMALL, 0)
    assert len(loss) == SMALL.draws
    error = float(loss.std()) / 2 / SMALL.draws**0.5
    assert float(loss.mean()) / 2 == pytest.approx(integral, abs=4 * error + 0.01 * integral)


def test_the_adaptive_schedule_comes_to_the_integrand() -> None:
    net = network(objective(), linear_denoiser("plane"))
    centres = bin_centres(*RANGE)
    levels = learnt(objective(), net, ScheduleConfig("plane", batches=300), 1)
    integrand = flattening(WEIGHTING(centres), binned_errors(net, centres, ScheduleConfig(of_bin=200), 1))
    density = integrand / integrand.sum() * len(centres) / (RANGE[1] - RANGE[0])
    wide = 10  # means over ten bins, for each alone scatters
    found, wanted = (each.unflatten(0, (-1, wide)).mean(1) for each in (levels.density(centres), density))
    torch.testing.assert_close(found, wanted, rtol=0.25, atol=0.01)


def test_the_linear_denoiser_is_the_best_of_affine_ones() -> None:
    """Its error is orthogonal to its input, and has mean 0."""
    for law in LAWS:
        x0 = digits().x0.double().flatten(1) if law == "digits" else LAWS[law](100_000, seeded())
        x = x0 + 0.7 * randn(*x0.shape, seed=1)
        error = linear_denoiser(law)(x, 0.7) - x0
        few = 4 * float(error.std() * x.std()) / len(x) ** 0.5
        assert float(error.mean(0).abs().max()) < few
        assert float((error.T @ (x - x.mean(0)) / len(x)).abs().max()) < 1.5 * few


def test_schedules_share_data_and_noise_and_seeds_do_not() -> None:
    net = network(objective(), linear_denoiser("plane"))
    config = ScheduleConfig("plane", draws=50)
    one = drawn(weighted("linear", Cosine(), "eps", FIXED["linear"], WEIGHTING), net, config, 0)
    assert torch.equal(one, drawn(weighted("linear", Cosine(), "eps", FIXED["linear"], WEIGHTING), net, config, 0))
    assert not torch.equal(one, drawn(weighted("linear", Cosine(), "eps", FIXED["linear"], WEIGHTING), net, config, 1))


def test_the_moved_endpoint_does_not_meet_the_criteria_of_equal_losses() -> None:
    """The study's own rows, as committed, with the control in the place of a fixed schedule."""
    rows = committed("weighted_elbo", "quick", estimates)
    assert verdict(INVARIANT, (estimates, rows)) == "holds"
    exchanged = rows.replace({"schedule": {"linear": "set aside", CONTROL: "linear"}})
    assert verdict(INVARIANT, (estimates, exchanged)) == "fails"


def keys(config: ScheduleConfig) -> list[Row]:
    return [{"schedule": name} for name in (*LOOKS, CONTROL)]


def presets(law: str) -> list[str]:
    return ["quick", "small"] if law == "plane" else ["small"]


CASES = [(law, preset) for law in LAWS for preset in presets(law)]


@pytest.mark.parametrize(("law", "preset"), CASES)
@pytest.mark.parametrize(
    ("name", "ratio", "error", "expected"),
    [
        ("vp", 1.0, 1e-3, "holds"),
        ("vp", 1.05, 1e-3, "fails"),
        ("linear", 0.95, 1e-3, "fails"),
        ("linear", 0.95, 0.1, "fails"),  # half a standard error, and 5 %
        ("cosine", 1.006, 1e-3, "fails"),  # .6 %, and four standard errors
    ],
)
def test_the_claim_of_equal_losses(law: str, preset: str, name: str, ratio: float, error: float, expected: str) -> None:
    def plant(row: Row) -> dict[str, float]:
        if row["law"] != law or row["schedule"] not in (*FIXED, "adaptive"):
            return {}
        loss = (2 + row["seed"]) * (ratio if row["schedule"] == name else 1) * (1 + 1e-4 * (row["seed"] % 2))
        return {"loss": loss, "variance": error**2 * row["draws"]}

    claim = INVARIANT if law == "plane" else INVARIANT_DIGITS
    assert verdict(claim, (estimates, table(estimates, preset, keys, plant))) == expected


@pytest.mark.parametrize(("law", "preset"), CASES)
@pytest.mark.parametrize(
    ("adaptive", "optimal", "expected"),
    [(0.8, 0.7, "holds"), (1.3, 0.7, "fails"), (1.0, 0.7, "fails"), (0.8, 0.9, "fails"), (0.8, 0.8, "fails")],
)
def test_the_claim_of_variances(law: str, preset: str, adaptive: float, optimal: float, expected: str) -> None:
    sizes = {"linear": 4.0, "cosine": 1.0, "straight": 2.0, "vp": 3.0, "adaptive": adaptive, "optimal": optimal}

    def plant(row: Row) -> dict[str, float]:
        told = row["law"] == law and row["schedule"] in sizes
        return {"variance": sizes[row["schedule"]] * wobble(row)} if told else {}

    claim = VARIANCE if law == "plane" else VARIANCE_DIGITS
    assert verdict(claim, (estimates, table(estimates, preset, keys, plant))) == expected


def test_the_figure_has_a_row_for_each_law_that_was_run() -> None:
    at = np.linspace(-7.9, 7.9, 20)

    def arrays(run: Row) -> dict[str, np.ndarray]:
        shift = 0.1 * (run["law"] == "digits")
        return {
            "log_snr": at,
            "integrand": np.ones(20),
            **{name: np.full(20, k + shift) for k, name in enumerate(LOOKS)},
        }

    for preset, laws in (("quick", ["plane"]), ("small", ["plane", "digits"])):
        rows = table(estimates, preset, keys)
        panels = FIGURES[0].draw(MadeUp({estimates: rows}, arrays)).axes
        assert [panel.get_title() for panel in panels] == [
            f"{what}, {law}" for law in laws for what in ("levels", "variance")
        ]
        for law, levels, variances in zip(laws, panels[::2], panels[1::2], strict=True):
            for k, (name, look) in enumerate(LOOKS.items()):
                (line,) = lines(levels, look.name)
                np.testing.assert_allclose(line[:, 1], k + 0.1 * (law == "digits"))
                offsets = np.asarray(variances.collections[k].get_offsets())
                own = rows[(rows["law"] == law) & (rows["schedule"] == name)]["variance"]
                np.testing.assert_allclose(np.sort(offsets[:, 0]), np.sort(own))


@pytest.mark.parametrize(
    ("fields", "words"),
    [({"law": "swirl"}, "law is one of"), ({"draws": 1}, "draws is at least 2"), ({"of_bin": 1}, "of_bin")],
)
def test_settings_out_of_range_are_named(fields: Row, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        ScheduleConfig(**fields)
