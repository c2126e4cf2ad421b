"""The bound on 8-bit data: of the exact denoiser, what is left out showing, along training, and claims and figures."""

from __future__ import annotations

from dataclasses import replace
from math import log
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from common.training.stream import stream
from papers.weighted_elbo.studies import bound as study
from papers.weighted_elbo.studies.bound import (
    CLAIMS,
    CONTINUOUS,
    FIGURES,
    ChainConfig,
    TrainedConfig,
    elbo_loss,
    exact_chain,
    trained_bound,
)
from papers.weighted_elbo.studies.eight_bits import SCHEDULE, draws, exact_net, expected_bits, numbers
from papers.weighted_elbo.studies.laws import entropy, mixture
from papers.weighted_elbo.vdm import alpha_sigma
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, shows, table, verdict, wobble

OF = {claim.id: claim for claim in CLAIMS}
SMALL = ChainConfig((4, 8, 64, 128), nodes=16, levels=100, least=1e-3)
"""Of the quick ones, with fewer numbers and nodes."""


def chain(run: FakeRun, config: ChainConfig = SMALL) -> Any:
    """The table of a run."""
    rows = made(exact_chain, config, (0,), (run,))[0]
    by_steps = {row["steps"]: row for row in rows}
    return table(
        exact_chain,
        "quick",
        lambda config: [{"steps": steps} for steps in by_steps],
        lambda row: by_steps[row["steps"]],
    )


def test_the_exact_denoiser_is_that_of_whole_numbers() -> None:
    """With little noise it names the number, with much the mean; and in between by a sum over all numbers."""
    p = mixture()
    net, f = exact_net(p), numbers().encode(torch.arange(256))
    log_snr = torch.tensor([9.0, 0.0, -8.0], dtype=torch.float64)
    z = torch.tensor([[0.3], [-0.2], [0.5]], dtype=torch.float64)
    alpha, sigma = (value[:, None] for value in alpha_sigma(log_snr))
    x_hat = (z - sigma * net(z, log_snr)) / alpha
    for i in range(3):
        weight = p * torch.exp(-(z[i] - alpha[i] * f).square() / (2 * sigma[i] ** 2))
        assert float(x_hat[i]) == pytest.approx(float((weight * f).sum() / weight.sum()), abs=1e-9)
    assert abs(float(x_hat[2])) < 0.1


def test_both_claims_of_the_exact_denoiser_hold(run: FakeRun) -> None:
    rows = chain(run)
    assert verdict(OF["bound-exact"], (exact_chain, rows)) == "holds"
    assert verdict(OF["bound-steps"], (exact_chain, rows)) == "holds"
    by_steps = rows.set_index("steps")
    above = by_steps["bits"] - by_steps.loc[CONTINUOUS, "bits"]
    np.testing.assert_allclose(by_steps["above_continuous"], above)


@pytest.mark.parametrize("left_out", ["prior", "units", "continuous loss at the steps"])
def test_what_is_left_out_of_the_bound_shows(run: FakeRun, monkeypatch: pytest.MonkeyPatch, left_out: str) -> None:
    if left_out == "prior":
        monkeypatch.setattr(study, "prior_loss", lambda f, log_snr: torch.zeros_like(log_snr))
        wrong = "bound-exact"
    elif left_out == "units":
        monkeypatch.setattr(study, "log", lambda value: 1.0)
        wrong = "bound-exact"
        monkeypatch.setattr(study, "entropy", lambda p: entropy(p) / log(2))
    else:

        def at_steps(net: Any, f: Tensor, eps: Tensor, t: Tensor, schedule: Any, steps: int) -> Tensor:
            return study.diffusion_loss(net, f, eps, t, schedule)

        monkeypatch.setattr(study, "discrete_diffusion_loss", at_steps)
        wrong = "bound-steps"
    config = replace(SMALL, lengths=(4,)) if wrong == "bound-exact" else SMALL
    assert verdict(OF[wrong], (exact_chain, chain(run, config))) == "fails"


def test_the_quasi_monte_carlo_estimate_of_the_exact_denoiser_is_the_entropy() -> None:
    p = mixture()
    assert expected_bits(exact_net(p), p, 14, seed=0) == pytest.approx(entropy(p) / log(2), abs=0.05)
    off = expected_bits(lambda z, log_snr: exact_net(p)(z, log_snr) + 0.2, p, 14, seed=0)
    # An error of 0.2 at all λ adds ½ 0.2² for each unit of λ.
    assert off - entropy(p) / log(2) == pytest.approx(0.5 * 0.04 * 18.3 / log(2), abs=0.05)


def test_numbers_have_a_mean_of_zero_and_unit_variance() -> None:
    sampled = draws(mixture(), "cpu")(20_000, stream(0, 0))[0]
    assert sampled.dtype == torch.float32
    assert float(sampled.mean()) == pytest.approx(0, abs=0.03)
    assert float(sampled.std()) == pytest.approx(1, abs=0.02)
    restored = sampled.double() * numbers().scale + numbers().offset
    torch.testing.assert_close(restored, restored.round(), rtol=0, atol=1e-4)


def test_training_is_on_the_continuous_loss_between_fixed_ends() -> None:
    generators = (stream(0, 0), stream(1, 0))
    values = elbo_loss(cast("Any", lambda z, log_snr: 0 * z), torch.zeros(2, 4000, 1), generators)
    assert values.shape == (2, 4000)
    # ε̂ = 0 has an error of 1 everywhere: half of the range of λ.
    assert float(values.mean()) == pytest.approx(18.3 / 2, rel=0.05)
    assert not any(parameter.requires_grad for parameter in SCHEDULE.parameters())


def test_the_bound_is_taken_at_each_look_and_falls(tmp_path: Path) -> None:
    config = TrainedConfig((5, 80), hidden=16, batch=64, log2_draws=12)
    runs = [FakeRun(tmp_path / str(seed)) for seed in (1, 2)]
    rows = made(trained_bound, config, (1, 2), runs)
    for own in rows:
        assert [row["step"] for row in own] == [5, 80]
        assert own[0]["bits"] > own[1]["bits"] > entropy(mixture()) / log(2)
        assert own[1]["excess"] == pytest.approx(own[1]["bits"] - entropy(mixture()) / log(2))
    assert rows[0][1]["bits"] != rows[1][1]["bits"]
    alone = made(trained_bound, config, (2,), [FakeRun(tmp_path / "alone")])[0]
    assert alone[1]["bits"] == pytest.approx(rows[1][1]["bits"], rel=1e-3)
    assert not list(runs[0].folder.iterdir())


def looks(config: TrainedConfig) -> list[Row]:
    return [{"step": step} for step in config.looks]


@pytest.mark.parametrize("preset", ["quick", "small"])
@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [(3.0, 0.5, "holds"), (3.0, 2.9, "fails"), (3.0, -0.1, "fails"), (-1.0, 0.2, "fails")],
)
def test_a_network_s_bound_is_above_the_entropy_and_closes_on_it(
    preset: str, first: float, last: float, expected: str
) -> None:
    def plant(row: Row) -> dict[str, float]:
        end = row["step"] == max(row["looks"])
        return {"excess": (last if end else first) * wobble(row)}

    assert verdict(OF["bound-closes"], (trained_bound, table(trained_bound, preset, looks, plant))) == expected


@pytest.mark.parametrize("preset", ["quick", "small"])
@pytest.mark.parametrize(("order", "expected"), [(1.0, "holds"), (2.0, "fails"), (-0.5, "fails")])
def test_order_and_sign_are_asked_of_the_steps(preset: str, order: float, expected: str) -> None:
    def keys(config: ChainConfig) -> list[Row]:
        return [{"steps": steps} for steps in (CONTINUOUS, *config.lengths)]

    def plant(row: Row) -> dict[str, float]:
        above = 0.0 if row["steps"] == CONTINUOUS else 8.0 * row["steps"] ** -order
        return {"above_continuous": above, "bits": 7 + above}

    assert verdict(OF["bound-steps"], (exact_chain, table(exact_chain, preset, keys, plant))) == expected


def test_the_figure_shows_the_excess_by_steps_and_by_training() -> None:
    def keys(config: ChainConfig) -> list[Row]:
        return [{"steps": steps} for steps in (CONTINUOUS, *config.lengths)]

    exact, trained = table(exact_chain, "small", keys), table(trained_bound, "small", looks)
    left, right = FIGURES[0].draw(MadeUp({exact_chain: exact, trained_bound: trained})).axes
    chained = exact[exact["steps"] > 0].sort_values("steps")
    assert shows(left, chained[["steps", "excess"]].to_numpy())
    mean = trained.groupby("step")["excess"].mean()
    assert shows(right, list(zip(mean.index, mean, strict=True)))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (lambda: ChainConfig(lengths=(0,)), "lengths is at least 1, not 0"),
        (lambda: replace(TrainedConfig(), looks=(0, 5)), "looks is at least 1, not 0"),
        (lambda: replace(TrainedConfig(), lr=-1.0), r"lr is -1\.0; it must be positive"),
    ],
)
def test_a_bad_config_is_refused(config: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config()
