"""Stability: what is trained and judged, on laws whose likelihood is known, and the claims on made-up tables."""

from __future__ import annotations

import copy
import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from common.data.images import digits
from common.harness.studies.claims import judge
from common.training.checkpoint import load_checkpoint
from common.training.loop import Trained
from common.training.stream import stream
from papers.flow_matching.marginal import MixtureField
from papers.flow_matching.objective import OBJECTIVES
from papers.flow_matching.studies import stability as study
from papers.flow_matching.studies.looks import METHODS
from papers.flow_matching.studies.spread import between_rates, between_seeds, farther, worse
from papers.flow_matching.studies.stability import (
    CLAIMS,
    DIFFUSION,
    FIGURES,
    LAWS,
    RATES,
    TEST,
    TRAINING,
    StabilityConfig,
    mixture,
    new_network,
    nll,
    sampler,
    stability,
)
from tests.papers.fake_run import FakeRun
from tests.papers.flow_matching.cases import seeded
from tests.papers.planted import MadeUp, Row, shows, table, verdict, wobble

TINY = StabilityConfig("fm-vp", 1e-3, steps=20, batch=16, width=8, n_test=50)
DIGITS = replace(TINY, law="digits")
OF = {claim.id: claim for claim in CLAIMS}


def keys(config: Any) -> list[Row]:
    return [{}]


def test_the_exact_field_has_no_excess_and_the_standard_normal_the_one_that_it_must() -> None:
    config = replace(TINY, n_test=300)
    exact = MixtureField(OBJECTIVES["fm-vp"].path, mixture())
    assert nll(config, exact.velocity, 0, "cpu") == pytest.approx(0, abs=2e-3)
    # Without motion the model is N(0, I): the excess is the law's own log-density less that.
    x = mixture().sample(300, stream(5, TEST))
    excess = mixture().log_prob(x, 0.0) - torch.distributions.Normal(0, 1).log_prob(x).sum(1)
    assert nll(config, lambda x, t: 0 * x, 5, "cpu") == pytest.approx(float(excess.mean()), rel=1e-6)


def test_the_mixture_has_the_standard_deviation_that_it_says() -> None:
    points, _ = sampler(TINY, "cpu")(40_000, seeded())
    assert points.dtype == torch.float32
    assert float(points.std()) == pytest.approx(2, rel=0.02)
    # They are the law's own: the mean log-density is minus its entropy, here from other draws.
    other = mixture().sample(40_000, seeded(1))
    log_p = [float(mixture().log_prob(x.double(), 0.0).mean()) for x in (points, other)]
    assert log_p[0] == pytest.approx(log_p[1], abs=0.03)


def test_digits_are_trained_on_within_their_bins_and_judged_on_the_test_images(monkeypatch: pytest.MonkeyPatch) -> None:
    batch, _ = sampler(DIGITS, "cpu")(200, seeded())
    on_levels = ((batch + 1) * 8).round().clamp(0, 16) / 8 - 1
    assert float((batch - on_levels).abs().max()) <= 0.5 / 8 + 1e-6
    assert float((batch - on_levels).abs().mean()) == pytest.approx(0.25 / 8, rel=0.05)
    train = digits("train").x0.flatten(1)
    assert (torch.cdist(on_levels.flatten(1), train).min(1).values < 1e-3).all()
    seen: dict[str, Any] = {}

    def bits_per_dim(velocity: Any, images: Tensor, K: int, generator: Any, levels: int, **others: Any) -> Tensor:
        seen.update(images=images, K=K, levels=levels, seed=generator.initial_seed(), **others)
        return torch.tensor([3.0, 5.0])

    monkeypatch.setattr(study, "bits_per_dim", bits_per_dim)
    assert nll(DIGITS, lambda x, t: x, 4, "cpu") == 4.0
    assert torch.equal(seen["images"], digits("test").x0[:50])
    assert (seen["K"], seen["levels"], seen["t_1"]) == (1, 17, 1 - 1e-5)
    assert seen["seed"] == stream(4, TEST).initial_seed()


@pytest.mark.parametrize("base", [TINY, DIGITS])
def test_all_objectives_and_rates_of_a_seed_start_from_one_network(base: StabilityConfig) -> None:
    first = new_network(base, 1).state_dict()
    for config in (replace(base, objective="score"), replace(base, lr=1.0)):
        for name, weights in new_network(config, 1).state_dict().items():
            assert torch.equal(weights, first[name])
    assert any(not torch.equal(weights, first[name]) for name, weights in new_network(base, 2).state_dict().items())


MARK = 0.125


def test_one_objective_is_trained_at_one_rate_and_the_average_is_judged_and_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: dict[str, Any] = {"judged": []}

    def train(network: Any, loss: Any, data: Any, config: Any, generators: Any, log: Any) -> Trained[Any]:
        seen.update(loss=loss, config=config, generators=generators, log=log, members=network.members)
        average = copy.deepcopy(network)
        for parameter in average.parameters():
            nn.init.constant_(parameter, MARK)
        return Trained(network, average, config.steps)

    def judged(config: Any, velocity: Any, seed: int, device: str) -> float:
        seen["judged"].append(velocity(torch.zeros(1, 2), torch.tensor(0.5)))
        return 10.0 + seed

    monkeypatch.setattr(study, "train", train)
    monkeypatch.setattr(study, "nll", judged)
    config = replace(TINY, objective="score", lr=0.07)
    runs = tuple(FakeRun(tmp_path / str(seed)) for seed in (3, 6))
    assert stability(config, (3, 6), runs) == [[{"nll": 13.0}], [{"nll": 16.0}]]
    assert seen["loss"] == OBJECTIVES["score"].loss
    assert (seen["config"].lr, seen["config"].steps, seen["config"].batch_size, seen["members"]) == (0.07, 20, 16, 2)
    assert seen["config"].clip is None, "clipping would hide what is to be seen"
    wanted = [stream(seed, TRAINING).initial_seed() for seed in (3, 6)]
    assert [generator.initial_seed() for generator in seen["generators"]] == wanted
    assert seen["log"] == tuple(run.log for run in runs)
    for run, velocity in zip(runs, seen["judged"], strict=True):
        kept, _ = load_checkpoint(run.folder / "net.safetensors")
        assert all((weights == MARK).all() for name, weights in kept.items())
        # The network is the score: it is sampled through its probability flow.
        marked = new_network(config, 0)
        marked.load_state_dict(kept)
        score, half = marked(torch.zeros(1, 2), torch.tensor(0.5)), torch.tensor(0.5)
        flow = OBJECTIVES["score"].path.probability_flow(torch.zeros(1, 2), score, half)  # type: ignore[attr-defined]
        torch.testing.assert_close(velocity, flow)


def test_a_seed_alone_is_what_it_is_among_others_and_learns(tmp_path: Path) -> None:
    config = replace(TINY, objective="ddpm", lr=0.01, steps=150, batch=64)
    both = stability(config, (0, 1), tuple(FakeRun(tmp_path / f"both{seed}") for seed in (0, 1)))
    (alone,) = stability(config, (1,), (FakeRun(tmp_path / "alone"),))
    assert alone[0]["nll"] == pytest.approx(both[1][0]["nll"], rel=1e-3)
    assert alone[0]["nll"] != pytest.approx(both[0][0]["nll"], rel=1e-3)
    x = mixture().sample(50, stream(1, TEST))
    start = mixture().log_prob(x, 0.0) - torch.distributions.Normal(0, 1).log_prob(x).sum(1)
    assert float(alone[0]["nll"]) < 0.8 * float(start.mean())


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"objective": "fm"}, "objective is one of .*, not 'fm'"),
        ({"law": "moons"}, "law is one of mixture, digits, not 'moons'"),
        ({"lr": 0.0}, "lr is 0.0; it must be positive"),
        ({"n_test": 0}, "n_test is at least 1"),
    ],
)
def test_a_bad_config_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **fields)


@pytest.mark.parametrize("name", ["stability", "stability-digits"])
@pytest.mark.parametrize("preset", ["quick", "small", "gpu"])
def test_flow_matching_must_be_better_at_its_worst(name: str, preset: str) -> None:
    claim = OF[name]
    if preset not in claim.presets:
        pytest.skip("not judged there")
    law = "mixture" if name == "stability" else "digits"

    def planted(flow: tuple[float, ...], score: tuple[float, ...]) -> str:
        values = {"fm-vp": dict(zip(RATES[law], flow, strict=True)), "score": dict(zip(RATES[law], score, strict=True))}

        def plant(row: Row) -> dict[str, float]:
            if row["law"] != law or row["objective"] not in values:
                return {}
            return {"nll": values[row["objective"]][row["lr"]] * wobble(row)}

        return verdict(claim, (stability, table(stability, preset, keys, plant)))

    good, bad = (0.5, 0.3, 0.4), (1.6, 0.9, 1.2)
    assert planted(good, bad) == "holds"
    assert planted(bad, good) == "fails"
    assert planted(bad, bad) == "fails"
    # Worse at one rate alone.
    assert planted((0.5, 0.3, 1.8), bad) == "fails"


@pytest.mark.parametrize("place", range(4))
def test_every_spread_is_judged_about_its_own_mean_on_its_own_law(place: int) -> None:
    """Between rates and between seeds, on either law: with flow matching only that of `place` is wide."""
    kinds = list(itertools.product(RATES, ("rates", "seeds")))

    def planted(wide: tuple[str, str] | None) -> list[str]:
        def plant(row: Row) -> dict[str, float]:
            if row["objective"] == "ddpm":
                return {}
            flow, law = row["objective"] == "fm-vp", row["law"]
            rates, seeds = (0.5 if flow == ((law, kind) == wide) else 0.1 for kind in ("rates", "seeds"))
            at, side = RATES[law].index(row["lr"]) - 1, (-1) ** row["seed"] * (1 + 0.1 * row["seed"])
            # The level is the other way round: it must not count.
            return {"nll": (5.0 if flow else 3.0) + rates * at + seeds * side}

        claim = OF["stability-spread"]
        judged = judge(claim, {"stability": table(stability, "small", keys, plant)})
        return [measured.verdict for measured in judged.measurements]

    assert planted(None) == ["holds"] * 4
    assert planted(kinds[place]) == ["fails" if at == place else "holds" for at in range(4)]


def test_the_measures_of_a_seed() -> None:
    flow = pd.DataFrame({0.1: [1.0, 2.0], 0.2: [3.0, 2.0]})
    score = pd.DataFrame({0.1: [4.0, 2.0], 0.2: [2.0, 5.0]})
    assert worse(score, flow).tolist() == [4.0 - 3.0, 5.0 - 2.0]
    # The best of the first seed is 1: distances 0 and 2 against 3 and 1. Of the second it is 2, where FM always ends.
    assert farther(score, flow).iloc[0] == pytest.approx((10 / 4) ** 0.5)
    assert farther(score, flow).iloc[1] == float("inf")
    # Over rates: √2 and 3/√2 against √2 and 0. Over seeds: distances 1 and 1.5 from the mean against 0.5 and 0.5.
    assert between_rates(score, flow).tolist() == pytest.approx([0.0, 3 / 2**0.5])
    assert between_seeds(score, flow).tolist() == pytest.approx([0.75, 0.75])
    # Of three, from their mean: 2, 1 and 3, where the middle one would have 1, 0 and 4.
    three, still = pd.DataFrame({0.1: [0.0, 1.0, 5.0]}), pd.DataFrame({0.1: [2.0, 2.0, 2.0]})
    assert between_seeds(three, still).tolist() == pytest.approx([2.0, 1.0, 3.0])


def test_one_rate_at_which_flow_matching_is_far_off_is_seen_by_the_spread_though_not_by_the_worst() -> None:
    def plant(row: Row) -> dict[str, float]:
        flow, score = (0.2, 1.1, 1.1), (0.3, 0.3, 1.2)
        values = {"fm-vp": flow, "score": score}
        if row["objective"] not in values:
            return {}
        return {"nll": values[row["objective"]][RATES["mixture"].index(row["lr"])] * wobble(row)}

    judged = judge(OF["stability"], {"stability": table(stability, "quick", keys, plant)})
    assert [measured.verdict for measured in judged.measurements] == ["holds", "fails"]


def test_every_training_is_a_mark_and_means_are_joined() -> None:
    (figure,) = FIGURES
    for preset, laws in {"quick": LAWS[:1], "small": LAWS}.items():
        rows = table(stability, preset, keys)
        panels = figure.draw(MadeUp({stability: rows})).axes
        assert [panel.get_title() for panel in panels] == list(laws)
        for panel, law in zip(panels, laws, strict=True):
            for name in DIFFUSION:
                runs = rows[(rows["law"] == law) & (rows["objective"] == name)]
                if len(runs):
                    assert shows(panel, runs[["lr", "nll"]], METHODS[name].colour)
                    mean = runs.groupby("lr")["nll"].mean()
                    assert shows(panel, np.column_stack([mean.index, mean]), METHODS[name].colour)
