"""Numbers with their intervals, as they are read aloud."""

import pytest

from common.harness.reports.lines import lines
from common.harness.studies.wording import duration, interval, number, size


@pytest.mark.parametrize(
    ("measured", "ci", "words"),
    [
        (2.0123, [1.9783, 2.0463], "2.012 ± 0.034"),
        (-0.5, [-0.5196, -0.4804], "-0.500 ± 0.020"),
        (1234.5, [1200.2, 1268.8], "1234 ± 34"),
        (0.25, [0.25, 0.25], "0.25 ± 0"),
        (7.1, [5.2, 9.7], "7.1 (5.2 to 9.7)"),
        (3e-9, [2e-9, 4e-9], "3e-09 ± 1e-09"),
        (2.5, None, "2.5 (one seed)"),
        (None, None, "not run"),
        ("nan", None, "nan"),
    ],
)
def test_intervals(measured: float | str | None, ci: list[float] | None, words: str) -> None:
    assert interval(measured, ci) == words


def test_the_interval_in_words_is_the_interval() -> None:
    for half_width in (0.0123, 0.99, 9.96, 31.0):
        mean, _, width = interval(17.5, [17.5 - half_width, 17.5 + half_width]).partition(" ± ")
        assert float(width) == pytest.approx(half_width, rel=0.05)
        assert float(mean) == pytest.approx(17.5, abs=half_width / 10)


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.42, "0.4 s"), (42, "42 s"), (99.6, "2 min"), (3000, "50 min"), (9000, "2.5 h")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_sizes_and_numbers() -> None:
    assert [size(n) for n in (12, 3400, 5_600_000, 7.8e9, 9e12)] == ["12 B", "3 kB", "5.6 MB", "7.8 GB", "9.0 TB"]
    assert [number(value) for value in (None, 2.85, 8192, "inf")] == ["–", "2.85", "8192", "inf"]


def test_a_claim_of_several_numbers_takes_a_line_each() -> None:
    record = {
        "statement": "So it is.",
        "published": {"a": 1.0, "b": None},
        "measured": {"a": 1.0, "b": 2.0},
        "ci": {"a": [0.9, 1.1], "b": None},
        "criterion": {"a": "0.5 to 1.5, a reason", "b": "≥ 1"},
        "verdict": "inconclusive",
    }
    head, a, b = lines(record)
    assert (head.text, head.verdict) == ("So it is.", "inconclusive")
    assert a[:4] == ("· a", "1", "1.00 ± 0.10", "0.5 to 1.5")
    assert b[:4] == ("· b", "–", "2 (one seed)", "≥ 1")
