"""One strict build of the site, one server and one browser visit of every page, shared by all tests here."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
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
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
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
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine: install it to run the browser tests")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@dataclass
class Traffic:
    """What went wrong on the wire and in the console while a page was open."""

    external: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)

    def taken(self) -> Traffic:
        """What has been taken down since the last call."""
        taken = Traffic(self.external[:], self.failed[:], self.console[:])
        for notes in (self.external, self.failed, self.console):
            notes.clear()
        return taken


def cut_off(context: BrowserContext, address: str) -> Traffic:
    """Abort every request that leaves `address`, and take down what is aborted, fails or complains."""
    traffic = Traffic()

    def gate(route: Any) -> None:
        if route.request.url.startswith(address):
            route.continue_()
        else:
            traffic.external.append(route.request.url)
            route.abort()

    context.route("**/*", gate)
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
    return traffic


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


@pytest.fixture(scope="session")
def visits(build: Build, address: str, browser: Browser) -> list[Visit]:
    """Every page in both colour schemes, with the network cut off.

    Axe applies all its rules on a desktop in light, those of colour in dark, and those of layout on a phone.
    """
    from axe_playwright_python.sync_playwright import Axe

    axe = Axe()
    found = []
    for scheme in ("light", "dark"):
        context = browser.new_context(color_scheme=scheme, reduced_motion="reduce")
        traffic = cut_off(context, address)
        page = context.new_page()
        for name in build.pages():
            page.set_viewport_size({"width": DESKTOP, "height": 900})
            page.goto(address + name, wait_until="load")
            page.evaluate("document.fonts.ready.then(() => true)")
            formulas = page.evaluate(FORMULAS)
            violations = _violations(axe, page, only=COLOUR_RULES if scheme == "dark" else ())
            page.set_viewport_size({"width": PHONE, "height": 844})
            overflow = page.evaluate(OVERFLOW)
            if scheme == "light":
                violations += _violations(axe, page, without=COLOUR_RULES)
            found.append(Visit(name, scheme, traffic.taken(), formulas, overflow, sorted(set(violations))))
        context.close()
    return found


@pytest.fixture
def opened(address: str, browser: Browser) -> Iterator[tuple[Page, Traffic]]:
    """An empty desktop page with the network cut off, and what goes wrong on it."""
    context = browser.new_context(viewport={"width": DESKTOP, "height": 900}, base_url=address, reduced_motion="reduce")
    traffic = cut_off(context, address)
    yield context.new_page(), traffic
    context.close()


def _violations(axe: Any, page: Page, only: Sequence[str] = (), without: Sequence[str] = ()) -> list[str]:
    options: dict[str, Any] = {"resultTypes": ["violations"]}
    if only:
        options["runOnly"] = {"type": "rule", "values": list(only)}
    if without:
        options["rules"] = {rule: {"enabled": False} for rule in without}
    return [
        f"{violation['id']}: {node['html'][:160]} [{node.get('failureSummary', '')[:300]}]"
        for violation in axe.run(page, options=options).response["violations"]
        for node in violation["nodes"]
    ]
