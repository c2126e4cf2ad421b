"""The jumps to play with on the page of week 8 are the package's, and its instructions are true.

The page's student is read back by `papers.ctm.studies.page`, and jumps, paths and laws are computed here by
`papers.ctm`: exact trajectories by Heun's method, γ-sampling with the page's own normals, laws by many samples.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import Tensor

from papers.ctm import sampling
from papers.ctm.exact import exact_jump
from papers.ctm.sampling import gamma_sampling, sampling_times
from papers.ctm.studies.page import GRID, MEANS, SIGMA_DATA, STD, WEIGHTS, mixture, read, sample, untrained
from papers.ctm.times import TimeGrid

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from papers.ctm.trajectory import Trajectory
    from tests.site.conftest import Build, Traffic

pytestmark = pytest.mark.browser

SET = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', {bubbles: true})) }"
PAGE = "weeks/08-ctm/"
MODULE = "await import('/javascripts/ctm-trajectory.js')"
STEPS = (1, 2, 4, 8, 16, 32)
NAMES = {"the trained student": "student", "an untrained student": "untrained", "the exact trajectories": "exact"}
NUMBER = r"(-?\d+\.\d{3})"
SAID = re.compile(
    r"(?P<steps>\d+) jumps? from t = (?P<t>[\d.]+) to s = (?P<s>[\d.]+), γ = (?P<gamma>[\d.]+), by (?P<who>[^.]+)\.\s+"
    rf"This path starts in (?P<start>{NUMBER}) and ends in (?P<end>{NUMBER}); its exact trajectory ends in "
    rf"(?P<exact>{NUMBER})\.\s+At the start g\(x, t, t\) is (?P<g>{NUMBER}); the exact denoiser is "
    rf"(?P<denoiser>{NUMBER})\.\s+The law of all ends is (?P<law>{NUMBER}) from the exact one; with γ = 0 it is "
    rf"(?P<law0>{NUMBER}), with γ = 1 (?P<law1>{NUMBER})\."
)


class Play:
    """The figure's controls, what it says, and its module."""

    def __init__(self, page: Page) -> None:
        self.page, self.root = page, page.locator("#ctm-play")

    def press(self, name: str) -> dict[str, str]:
        self.root.get_by_role("button", name=name, exact=True).click()
        return self.said()

    def set(self, **settings: str) -> dict[str, str]:
        for name, value in settings.items():
            self.root.locator(f"[name={name}]").evaluate(SET, value)
        return self.said()

    def value(self, name: str) -> str:
        return self.root.locator(f"[name={name}]").input_value()

    def said(self) -> dict[str, str]:
        found = SAID.fullmatch(self.root.get_by_role("status").inner_text().strip())
        assert found, self.root.get_by_role("status").inner_text()
        return found.groupdict()

    def ask(self, body: str, *given: Any) -> Any:
        """What `body` returns, with the module M, the student and `given`."""
        script = f"async given => {{ const M = {MODULE}; const student = await M.load(); {body} }}"
        return self.page.evaluate(script, list(given))


@pytest.fixture(scope="module")
def opened_once(playing_on: tuple[Page, Traffic]) -> Play:
    """What the figure has computed once, it knows."""
    page, _ = playing_on
    page.set_default_timeout(120_000)  # also where all cores are busy: a new setting takes seconds
    page.goto(PAGE)
    play = Play(page)
    play.root.get_by_role("status").wait_for()
    return play


@pytest.fixture
def play(opened_once: Play) -> Play:
    """The page with its first settings."""
    opened_once.press("One jump")
    return opened_once


@pytest.fixture(scope="module")
def students() -> dict[str, Trajectory]:
    return {"student": read(), "untrained": untrained()}


def column(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None]


POINTS = [-7.0, -1.3, -0.6, 0.05, 0.4, 1.1, 12.0]
PAIRS = [(10.0, 0.02), (10.0, 3.0), (2.0, 0.4), (0.5, 0.45), (0.3, 0.02), (0.7, 0.7)]


@pytest.mark.parametrize("who", ["student", "untrained"])
def test_jumps_and_denoisers_are_those_of_the_package(play: Play, students: dict[str, Trajectory], who: str) -> None:
    body = """const [who, points, pairs] = given; return pairs.map(([t, s]) =>
      [points.map(M.jump(student, who, t, s)), points.map(M.JUMPERS[who].g(student, t, t))]);"""
    for (t, s), (jumps, denoised) in zip(PAIRS, play.ask(body, who, POINTS, PAIRS), strict=True):
        with torch.no_grad():
            expected = students[who](column(POINTS), t, s)[:, 0]
            diagonal = students[who].denoised(column(POINTS), t)[:, 0]
        assert jumps == pytest.approx(expected.tolist(), abs=2e-5), (t, s)
        assert denoised == pytest.approx(diagonal.tolist(), abs=2e-5), t
        if t == s:
            assert jumps == POINTS


def test_exact_trajectories_are_those_of_the_ode(play: Play) -> None:
    body = """const [points, t, s] = given;
      return [points.map(M.jump(student, 'exact', t, s)), points.map(x => M.denoised(student.law, x, t))];"""
    for t, s in PAIRS:
        points = [x for x in POINTS if abs(x) < max(MEANS) + 6 * (STD**2 + t**2) ** 0.5]  # where the law has points
        jumps, denoised = play.ask(body, points, t, s)
        solved = exact_jump(mixture(), column(points), t, s, steps=2000)[:, 0]
        assert jumps == pytest.approx(solved.tolist(), abs=1e-4), (t, s)
        assert denoised == pytest.approx(mixture()(column(points), t)[:, 0].tolist(), abs=1e-9)


def cdf(x: Any, t: float) -> Any:
    return np.mean([norm.cdf(x, mean, (STD**2 + t**2) ** 0.5) for mean in MEANS], axis=0)


def test_a_law_is_its_quantiles_and_so_are_data(play: Play) -> None:
    law = play.ask("return student.law")
    assert (tuple(law["means"]), law["std"], law["sigma_data"]) == (MEANS, STD, SIGMA_DATA)
    assert sum(mean**2 for mean in MEANS) / len(MEANS) + STD**2 == pytest.approx(SIGMA_DATA**2)
    for t in (10.0, 0.5, 0.02):
        points = play.ask("return [...M.quantiles(student.law, given[0])]", t)
        shares = (np.arange(len(points)) + 0.5) / len(points)
        np.testing.assert_allclose(cdf(points, t), shares, atol=1e-6)
    x0, _ = sample(20_000, torch.Generator().manual_seed(0))
    np.testing.assert_allclose(cdf(x0[:, 0].sort().values.numpy(), 0.0), (np.arange(20_000) + 0.5) / 20_000, atol=0.012)


@pytest.mark.parametrize("gamma", ["0", "0.4", "1"])
def test_a_path_is_the_packages_sampling_with_the_same_noise(
    play: Play, students: dict[str, Trajectory], monkeypatch: pytest.MonkeyPatch, gamma: str
) -> None:
    said = play.set(steps="3", gamma=gamma, to="80", seed="7")
    body = "const [t, s] = given; return [M.normals(7, 8), M.timesBetween(student, t, s, 8)]"
    s = float(GRID.at(torch.tensor(0.8, dtype=torch.float64)))
    noise, times = play.ask(body, GRID.sigma_max, s)
    expected = sampling_times(8, TimeGrid(sigma_min=s, sigma_max=GRID.sigma_max, rho=GRID.rho))
    assert times == pytest.approx(expected.tolist(), rel=1e-9)
    drawn = iter(noise)
    monkeypatch.setattr(sampling, "normal", lambda shape, *_: torch.full(shape, next(drawn), dtype=torch.float64))
    start = float(said["start"])
    assert cdf(start, GRID.sigma_max) == pytest.approx(0.3, abs=1e-4)
    end = gamma_sampling(students["student"], column([start]), expected, float(gamma), torch.Generator())
    assert float(said["end"]) == pytest.approx(float(end), abs=3e-3)
    assert len(list(drawn)) == (8 if gamma == "0" else 1)


@pytest.mark.parametrize(("who", "steps", "gamma"), [("student", 8, 1.0), ("student", 4, 0.5), ("untrained", 2, 0.0)])
def test_a_law_after_sampling_is_that_of_many_samples(
    play: Play, students: dict[str, Trajectory], who: str, steps: int, gamma: float
) -> None:
    body = """const [who, steps, gamma, t, s] = given; const times = M.timesBetween(student, t, s, steps);
      return [...M.lawAfter(student, who, times, gamma, M.quantiles(student.law, t))]"""
    points = play.ask(body, who, steps, gamma, GRID.sigma_max, GRID.sigma_min)
    n, generator = 20_000, torch.Generator().manual_seed(1)
    x = sample(n, generator)[0].double() + GRID.sigma_max * torch.randn(n, 1, generator=generator, dtype=torch.float64)
    ends = gamma_sampling(students[who], x, sampling_times(steps, GRID), gamma, generator)[:, 0].sort().values
    found = torch.searchsorted(ends, torch.tensor(points, dtype=torch.float64)) / n
    shares = (torch.arange(len(points)) + 0.5) / len(points)
    # Kolmogorov's statistic of n samples is below 1.95 / √n with a probability of .999; a law is 400 quantiles.
    assert float((found - shares).abs().max()) < 1.95 / n**0.5 + 1 / len(points)
    said = play.set(who=who, steps=str(STEPS.index(steps)), gamma=str(gamma), start="30")
    exact = play.ask("return [...M.quantiles(student.law, given[0])]", GRID.sigma_min)
    assert float(said["law"]) == pytest.approx(np.abs(np.array(points) - exact).mean(), abs=6e-4)


def test_exact_jumps_have_the_right_law_whatever_the_noise(play: Play) -> None:
    """What is left is the error of 400 quantiles, below the errors that the figure is about."""
    body = """const [t, s] = given; const [from, to] = [t, s].map(u => M.quantiles(student.law, u));
      return M.GAMMAS.map(gamma => M.STEPS.map(steps =>
        M.distance(M.lawAfter(student, 'exact', M.timesBetween(student, t, s, steps), gamma, from), to)));"""
    assert np.max(play.ask(body, GRID.sigma_max, GRID.sigma_min)) < 2e-3


def test_a_jump_goes_to_less_noise(play: Play) -> None:
    play.set(to="40")
    play.set(**{"from": "70"})
    assert (play.value("from"), play.value("to")) == ("70", "71")
    play.set(to="20")
    assert (play.value("from"), play.value("to")) == ("19", "20")
    said = play.said()
    assert float(said["t"]) > float(said["s"])


def test_what_the_instructions_say_is_what_is_seen(play: Play) -> None:
    names = play.root.locator("[data-try]").all_inner_texts()
    said: dict[str, dict[str, str]] = {}
    seen: set[str] = set()
    for item in play.page.locator("#ctm-tries li").all():
        for name in re.findall(r"<strong>(.*?)[.:]?</strong>", item.inner_html()):
            if name in names:
                said[name] = play.press(name)
                seen |= {number for number in said[name].values() if re.fullmatch(NUMBER, number)}
        words = item.inner_text().replace("−", "-")
        assert set(re.findall(NUMBER, words)) <= seen, words
    assert sorted(said) == sorted(names)
    # What the sentences say without a number.
    law = {name: float(numbers["law"]) for name, numbers in said.items()}
    untrained = said["Untrained"]
    assert law["Untrained"] > 0.5
    assert float(untrained["g"]) == pytest.approx(float(untrained["denoiser"]), abs=0.002)
    assert (said["Half way"]["s"], said["From half way"]["t"]) == ("0.65", "0.65")
    assert float(said["From half way"]["g"]) == pytest.approx(float(said["From half way"]["denoiser"]), abs=0.05)
    forgotten = said["16 steps, γ = 1"]
    assert abs(float(forgotten["end"]) - float(forgotten["exact"])) > 0.3
    assert law["32 steps, γ = 1"] > law["16 steps, γ = 1"] > law["One jump"]
    assert law["32 steps, γ = 1"] > 1.5 * float(said["32 steps, γ = 1"]["law0"])
    assert law["32 steps, γ = 0.5"] < law["16 steps, γ = 1"]
    assert law["Exact, γ = 1"] < 2e-3
    assert 0.05 < law["Untrained, γ = 0"] < 0.5 * law["Untrained"]


def test_the_fallback_table_has_the_numbers_of_the_figure(play: Play, build: Build) -> None:
    source = (build.folder / PAGE / "index.html").read_text(encoding="utf-8")
    fallback = source[source.index('id="ctm-play"') :]
    rows = re.findall(r"<tr>(.*?)</tr>", fallback[: fallback.index("</table>")], re.DOTALL)[1:]
    assert len(rows) == 3
    for row in rows:
        who, gamma, *cells = re.findall(r"<td[^>]*>([^<]+)</td>", row)
        play.set(who=NAMES[who], gamma=gamma)
        assert cells == [play.set(steps=str(k))["law"] for k in range(len(STEPS))], (who, gamma)


def test_what_is_drawn(play: Play) -> None:
    """As many jumps as steps, noise after each but the last where γ > 0, and three curves over the numbers of steps."""
    play.press("16 steps, γ = 1")
    assert play.root.locator("[data-part=jump]").count() == 16
    assert play.root.locator("[data-part=noise]").count() == 15
    heights = {}
    for gamma in ("0", "0.5", "1"):
        curve = play.root.locator(f"[data-part='γ = {gamma}'] > path").first.get_attribute("d") or ""
        heights[gamma] = np.array(re.findall(r"[\d.]+,([\d.]+)", curve), dtype=float)
        assert len(heights[gamma]) == len(STEPS)
    assert heights["0"][0] == heights["1"][0]  # one step has no noise
    said = play.said()
    drawn = 10 ** ((624 - heights["1"][4]) / (624 - 428) * 3 - 3)
    assert drawn == pytest.approx(float(said["law1"]), rel=0.05)
    play.press("16 steps, γ = 0")
    assert play.root.locator("[data-part=jump]").count() == 16
    assert play.root.locator("[data-part=noise]").count() == 0


def test_it_is_used_by_keyboard_and_says_what_is_drawn(play: Play, playing_on: tuple[Page, Traffic]) -> None:
    page, traffic = playing_on
    play.root.get_by_role("button", name="16 steps, γ = 1").focus()
    page.keyboard.press("Enter")
    assert play.said()["steps"] == "16"
    play.root.get_by_role("slider", name="Steps").focus()
    page.keyboard.press("ArrowRight")
    assert play.said()["steps"] == "32"
    play.root.get_by_role("slider", name="γ").focus()
    page.keyboard.press("ArrowLeft")
    assert play.said()["gamma"] == "0.9"
    play.root.get_by_role("combobox", name="Jumps are those of").focus()
    page.keyboard.press("ArrowDown")
    assert play.said()["who"] == "an untrained student"
    title = play.root.locator("svg > title").text_content() or ""
    assert "32 jumps from t = 10 to s = 0.02" in title
    assert traffic.console == []
    assert traffic.external == []


def test_the_weights_are_small_and_where_they_cannot_be_read_the_table_stays(playing: tuple[Page, Traffic]) -> None:
    assert WEIGHTS.stat().st_size < 200_000
    page, _ = playing
    page.route("**/ctm-student.json", lambda route: route.abort())
    page.goto(PAGE)
    page.wait_for_load_state("networkidle")
    assert page.locator("#ctm-play table").is_visible()
