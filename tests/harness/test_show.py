"""Lines and tables keep to the terminal's columns: COLUMNS, or 80 where there is no terminal."""

from math import nan

import pytest
from toy.means import means

from common.harness.reports.lines import print_claims, tally
from common.harness.runs import terminal as show
from common.harness.studies.claims import Claim, Criterion, Judgement, Measurement, Quantity
from common.harness.studies.measures import value_at
from common.harness.studies.statistics import Estimate

LONG = "fails   a claim of many words, " + "told once more " * 20 + "at /a/path/that/nobody/wants/to/have/broken/" * 3


@pytest.mark.parametrize(("said", "columns"), [("", 80), ("60", 60), ("132", 132), ("x", 80), ("7", 40)])
def test_lines_heed_columns(
    said: str, columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", said)
    monkeypatch.setattr("sys.__stdout__", None)  # no terminal, wherever the tests run
    assert show.width() == columns
    show.table(("Word", "Words"), [("one", "some more words " * 20)])
    show.say(LONG)
    lines = capsys.readouterr().out.splitlines()
    widths = [len(line.rstrip()) for line in lines if "/a/path" not in line]
    assert columns - 16 < max(widths) <= columns


def test_words_and_their_order_stay_and_a_path_is_not_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    wrapped = show.wrapped(LONG)
    assert wrapped.split() == LONG.split()
    assert all(line.startswith(" " * len("fails   ")) for line in wrapped.splitlines()[1:]), "below the first text"
    second = show.wrapped("  some words " + "of a note " * 9).splitlines()[1]
    assert len(second) - len(second.lstrip()) == 4
    assert show.wrapped("\nshort\n  lines\n") == "\nshort\n  lines\n"


def measured(name: str, low: float, high: float, criterion: Criterion, published: float | None = None) -> Measurement:
    """A quantity whose interval is [low, high]."""
    estimate = Estimate((low + high) / 2, low, high, 5)
    quantity = Quantity(name, means, value_at("error"), criterion, published)
    return Measurement(quantity, {}, estimate, criterion.judge(estimate))


def judged(claim: str, *measurements: Measurement, headline: bool = False) -> Judgement:
    return Judgement(Claim(claim, f"The {claim} is so.", "Table 1", (), headline=headline), measurements)


WIDE = measured("far from its bound", 7.0, 7.2, Criterion(1))
NEAR = measured("near its bound", 1.05, 1.15, Criterion(1))
TINY = measured("far below a tiny bound", 0.9e-12, 1.1e-12, Criterion(upper=1e-6))
BELOW = measured("near an upper bound", 0.95, 0.99, Criterion(upper=1.0))
INSIDE = measured(
    "in a margin that takes more words than a line has room for", -2.05, -1.95, Criterion(-2.15, -1.85), -2.0
)
OPEN = measured("across its bound", 0.9, 1.2, Criterion(1))
WRONG = measured("outside", 3.0, 3.2, Criterion(upper=2))
NEVER = Measurement(WIDE.quantity, {}, Estimate(nan, nan, nan, 0), "inconclusive")


@pytest.mark.parametrize(
    ("measurements", "decides"),
    [
        ((WIDE,), WIDE),
        ((WIDE, NEAR, TINY), NEAR),
        ((WIDE, BELOW, NEAR), BELOW),
        ((WIDE, TINY, INSIDE), INSIDE),
        ((NEAR, OPEN, NEVER), OPEN),
        ((NEAR, NEVER, OPEN), NEVER),
        ((OPEN, WIDE, WRONG), WRONG),
    ],
    ids=lambda value: "" if isinstance(value, tuple) else value.quantity.name,
)
def test_what_fails_decides_then_what_is_open_then_what_is_nearest_its_bound(
    measurements: tuple[Measurement, ...], decides: Measurement
) -> None:
    assert judged("claim", *measurements).deciding is decides


CLAIMS = [
    judged("second", WIDE, OPEN),
    judged("third-of-a-name-so-long-that-no-line-has-room-for-it", INSIDE),
    judged("first", WIDE, WRONG, headline=True),
]


def test_a_claim_has_one_line_with_what_decides_it_and_headlines_come_first(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    print_claims("foo quick", CLAIMS)
    title, header, _, *rows = capsys.readouterr().out.splitlines()
    assert title.split()[:2] == ["foo", "quick:"]
    assert header.split() == ["Claim", "Decided", "by", "Measured", "Asked", "Published"]
    assert [row[:10].split() for row in rows] == [["✗", "first"], ["?", "second"], ["✓", "third-o"]]
    told = [("outside", "3.10 ± 0.10", "≤ 2"), ("across its bound", "1.05 ± 0.15", "≥ 1"), ("−2.000 ± 0.050", "−2  ")]
    for row, words in zip(rows, told, strict=True):
        assert len(row.rstrip()) <= 80
        assert [word for word in words if word not in row] == []

    monkeypatch.setenv("COLUMNS", "200")
    print_claims("foo quick", CLAIMS)
    wide = capsys.readouterr().out
    assert "✗ fails" in wide
    assert "third-of-a-name-so-long-that-no-line-has-room-for-it" in wide

    print_claims("foo quick", CLAIMS, long=True)
    every = capsys.readouterr().out
    assert all(name in every for name in ("far from its bound", "across its bound", "outside", "The second is so."))
    assert every.index("The first is so.") < every.index("The second is so.")


def test_verdicts_are_counted_in_words() -> None:
    verdicts = ["holds", "inconclusive", "holds", "fails"]
    assert tally(verdicts) == "2 hold, 1 fails, 1 inconclusive"
    assert tally([]) == "no claims"
