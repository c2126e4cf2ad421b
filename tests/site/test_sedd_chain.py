"""The chain that the page of week 9 runs in the browser, against sums over all sentences of a very small space.

The oracle knows nothing of forward and backward messages: it lists all V^L sentences and takes matrix exponentials.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from scipy.linalg import expm

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from tests.site.conftest import Traffic

pytestmark = pytest.mark.browser
V, LENGTH = 3, 4
SIGMA, EARLIER = 0.9, 0.35

CALL = """async ([source, graph, tokens, given, sigma, earlier]) => {
  const chain = await import('/javascripts/sedd-chain.js');
  const on = chain.graphOf(graph, source.vocab);
  const plain = rows => rows.map(row => [...row]);
  return tokens.map(x => {
    const score = chain.concreteScore(source, on, x, sigma, given);
    return {
      score: plain(score),
      tweedie: plain(score.map((s, i) => chain.tweedie(on, s, x[i], sigma - earlier))),
      euler: plain(score.map((s, i) => chain.euler(on, s, x[i], 1e-3))),
      logProb: x.includes(source.vocab) ? null : chain.logProb(source, x),
    };
  });
}"""


class Enumerated:
    """p_0 over all sentences of a random chain with memory 2, and e^{σQ} of whole sentences by Kronecker products."""

    def __init__(self, graph: str) -> None:
        rng = np.random.default_rng(7)
        self.first = rng.dirichlet(np.ones(V))
        self.second = rng.dirichlet(np.ones(V), size=V)
        self.next = rng.dirichlet(np.ones(V), size=(V, V))
        self.size = V if graph == "uniform" else V + 1
        self.rate = -np.eye(self.size)  # columns sum to 0: rate[y, x] is from x to y
        self.rate[-1 if graph == "absorbing" else slice(None)] += 1 if graph == "absorbing" else 1 / V
        self.states = list(product(range(self.size), repeat=LENGTH))
        self.p0 = np.array([self.source(x) for x in self.states])

    def source(self, x: tuple[int, ...]) -> float:
        if max(x) >= V:
            return 0.0
        a, b, c, d = x
        return float(self.first[a] * self.second[a, b] * self.next[a, b, c] * self.next[b, c, d])

    def kernel(self, sigma: float) -> np.ndarray:
        token = expm(sigma * self.rate)
        whole = np.eye(1)
        for _ in range(LENGTH):
            whole = np.kron(whole, token)
        return whole

    def for_browser(self) -> dict[str, Any]:
        return {
            "vocab": V,
            "first": self.first.tolist(),
            "second": self.second.ravel().tolist(),
            "next": self.next.ravel().tolist(),
        }


def ask(page: Page, exact: Enumerated, graph: str, given: list[bool], tokens: list[list[int]]) -> list[dict[str, Any]]:
    page.goto("weeks/09-sedd/")
    answers: list[dict[str, Any]] = page.evaluate(CALL, [exact.for_browser(), graph, tokens, given, SIGMA, EARLIER])
    return answers


@pytest.mark.parametrize("graph", ["uniform", "absorbing"])
def test_ratios_and_both_steps_equal_sums_over_all_sentences(playing: tuple[Page, Traffic], graph: str) -> None:
    page, _ = playing
    exact = Enumerated(graph)
    p_t = exact.kernel(SIGMA) @ exact.p0
    joint = exact.kernel(SIGMA - EARLIER) * (exact.kernel(EARLIER) @ exact.p0)  # [x_t, x_s]
    answers = ask(page, exact, graph, [False] * LENGTH, [list(x) for x in exact.states])
    index = {x: k for k, x in enumerate(exact.states)}
    for k, (x, answer) in enumerate(zip(exact.states, answers, strict=True)):
        if answer["logProb"] is not None:
            assert answer["logProb"] == pytest.approx(np.log(exact.p0[k]), rel=1e-12)
        for i in range(LENGTH):
            ratios = [p_t[index[(*x[:i], y, *x[i + 1 :])]] / p_t[k] for y in range(exact.size)]
            np.testing.assert_allclose(answer["score"][i], ratios, rtol=1e-9)
            # The exact law of the i-th token at the earlier time, whatever the others are then.
            earlier = np.zeros(exact.size)
            for j, y in enumerate(exact.states):
                earlier[y[i]] += joint[k, j]
            np.testing.assert_allclose(answer["tweedie"][i], earlier / joint[k].sum(), atol=1e-12)
            jumps = 1e-3 * exact.rate[x[i]] * ratios
            jumps[x[i]] = 1 - (jumps.sum() - jumps[x[i]])
            np.testing.assert_allclose(answer["euler"][i], jumps, rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("graph", ["uniform", "absorbing"])
def test_given_letters_condition_the_source(playing: tuple[Page, Traffic], graph: str) -> None:
    """With the second and fourth letters given, the ratios are those of the source conditioned on them."""
    page, _ = playing
    exact = Enumerated(graph)
    conditioned = exact.p0 * np.array([x[1] == 2 and x[3] == 0 for x in exact.states])
    token, still = expm(SIGMA * exact.rate), np.eye(exact.size)
    p_t = np.kron(np.kron(token, still), np.kron(token, still)) @ conditioned
    index = {x: k for k, x in enumerate(exact.states)}
    noisy = [[a, 2, c, 0] for a in range(exact.size) for c in range(exact.size)]
    for x, answer in zip(noisy, ask(page, exact, graph, [False, True, False, True], noisy), strict=True):
        for i in (0, 2):
            ratios = [p_t[index[(*x[:i], y, *x[i + 1 :])]] / p_t[index[tuple(x)]] for y in range(exact.size)]
            np.testing.assert_allclose(answer["score"][i], ratios, rtol=1e-9)


def test_draws_are_in_proportion_and_the_source_is_a_law(playing: tuple[Page, Traffic]) -> None:
    """A thousand evenly spaced numbers instead of random ones give each weight its share, up to one."""
    page, _ = playing
    page.goto("weeks/09-sedd/")
    drawn, totals = page.evaluate(
        """async () => {
          const chain = await import('/javascripts/sedd-chain.js');
          const { SCENE } = await import('/javascripts/sedd-scene.js');
          const counts = [0, 0, 0, 0];
          for (let k = 0; k < 1000; k++) counts[chain.draw([2, 0, 5, 3], () => (k + 0.5) / 1000)] += 1;
          const rows = [];
          for (const memory of [1, 2]) {
            const { vocab: V, first, second, next } = chain.sourceOf(SCENE, memory);
            for (const table of [first, second, next])
              for (let k = 0; k < table.length; k += V) rows.push(table.slice(k, k + V).reduce((a, b) => a + b, 0));
          }
          return [counts, rows];
        }"""
    )
    np.testing.assert_allclose(drawn, [200, 0, 500, 300], atol=1)
    np.testing.assert_allclose(totals, 1, rtol=1e-12)


def test_a_reader_walks_into_noise_and_back_by_keyboard(playing: tuple[Page, Traffic]) -> None:
    page, traffic = playing
    page.goto("weeks/09-sedd/")
    walk = page.locator("#sedd-walk")
    status, tokens = walk.get_by_role("status"), walk.locator(".tokens")
    walk.get_by_role("button", name="Start over").click()

    def read() -> str:
        return tokens.inner_text().replace("\n", "").replace("\u00a0", " ")

    def press(name: str) -> None:
        walk.get_by_role("button", name=name).focus()
        page.keyboard.press("Enter")

    sentence = "but soft what light through yonder window breaks"
    assert read() == sentence
    for place in range(3):
        tokens.locator('[tabindex="0"]').focus()
        page.keyboard.press("ArrowRight" if place else "Home")
        page.keyboard.press("Enter")  # which chooses, and gives nothing
        assert tokens.locator(".given").count() == place
        press(f"Give letter {place + 1}")
    assert read() == sentence
    walk.get_by_label("Time").focus()
    for _ in range(16):
        page.keyboard.press("ArrowRight")
    noisy = read()
    assert "Step 16 of 16" in status.inner_text()
    assert noisy.startswith("but")  # what is given stays
    assert noisy.count("?") >= 42  # of 45; each is left with probability 0.001
    press("Back to text")
    by_tweedie = read()
    assert "?" not in by_tweedie
    assert by_tweedie.startswith("but")
    assert by_tweedie != sentence

    # With masks and log-linear noise Euler's step is Tweedie's: the same chance gives the same letters.
    walk.get_by_label("Step back by").select_option("euler")
    press("Start over")
    press("All the noise")
    assert read() == noisy
    press("Back to text")
    assert read() == by_tweedie
    # With geometric noise it is not.
    walk.get_by_label("Noise", exact=True).select_option("geometric")
    ends = set()
    for sampler in ("euler", "tweedie"):
        walk.get_by_label("Step back by").select_option(sampler)
        press("Start over")
        press("All the noise")
        press("Back to text")
        ends.add(read())
    assert len(ends) == 2
    assert (traffic.external, traffic.console) == ([], [])


def test_a_tap_inspects_a_letter_and_a_button_gives_it(playing: tuple[Page, Traffic]) -> None:
    """In the middle of the noise: what is tapped stays as it is, whatever its state, and is what is spoken of."""
    page, traffic = playing
    page.goto("weeks/09-sedd/")
    walk = page.locator("#sedd-walk")
    tokens, said = walk.locator(".tokens button"), walk.locator(".ratios")
    walk.get_by_role("button", name="All the noise").click()
    walk.get_by_role("button", name="One step back").click()

    def read() -> list[str]:
        return [text.replace("\u00a0", " ") for text in tokens.all_inner_texts()]

    for graph in ("absorbing", "uniform"):
        walk.get_by_label("Graph").select_option(graph)
        walk.get_by_role("button", name="All the noise").click()
        before = read()
        for place in (3, 7, 20, 3):
            tokens.nth(place).click()
            assert read() == before
            assert walk.locator(".tokens .given").count() == 0
            assert said.inner_text().startswith(f"Letter {place + 1} is")
            assert tokens.nth(place).get_attribute("aria-current") == "true"
            assert walk.locator('.tokens [aria-current="true"]').count() == 1
        letter = "but soft what light"[3]
        walk.get_by_role("button", name="Give letter 4").click()
        assert read() == [*before[:3], letter, *before[4:]]
        assert "and given: it stays" in said.inner_text()
        # Another is looked at meanwhile; then the first is taken back, and may move again.
        tokens.nth(9).click()
        assert walk.locator(".tokens .given").count() == 1
        tokens.nth(3).click()
        walk.get_by_role("button", name="Take letter 4 back").click()
        assert walk.locator(".tokens .given").count() == 0
        assert read()[3] == letter
        walk.get_by_role("button", name="Start over").click()
    assert (traffic.external, traffic.console) == ([], [])
