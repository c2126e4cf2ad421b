"""The claims and figures on images, on made-up tables: what each reads, and what its control does to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from common.harness.studies.measures import NotReached
from papers.ctm.studies import guidance as guided
from papers.ctm.studies import losses, one_step
from papers.ctm.studies.guidance import GuidanceConfig, guidance
from papers.ctm.studies.image_quality import TEACHER, QualityConfig, digit_quality, mnist_quality
from papers.ctm.studies.looks import METHODS
from papers.ctm.studies.one_step import worth
from tests.papers.planted import MadeUp, Row, shows, table, verdict, wobble

OF = {claim.id: claim for study in (one_step, losses, guided) for claim in study.CLAIMS}
DRAWN = {figure.name: figure.draw for study in (one_step, losses, guided) for figure in study.FIGURES}


def keys(config: QualityConfig) -> list[Row]:
    return [{"gamma": g, "nfe": nfe} for g in config.gammas for nfe in config.nfes if g == 0 or nfe > 1]


def scales(config: GuidanceConfig) -> list[Row]:
    return [{"scale": scale} for scale in config.scales]


def quality(preset: str, fd: dict[tuple[Any, ...], float], experiment: Any = digit_quality) -> Any:
    """A table where (method, nfe[, γ]) has the distance that is given, and all else a decoy."""

    def plant(row: Row) -> dict[str, float]:
        place = (row["method"], row["nfe"])
        found = fd.get((*place, row["gamma"]), fd.get(place) if row["gamma"] == 0 else None)
        return {} if found is None else {"fd": found * wobble(row)}

    return table(experiment, preset, keys, plant)


@pytest.mark.parametrize("preset", ["small", "gpu"])
def test_one_step_is_held_to_the_teacher_s_thirty_five_evaluations(preset: str) -> None:
    claim = OF["one-step-teacher"]

    def judged(gan: float, two: float, without: float) -> str:
        fds = {(TEACHER, 35): 4.0, ("gan", 1): gan, ("gan", 2): two, ("ctm", 1): without}
        return verdict(claim, (mnist_quality, quality(preset, fds, mnist_quality)))

    assert judged(4.0, 4.0, 8.0) == "holds"
    assert judged(8.0, 4.0, 8.0) == "fails", "without GAN in the place of with it"
    assert judged(4.0, 8.0, 8.0) == "fails"
    assert judged(4.0, 4.0, 4.0) == "fails", "with GAN in the place of without it"


def test_what_one_evaluation_is_worth_is_read_off_the_teacher_s_curve() -> None:
    def rows(fd: float, method: str = "") -> Any:
        curve = {(TEACHER, nfe): 1000.0 / nfe**2 for nfe in (3, 5, 9, 17, 35)}
        students = {(name, 1): fd if name == method else 1000.0 / 9**2 for name in ("gan", "ctm")}
        return quality("small", {**curve, **students}, mnist_quality)

    np.testing.assert_allclose(worth("gan")(rows(1000.0 / 9**2)), 9, rtol=1e-9)
    # Better than the teacher ever is.
    np.testing.assert_allclose(worth("gan")(rows(1e-3, "gan")), 35)
    with pytest.raises(NotReached):
        worth("gan")(rows(200.0, "gan"))
    for method in ("gan", "ctm"):
        assert verdict(OF["one-step-cost"], (mnist_quality, rows(10.0, method))) == "holds"
        assert verdict(OF["one-step-cost"], (mnist_quality, rows(1000.0 / 3**2, method))) == "fails", "as good as NFE 3"
        assert verdict(OF["one-step-cost"], (mnist_quality, rows(1000.0 / 4.5**2, method))) == "fails"


def test_distillation_is_compared_at_one_step_and_at_eight_by_its_own_sampling() -> None:
    claim = OF["one-step-distillation"]

    def judged(one: float, eight: float) -> str:
        fds = {
            ("ctm", 1): one,
            ("cd", 1): 4.0,
            ("ctm", 8): eight,
            ("cd", 8, 1.0): 4.0,
        }
        return verdict(claim, (digit_quality, quality("small", fds)))

    assert judged(4.0, 3.0) == "holds"
    assert judged(6.0, 3.0) == "fails"
    assert judged(4.0, 4.0) == "fails", "distillation in CTM's place"


def test_without_a_teacher_one_step_may_be_a_third_worse() -> None:
    claim = OF["one-step-without-teacher"]

    def judged(fd: float) -> str:
        fds = {("no-teacher-gan", 1): fd, ("gan", 1): 2.0}
        return verdict(claim, (digit_quality, quality("small", fds)))

    assert judged(2.4) == "holds"
    assert judged(3.0) == "fails"


def test_the_discriminator_must_take_more_off_one_step_than_off_many() -> None:
    claim = OF["losses-gan"]

    def judged(one: float, many: float) -> str:
        fds = {
            ("ctm", 1): 5.0,
            ("gan", 1): one,
            ("ctm", 18): 3.0,
            ("gan", 18): many,
        }
        return verdict(claim, (digit_quality, quality("small", fds)))

    assert judged(2.2, 2.2) == "holds"
    assert judged(4.0, 1.5) == "fails"
    assert judged(6.0, 3.0) == "fails", "it makes one step worse"


def test_score_matching_must_help_many_steps() -> None:
    claim = OF["losses-dsm"]

    def judged(without: float) -> str:
        fds = {("ctm", 18): 2.0, ("without-dsm", 18): without}
        return verdict(claim, (digit_quality, quality("small", fds)))

    assert judged(3.0) == "holds"
    assert judged(2.0) == "fails", "without it in its place"


def test_what_the_judge_sees_and_the_witness_does_not_is_overstated() -> None:
    claim = OF["losses-judge"]
    fds = {("ctm", 1): 2.0, ("judge", 1): 1.0}

    def judged(by_witness: float) -> str:
        rows = quality("small", fds)
        seen = {"ctm": 6.0, "judge": by_witness}
        here = (rows["nfe"] == 1) & rows["method"].isin(seen)
        rows.loc[here, "fd_witness"] = rows.loc[here, "method"].map(seen)
        return verdict(claim, (digit_quality, rows))

    assert judged(6.0) == "holds"
    assert judged(3.0) != "holds", "the witness sees all of it"
    assert judged(2.4) == "fails", "the witness sees more"


@pytest.mark.parametrize("preset", ["small", "gpu"])
def test_guidance_must_reach_the_class_and_keep_the_quality(preset: str) -> None:
    claim = OF["guidance-class"]

    def judged(accuracy: float, fd: float) -> str:
        def plant(row: Row) -> dict[str, float]:
            if row["scale"] == 3.0:  # at which the claim is judged
                return {"accuracy": accuracy * wobble(row) ** 0.1, "fd": fd * wobble(row)}
            return {"accuracy": 0.1 * wobble(row), "fd": 2.0 * wobble(row)} if row["scale"] == 0 else {}

        return verdict(claim, (guidance, table(guidance, preset, scales, plant)))

    assert judged(0.95, 2.4) == "holds"
    assert judged(0.1, 2.0) == "fails", "no guidance"
    assert judged(0.95, 4.0) == "fails", "at the cost of quality"


def test_curves_are_of_their_data_set_and_method() -> None:
    of = {
        "one-step-curves": (digit_quality, ("ctm", "gan", TEACHER)),
        "one-step-mnist": (mnist_quality, ("ctm", "gan", TEACHER)),
        "losses-curves": (digit_quality, ("ctm", "without-dsm", "gan", "gan-without-dsm", "judge")),
    }
    tables = {experiment: quality("small", {}, experiment) for experiment in (digit_quality, mnist_quality)}
    for name, (experiment, methods) in of.items():
        rows, panel = tables[experiment], DRAWN[name](MadeUp(tables)).axes[0]
        for method in methods:
            own = rows[(rows["method"] == method) & (rows["gamma"] == 0)]
            mean = np.exp(np.log(own["fd"]).groupby(own["nfe"]).mean())
            assert shows(panel, [*zip(mean.index, mean, strict=True)], METHODS[method].colour)


def test_the_methods_at_one_step_and_the_control_show_each_seed() -> None:
    rows = quality("small", {})
    at_one = rows[rows["nfe"] == 1]
    panel = DRAWN["one-step-methods"](MadeUp({digit_quality: rows})).axes[0]
    names = [label.get_text() for label in panel.get_yticklabels()]
    for method in set(at_one["method"]):
        place = names.index(METHODS[method].name)
        values = at_one[at_one["method"] == method]["fd"]
        assert shows(panel, [(value, place) for value in values])
    panel = DRAWN["losses-control"](MadeUp({digit_quality: rows})).axes[0]
    for method in ("ctm", "gan", "judge"):
        own = at_one[at_one["method"] == method]
        assert shows(panel, own[["fd", "fd_witness"]].to_numpy(), METHODS[method].colour)


def test_grids_of_samples_are_of_their_method_evaluations_and_scale() -> None:
    level = {"ctm": 0.1, "gan": 0.2, TEACHER: 0.3}

    def arrays(run: Row) -> Any:
        return {
            f"nfe_{nfe}": np.full((32, 1, 4, 4), level[run["method"]] + nfe / 1000, dtype=np.float32)
            for nfe in run["nfes"]
        }

    figure = DRAWN["one-step-samples"](MadeUp({mnist_quality: quality("small", {}, mnist_quality)}, arrays))
    wanted = [0.101, 0.201, 0.202, 0.335]
    for panel, value in zip(figure.axes, wanted, strict=True):
        assert np.asarray(panel.images[0].get_array()).max() == pytest.approx(value)

    def led(run: Row) -> Any:
        return {f"scale_{scale:g}": np.full((20, 1, 4, 4), scale / 10, dtype=np.float32) for scale in run["scales"]}

    figure = DRAWN["guidance-samples"](MadeUp({guidance: table(guidance, "small", scales)}, led))
    for panel, scale in zip(figure.axes, (0.0, guided.LED), strict=True):
        assert np.asarray(panel.images[0].get_array()).max() == pytest.approx(scale / 10)


def test_the_trade_shows_means_by_scale() -> None:
    rows = table(guidance, "small", scales)
    figure = DRAWN["guidance-trade"](MadeUp({guidance: rows}))
    mean = rows.groupby("scale")["accuracy"].mean()
    assert shows(figure.axes[0], [*zip(mean.index, mean, strict=True)], METHODS["gan"].colour)
    mean = np.exp(np.log(rows["fd"]).groupby(rows["scale"]).mean())
    assert shows(figure.axes[1], [*zip(mean.index, mean, strict=True)], METHODS["gan"].colour)
