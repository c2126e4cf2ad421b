"""Solvers that draw samples: as many evaluations as were asked for, and the law of the data."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from common.diffusion.path import VP
from papers.seeds.studies.curves import NFES
from papers.seeds.studies.looks import SAMPLERS as LOOKS
from papers.seeds.studies.samplers import ODE, SAMPLERS, SDE, SIGMA_MAX, SIGMA_MIN, drawn, levels, times, uniform
from tests.papers.seeds.cases import randn, seeded

STD = 0.5


def gaussian(x: Tensor, sigma: Tensor) -> Tensor:
    """The denoiser of N(0, ½²)."""
    return x * STD**2 / (STD**2 + torch.as_tensor(sigma) ** 2)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_evaluations_are_those_that_were_asked_for(name: str) -> None:
    for nfe in NFES[:4]:
        samples, counted = drawn(name, gaussian, randn(3, 2), nfe, seeded())
        assert counted == nfe
        assert samples.shape == (3, 2)
        assert samples.dtype == torch.float64


@pytest.mark.parametrize("name", SAMPLERS)
def test_many_evaluations_end_at_the_law_of_the_data(name: str) -> None:
    """Its variance is 0.25; a solver of first order is a few per cent off with 385, and 20,000 draws one per cent."""
    samples, _ = drawn(name, gaussian, randn(20_000, 1, seed=3), 385, seeded(4))
    assert float(samples.var()) == pytest.approx(STD**2, rel=0.12 if name in ("em-vp", "ddpm") else 0.08)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_solver_is_stochastic_or_not_as_its_list_says(name: str) -> None:
    first, second = (drawn(name, gaussian, randn(4, 2), 13, seeded(seed))[0] for seed in (0, 1))
    assert torch.equal(first, second) == (name in ODE)
    assert torch.equal(first, drawn(name, gaussian, randn(4, 2), 13, seeded(0))[0])


@pytest.mark.parametrize(("name", "nfe"), [("seeds-3-data", 12), ("seeds-2b-data", 8), ("heun", 8), ("ddpm", 1)])
def test_evaluations_that_make_no_whole_steps_are_refused(name: str, nfe: int) -> None:
    with pytest.raises(ValueError, match="evaluations"):
        drawn(name, gaussian, randn(2, 1), nfe, seeded())


def test_the_grids_are_those_of_the_papers() -> None:
    sigmas = levels(6)
    assert (len(sigmas), float(sigmas[0]), float(sigmas[-2]), float(sigmas[-1])) == (8, SIGMA_MAX, SIGMA_MIN, 0)
    steps = (sigmas[:-1] ** (1 / 7)).diff()
    torch.testing.assert_close(steps, steps[:1].expand(6))
    for kappa in (1.0, 2.0):
        steps = (times(6, kappa)[:-1] ** (1 / kappa)).diff()
        torch.testing.assert_close(steps, steps[:1].expand(6))
    assert float(times(6, 2.0)[-2]) == pytest.approx(1e-3)
    steps = VP().log_snr(uniform(6)[:-1]).diff()
    torch.testing.assert_close(steps, steps[:1].expand(6))


@pytest.mark.parametrize(
    ("name", "grid"),
    [
        ("seeds-1-data", levels),
        ("em-sigma", levels),
        ("2m", levels),
        ("heun", levels),
        ("ddpm", lambda n: times(n, 1.0)),
        ("em-vp", lambda n: times(n, 1.0)),
        ("ddim", lambda n: times(n, 2.0)),
        ("tab3", lambda n: times(n, 2.0)),
        ("dpm-3", uniform),
    ],
)
def test_each_solver_stops_at_its_own_grid(name: str, grid: Callable[[int], Tensor]) -> None:
    """The noise levels at which it asks for the denoiser, in EDM's coordinates; stages lie between."""
    asked = []

    def listen(x: Tensor, sigma: Tensor) -> Tensor:
        asked.append(float(sigma))
        return gaussian(x, sigma)

    stages = {"dpm-3": 3, "heun": 2}.get(name, 1)
    drawn(name, listen, randn(3, 2), 6 * stages + 1, seeded())
    stops = grid(6)[:-1]
    if name in ("ddpm", "em-vp", "ddim", "tab3", "dpm-3"):
        stops = torch.exp(-VP().log_snr(stops) / 2)
    for stop in stops:
        assert min(abs(level / float(stop) - 1) for level in asked) < 1e-6
    assert len(stops) == (len(asked) - 1) // stages + 1


def test_every_solver_has_a_look_of_its_own_and_dashes_say_that_it_is_deterministic() -> None:
    assert set(LOOKS) == set(SAMPLERS)
    assert len({(look.colour, look.marker) for look in LOOKS.values()}) == len(LOOKS)
    assert {name for name, look in LOOKS.items() if look.dash == "--"} == set(ODE)
    assert set(SDE).isdisjoint(ODE)
