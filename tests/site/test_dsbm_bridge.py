"""The figure to step through on the page of week 6 is right: IMF and IPF on a grid against what is known of them."""

from __future__ import annotations

import re
from itertools import pairwise
from math import acos, acosh, exp, sqrt
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.site.conftest import Traffic

pytestmark = pytest.mark.browser

SET = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', {bubbles: true})) }"
NUMBERS = re.compile(
    r"(?P<method>\w+), (?:before the first pass|pass (?P<pass>\d), (?P<direction>\w+))\. "
    r".*: (?P<start>[\d.]+) at t = 0, (?P<end>[\d.]+) at t = 1\. KL to the bridge: (?P<kl>[\d.e-]+?)\. "
    r"Covariance of the ends: (?P<covariance>[-\d.]+)(?: \(closed form (?P<closed>[\d.]+)\))?; "
    r"of the bridge: (?P<bridge>[\d.]+)\."
)


class Stepper:
    """The figure's controls, and what it says."""

    def __init__(self, page: Page) -> None:
        self.page, self.root = page, page.locator("#dsbm-bridge")

    def numbers(self, **settings: str) -> dict[str, str]:
        for name, value in settings.items():
            self.root.locator(f"[name={name}]").evaluate(SET, value)
        self.page.clock.run_for(100)
        return self.said()

    def said(self) -> dict[str, str]:
        found = NUMBERS.fullmatch(self.root.get_by_role("status").inner_text())
        assert found, self.root.get_by_role("status").inner_text()
        return found.groupdict()


@pytest.fixture
def stepper(playing: tuple[Page, Traffic]) -> Stepper:
    page, _ = playing
    # The figure waits a moment for a slider to stand still; the tests do not. Before the page is opened: a clock that
    # comes later cannot stop the timers that the page's own scripts have started, and they complain.
    page.clock.install()
    page.goto("weeks/06-dsbm/")
    return Stepper(page)


def test_ipf_follows_its_closed_form(stepper: Stepper) -> None:
    """Fibonacci's ratios at σ = 1; the grid of ±5 cuts off 10⁻⁶ of the mass. Each pass sets one marginal right."""
    for number, covariance in enumerate((1 / 2, 2 / 3, 3 / 5, 5 / 8), start=1):
        said = stepper.numbers(method="ipf", ends="gaussians", sigma="1", **{"pass": str(number)})
        assert said["direction"] == ("backward" if number % 2 else "forward")
        assert float(said["covariance"]) == pytest.approx(covariance, abs=1e-3)
        assert float(said["closed"]) == pytest.approx(covariance, abs=1e-3)
        fitted, other = ("end", "start") if number % 2 else ("start", "end")
        assert float(said[fitted]) == 0
        assert float(said[other]) > 0.005


def test_imf_follows_its_closed_form_and_keeps_both_marginals(stepper: Stepper) -> None:
    """c' = exp(−σ²/2 ∫ dt/V_t(c)), in closed form. A chain of 32 steps lags by about 1/32 of what a pass moves."""
    for sigma in (0.5, 1.0, 1.6):
        last, half = 0.0, sigma**2 / 2
        bridge = sqrt(1 + half**2) - half
        for number in (1, 2, 3, 6):
            said = stepper.numbers(method="imf", ends="gaussians", sigma=str(sigma), **{"pass": str(number)})
            assert (float(said["start"]), float(said["end"])) == (0, 0)
            assert float(said["bridge"]) == pytest.approx(bridge, abs=1e-3)
            if number <= 3:
                x = last + half
                last = exp(-half * (acos(x) / sqrt(1 - x * x) if x < 1 else acosh(x) / sqrt(x * x - 1)))
                assert float(said["closed"]) == pytest.approx(last, abs=1e-3)
                assert float(said["covariance"]) == pytest.approx(last, abs=2 / 32 * last)
        assert float(said["covariance"]) == pytest.approx(bridge, abs=1.5e-3)


def test_every_pass_of_imf_brings_the_bridge_closer(stepper: Stepper) -> None:
    distances = [
        float(stepper.numbers(method="imf", ends="modes", sigma="0.5", **{"pass": str(number)})["kl"])
        for number in range(5)
    ]
    assert all(later < earlier / 4 for earlier, later in pairwise(distances))
    ipf = float(stepper.numbers(method="ipf", ends="modes", sigma="0.5", **{"pass": "4"})["kl"])
    assert ipf > 100 * distances[4]


def test_it_is_stepped_by_keyboard(stepper: Stepper, playing: tuple[Page, Traffic]) -> None:
    page, traffic = playing
    assert stepper.said()["pass"] is None
    stepper.root.get_by_role("button", name="Next pass").focus()
    page.keyboard.press("Enter")
    assert stepper.said()["pass"] == "1"
    for _ in range(5):
        page.keyboard.press("Enter")
    assert stepper.said()["pass"] == "6"
    assert stepper.root.get_by_role("button", name="Next pass").is_disabled()
    assert stepper.root.locator("svg").first.locator("polyline").count() == 44 + 2
    assert traffic.console == []
    assert traffic.external == []
