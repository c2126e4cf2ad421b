"""The Brownian path to refine on the page of week 4 is right, and its instructions are true.

Paths are the figure's own, handed out by its module. What is made of them is computed here by `papers.seeds`, whose
solvers read their normals from the same path, and the paths' law is checked by itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor

from common.diffusion.oracle import GaussianMixture
from common.diffusion.path import EDM, VE
from papers.seeds.brownian import BrownianPath
from papers.seeds.exponential import DataPrediction
from papers.seeds.grids import uniform_log_snr
from papers.seeds.multistep import Multistep, euler_maruyama, run_multistep
from papers.seeds.runge_kutta import Tableau, run
from papers.seeds.seeds import seeds_1, seeds_2, seeds_3

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.site.conftest import Build, Traffic

pytestmark = pytest.mark.browser

SET = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', {bubbles: true})) }"
PAGE = "weeks/04-seeds/"
MODULE = "await import('/javascripts/seeds-path.js')"
STEPS = (4, 8, 16, 32, 64, 128)
CELLS, SAMPLES = 768, 200
LAWS = {"one": (0.3, 0.3), "two": (1.0, 0.1)}
FORM = DataPrediction(EDM())
TABLES: dict[str, Callable[[Tensor], Tableau | Multistep]] = {
    "SEEDS-1": lambda sigmas: seeds_1(FORM, sigmas),
    "SEEDS-2": lambda sigmas: seeds_2(FORM, sigmas),
    "SEEDS-3": lambda sigmas: seeds_3(FORM, sigmas),
    "Euler–Maruyama": lambda sigmas: euler_maruyama(VE(), sigmas**2),
}
SAID = re.compile(
    r"(?P<solver>SEEDS-\d|Euler–Maruyama), (?P<nfe>\d+) evaluations: (?P<path>[\de.-]+) on this path, "
    r"(?P<rms>[\de.-]+) root mean square\."
)


class Play:
    """The figure's controls, and what it says."""

    def __init__(self, page: Page) -> None:
        self.page, self.root = page, page.locator("#seeds-play")

    def press(self, name: str) -> dict[str, dict[str, str]]:
        self.root.get_by_role("button", name=name, exact=True).click()
        return self.said()

    def set(self, **settings: str) -> dict[str, dict[str, str]]:
        for name, value in settings.items():
            self.root.locator(f"[name={name}]").evaluate(SET, value)
        return self.said()

    def status(self) -> str:
        return self.root.get_by_role("status").inner_text()

    def said(self) -> dict[str, dict[str, str]]:
        return {found["solver"]: found.groupdict() for found in SAID.finditer(self.status())}

    def paths(self, law: str, seeds: list[int]) -> tuple[Tensor, Tensor]:
        """Starts (B, 1) and the integrals over the cells (2, M, B, 1), of rate −1 and 1."""
        script = f"""async ([law, seeds]) => {{
          const {{ drawPath }} = {MODULE};
          return seeds.map(seed => drawPath(seed, law)).map(({{ start, cells }}) => [start, cells[-1], cells[1]]);
        }}"""
        found: Any = self.page.evaluate(script, [law, seeds])
        starts = torch.tensor([[start] for start, *_ in found], dtype=torch.float64)
        cells = torch.tensor([each for _, *each in found], dtype=torch.float64)  # (B, 2, M)
        return starts, cells.permute(1, 2, 0)[..., None]


@pytest.fixture
def play(playing: tuple[Page, Traffic]) -> Play:
    page, _ = playing
    page.goto(PAGE)
    return Play(page)


FINE = uniform_log_snr(FORM, CELLS, 20.0, 0.05)
NODES = FORM.half_log_snr(FINE)


def mixture(law: str) -> GaussianMixture:
    mean, std = LAWS[law]
    return GaussianMixture(torch.tensor([[-mean], [mean]]), torch.tensor([std, std]))


def ends(law: str, solver: str, steps: int, starts: Tensor, cells: Tensor) -> Tensor:
    """Where a solver of the package ends on these paths, (B,)."""
    table = TABLES[solver](FINE[:: CELLS // steps])
    noise = BrownianPath(NODES, cells).noise()
    if isinstance(table, Tableau):
        return run(table, mixture(law), starts, noise)[:, 0]
    return run_multistep(table, mixture(law), starts, noise)[:, 0]


def test_paths_have_the_covariance_of_both_integrals(play: Play) -> None:
    starts, cells = play.paths("two", list(range(100, 200)))
    h = float(NODES[1] - NODES[0])
    first, second = cells[0].flatten(), cells[1].flatten()
    for found, wanted in (
        (first.square().mean(), -math.expm1(-2 * h)),
        (second.square().mean(), math.expm1(2 * h)),
        ((first * second).mean(), 2 * h),
    ):
        assert float(found) == pytest.approx(wanted, rel=0.03)
    assert abs(float(first.mean())) < 4 * math.sqrt(2 * h / first.numel())
    # The two are nearly one number: what they differ by has the variance 2h³/3 to first order.
    left = second - first * 2 * h / -math.expm1(-2 * h)
    assert float(left.square().mean()) == pytest.approx(2 / 3 * h**3, rel=0.05)
    assert float(starts.std()) == pytest.approx(20, rel=0.3)


@pytest.mark.parametrize(("law", "seed"), [("one", 1), ("two", 12)])
def test_the_errors_of_a_path_are_those_of_the_package(play: Play, law: str, seed: int) -> None:
    starts, cells = play.paths(law, [seed])
    exact = ends(law, "SEEDS-3", CELLS // 3, starts, cells)
    for chosen in (1, 4):
        said = play.set(law=law, seed=str(seed), coupling="same", steps=str(chosen))
        assert set(said) == set(TABLES)
        for solver, numbers in said.items():
            error = float((ends(law, solver, STEPS[chosen], starts, cells) - exact).abs())
            assert float(numbers["path"]) == pytest.approx(error, rel=0.06, abs=6e-4), (solver, chosen)
            stages = int(solver[-1]) if solver.startswith("SEEDS") else 1
            assert int(numbers["nfe"]) == stages * STEPS[chosen]


def test_root_mean_squares_are_over_two_hundred_paths_and_another_path_does_not_converge(play: Play) -> None:
    starts, cells = play.paths("one", [1000 + k for k in range(SAMPLES)])
    exact = ends("one", "SEEDS-3", CELLS // 3, starts, cells)
    for coupling, seen in (("same", cells), ("own", cells.roll(-1, dims=2))):
        said = play.set(law="one", coupling=coupling, steps="2")
        for solver, numbers in said.items():
            rms = (ends("one", solver, 16, starts, seen) - exact).square().mean().sqrt()
            assert float(numbers["rms"]) == pytest.approx(float(rms), abs=6e-4), (coupling, solver)


def test_what_the_instructions_say_is_what_is_seen(play: Play) -> None:
    items = play.page.locator("#seeds-tries li").all_inner_texts()
    pressed = 0
    names = play.root.locator("[data-try]").all_inner_texts()
    seen: set[str] = set()
    for item in items:
        for name in names:
            if re.search(rf"\b{re.escape(name)}\b", item) and (name != "8 steps" or "Two modes" not in item):
                said = play.press(name)
                pressed += 1
                seen |= {numbers[key] for numbers in said.values() for key in ("path", "rms")}
        # Every number with three places is one that has been seen by now.
        assert set(re.findall(r"\b\d\.\d{3}\b", item)) <= seen, item
    assert pressed >= len(names)
    eight, more = play.press("8 steps"), play.press("32 steps")
    for solver in TABLES:
        assert float(more[solver]["rms"]) < 0.4 * float(eight[solver]["rms"])
    assert float(eight["SEEDS-3"]["rms"]) > float(more["SEEDS-1"]["rms"])  # 24 evaluations and 32
    few, many = play.press("Another path, 4 steps"), play.press("Another path, 128 steps")
    assert float(many["SEEDS-1"]["rms"]) >= float(few["SEEDS-1"]["rms"])
    flipped = play.press("Two modes, 8 steps")
    assert min(float(flipped[solver]["path"]) for solver in ("SEEDS-1", "SEEDS-2")) > 1.5
    assert float(flipped["SEEDS-3"]["path"]) < 0.1
    assert float(play.press("Two modes, 64 steps")["SEEDS-1"]["path"]) < 0.1


def test_the_fallback_table_has_the_numbers_of_the_figure(play: Play, build: Build) -> None:
    source = (build.folder / PAGE / "index.html").read_text()
    fallback = source[source.index('id="seeds-play"') :]
    rows = re.findall(r"<tr>\s*<td>(one|two) modes?</td>\s*<td>([^<]+)</td>(.*?)</tr>", fallback, re.DOTALL)
    assert len(rows) == 2 * len(TABLES)
    for k in range(len(STEPS)):
        for law in LAWS:
            said = play.set(law=law, coupling="same", steps=str(k))
            for name, solver, cells in rows:
                if name == law:
                    assert re.findall(r"<td>([^<]+)</td>", cells)[1 + k] == said[solver]["rms"], (law, solver, k)


def test_the_picture_has_the_errors_against_steps(play: Play) -> None:
    """The lower curves fall from left to right for one mode, and each solver has a path of its steps above."""
    play.press("32 steps")
    for solver in TABLES:
        curve = play.root.locator(f"[data-part='rms {solver}'] > path").first.get_attribute("d") or ""
        heights = np.array(re.findall(r"[\d.]+,([\d.]+)", curve), dtype=float)
        assert len(heights) == len(STEPS)
        assert (np.diff(heights) > 0).all()
        states = play.root.locator(f"[data-part='{solver}'] > path").first.get_attribute("d") or ""
        assert states.count("L") == 32


def test_it_is_used_by_keyboard_and_says_what_is_drawn(play: Play, playing: tuple[Page, Traffic]) -> None:
    page, traffic = playing
    play.root.get_by_role("button", name="32 steps").focus()
    page.keyboard.press("Enter")
    assert play.said()["SEEDS-1"]["nfe"] == "32"
    play.root.get_by_role("slider", name="Steps").focus()
    page.keyboard.press("ArrowRight")
    assert play.said()["SEEDS-1"]["nfe"] == "64"
    play.root.get_by_role("combobox", name="Data").focus()
    page.keyboard.press("ArrowDown")
    assert "two modes" in play.status()
    title = play.root.locator("svg > title").text_content() or ""
    assert "64 steps, two modes" in title
    assert traffic.console == []
    assert traffic.external == []
