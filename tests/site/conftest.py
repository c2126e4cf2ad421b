"""One strict build of the site, one server and one browser visit of every page, shared by all tests here."""

from __future__ import annotations

import asyncio
import functools
import http.server
import re
import shutil
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from common.site.build import build as build_site

if TYPE_CHECKING:
    from playwright.async_api import Browser as AsyncBrowser
    from playwright.async_api import Page as AsyncPage
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).parents[2]
PHONE, DESKTOP = 390, 1280
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


@pytest.fixture(scope="session")
def address(build: Build) -> Iterator[str]:
    """The address at which the built site is served."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(build.folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


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
    return {"executable_path": CHROMIUM, "args": ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]}


@dataclass
class Traffic:
    """What went wrong on the wire and in the console while a page was open."""

    external: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)


def cut_off(context: BrowserContext, address: str) -> Traffic:
    """Abort every request that leaves `address`, and take down what is aborted, fails or complains."""
    traffic = Traffic()

    def abort(route: Any) -> None:
        traffic.external.append(route.request.url)
        route.abort()

    context.route(elsewhere(address), abort)
    listen(context, traffic)
    return traffic


def elsewhere(address: str) -> re.Pattern[str]:
    """What every address but those of the site matches."""
    return re.compile(f"^(?!{re.escape(address)})")


def listen(context: Any, traffic: Traffic) -> None:
    """Take down in `traffic` what fails or complains in any page of `context`."""
    context.on("requestfailed", lambda request: traffic.failed.append(request.url))
    context.on(
        "response",
        lambda response: traffic.failed.append(f"{response.status} {response.url}") if response.status >= 400 else None,
    )
    context.on(
        "console",
        lambda message: traffic.console.append(message.text) if message.type in ("error", "warning") else None,
    )
    context.on("weberror", lambda error: traffic.console.append(str(error.error)))


@dataclass(frozen=True)
class Visit:
    """A page in one colour scheme: traffic, formulas, widths and accessibility."""

    page: str
    scheme: str
    traffic: Traffic
    formulas: dict[str, Any]
    phone_overflow: list[str]
    violations: list[str]

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


OPEN = """() => {
  document.querySelectorAll('article details').forEach(details => { details.open = true; });
  const style = document.createElement('style');
  style.textContent = '.md-typeset .tabbed-block { display: block !important }';
  document.head.append(style);
}"""
"""Everything that a reader may unfold is unfolded: rows behind a click are read, too."""

SIDE_BY_SIDE = 3
"""Pages that are open at once: one per core, and one that waits."""


@pytest.fixture(scope="session")
def visits(build: Build, address: str) -> list[Visit]:
    """Every page in both colour schemes, with the network cut off.

    Axe applies all its rules on a desktop in light, those of colour in dark, and those of layout on a phone.
    """
    options = launched()
    with ThreadPoolExecutor(1) as beside:  # the loop that playwright may run in this thread
        found = beside.submit(lambda: asyncio.run(_visit_all(build.pages(), address, options))).result()
    return sorted(found, key=str)


async def _visit_all(pages: Sequence[str], address: str, options: dict[str, Any]) -> list[Visit]:
    from playwright.async_api import async_playwright

    waiting = [(page, scheme) for page in pages for scheme in ("light", "dark")]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(**options)
        parts = await asyncio.gather(*(_visit_some(browser, address, waiting) for _ in range(SIDE_BY_SIDE)))
        await browser.close()
    return [visit for part in parts for visit in part]


async def _visit_some(browser: AsyncBrowser, address: str, waiting: list[tuple[str, str]]) -> list[Visit]:
    """Take pages off `waiting` until none is left, each in a context of its own."""
    found = []
    while waiting:
        name, scheme = waiting.pop()
        context = await browser.new_context(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
        found.append(await _visit(await context.new_page(), address, name, scheme))
        await context.close()
    return found


async def _visit(page: AsyncPage, address: str, name: str, scheme: str) -> Visit:
    traffic = Traffic()

    async def abort(route: Any) -> None:
        traffic.external.append(route.request.url)
        await route.abort()

    await page.context.route(elsewhere(address), abort)
    listen(page.context, traffic)
    await page.set_viewport_size({"width": DESKTOP, "height": 900})
    await page.goto(address + name, wait_until="load")
    await page.evaluate("document.fonts.ready.then(() => true)")
    await page.evaluate(OPEN)
    formulas = await page.evaluate(FORMULAS)
    violations = await _violations(page, only=COLOUR_RULES if scheme == "dark" else ())
    await page.set_viewport_size({"width": PHONE, "height": 844})
    overflow = await page.evaluate(OVERFLOW)
    if scheme == "light":
        violations += await _violations(page, without=COLOUR_RULES)
    return Visit(name, scheme, traffic, formulas, overflow, sorted(set(violations)))


@pytest.fixture
def opened(address: str, browser: Browser) -> Iterator[tuple[Page, Traffic]]:
    """An empty desktop page with the network cut off, and what goes wrong on it."""
    context = browser.new_context(viewport={"width": DESKTOP, "height": 900}, base_url=address, reduced_motion="reduce")
    traffic = cut_off(context, address)
    yield context.new_page(), traffic
    context.close()


async def _violations(page: AsyncPage, only: Sequence[str] = (), without: Sequence[str] = ()) -> list[str]:
    from axe_playwright_python.async_playwright import Axe

    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if only:
        options["runOnly"] = {"type": "rule", "values": list(only)}
    if without:
        options["rules"] = {rule: {"enabled": False} for rule in without}
    return [
        f"{violation['id']}: {node['html'][:160]} [{node.get('failureSummary', '')[:300]}]"
        for violation in (await Axe().run(page, options=options)).response["violations"]
        for node in violation["nodes"]
    ]
