"""The figure to draw in on the page of week 7 is right: exact flows against scipy's, and its instructions are true.

Points and noise are the figure's own, handed out by its module; fields, flows and distances are made here, another way:
the velocity as d/dt of the means of signal and noise, and the path's length as a coordinate of the ODE.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.integrate import solve_ivp
from scipy.special import softmax

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

    from tests.site.conftest import Traffic

pytestmark = pytest.mark.browser
Array = NDArray[np.float64]

SET = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', {bubbles: true})) }"
PAGE = "weeks/07-flow_matching/"
SAID = re.compile(
    r"(?P<path>OT|VP), (?P<nfe>\d+) evaluations: (?P<error>[\d.]+) from the exact ends, "
    r"(?P<nearest>[\d.]+) from the nearest point\. Exact paths are (?P<detour>[\d.]+) times as long as straight ones\."
)
TRY = re.compile(r"([\w ]+), (euler|midpoint|RK4), (\d+) evaluations\.")
ROUNDED = {"error": 5.1e-4, "nearest": 5.1e-4, "detour": 6e-3}
"""Half of the last digit that is shown, and a little; a path of 50 chords is up to a thousandth shorter."""


class Drawing:
    """The figure's controls, and what it says."""

    def __init__(self, page: Page) -> None:
        self.page, self.root = page, page.locator("#flow-matching-draw")
        self.pad = self.root.locator(".drawing > svg")

    def press(self, name: str) -> None:
        self.root.get_by_role("button", name=name, exact=True).click()

    def set(self, **settings: str) -> dict[str, dict[str, float]]:
        for name, value in settings.items():
            self.root.locator(f"[name={name}]").evaluate(SET, value)
        return self.said()

    def said(self) -> dict[str, dict[str, float]]:
        """The numbers of the status by path; {} where it says that there are no points."""
        self.page.clock.run_for(100)
        return {
            found["path"]: {name: float(found[name]) for name in ("nfe", "error", "nearest", "detour")}
            for found in SAID.finditer(self.status())
        }

    def box(self) -> Any:
        """Where the square is, in the middle of the window: the page's header covers what is higher."""
        self.pad.evaluate("pad => pad.scrollIntoView({ block: 'center', behavior: 'instant' })")
        return self.pad.bounding_box()

    def status(self) -> str:
        return self.root.get_by_role("status").inner_text()

    def count(self) -> int:
        """How many points the status speaks of, equal to those that are drawn."""
        self.page.clock.run_for(100)
        found = re.match(r"(\d+) points?\b", self.status())
        count = int(found[1]) if found else 0
        assert _moves(self.pad) == count + 2  # two lines of the grid
        return count


def _moves(svg: Locator) -> int:
    return sum((path.get_attribute("d") or "").count("M") for path in svg.locator("path").all())


def visited(page: Page) -> Drawing:
    """The figure on its page, where time moves only when a test says so."""
    page.clock.install(time=0)  # before the page is opened: see week 6's figure
    page.goto(PAGE)
    page.clock.pause_at(3600)
    return Drawing(page)


@pytest.fixture
def drawing(playing: tuple[Page, Traffic]) -> Drawing:
    page, _ = playing
    return visited(page)


@dataclass(frozen=True)
class Flow:
    """A path of week 7: signal and noise in t, and where it ends."""

    signal: Callable[[float], float]
    noise: Callable[[float], float]
    end: float

    def velocity(self, points: Array, x: Array, t: float) -> Array:
        """d/dt of the means of signal and noise, given x; derivatives of both by central differences."""
        h = 1e-6
        weights = softmax(-np.square(x[:, None] - self.signal(t) * points).sum(-1) / (2 * self.noise(t) ** 2), axis=1)
        data = weights @ points
        noise = (x - self.signal(t) * data) / self.noise(t)
        rates = [(f(t + h) - f(t - h)) / (2 * h) for f in (self.signal, self.noise)]
        return rates[0] * data + rates[1] * noise

    def exact(self, points: Array, start: Array) -> tuple[Array, Array]:
        """The ends of the flow, and the lengths of its trajectories."""

        def field(t: float, state: Array) -> Array:
            velocity = self.velocity(points, state[: start.size].reshape(start.shape), t)
            return np.concatenate([velocity.ravel(), np.linalg.norm(velocity, axis=1)])

        begin = np.concatenate([start.ravel(), np.zeros(len(start))])
        solved = solve_ivp(field, (0, self.end), begin, rtol=1e-7, atol=1e-8, method="DOP853")
        assert solved.success
        return solved.y[: start.size, -1].reshape(start.shape), solved.y[start.size :, -1]

    def solved(self, points: Array, start: Array, solver: str, evaluations: int) -> Array:
        """The ends by an explicit Runge-Kutta method with equal steps, from its table of coefficients."""
        nodes, shares, weights = TABLES[solver]
        steps = evaluations // len(nodes)
        h, x = self.end / steps, start
        for n in range(steps):
            slopes: list[Array] = []
            for node, row in zip(nodes, shares, strict=True):
                place = x + h * sum((a * slope for a, slope in zip(row, slopes, strict=True)), np.zeros_like(x))
                slopes.append(self.velocity(points, place, (n + node) * h))
            x = x + h * sum(b * slope for b, slope in zip(weights, slopes, strict=True))
        return x

    def numbers(self, points: Array, start: Array, solver: str, evaluations: int) -> dict[str, float]:
        exact, lengths = self.exact(points, start)
        ends = self.solved(points, start, solver, evaluations)
        return {
            "error": float(np.linalg.norm(ends - exact, axis=1).mean()),
            "nearest": float(np.linalg.norm(ends[:, None] - points, axis=2).min(axis=1).mean()),
            "detour": float(lengths.mean() / np.linalg.norm(exact - start, axis=1).mean()),
        }


def _total(s: float) -> float:
    return 0.1 * s + 0.5 * s * s * 19.9


LEFT = 0.05
"""The noise with which both paths end."""
OT = Flow(lambda t: t, lambda t: 1 - t + LEFT * t, 1.0)
VP = Flow(
    lambda t: float(np.exp(-_total(1 - t) / 2)),
    lambda t: float(np.sqrt(1 - np.exp(-_total(1 - t)))),
    1 - float(max(np.roots([19.9 / 2, 0.1, np.log(1 - LEFT**2)]))),
)
FLOWS = {"OT": OT, "VP": VP}
TABLES: dict[str, tuple[list[float], list[list[float]], list[float]]] = {
    "euler": ([0], [[]], [1]),
    "midpoint": ([0, 1 / 2], [[], [1 / 2]], [0, 1]),
    "RK4": ([0, 1 / 2, 1 / 2, 1], [[], [1 / 2], [0, 1 / 2], [0, 0, 1]], [1 / 6, 1 / 3, 1 / 3, 1 / 6]),
}


def given(page: Page, shape: str) -> tuple[Array, Array]:
    """The points of a ready shape and the particles' noise, (n, 2) each."""
    found: Any = page.evaluate(
        """async shape => {
          const { SHAPES, NOISE } = await import('/javascripts/flow-matching-flow.js');
          return [SHAPES[shape], [...NOISE]];
        }""",
        shape,
    )
    return np.array(found[0], dtype=float), np.reshape(found[1], (-1, 2))


def test_the_noise_is_standard_normal(drawing: Drawing) -> None:
    noise = given(drawing.page, "Ring")[1]
    assert noise.shape == (160, 2)
    bound = 4 / np.sqrt(noise.size)
    assert abs(noise.mean()) < bound
    assert abs(noise.var() - 1) < bound * np.sqrt(2)
    assert abs((noise**4).mean() - 3) < bound * np.sqrt(96)


@pytest.mark.parametrize("shape", ["Two moons", "Ring"])
def test_the_numbers_are_those_of_an_independent_flow(drawing: Drawing, shape: str) -> None:
    points, noise = given(drawing.page, shape)
    drawing.press(shape)
    for solver, evaluations in (("euler", 8), ("midpoint", 8), ("RK4", 20)):
        said = drawing.set(solver=solver, evaluations=str(evaluations))
        for name, flow in FLOWS.items():
            assert said[name]["nfe"] == evaluations
            for key, value in flow.numbers(points, noise, solver, evaluations).items():
                assert said[name][key] == pytest.approx(value, abs=ROUNDED[key]), (name, solver, key)


def test_particles_are_drawn_where_the_flow_has_them(drawing: Drawing) -> None:
    """At t = 0 the noise, at the end the solver's end, and in between the straight line between two of its stops."""
    points, noise = given(drawing.page, "Ring")
    drawing.press("Ring")
    drawing.set(solver="euler", evaluations="4")
    first = [noise + flow.end / 4 * flow.velocity(points, noise, 0) for flow in FLOWS.values()]
    ends = [flow.solved(points, noise, "euler", 4) for flow in FLOWS.values()]
    for time, places in (
        ("0", [noise, noise]),
        ("0.2", [noise + 0.2 * 4 / flow.end * (x - noise) for flow, x in zip(FLOWS.values(), first, strict=True)]),
        ("1", ends),
    ):
        drawing.set(time=time)
        for panel, wanted in zip(drawing.root.locator(".panels > svg").all(), places, strict=True):
            drawn = re.findall(
                r"M([-\d.]+),([-\d.]+)h0", panel.locator("path[stroke-width='4']").get_attribute("d") or ""
            )
            x, y = np.array(drawn, dtype=float).T
            unit = 340 / 6.4
            np.testing.assert_allclose(np.stack([x / unit - 3.2, 3.2 - y / unit], 1), wanted, atol=0.06 / unit)


def test_what_the_instructions_say_is_what_is_seen(drawing: Drawing) -> None:
    said: dict[str, dict[str, dict[str, float]]] = {}
    items = drawing.page.locator("#flow-matching-tries li").all_inner_texts()
    for item in items:
        parts = TRY.split(item)
        for shape, solver, evaluations, words in zip(*(parts[k::4] for k in (1, 2, 3, 4)), strict=True):
            drawing.press(shape.strip())
            now = said[f"{shape.strip()}, {solver}, {evaluations}"] = drawing.set(
                solver=solver, evaluations=evaluations
            )
            numbers = {f"{value[key]:.{2 if key == 'detour' else 3}f}" for value in now.values() for key in ROUNDED}
            # Every number of the sentence is one of the status; only the time 0.5 is another.
            assert set(re.findall(r"\d+\.\d\d+", words)) <= numbers, (shape, words)
            for name in FLOWS:
                errors = re.findall(rf"\b{name}(?:'s)?(?: is)? (\d\.\d{{3}})", words)
                assert [float(error) for error in errors] in ([], [now[name]["error"]]), (shape, words)
    assert len(said) == 8
    # What the sentences between the numbers say.
    one = said["One point, euler, 4"]
    assert (one["OT"]["error"], one["OT"]["detour"]) == (0, 1)
    assert said["Two points, euler, 8"]["OT"]["detour"] > 1.1
    moons, twice = said["Two moons, midpoint, 8"], said["Two moons, midpoint, 16"]
    assert moons["OT"]["error"] < twice["VP"]["error"] < moons["VP"]["error"]
    ring = said["Ring, midpoint, 12"]
    assert ring["OT"]["error"] < ring["VP"]["error"]
    assert ring["OT"]["detour"] > ring["VP"]["detour"]
    board = said["Checkerboard, euler, 20"]
    assert board["OT"]["error"] > board["VP"]["error"]
    assert board["OT"]["nearest"] < board["VP"]["nearest"]
    steep, short = said["Two moons, RK4, 8"], said["Two moons, RK4, 40"]
    for name in FLOWS:
        assert steep[name]["error"] > moons[name]["error"]
    fine = drawing.set(solver="midpoint", evaluations="40")
    assert short["OT"]["error"] < fine["OT"]["error"]


def test_the_other_sentences_of_the_instructions_are_true(drawing: Drawing) -> None:
    points, noise = given(drawing.page, "Ring")
    drawing.press("Ring")
    text = " ".join(drawing.page.locator("#flow-matching-tries").inner_text().split())
    # The contraction, and the equal signal and noise.
    drawing.set(time="0.5")
    half, _ = Flow(OT.signal, OT.noise, 0.5).exact(points, noise)
    assert (np.linalg.norm(half, axis=1) < 0.9 * np.linalg.norm(noise, axis=1)).all()
    panels = [panel.locator("text").inner_html() for panel in drawing.root.locator(".panels > svg").all()]
    assert panels == ["OT: signal 0.50, noise 0.53", "VP: signal 0.28, noise 0.96"]
    assert "OT has signal 0.50 and noise 0.53" in text
    assert "VP has signal 0.28 and noise 0.96" in text
    drawing.set(time="0.74")
    signal, share = re.findall(r"\d\.\d\d", drawing.root.locator(".panels > svg text").nth(1).inner_html())
    assert signal == share
    # On the checkerboard Euler leads OT's particles to wrong points, and leaves VP's before the right ones.
    points, _ = given(drawing.page, "Checkerboard")

    def nearest(x: Array) -> Array:
        return np.linalg.norm(x[:, None] - points, axis=2).argmin(axis=1)

    astray = {
        name: (nearest(flow.solved(points, noise, "euler", 20)) != nearest(flow.exact(points, noise)[0])).mean()
        for name, flow in FLOWS.items()
    }
    assert astray["OT"] > 0.2 > 0.06 > astray["VP"]
    # Exact ends stay by the points; so does what one draws.
    for shape in ("Ring", "Letters", "Checkerboard"):
        drawing.press(shape)
        assert drawing.set(solver="midpoint", evaluations="80")["OT"]["nearest"] == pytest.approx(0.06, abs=0.005)
    # The field at an early time leads to the middle of the points, or nowhere; at a late one to what is near.
    points, _ = given(drawing.page, "Two moons")
    places = np.stack(np.meshgrid([-2.0, 0.0, 2.0], [-2.0, 0.0, 2.0]), -1).reshape(-1, 2)
    near = points[np.linalg.norm(places[:, None] - points, axis=2).argmin(axis=1)]
    for time, aim in ((0.1, points.mean(axis=0)), (0.9, near)):
        led = places * (1 - LEFT) + (1 - time + LEFT * time) * OT.velocity(points, places, time)
        assert np.abs(led - aim).max() < 0.6, time
    speeds = {name: np.linalg.norm(flow.velocity(points, places, 0.1), axis=1).mean() for name, flow in FLOWS.items()}
    assert speeds["VP"] < 0.05 * speeds["OT"]


def test_the_mouse_draws_and_a_stroke_is_undone_at_once(drawing: Drawing) -> None:
    mouse = drawing.page.mouse
    drawing.press("Clear")
    assert drawing.said() == {}
    assert drawing.status() == "No points. Draw some in the square, or take a shape."
    box = drawing.box()
    mouse.click(box["x"] + 150, box["y"] + 150)
    assert drawing.count() == 1
    mouse.move(box["x"] + box["width"] / 4, box["y"] + box["height"] / 2)
    mouse.down()
    mouse.move(box["x"] + 3 * box["width"] / 4, box["y"] + box["height"] / 2, steps=7)
    mouse.up()
    # Half of 6.4 units in steps of 0.15, and its beginning; fast or slow, the points are evenly spaced.
    assert drawing.count() == 1 + 1 + int(3.2 / 0.15)
    mouse.move(box["x"] + 20, box["y"] + 20)  # with the button up nothing is drawn
    assert drawing.count() == 23
    assert drawing.said()["OT"]["nearest"] < 0.5
    drawing.press("Undo")
    assert drawing.count() == 1
    drawing.press("Undo")
    assert drawing.count() == 0
    drawing.press("Undo")
    assert drawing.count() == 48
    assert drawing.root.get_by_role("button", name="Undo").is_disabled()


def test_there_is_a_last_point(drawing: Drawing) -> None:
    mouse = drawing.page.mouse
    box = drawing.box()
    mouse.move(box["x"] + 5, box["y"] + 5)
    mouse.down()
    for k in range(8):
        mouse.move(box["x"] + (5, box["width"] - 5)[k % 2], box["y"] + 5 + 30 * k)
    mouse.up()
    assert drawing.count() == 240
    assert "and no more fit" in drawing.status()


def test_a_finger_draws_on_a_phone_and_does_not_scroll(browser: Browser, playground: str) -> None:
    context = browser.new_context(
        viewport={"width": 390, "height": 844},
        base_url=playground,
        has_touch=True,
        is_mobile=True,
        reduced_motion="reduce",
    )
    page = context.new_page()
    drawing = visited(page)
    drawing.press("Clear")
    box = drawing.box()
    page.touchscreen.tap(box["x"] + 60, box["y"] + 60)
    assert drawing.count() == 1
    # A swipe, by the browser's own events: it draws, and the page stays where it is.
    before = page.evaluate("scrollY")
    session = context.new_cdp_session(page)
    x, y = box["x"] + box["width"] / 2, box["y"] + 40
    for kind, lower in (("touchStart", 0), ("touchMove", 60), ("touchMove", 160), ("touchEnd", None)):
        touches = [] if lower is None else [{"x": x, "y": y + lower}]
        session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": touches})
    expected = 2 + int(160 / box["width"] * 6.4 / 0.15)
    for _ in range(40):  # touches are handed on frame by frame
        if drawing.count() == expected:
            break
        page.wait_for_timeout(50)
    assert drawing.count() == expected
    assert page.evaluate("scrollY") == before
    context.close()


def test_it_is_used_by_keyboard(drawing: Drawing, playing: tuple[Page, Traffic]) -> None:
    page, traffic = playing
    drawing.root.get_by_role("button", name="Letters").focus()
    page.keyboard.press("Enter")
    assert drawing.count() > 60
    drawing.root.get_by_label("Evaluations").focus()
    page.keyboard.press("ArrowRight")
    assert {said["nfe"] for said in drawing.said().values()} == {12}
    drawing.root.get_by_label("Solver").focus()
    page.keyboard.press("ArrowUp")
    assert drawing.said()
    assert "; euler;" in drawing.status()
    drawing.root.get_by_role("slider", name="Time").focus()
    page.keyboard.press("Home")
    assert "t = 0.00" in (drawing.root.locator(".panels title").first.text_content() or "")
    assert traffic.console == []
    assert traffic.external == []


def test_play_moves_in_a_few_still_pictures_for_who_asks_for_less_motion(drawing: Drawing) -> None:
    times = played(drawing, 600)
    assert times == [0, 0.1, 0.2, 0.3]
    drawing.press("Pause")
    drawing.page.clock.run_for(2000)
    assert drawing.root.locator("[name=time]").input_value() == "0.3"
    drawing.press("Play")
    drawing.page.clock.run_for(600 * 8)
    assert drawing.root.locator("[name=time]").input_value() == "1"
    assert drawing.root.get_by_role("button", name="Play").is_visible()


def test_play_is_smooth_otherwise(drawing: Drawing) -> None:
    drawing.page.emulate_media(reduced_motion="no-preference")
    assert played(drawing, 30) == [0, 0.01, 0.02, 0.03]


def played(drawing: Drawing, wait: int) -> list[float]:
    """The time when Play is pressed at the end, and after each of three waits."""
    drawing.press("Play")
    times = [float(drawing.root.locator("[name=time]").input_value())]
    for _ in range(3):
        drawing.page.clock.run_for(wait)
        times.append(float(drawing.root.locator("[name=time]").input_value()))
    return times


@pytest.mark.parametrize("lines", ["solved", "exact", "field"])
def test_lines_of_each_kind_are_drawn(drawing: Drawing, lines: str) -> None:
    drawing.set(lines=lines)
    for panel in drawing.root.locator(".panels > svg").all():
        drawn = panel.locator("g[stroke] > path").first.get_attribute("d") or ""
        assert drawn.count("M") == (13 * 13 if lines == "field" else 160)
        assert drawn.count("L") == {"solved": 160 * 4, "exact": 160 * 25, "field": 13 * 13}[lines]
        assert "NaN" not in drawn
