"""Noise as augmentation: the ratio on the study's own rows, what is no law, and claims and figures by planting."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from papers.weighted_elbo.identity import elbos, kl_terms, prior_kl
from papers.weighted_elbo.published import MONOTONE
from papers.weighted_elbo.studies.augmentation import (
    CLAIMS,
    FIGURES,
    MODELS,
    NEVER_RISING,
    RANGE,
    RATIOS,
    WITH_A_PEAK,
    LawConfig,
    NoisyConfig,
    laws,
    noisy,
    over_noise,
)
from papers.weighted_elbo.studies.line import DENOISERS, drawn_elbos, mean_error
from papers.weighted_elbo.studies.looks import WEIGHTINGS as LOOKS
from papers.weighted_elbo.vdm import alpha_sigma
from papers.weighted_elbo.weighting import WEIGHTINGS, clean_share, p_w
from tests.papers.fake_run import FakeRun
from tests.papers.made import made
from tests.papers.planted import MadeUp, Row, lines, table, verdict
from tests.papers.weighted_elbo.cases import f64, seeded

FLAGS, AUGMENTED, STEEP = CLAIMS


def wobble(row: Row) -> float:
    """Seeds differ by a little, so that intervals have a width; the margin is 5 %."""
    return 1 + 0.003 * (row["seed"] % 3 - 1)


def chain(steps: int) -> torch.Tensor:
    return torch.linspace(RANGE[1], RANGE[0], steps + 1, dtype=torch.float64)


def test_each_weighting_is_on_the_side_where_it_belongs() -> None:
    assert set(NEVER_RISING) == {"elbo", "v-cosine", "fm-ot", "indi", "snr-trunc", "sigmoid", "edm-monotonic"}
    assert set(WITH_A_PEAK) == set(LOOKS) - set(NEVER_RISING)


def test_the_laws_of_the_study_hold_their_claim_and_flags_exchanged_do_not(run: FakeRun) -> None:
    ((*rows,),) = made(laws, LawConfig(2001), (0,), (run,))
    found = pd.DataFrame([{**row, "seed": 0} for row in rows])
    # The coarse integral is off by a tenth of what the claim allows at twenty thousand points, where w has a kink.
    assert verdict(FLAGS, (laws, found)) == "holds"
    exchanged = {"v-cosine": "edm", "edm": "v-cosine"}
    swapped = found.assign(weighting=found["weighting"].replace(exchanged))
    assert verdict(FLAGS, (laws, swapped)) == "fails"
    assert found.set_index("weighting")["as_published"].dropna().to_dict() == dict.fromkeys(MONOTONE, 1.0)


def test_drawn_elbos_differ_as_the_divergences_do() -> None:
    """What no model changes falls out of the difference of two: it is that of their sums of divergences."""
    x, log_snr = f64(-1.1, 0.4), chain(60)
    found = drawn_elbos(MODELS, x, 1500, log_snr, seeded())
    exact, linear = (
        elbos(kl_terms(DENOISERS[name], x, log_snr), prior_kl(x, RANGE[0])) for name in ("exact", "linear")
    )
    expected = (linear - exact).mean(1)
    torch.testing.assert_close(found["linear"] - found["exact"], expected, rtol=0.05, atol=0.01)
    assert float(expected[0]) > 0.2


def test_mirrored_paths_keep_the_mean() -> None:
    """The mean −ELBO itself, with its entropy, is that of the divergences."""
    x, log_snr = f64(0.4), chain(40)
    found = drawn_elbos(MODELS, x, 4000, log_snr, seeded())["exact"]
    L = elbos(kl_terms(DENOISERS["exact"], x, log_snr), prior_kl(x, RANGE[0]))[:, 0]
    entropy = torch.log(alpha_sigma(log_snr)[1]) + 0.5 * np.log(2 * np.pi * np.e)
    torch.testing.assert_close(found, L + entropy, rtol=0, atol=0.05)


def test_an_average_over_p_w_is_by_parts_the_weighted_loss() -> None:
    """With values that rise with λ as ∫ ½ e dλ does, the average over p_w is ½ ∫ w e dλ / w(λ_min)."""
    log_snr = chain(4000)
    rise = mean_error("linear", f64(0.4, -1.0), log_snr)
    values = torch.cat([torch.cumulative_trapezoid(-rise.flip(0) / 2, log_snr.flip(0)).neg().flip(0), f64(0.0)])
    for name in ("sigmoid", "edm", "v-cosine"):
        w = WEIGHTINGS[name]
        found = over_noise(p_w(w, log_snr, RANGE[0]), clean_share(w, *RANGE), values, log_snr)
        expected = -torch.trapezoid(w(log_snr) * rise, log_snr) / w(log_snr[-1]) / 2
        assert found == pytest.approx(float(expected), rel=1e-4)


def test_the_rows_of_the_study_are_near_1_for_p_w_and_far_off_for_what_is_left_of_it(run: FakeRun) -> None:
    ((*rows,),) = made(noisy, NoisyConfig(8, 100, 300, 200), (3,), (run,))
    found = pd.DataFrame(rows).set_index("weighting")
    # A step of 0.05 is half of it off; the rest are the draws.
    assert found.loc[list(RATIOS), "ratio"].between(0.9, 1.1).all()
    assert found.loc[list(WITH_A_PEAK), "ratio_positive"].lt(0.75).all()
    # What the claims exclude: the ELBO of clean data. It is the right one for the weighting of the ELBO alone.
    worse, log_snr = torch.tensor(run.arrays["worse"]), torch.tensor(run.arrays["log_snr"])
    for name in {*RATIOS, "indi"} - {"elbo"}:
        w = WEIGHTINGS[name]
        noisy_data = over_noise(p_w(w, log_snr, RANGE[0]), clean_share(w, *RANGE), worse, log_snr)
        assert float(worse[0]) > 1.5 * float(noisy_data), name
    laws_of_noise = found.loc[list(NEVER_RISING)]
    pd.testing.assert_series_equal(
        laws_of_noise["ratio_positive"], laws_of_noise["ratio"], check_names=False, rtol=1e-3
    )
    assert set(run.arrays) == {"log_snr", "worse"}


def test_seeds_draw_their_own(run: FakeRun) -> None:
    small = NoisyConfig(2, 5, 20, 20)
    first, again, other = (made(noisy, small, (seed,), (run,))[0][0]["ratio"] for seed in (3, 3, 4))
    assert first == again
    assert first != other


def law_keys(config: LawConfig) -> list[Row]:
    return [{"weighting": name, "monotone": True} for name in LOOKS]


@pytest.mark.parametrize("preset", ["quick", "small"])
@pytest.mark.parametrize(
    ("fields", "which", "expected"),
    [
        ({}, "", "holds"),
        ({"as_published": 0.0}, "p2", "fails"),
        ({"off_one": 0.01}, "sigmoid", "fails"),
        ({"negative": 0.2}, "indi", "fails"),
        ({"negative": 0.01}, "edm", "fails"),
    ],
    ids=["right", "a flag", "sum", "a law with a negative part", "a peak without one"],
)
def test_the_claim_of_flags(preset: str, fields: dict[str, float], which: str, expected: str) -> None:
    def plant(row: Row) -> dict[str, float]:
        name = row["weighting"]
        right = {"as_published": 1.0, "off_one": 1e-5, "negative": 0.0 if name in NEVER_RISING else 0.3}
        return {**right, **(fields if name == which else {})}

    rows = table(laws, preset, law_keys, plant)
    rows.loc[~rows["weighting"].isin(list(MONOTONE)), "as_published"] = np.nan
    assert verdict(FLAGS, (laws, rows)) == expected


def keys(config: NoisyConfig) -> list[Row]:
    return [{"weighting": name} for name in LOOKS]


@pytest.mark.parametrize("preset", ["quick", "small"])
@pytest.mark.parametrize(("ratio", "expected"), [(1.01, "holds"), (1.1, "fails"), (0.6, "fails")])
@pytest.mark.parametrize("which", RATIOS)
def test_the_claim_of_noisy_data(preset: str, ratio: float, expected: str, which: str) -> None:
    def plant(row: Row) -> dict[str, float]:
        near = ratio if row["weighting"] == which else 1.0
        return {"ratio": near * wobble(row)} if row["weighting"] in RATIOS else {}

    assert verdict(AUGMENTED, (noisy, table(noisy, preset, keys, plant))) == expected


@pytest.mark.parametrize(("ratio", "expected"), [(1.01, "holds"), (0.6, "fails")])
def test_the_claim_of_indi(ratio: float, expected: str) -> None:
    def plant(row: Row) -> dict[str, float]:
        return {"ratio": ratio * wobble(row)} if row["weighting"] == "indi" else {}

    assert verdict(STEEP, (noisy, table(noisy, "small", keys, plant))) == expected


def test_the_figure_of_laws_is_below_zero_on_the_right_alone() -> None:
    left, right = FIGURES[0].draw(MadeUp({laws: table(laws, "quick", law_keys)})).axes
    for name, look in LOOKS.items():
        if name == "elbo":
            assert not lines(left, look.name)
            continue
        panel = right if name in WITH_A_PEAK else left
        (line,) = lines(panel, look.name)
        assert (line[:, 1].min() < -0.1) == (name in WITH_A_PEAK)
        assert np.abs(line[:, 1]).max() == pytest.approx(1)


def test_the_figure_of_noisy_data_has_means_of_seeds() -> None:
    rows = table(noisy, "quick", keys)

    def arrays(run: Row) -> dict[str, np.ndarray]:
        return {"log_snr": np.array([1.0, 0.0, -1.0]), "worse": np.array([3.0, 2.0, 1.0]) + run["seed"]}

    elbo, ratios = FIGURES[1].draw(MadeUp({noisy: rows}, arrays)).axes
    mean = np.array([3.0, 2.0, 1.0]) + rows["seed"].unique().mean()
    np.testing.assert_allclose(np.asarray(elbo.lines[0].get_ydata(), float), mean)
    assert [label.get_text() for label in ratios.get_yticklabels()] == [look.name for look in LOOKS.values()]
    for cloud, column in zip(ratios.collections, ("ratio_positive", "ratio"), strict=True):
        mean = np.exp(np.log(rows[column].clip(lower=1e-3)).groupby(rows["weighting"]).mean())
        for x, y in np.asarray(cloud.get_offsets()):
            assert x == pytest.approx(mean[list(LOOKS)[-round(y)]])


@pytest.mark.parametrize("fields", [{"points": 0}, {"pairs": 0}, {"steps": 1}, {"levels": 1}])
def test_settings_out_of_range_are_named(fields: Row) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(fields))} is at least"):
        NoisyConfig(**fields)
    with pytest.raises(ValueError, match="points is at least 3"):
        LawConfig(2)
