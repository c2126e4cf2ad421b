"""The objective that a reader puts together on the page of week 2 is right, and its instructions are true.

Weightings are held against `Objective.weighting`, which takes them from the path's own coefficients, and against the
closed forms of `papers.weighted_elbo.weighting`. What is said of them is computed again on another grid; the error of
the best network is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from html import unescape
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from common.diffusion.objective import NoiseLevels, NormalLogSnr, Objective, UniformLogSnr, UniformTime, between
from common.diffusion.path import EDM, VP, Cosine, GaussianPath, Prediction, RectifiedFlow
from papers.weighted_elbo import weighting as table
from papers.weighted_elbo.adaptive import flattening, least_variance

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from tests.site.conftest import Build, Traffic

pytestmark = pytest.mark.browser
Array = NDArray[np.float64]

SET = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', {bubbles: true})) }"
PAGE = "weeks/02-weighted_elbo/"
MODULE = "await import('/javascripts/weighted-elbo-weighting.js')"
NUMBER = r"−?\d[\d,]*(?:\.\d+)?"

LEVELS: dict[str, tuple[GaussianPath, NoiseLevels]] = {
    "cosine": (Cosine(), between(Cosine(), -20, 20)),
    "vp": (VP(), UniformTime(VP(), 1e-6, 1.0)),
    "straight": (RectifiedFlow(), between(RectifiedFlow(), -20, 20)),
    "edm": (EDM(), NormalLogSnr(2.4, 2.4)),
    "vdm": (Cosine(), UniformLogSnr(-20, 20)),
}
WEIGHTS: dict[str, Callable[[float, torch.Tensor], torch.Tensor]] = {
    "one": lambda _, log_snr: torch.ones_like(log_snr),
    "min": lambda gamma, log_snr: log_snr.exp().clamp(max=gamma),
    "max": lambda _, log_snr: log_snr.exp().clamp(min=1),
    "p2": lambda gamma, log_snr: (1 + log_snr.exp()) ** -gamma,
    "edm": lambda _, log_snr: 1 / 0.5**2 + log_snr.exp(),
}
WHOLE: dict[str, Callable[[float], table.Weighting]] = {
    "elbo": lambda _: table.elbo,
    "sigmoid": table.Sigmoid,
    "monotonic": lambda _: table.EDMMonotonic(),
}
KNOWN = [*table.TABLE, "edm-monotonic"]
"""The objectives of the figure, by their names in the package."""


class Play:
    """The figure's controls, and what it says."""

    def __init__(self, page: Page) -> None:
        self.page, self.root = page, page.locator("#weighted-elbo-play")

    def press(self, name: str) -> str:
        self.root.get_by_role("button", name=name, exact=True).click()
        return self.status()

    def set(self, **settings: str) -> str:
        for name, value in settings.items():
            self.root.locator(f"[name={name}]").evaluate(SET, value)
        return self.status()

    def status(self) -> str:
        return self.root.get_by_role("status").inner_text()

    def value(self, name: str) -> str:
        return self.root.locator(f"[name={name}]").input_value()

    def part(self, name: str) -> Array:
        """The corners of a drawn part, (n, 2)."""
        path = self.root.locator(f"[data-part={name}]").get_attribute("d") or ""
        return np.array(re.findall(r"([-\d.]+),([-\d.]+)", path), dtype=float)


@pytest.fixture
def play(playing: tuple[Page, Traffic]) -> Play:
    page, _ = playing
    page.goto(PAGE)
    return Play(page)


def numbers(text: str) -> list[float]:
    return [float(found.replace("−", "-").replace(",", "")) for found in re.findall(NUMBER, text)]


def weighted(play: Play, objective: dict[str, Any], log_snr: Array) -> Array:
    script = f"async ([of, ls]) => {{ const {{ weighting }} = {MODULE}; return ls.map(l => weighting(of, l)) }}"
    return np.array(play.page.evaluate(script, [objective, log_snr.tolist()]))


def assert_proportional(found: Array, wanted: Sequence[float] | torch.Tensor, name: object) -> None:
    ratio = found / np.asarray(wanted)
    np.testing.assert_allclose(ratio / ratio[0], 1, rtol=1e-9, err_msg=str(name))


def test_every_combination_has_the_weighting_that_the_package_derives(play: Play) -> None:
    log_snr = np.linspace(-9, 9, 37)
    for prediction in get_args(Prediction):
        for key, (path, levels) in LEVELS.items():
            for weight, function in WEIGHTS.items():
                for parameter in (1.0, 3.0):
                    chosen = {"prediction": prediction, "levels": key, "weight": weight, "parameter": parameter}
                    objective = Objective("own", path, prediction, levels, partial(function, parameter))
                    derived = objective.weighting(torch.tensor(log_snr))
                    assert_proportional(weighted(play, chosen, log_snr), derived, chosen)
    for weight, made in WHOLE.items():
        for parameter in (-1.0, 4.0):
            chosen = {"prediction": "v", "levels": "vp", "weight": weight, "parameter": parameter}
            assert_proportional(weighted(play, chosen, log_snr), made(parameter)(torch.tensor(log_snr)), chosen)


def settings(play: Play, name: str) -> dict[str, Any]:
    """The parts of an objective in use, with the usual parameter of its weight."""
    script = f"""async name => {{
      const {{ OBJECTIVES, WEIGHTS }} = {MODULE};
      return {{ ...OBJECTIVES[name], parameter: WEIGHTS[OBJECTIVES[name].weight].parameter?.start ?? 0 }};
    }}"""
    found: dict[str, Any] = play.page.evaluate(script, name)
    return found


def test_the_objectives_in_use_are_the_rows_of_the_table(play: Play) -> None:
    log_snr = np.linspace(-9, 9, 181)
    offered = play.root.locator("[name=objective] option").evaluate_all(
        "options => options.map(option => option.value)"
    )
    assert offered == ["elbo", *[name for name in KNOWN if name != "elbo"], ""]
    for name in KNOWN:
        assert_proportional(
            weighted(play, settings(play, name), log_snr), table.WEIGHTINGS[name](torch.tensor(log_snr)), name
        )


VARIANCES = 0.25 * (1 / np.arange(1, 257)) / np.mean(1 / np.arange(1, 257))
"""Of the data: they fall as 1/k, and their mean is σ_data²."""


def best_error(log_snr: Array) -> Array:
    """E of the mean squared error of the best ε̂, and of its square, from the variance that z leaves; (2, K)."""
    alpha2, sigma2 = 1 / (1 + np.exp(-log_snr[:, None])), 1 / (1 + np.exp(log_snr[:, None]))
    left = 1 - sigma2 / (alpha2 * VARIANCES + sigma2)
    mean = left.mean(axis=1)
    return np.stack([mean, mean**2 + 2 * np.square(left).mean(axis=1) / len(VARIANCES)])


def test_the_error_is_that_of_the_best_network(play: Play) -> None:
    """The best ε̂ for Gaussian data is linear in z: its error is drawn."""
    rng = np.random.default_rng(0)
    for log_snr in (-5.0, 0.0, 3.0):
        alpha, sigma = np.sqrt(1 / (1 + np.exp(-log_snr))), np.sqrt(1 / (1 + np.exp(log_snr)))
        eps = rng.standard_normal((4000, 256))
        z = alpha * np.sqrt(VARIANCES) * rng.standard_normal(eps.shape) + sigma * eps
        squared = np.square(sigma / (alpha**2 * VARIANCES + sigma**2) * z - eps).mean(axis=1)
        found = play.page.evaluate(f"async l => {{ const {{ error }} = {MODULE}; return error(l) }}", log_snr)
        assert found["mean"] == pytest.approx(squared.mean(), rel=0.05 if log_snr < 0 else 0.01)
        assert found["square"] == pytest.approx(np.square(squared).mean(), rel=0.2 if log_snr < 0 else 0.02)
        assert [found["mean"], found["square"]] == pytest.approx(best_error(np.array([log_snr]))[:, 0], rel=1e-9)


class Truth:
    """What is to be said of a weighting on a range, on a grid of another step than the figure's."""

    def __init__(self, weighting: table.Weighting, low: float = -10.0, high: float = 10.0) -> None:
        self.log_snr = np.linspace(low, high, 5003)
        self.w = weighting(torch.tensor(self.log_snr)).numpy()
        self.error, self.square = best_error(self.log_snr)
        self.steps = np.diff(self.w) / self.w[0]

    def masses(self) -> list[float]:
        falls = -self.steps
        return [float(falls[falls > 0].sum()), float(-falls[falls < 0].sum()), float(self.w[-1] / self.w[0])]

    def half(self, density: Array) -> list[float]:
        below = np.concatenate([[0], np.cumsum(density[1:] + density[:-1])])
        return [float(np.interp(share * below[-1], below, self.log_snr)) for share in (0.25, 0.75)]

    def loss(self) -> Array:
        return self.w * self.error

    def draws(self, density: Array) -> float:
        """For a standard error of 1 %."""
        p = density / np.trapezoid(density, self.log_snr)
        second = np.trapezoid(self.w**2 * self.square / p, self.log_snr)
        return float(1e4 * (second / np.trapezoid(self.loss(), self.log_snr) ** 2 - 1))

    def rises_to(self) -> float | None:
        """Where w stops to rise; None where it never does."""
        rising = np.flatnonzero(self.steps > 1e-12 * self.w[:-1] / self.w[0])
        return float(self.log_snr[rising[-1] + 1]) if len(rising) else None

    def density(self, levels: NoiseLevels) -> Array:
        return np.asarray(levels.density(torch.tensor(self.log_snr)))


def test_what_is_said_of_the_objectives_in_use(play: Play) -> None:
    for name in KNOWN:
        said = play.set(objective=name, draw="own", cut="10").split("\n")
        truth, levels = Truth(table.WEIGHTINGS[name]), LEVELS[settings(play, name)["levels"]][1]
        to = truth.rises_to()
        assert said[0].startswith("Monotone" if to is None else "Not monotone"), name
        if to is not None:
            assert numbers(said[0]) == pytest.approx([-10, to], abs=0.0061), name
        assert numbers(said[1]) == pytest.approx(truth.masses(), rel=0.006, abs=1e-9), name
        halves = truth.half(truth.density(levels)) + truth.half(truth.loss())
        assert numbers(said[2]) == pytest.approx(halves, abs=0.0061), name
        draws = {
            "own": truth.density(levels),
            "uniform": np.ones_like(truth.w),
            "adaptive": flattening(torch.tensor(truth.w), torch.tensor(truth.error)[:, None]).numpy(),
            "least": least_variance(torch.tensor(truth.w), torch.tensor(truth.square).sqrt()[:, None]).numpy(),
        }
        for draw, density in draws.items():
            found = numbers(play.set(draw=draw).split("\n")[3])[-1]
            assert found == pytest.approx(truth.draws(density), rel=0.006), (name, draw)


def test_a_path_ends_where_it_ends(play: Play) -> None:
    """λ of the VP path goes no lower than at t = 1, whatever the cut; beyond it nothing is drawn."""
    said = play.set(objective="eps-vp", cut="20").split("\n")
    end = float(VP().log_snr(torch.tensor(1.0, dtype=torch.float64)))
    truth = Truth(table.eps_vp, end, 20.0)
    assert numbers(said[0]) == pytest.approx([end, truth.rises_to()], abs=0.0061)
    assert numbers(said[2])[:2] == pytest.approx(truth.half(truth.density(LEVELS["vp"][1])), abs=0.0061)
    assert play.part("drawn")[:, 0].min() == pytest.approx(14 + 692 * (end + 20) / 40, abs=0.1)


def test_the_table_without_scripts_says_the_same(play: Play, build: Build) -> None:
    page = (build.folder / PAGE / "index.html").read_text(encoding="utf-8")
    fallback = page[page.index('id="weighted-elbo-play"') :]
    rows = re.findall(r"(?s)<tr>(.*?)</tr>", fallback[: fallback.index("</table>")])[1:]
    names = play.root.locator("[name=objective] option").all_inner_texts()[:-1]
    assert len(rows) == len(names)
    for row, name in zip(rows, names, strict=True):
        cells = [unescape(re.sub(r"<[^>]*>", "", cell)) for cell in re.findall(r"(?s)<td.*?>(.*?)</td>", row)]
        play.root.locator("[name=objective]").select_option(name)
        own, adaptive = (play.set(draw=draw).split("\n") for draw in ("own", "adaptive"))
        assert cells[0] == name
        assert numbers(cells[1]) == numbers(own[0])
        assert (cells[1] == "nowhere") == own[0].startswith("Monotone")
        assert numbers(cells[2]) == [numbers(own[1])[1]]
        assert numbers(cells[3]) == numbers(own[2])[2:]
        assert numbers(cells[4]) == [numbers(said[3])[-1] for said in (own, adaptive)]


def test_what_the_instructions_say_is_what_is_seen(play: Play) -> None:
    names = play.root.locator("[data-try]").all_inner_texts()
    said: dict[str, str] = {}
    for item in play.page.locator("#weighted-elbo-tries li").all():
        parts = re.split(r"<strong>(.*?)</strong>", item.inner_html())
        for name, rest in zip(parts[1::2], parts[2::2], strict=True):
            if name not in names:
                continue
            said[name] = play.press(name)
            words = unescape(re.sub(r"(?s)<math.*?</math>|<[^>]*>", "", rest))
            digits = re.findall(r"−?\d+\.\d+|\d+,\d{3}|\b\d{3}\b", words)
            seen = {found for status in said.values() for found in re.findall(NUMBER, status)}
            # Every number is one of what is said, now or at an earlier item, and the first of them is said now.
            assert set(digits) <= seen, (name, words)
            assert not digits or digits[0] in re.findall(NUMBER, said[name]), (name, words)
            assert ("w rises" in words) <= ("Not monotone: w rises" in said[name] or name == "VP, velocity"), name
    assert sorted(said) == sorted(names)
    # What the sentences between the numbers say.
    monotone = {name for name, status in said.items() if status.startswith("Monotone")}
    assert monotone == set(names) - {"iDDPM", "EDM"}
    assert numbers(said["Predict v instead"].split("\n")[1])[:2] == [1, 0]
    assert numbers(said["ELBO"].split("\n")[1]) == [0, 0, 1]
    halves = {name: numbers(status.split("\n")[2]) for name, status in said.items()}
    assert halves["Flow matching"][2:] == halves["Predict v instead"][2:]
    assert halves["Flow matching"][:2] != halves["Predict v instead"][:2] == [-1.74, 1.74]
    assert numbers(said["v, cut at ±20"].split("\n")[1])[0] == 1
    assert halves["v, cut at ±20"][2:] == pytest.approx(halves["Predict v instead"][2:], abs=0.1)
    same = {said[name].split("\n")[1] for name in ("EDM-monotonic", "Adaptive draws", "Least variance")}
    assert len(same) == 1
    # The last item goes on: predict noise instead.
    play.press("VP, velocity")
    assert play.value("objective") == ""
    assert play.set(prediction="eps").startswith("Not monotone")
    assert play.value("objective") == "eps-vp"


def test_the_curves_are_drawn_where_they_are(play: Play) -> None:
    play.press("EDM")
    # w has its highest point over the peak, and the hatched part is to the left of it and below zero.
    below, above = play.part("below"), play.part("above")
    place = 14 + 692 * (table.EDMMonotonic().peak + 10) / 20
    zero = below[0, 1]
    hatched = below[below[:, 1] > zero + 1]
    assert len(hatched)
    assert hatched[:, 0].max() < place < above[above[:, 1] < zero - 1][:, 0].min()
    # The dashed line is the density: its height over that at its own highest point.
    drawn = play.part("drawn")
    at = (drawn[:, 0] - 14) / 692 * 20 - 10
    height = 586 - drawn[:, 1]
    np.testing.assert_allclose(height / height.max(), np.exp(-(((at - 2.4) / 2.4) ** 2) / 2), atol=0.006)
    play.press("EDM-monotonic")
    below = play.part("below")
    assert np.ptp(below[:, 1]) == 0


def test_it_is_used_by_keyboard(play: Play, playing: tuple[Page, Traffic]) -> None:
    page, traffic = playing
    first = play.status()

    def focus(label: str) -> Locator:
        field = play.root.locator("form").first.get_by_label(label)
        field.focus()
        return field

    focus("Objective")
    page.keyboard.press("ArrowDown")
    assert play.value("objective") == "eps-vp"
    assert play.value("levels") == "vp"
    focus("The network predicts")
    page.keyboard.press("ArrowDown")
    assert play.value("prediction") == "x0"
    assert play.value("objective") == ""
    assert play.status() != first
    assert play.root.locator("[name=parameter]").is_disabled()
    play.set(weight="sigmoid")
    assert (play.root.locator("label[for=w-parameter]").inner_text().split()) == ["k", "2"]
    focus("k 2")
    page.keyboard.press("ArrowRight")
    assert play.value("parameter") == "3"
    before = play.status()
    focus("λ cut off at")
    page.keyboard.press("ArrowRight")
    assert "±12" in play.root.locator("label[for=w-cut]").inner_text()
    assert play.status() != before
    assert "from -12 to 12" in (play.root.locator("svg title").text_content() or "")
    button = play.root.get_by_role("button", name="ELBO", exact=True)
    button.focus()
    page.keyboard.press("Enter")
    assert play.value("objective") == "elbo"
    assert play.value("cut") == "10"
    assert traffic.console == []
    assert traffic.external == []
