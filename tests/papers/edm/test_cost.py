"""Cost at tiny settings: the samplers of Table 1, and the evaluations that are read off a curve."""

from math import sqrt
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from common.diffusion.schedule import EDM, edm_sigmas
from common.harness.studies.measures import NotReached, first_reached
from papers.edm.sampler import euler_step, heun_step
from papers.edm.studies import cost
from papers.edm.studies.cost import (
    CLAIMS,
    SAMPLERS,
    SamplingCostConfig,
    nfe_ratio,
    sampling_cost,
)
from tests.papers.edm.made import made
from tests.papers.fake_run import FakeRun


@pytest.mark.parametrize(("sampler", "order", "per_step"), [("vp", 1, 1), ("ve", 1, 1), ("iddpm", 1, 1), ("edm", 2, 2)])
def test_samplers_converge_to_their_own_limit(sampler: str, order: int, per_step: int, run: FakeRun) -> None:
    config = SamplingCostConfig(sampler, (120, 240), reference_steps=800, n_samples=8, n_points=5)
    coarse, fine = made(sampling_cost, config, 0, run)
    assert [coarse["nfe"], fine["nfe"]] == [per_step * n - (per_step - 1) for n in (120, 240)]
    # 15 % for the next term of the error, and for the rounding of iDDPM's levels to whole numbers.
    assert float(coarse["error"]) / float(fine["error"]) == pytest.approx(2**order, rel=0.15)


def test_euler_on_the_edm_steps_does_not_meet_the_criterion(run: FakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: it is the solver that saves evaluations, and not the time steps alone."""
    criterion = CLAIMS[0].quantities[0].criterion
    for step, meets in ((heun_step, True), (euler_step, False)):
        monkeypatch.setitem(SAMPLERS, "edm", (EDM, edm_sigmas, step))
        rows = []
        for sampler, steps in (("vp", (256,)), ("iddpm", (250,)), ("edm", (12, 24, 48, 96, 144))):
            config = SamplingCostConfig(sampler, steps, reference_steps=400, n_samples=8, n_points=20)
            rows += [{**row, "sampler": sampler, "seed": 0} for row in made(sampling_cost, config, 0, run)]
        for baseline in ("vp", "iddpm"):
            ratio = nfe_ratio(baseline)(pd.DataFrame(rows)).item()
            assert (ratio >= criterion.lower) == meets, (step, baseline, ratio)


def test_the_law_is_of_as_many_digits_as_told_and_the_noise_of_its_own_seed(
    run: FakeRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, int, int]] = []
    noise: list[torch.Tensor] = []
    exact, drawn = cost.exact_denoiser, cost.noise_at

    def exact_denoiser(field: str, n_points: int, generator: torch.Generator) -> Any:
        asked.append((field, n_points, generator.initial_seed()))
        return exact(field, n_points, generator)

    def noise_at(*arguments: Any) -> torch.Tensor:
        noise.append(drawn(*arguments))
        return noise[-1]

    monkeypatch.setattr(cost, "exact_denoiser", exact_denoiser)
    monkeypatch.setattr(cost, "noise_at", noise_at)
    for seed in (0, 1):
        for sampler in ("vp", "edm"):
            config = SamplingCostConfig(sampler, (4,), reference_steps=4, n_samples=3, n_points=5)
            made(sampling_cost, config, seed, run)
    assert asked == [("digits", 5, 0), ("digits", 5, 0), ("digits", 5, 1), ("digits", 5, 1)]
    assert [tuple(x.shape) for x in noise] == [(3, 1, 8, 8)] * 4
    unit = [x / x.std() for x in noise]
    torch.testing.assert_close(unit[0], unit[1])  # samplers are compared from the same noise
    assert not torch.allclose(unit[0], unit[2])


def test_the_samplers_are_those_of_table_1() -> None:
    limits = {name: [float(level) for level in sigmas_of(2)] for name, (_, sigmas_of, _) in SAMPLERS.items()}
    assert limits["ve"] == pytest.approx([100, 0.02, 0])
    assert limits["edm"] == pytest.approx([80, 0.002, 0])
    assert limits["vp"][0] == pytest.approx(sqrt(np.expm1(19.9 / 2 + 0.1)))
    assert limits["iddpm"][0] == pytest.approx(81, abs=1)


def test_evaluations_are_interpolated_and_never_extrapolated() -> None:
    nfe, error = [4, 1, 16], [1e-2, 1.0, 1e-6]
    assert first_reached(nfe, error, 1e-1) == pytest.approx(2.0)
    assert first_reached(nfe, error, 1e-4) == pytest.approx(8.0)
    assert first_reached(nfe, error, 1e-6) == pytest.approx(16.0)
    for outside in (2.0, 1.0, 1e-7):
        with pytest.raises(NotReached, match="not on a curve"):
            first_reached(nfe, error, outside)
