"""One strict build of the site, one server and one browser visit of every page, shared by all tests here."""

from __future__ import annotations

import asyncio
import functools
import http.server
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from common.site.build import build as build_site

if TYPE_CHECKING:
    from playwright.async_api import Browser as AsyncBrowser
    from playwright.async_api import BrowserContext as AsyncContext
    from playwright.async_api import Page as AsyncPage
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).parents[2]
PHONE, DESKTOP = 390, 1280
Scheme = Literal["dark", "light"]
OFFLINE = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass(frozen=True)
class Build:
    """The built site and what the builder said."""

    folder: Path
    code: int
    output: str

    def pages(self) -> list[str]:
        """Every page, as its path from the site's root."""
        return sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*.html"))


@pytest.fixture(scope="session")
def build(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("site")
    done = build_site(ROOT, folder, capture=True)
    return Build(folder, done.returncode, done.stdout + done.stderr)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address at which `folder` is served."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="session")
def address(build: Build) -> Iterator[str]:
    """The address at which the built site is served."""
    with served(build.folder) as found:
        yield found


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(**launched())
        yield browser
        browser.close()


def launched() -> dict[str, Any]:
    """How Chromium is started; skips the test where there is none."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install it to run the browser tests")
    return {"executable_path": CHROMIUM, "args": ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", OFFLINE]}


@dataclass
class Traffic:
    """What went wrong on the wire and in the console while a page was open."""

    external: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def taken(self) -> Traffic:
        """What came until now; from here on it is counted anew."""
        until_now = replace(self)
        self.external, self.failed, self.console = [], [], []
        return until_now


def listen(context: BrowserContext | AsyncContext, address: str) -> Traffic:
    """Take down what leaves `address`, fails or complains in any page of `context`."""
    traffic = Traffic()
    at_home = (address, "data:", "blob:")
    on: Any = context.on
    on("request", lambda request: None if request.url.startswith(at_home) else traffic.external.append(request.url))
    on("requestfailed", lambda request: traffic.failed.append(request.url))
    on("response", lambda got: traffic.failed.append(f"{got.status} {got.url}") if got.status >= 400 else None)
    on("console", lambda said: traffic.console.append(said.text) if said.type in ("error", "warning") else None)
    on("weberror", lambda error: traffic.console.append(str(error.error)))
    return traffic


@dataclass(frozen=True)
class Visit:
    """A page in one colour scheme: formulas, widths and accessibility; and the page's traffic, of both schemes."""

    page: str
    scheme: str
    traffic: Traffic
    formulas: dict[str, Any]
    phone_overflow: list[str]
    violations: list[str]
    texts: dict[str, int]
    """How many elements axe looked at for the contrast of their text, and how many it judged: one of each kind."""

    def __str__(self) -> str:
        return f"{self.page} ({self.scheme})"


FORMULAS = """() => {
  const boxes = [...document.querySelectorAll('article math')].map(m => m.getBoundingClientRect());
  const prose = document.querySelector('article').cloneNode(true);
  prose.querySelectorAll('code, pre, math, script, style').forEach(node => node.remove());
  return {
    drawn: boxes.filter(box => box.width > 2 && box.height > 4).length,
    errors: document.querySelectorAll('merror, .katex-error').length,
    raw: (prose.textContent.match(/\\$[^\\s$][^$]*\\$|\\$\\$|\\\\[(\\[]|\\\\[a-zA-Z]{2,}/g) || []),
    font: [...document.fonts].some(face => face.family.includes('STIX Two Math') && face.status === 'loaded'),
  };
}"""

OVERFLOW = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return [];
  const scrolls = e => e && (
    ['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX) || scrolls(e.parentElement));
  const wide = [...document.querySelectorAll('.md-container *')]
    .filter(e => e.getBoundingClientRect().right > width + 1 && !scrolls(e.parentElement));
  return [document.documentElement.scrollWidth + ' px', ...wide.slice(0, 5).map(e => e.outerHTML.slice(0, 120))];
}"""


COLOUR_RULES = ("color-contrast", "link-in-text-block")
"""What the colour scheme can change. The other rules look at the document, the same in both, and at its layout."""

ONE_OF_A_KIND = """() => {
  const numbers = new Map(), known = new WeakMap([[document, 0]]);
  const kind = e => {
    if (known.has(e)) return known.get(e);
    const s = getComputedStyle(e);
    const name = e.parentElement?.closest('math') ? '' : [e.localName, ...e.classList].join('.');
    const key = [kind(e.parentNode), name, s.color, s.backgroundColor, s.backgroundImage, s.opacity, s.filter,
      s.fontSize, s.fontWeight, s.textShadow, s.position].join('|');
    if (!numbers.has(key)) numbers.set(key, numbers.size + 1);
    known.set(e, numbers.get(key));
    return known.get(e);
  };
  const rule = axe._audit.rules.find(rule => rule.id === 'color-contrast'), matches = rule.original ??= rule.matches;
  const check = axe._audit.checks['color-contrast'], silent = {data() {}, relatedNodes() {}};
  const judged = new Set();
  window.texts = {all: 0, judged: 0};
  rule.matches = (e, node, context) => {
    texts.all += 1;
    if (judged.has(kind(e)) || !matches.call(rule, e, node, context)) return false;
    if (axe.commons.text.visibleVirtual(node, false, true).length === 1) return false;
    texts.judged += 1;
    const fine = check.evaluate.call(silent, e, check.options, node, context);
    if (fine !== undefined) judged.add(kind(e));
    return fine === false;
  };
}"""
"""Of all texts of a kind axe judges the contrast of the first that it can judge. A page has thousands of texts and some
200 kinds.

A kind is what a contrast is computed from (colours, grounds, sizes), and the tags and classes, of a text and of all
that it stands in; the parts of one formula differ in the former alone. A single letter breaks no rule for axe, whatever
its contrast: it may be no text. What passes is left out before the rule is applied: thousands of results take longer.
"""


OPEN = """() => {
  document.querySelectorAll('article details').forEach(details => { details.open = true; });
  const style = document.createElement('style');
  style.textContent = '.md-typeset .tabbed-block { display: block !important } * { transition: none !important }';
  document.head.append(style);
}"""
"""Everything that a reader may unfold is unfolded: rows behind a click are read, too. Colours change at once."""

NO_WORKER = "window.Worker = class extends EventTarget { postMessage() {} terminate() {} }"
"""Search alone has a worker, which reads an index of the whole site for every page; it has a test of its own."""

SIDE_BY_SIDE = 2
"""Pages that are open at once: one per core."""


@pytest.fixture(scope="session", params=["some", pytest.param("others", marks=pytest.mark.slow)])
def visits(request: pytest.FixtureRequest, parts: dict[str, list[str]], address: str) -> list[Visit]:
    return visited(parts[request.param], address)


@pytest.fixture(scope="session")
def parts(build: Build) -> dict[str, list[str]]:
    """All pages: one of each kind and a few of those that there are many of, of docstrings and weeks; and the others.

    A week's page takes ten times as long as another."""
    made = [page for page in build.pages() if page.startswith("reference/") and page != "reference/index.html"]
    weeks = [page for page in build.pages() if page.startswith("weeks/")]
    others = {*made, *weeks} - {*made[:: len(made) // 4], *weeks[1::3]}
    return {"some": [page for page in build.pages() if page not in others], "others": sorted(others)}


@pytest.fixture(scope="session")
def faulty_visits(build: Build, tmp_path_factory: pytest.TempPathFactory) -> list[Visit]:
    """A page in both colour schemes that has every fault which a visit should find."""
    spoil = {"notation/index.html": lambda text: text.replace("</article>", FAULTS + "</article>")}
    with served(changed(build, tmp_path_factory.mktemp("faulty") / "site", spoil)) as address:
        return visited([*spoil], address)


def changed(build: Build, folder: Path, pages: Mapping[str, Callable[[str], str]]) -> Path:
    """The built site in another `folder`, with some of its pages changed."""
    shutil.copytree(build.folder, folder, copy_function=os.link)
    for name, change in pages.items():
        text = (folder / name).read_text(encoding="utf-8")
        (folder / name).unlink()  # the site's own is another link to the same file
        (folder / name).write_text(change(text), encoding="utf-8")
    return folder


FAULTS = f"""
<style>.dim {{ color: #777 }} [data-md-color-scheme=slate] .night {{ color: #445 }}</style>
<table><tbody>{"<tr><td>as</td><td>all</td></tr>" * 199}
<tr><td id="cell" style="color: #777">but</td><td id="class" class="dim">one</td></tr></tbody></table>
<p><math><mi>x</mi><mtext id="formula" style="color: #777">max</mtext></math> <span id="night" class="night">or</span>
<span style="opacity: 0.6">pale, and <em id="pale">in it</em></span>, $x_0$ <img id="mute" src="../search/none.png"></p>
<div style="width: 600px">wide</div>
<img src="http://192.0.2.1/a.png" alt="a number"> <img src="https://elsewhere.example/b.png" alt="a name">
<script>console.error("said"); throw new Error("thrown")</script>
"""


def visited(pages: Sequence[str], address: str) -> list[Visit]:
    """Every page in both colour schemes, with the network cut off.

    Axe applies all its rules on a desktop in light, those of colour in dark, and those of layout on a phone.
    """
    options = launched()
    with ThreadPoolExecutor(1) as beside:  # the loop that playwright may run in this thread
        found = beside.submit(lambda: asyncio.run(_visit_all(pages, address, options))).result()
    return sorted(found, key=str)


async def _visit_all(pages: Sequence[str], address: str, options: dict[str, Any]) -> list[Visit]:
    from playwright.async_api import async_playwright

    waiting = list(pages)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**options)
        parts = await asyncio.gather(*(_visit_some(browser, address, waiting) for _ in range(SIDE_BY_SIDE)))
        await browser.close()
    return [visit for part in parts for visit in part]


async def _visit_some(browser: AsyncBrowser, address: str, waiting: list[str]) -> list[Visit]:
    """Take pages off `waiting` until none is left, all in one tab: a new one for every page costs more than a page."""
    context = await browser.new_context(reduced_motion="reduce")
    context.set_default_timeout(120_000)  # also where all cores are busy
    await context.add_init_script(NO_WORKER)
    traffic = listen(context, address)
    page = await context.new_page()
    found = []
    while waiting:
        name = waiting.pop()
        await page.goto("about:blank")
        traffic.taken()  # what the page before had still under way
        found += await _visit(page, traffic, address, name)
    return found


async def _visit(page: AsyncPage, traffic: Traffic, address: str, name: str) -> list[Visit]:
    """Opened in the dark, since the other tests open pages in light; then it is turned to light."""
    from axe_playwright_python.base import AXE_SCRIPT

    await page.set_viewport_size({"width": DESKTOP, "height": 900})
    await page.emulate_media(color_scheme="dark")
    await page.goto(address + name, wait_until="load")
    await page.evaluate("document.fonts.ready.then(() => true)")
    await page.evaluate(OPEN)
    await page.evaluate(AXE_SCRIPT)
    seen: dict[Scheme, dict[str, Any]] = {"dark": {}, "light": {}}
    # Few turns, for each costs a new layout: dark on a desktop and a phone, light on a phone and a desktop.
    await _turn(page, "dark")
    await _look(page, seen["dark"], only=COLOUR_RULES)
    await page.set_viewport_size({"width": PHONE, "height": 844})
    seen["dark"]["phone_overflow"] = await page.evaluate(OVERFLOW)
    await _turn(page, "light")
    seen["light"]["phone_overflow"] = await page.evaluate(OVERFLOW)
    on_a_phone = await _violations(page, without=COLOUR_RULES)
    await page.set_viewport_size({"width": DESKTOP, "height": 900})
    await _look(page, seen["light"])
    seen["light"]["violations"] += on_a_phone
    await page.evaluate("localStorage.clear()")  # the theme remembers what was taken
    noticed = traffic.taken()
    return [Visit(name, scheme, noticed, **found) for scheme, found in seen.items()]


async def _look(page: AsyncPage, found: dict[str, Any], only: Sequence[str] = ()) -> None:
    found["formulas"] = await page.evaluate(FORMULAS)
    await page.evaluate(ONE_OF_A_KIND)
    found["violations"] = await _violations(page, only)
    found["texts"] = await page.evaluate("texts")


async def _turn(page: AsyncPage, scheme: Scheme) -> None:
    """The system turns to a colour scheme, and the reader takes it by the theme's button."""
    await page.emulate_media(color_scheme=scheme)
    name = {"dark": "slate", "light": "default"}[scheme]
    await page.evaluate("name => document.querySelector(`input[data-md-color-scheme=${name}]`).click()", name)
    await page.wait_for_function("name => document.body.dataset.mdColorScheme === name", arg=name)


@pytest.fixture
def opened(address: str, browser: Browser) -> Iterator[tuple[Page, Traffic]]:
    """An empty desktop page with the network cut off, and what goes wrong on it."""
    with opening(address, browser) as found:
        yield found


@pytest.fixture(scope="session")
def playground(build: Build, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the site with week pages that have little but the things to play with: they open in a third of
    the time. `visits` sees the whole pages."""
    weeks = {page: only_to_play_with for page in build.pages() if page.startswith("weeks/")}
    with served(changed(build, tmp_path_factory.mktemp("playground") / "site", weeks)) as found:
        yield found


def only_to_play_with(text: str) -> str:
    """A page without the sections that have nothing to play with, and without formulas."""
    *sections, last = re.split(r"(?=<h2 )", text)
    kept = [section for section in sections[1:] if 'class="sampler"' in section]
    end = last[last.index("</article>") :]
    return re.sub(r"<math.*?</math>", "", "".join((*sections[:1], *kept, end)), flags=re.DOTALL)


@pytest.fixture
def playing(playground: str, browser: Browser) -> Iterator[tuple[Page, Traffic]]:
    """An empty desktop page, for what a reader plays with; and what goes wrong on it."""
    with opening(playground, browser, NO_WORKER) as found:
        yield found


@pytest.fixture(scope="module")
def playing_on(playground: str, browser: Browser) -> Iterator[tuple[Page, Traffic]]:
    """The same for all tests of a module: for a figure that takes seconds to open."""
    with opening(playground, browser, NO_WORKER) as found:
        yield found


@contextmanager
def opening(address: str, browser: Browser, script: str = "") -> Iterator[tuple[Page, Traffic]]:
    context = browser.new_context(viewport={"width": DESKTOP, "height": 900}, base_url=address, reduced_motion="reduce")
    context.add_init_script(script)
    traffic = listen(context, address)
    yield context.new_page(), traffic
    context.close()


async def _violations(page: AsyncPage, only: Sequence[str] = (), without: Sequence[str] = ()) -> list[str]:
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if only:
        options["runOnly"] = {"type": "rule", "values": list(only)}
    if without:
        options["rules"] = {rule: {"enabled": False} for rule in without}
    found = await page.evaluate("options => axe.run(options).then(results => results.violations)", options)
    return [
        f"{violation['id']}: {node['html'][:160]} [{node.get('failureSummary', '')[:300]}]"
        for violation in found
        for node in violation["nodes"]
    ]
