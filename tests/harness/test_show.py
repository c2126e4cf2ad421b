"""Lines and tables keep to the terminal's columns: COLUMNS, or 80 where there is no terminal."""

import pytest

from common.harness.runs import terminal as show

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
