"""Every page in headless Chromium, the network cut off: quiet, complete, readable on a phone, and accessible.

The accessibility rules are axe-core's (4.12 as axe-playwright-python carries it), all of them, in both colour schemes.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.site.conftest import Build, Traffic, Visit

ROOT = Path(__file__).parents[2]
PHONE, DESKTOP = 390, 1280
pytestmark = pytest.mark.browser


def test_every_page_was_seen_in_both_schemes(build: Build, parts: dict[str, list[str]], visits: list[Visit]) -> None:
    assert sorted(page for part in parts.values() for page in part) == build.pages()
    assert {part: len(pages) >= 15 for part, pages in parts.items()} == dict.fromkeys(parts, True)
    seen = sorted({visit.page for visit in visits})
    assert seen in map(sorted, parts.values())
    assert {(visit.page, visit.scheme) for visit in visits} == {
        (page, scheme) for page in seen for scheme in ("light", "dark")
    }


def test_pages_of_each_kind_are_seen_by_the_tests_that_are_not_slow(parts: dict[str, list[str]]) -> None:
    seen = parts["some"]
    assert sum(page.startswith("weeks/") and _formulas_written(page) > 100 for page in seen) >= 2
    assert {"index.html", "results/index.html", "404.html", "reference/index.html"} <= set(seen)
    assert sum(page.startswith("reference/") for page in seen) >= 4


def test_no_request_leaves_the_site_or_fails(visits: list[Visit]) -> None:
    # The page for missing addresses asks for its files from the root, as it must.
    assert {str(visit): visit.traffic.external for visit in visits if visit.traffic.external} == {}
    assert {str(visit): visit.traffic.failed for visit in visits if visit.traffic.failed} == {}


def test_the_console_stays_silent(visits: list[Visit]) -> None:
    assert {str(visit): visit.traffic.console for visit in visits if visit.traffic.console} == {}


def test_every_formula_is_drawn(visits: list[Visit]) -> None:
    """As many formulas on the page as in its source, none of them empty, in error or left as TeX."""
    for visit in visits:
        written = _formulas_written(visit.page)
        assert visit.formulas["drawn"] == written, f"{visit}: {written} written, {visit.formulas['drawn']} drawn"
        assert visit.formulas["errors"] == 0, str(visit)
        assert visit.formulas["raw"] == [], str(visit)
        assert visit.formulas["font"] or not written, f"{visit}: formulas are not in the site's own font"


def test_there_are_formulas_to_draw(parts: dict[str, list[str]]) -> None:
    for pages in parts.values():
        assert sum(map(_formulas_written, pages)) > 100


def test_nothing_scrolls_sideways_on_a_phone(visits: list[Visit]) -> None:
    assert {str(visit): visit.phone_overflow for visit in visits if visit.phone_overflow} == {}


def test_axe_finds_no_violation(visits: list[Visit]) -> None:
    assert {str(visit): visit.violations for visit in visits if visit.violations} == {}


def test_axe_looks_at_every_text_and_judges_one_of_each_kind(visits: list[Visit]) -> None:
    for visit in visits:
        assert 1 <= visit.texts["judged"] <= visit.texts["all"], str(visit)
    assert sum(visit.texts["all"] for visit in visits) > 500 * len(visits)


def test_a_visit_finds_every_fault(faulty_visits: list[Visit]) -> None:
    """Contrast also where one cell in 400, one part of a formula or one scheme has another colour."""
    dark, light = faulty_visits
    assert (dark.scheme, light.scheme) == ("dark", "light")
    for visit in faulty_visits:
        assert {"http://192.0.2.1/a.png", "https://elsewhere.example/b.png"} == set(visit.traffic.external)
        assert any("404" in fault and "none.png" in fault for fault in visit.traffic.failed)
        assert {"said", "thrown"} <= set(visit.traffic.console)
        assert visit.formulas["raw"] == ["$x_0$"]
        assert visit.phone_overflow
    faint = {"cell", "class", "formula"}
    assert _found(dark, "color-contrast") == {*faint, "night"}
    assert _found(light, "color-contrast") == {*faint, "pale"}
    assert _found(light, "image-alt") == {"mute"}


def _found(visit: Visit, rule: str) -> set[str]:
    """The ids of what breaks the rule."""
    return set(re.findall(rf'^{rule}: <[^>]* id="(\w+)"', "\n".join(visit.violations), re.MULTILINE))


def test_results_can_be_filtered_by_keyboard(opened: tuple[Page, Traffic]) -> None:
    page, traffic = opened
    page.goto("results/")
    rows = page.locator("table#results tbody tr")
    everything = rows.count()
    assert everything > 0
    page.get_by_label("Words").focus()
    page.keyboard.type("no claim says this")
    assert rows.filter(visible=True).count() == 0
    page.get_by_role("button", name="Show all").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => ![...document.querySelectorAll('#results tbody tr')].some(row => row.hidden)")
    page.get_by_label("Verdict").focus()
    page.keyboard.press("ArrowDown")
    shown = rows.filter(visible=True)
    assert 0 < shown.count() <= everything
    assert len({shown.nth(i).get_attribute("data-verdict") for i in range(shown.count())}) == 1
    assert f"{shown.count()} of {everything}" in page.locator("form#filters output").inner_text()
    assert traffic.console == []


@pytest.mark.parametrize(
    "page", ["weeks/01-edm/", "weeks/06-dsbm/", "weeks/07-flow_matching/", "weeks/08-ctm/", "weeks/09-sedd/"]
)
def test_the_idea_is_on_the_first_screen(opened: tuple[Page, Traffic], page: str) -> None:
    """Before anything that was measured a reader learns what the paper is about."""
    browser, _ = opened
    browser.set_viewport_size({"width": DESKTOP, "height": 800})
    browser.goto(page)
    idea = browser.locator("article h1 + p.lead")
    assert len(idea.inner_text().split()) > 15
    box = idea.bounding_box()
    assert box is not None
    assert box["y"] + box["height"] < 400
    for part in (".card", ".tally", ".glance tbody tr"):
        place = browser.locator(part).first.bounding_box()
        assert place is not None
        assert place["y"] + place["height"] < 800, part


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_a_claim_leads_from_the_glance_to_its_study(opened: tuple[Page, Traffic], width: int) -> None:
    page, traffic = opened
    page.set_viewport_size({"width": width, "height": 844})
    page.goto("weeks/01-edm/")
    link = page.locator(".glance tbody th a").first
    target = link.get_attribute("href") or ""
    words = link.inner_text()
    link.focus()
    page.keyboard.press("Enter")
    heading = page.locator(f"h3{target}")
    page.wait_for_function("id => document.querySelector(id).getBoundingClientRect().top < 844", arg=target)
    study = heading.locator("xpath=following-sibling::div[contains(@class, 'tabbed-set')][1]")
    assert words in study.locator(".tabbed-block").first.inner_text()
    assert traffic.console == []


SET = "(input, value) => { input.value = value; input.dispatchEvent(new Event('input', {bubbles: true})) }"


def test_the_sampler_to_play_with_shows_the_orders_of_its_solvers(playing: tuple[Page, Traffic]) -> None:
    """Twice the steps: a quarter of Heun's error, half of Euler's. Churn forgets errors made at high noise."""
    page, traffic = playing
    page.goto("weeks/01-edm/")
    sampler = page.locator("#edm-sampler")
    status = sampler.get_by_role("status")

    def distance(**settings: str) -> float:
        for name, value in settings.items():
            sampler.locator(f"[name={name}]").evaluate(SET, value)
        found = re.search(r"data: ([0-9.e-]+?)\.?(\s|$)", status.inner_text())
        assert found
        return float(found.group(1))

    assert status.inner_text().startswith("35 evaluations")
    # Between 32 and 64 steps the ratios have not settled yet, and two digits are shown.
    assert 3 < distance(solver="heun", steps="32") / distance(steps="64") < 5
    assert 1.6 < distance(solver="euler", steps="32") / distance(steps="64") < 2.4
    assert distance(solver="heun", steps="18", rho="1") > 20 * distance(rho="7")
    spoiled = distance(steps="64", spoil="0.2")
    assert distance(churn="30") < spoiled / 2
    assert distance(spoil="0", churn="0") < distance(churn="30")
    sampler.locator("[name=steps]").focus()
    page.keyboard.press("ArrowLeft")
    assert "125 evaluations" in status.inner_text()
    assert traffic.console == []


def test_the_instructions_of_the_sampler_say_what_its_buttons_show(playing: tuple[Page, Traffic]) -> None:
    """Each button is named in an instruction, in order, and gives the evaluations and the distance that stand there."""
    page, traffic = playing
    page.goto("weeks/01-edm/")
    sampler = page.locator("#edm-sampler")
    instructions = " ".join(page.locator("#edm-sampler-tries li").all_inner_texts())
    buttons = sampler.locator("[data-try]")
    names = buttons.all_inner_texts()
    assert names == page.locator("#edm-sampler-tries li strong").all_inner_texts()
    assert len(names) == 12
    shown = []
    for k, name in enumerate(names):
        sampler.get_by_role("button", name="New noise").click()  # a button begins with the first noise again
        buttons.nth(k).click()
        found = re.match(
            r"(\d+) evaluations; .* to the data: ([0-9.e-]+)\.(\s|$)", sampler.get_by_role("status").inner_text()
        )
        assert found, name
        shown.append((float(found.group(1)), float(found.group(2))))
        said = instructions.split(name, 1)[1].split(names[k + 1] if k + 1 < len(names) else "\n\n", 1)[0]
        assert re.search(
            rf"\b{found.group(1)} evaluations, (and the samples are )?{re.escape(found.group(2))}\b", said
        ), name
    distance = dict(zip(names, (value for _, value in shown), strict=True))
    # What the sentences between the numbers say.
    assert distance["Heun, 8 steps"] >= distance["Euler, 8 steps"]
    assert distance["Heun, 18 steps"] < 0.6 * distance["Euler, 36 steps"]
    assert distance["Heun, 24 steps"] < 0.01 < distance["Euler, 64 steps"]
    assert distance["Spoilt, 64 steps"] > 0.8 * distance["Spoilt, 18 steps"]
    assert distance["Spoilt, with churn"] < 0.5 * distance["Spoilt, 64 steps"]
    assert distance["Exact, no churn"] < 0.1 * distance["Exact, with churn"]
    assert traffic.console == []


def test_churn_beyond_its_bound_changes_nothing_and_is_said_to(playing: tuple[Page, Traffic]) -> None:
    page, _ = playing
    page.goto("weeks/01-edm/")
    sampler = page.locator("#edm-sampler")
    status = sampler.get_by_role("status")
    said = {}
    for churn in ("7", "8", "30"):
        sampler.locator("[name=churn]").evaluate(SET, churn)
        said[churn] = status.inner_text()
    assert "counts as 7.5 at most" in said["8"]
    assert said["8"] == said["30"]
    assert "counts as" not in said["7"]


def test_search_finds_a_page_without_a_network(opened: tuple[Page, Traffic]) -> None:
    page, traffic = opened
    page.goto("")
    page.keyboard.press("/")
    page.keyboard.type("preconditioning", delay=5)
    page.locator(".md-search-result__item a").first.wait_for(timeout=60_000)
    links = page.locator(".md-search-result__item a")
    assert any("01-edm" in (links.nth(i).get_attribute("href") or "") for i in range(links.count()))
    assert traffic.external == []


def _formulas_written(page: str) -> int:
    """How many formulas the Markdown of a page has, its included files counted in and its code left out."""
    if page == "404.html":
        return 0
    stem = page.removesuffix("/index.html").removesuffix("index.html")
    candidates = (ROOT / "docs" / f"{stem}.md", ROOT / "docs" / stem / "index.md")
    text = _included(next(path for path in candidates if path.is_file()).read_text(encoding="utf-8"))
    text = re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"<pre.*?</pre>", "", text, flags=re.DOTALL)
    text = re.sub(r"(`+).+?\1", "", text, flags=re.DOTALL).replace(r"\$", "")
    displayed, text = text.count("$$"), text.replace("$$", "")
    assert (displayed % 2, text.count("$") % 2) == (0, 0), f"{page}: a dollar sign has no partner"
    return displayed // 2 + text.count("$") // 2


def _included(text: str) -> str:
    """The text with every file that it includes, and what those include."""
    return re.sub(
        r'^--8<-- "([^"]+)"$',
        lambda match: _included((ROOT / match.group(1)).read_text(encoding="utf-8")),
        text,
        flags=re.MULTILINE,
    )
