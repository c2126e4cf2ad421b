"""Numbers with their intervals, as people read them."""

import random
import re
from math import inf

import pytest

from common.harness.studies.wording import criterion, duration, interval, number, size


def read(text: str) -> float:
    """The number that a reader takes from `text`."""
    text = text.replace("\u00a0", " ").replace("−", "-")
    mantissa, times, power = text.partition(" × ")
    if not times:
        mantissa, power = ("1", text) if re.fullmatch(r"10[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", text) else (text, "")
    exponent = int(power[2:].translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789"))) if power else 0
    return float(mantissa.replace(" ", "")) * 10.0**exponent


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (None, "–"),
        (0.0, "0"),
        (2.85, "2.85"),
        (-0.5, "−0.5"),
        (0.61803398, "0.618"),
        (8192, "8192"),
        (65536, "65 536"),
        (12345.6, "12 350"),
        (1010.0, "1010"),
        (0.001, "0.001"),
        (0.0007064, "7.1 × 10⁻⁴"),
        (5.551e-16, "5.6 × 10⁻¹⁶"),
        (1e-12, "10⁻¹²"),
        (-1e-12, "−1 × 10⁻¹²"),
        (99999.6, "10⁵"),
        (262144, "2.621 × 10⁵"),
        ("nan", "not measured"),
        (float("nan"), "not measured"),
        ("inf", "infinite"),
        (-inf, "minus infinite"),
    ],
)
def test_numbers(value: float | str | None, words: str) -> None:
    assert number(value).replace("\u00a0", " ") == words


@pytest.mark.parametrize(
    ("measured", "ci", "words"),
    [
        (2.0123, [1.9783, 2.0463], "2.012 ± 0.034"),
        (-0.5, [-0.5196, -0.4804], "−0.500 ± 0.020"),
        (1234.5, [1200.2, 1268.8], "1234 ± 34"),
        (12345.0, [8912.0, 15778.0], "12 300 ± 3400"),
        (0.25, [0.25, 0.25], "0.25"),
        (7.1, [5.2, 9.7], "7.1 (5.2 to 9.7)"),
        (2.1, [0.4833, 4.38], "2.1 (0.48 to 4.4)"),
        (1.06, [1.012, 1.11], "1.060 (1.012 to 1.110)"),
        (3e-9, [2e-9, 4e-9], "(3.0 ± 1.0) × 10⁻⁹"),
        (0.00095, [0.00079, 0.00111], "0.00095 ± 0.00016"),
        (0.00042, [0.0004, 0.00044], "(4.20 ± 0.20) × 10⁻⁴"),
        (2.6e6, [2.5e6, 2.7e6], "(2.60 ± 0.10) × 10⁶"),
        (2e-4, [-0.01, 0.0104], "0.000 ± 0.010"),
        (1.0, [1 - 2.6e-14, 1 + 2.6e-14], "1"),
        (5.551e-16, [5.551e-16, 5.551e-16], "0 (< 10⁻¹⁵)"),
        (6.5e-14, [1e-14, 1.2e-13], "0 (< 10⁻¹²)"),
        (0.0, [0.0, 0.0], "0"),
        (41430.0, [41430.0, 41430.0], "41 430"),
        (2.5, None, "2.5 (one seed)"),
        (None, None, "not run"),
        ("nan", None, "not measured"),
        ("inf", None, "infinite"),
    ],
)
def test_intervals(measured: float | str | None, ci: list[float] | None, words: str) -> None:
    assert interval(measured, ci).replace("\u00a0", " ") == words


@pytest.mark.parametrize(
    ("lower", "upper", "words"),
    [
        (-inf, 1e-12, "≤ 10⁻¹²"),
        (1.0, inf, "≥ 1"),
        (0.4833333, 4.35, "0.48 to 4.3"),
        (0.85, 1.15, "0.85 to 1.15"),
        (-0.55, -0.45, "−0.55 to −0.45"),
        (0.5163, 0.5763, "0.516 to 0.576"),
        (16.47, 148.2, "16 to 148"),
        (-0.03, 0.03, "−0.03 to 0.03"),
        (0.0, 2.0, "0 to 2"),
        (2.0, 2.0, "= 2"),
        (100.0, 200.0, "100 to 200"),
    ],
)
def test_criteria(lower: float, upper: float, words: str) -> None:
    assert criterion(lower, upper).replace("\u00a0", " ") == words


def test_any_number_is_read_back_within_its_rounding() -> None:
    generator = random.Random(0)
    for _ in range(20_000):
        value = generator.choice((-1, 1)) * generator.uniform(1, 10) * 10 ** generator.randint(-18, 12)
        text = number(value)
        assert re.fullmatch(r"[−0-9.\u00a0×⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", text), (value, text)
        assert read(text) == pytest.approx(value, rel=0.05 if abs(value) < 1e-3 else 0.0005), (value, text)
        assert len(re.sub(r"[^0-9]", "", text.partition("×")[0]).strip("0")) <= 5


def test_any_interval_is_read_back_within_its_rounding() -> None:
    generator = random.Random(1)
    for _ in range(20_000):
        value = generator.choice((-1, 1)) * generator.uniform(1, 10) * 10 ** generator.randint(-9, 7)
        half = abs(value) * 10 ** generator.uniform(-5, 2)
        skew = generator.choice((1.0, 1.5))
        ci = [value - half, value + skew * half]
        text = interval(value, ci)
        assert not re.search(r"e[+-]?\d|nan|inf", text), text
        if " to " in text:
            mean, low, high = re.split(r" \(| to ", text.removesuffix(")"))
        else:
            inner, _, power = text.removeprefix("(").partition(")")
            mean, width = (part + power for part in inner.split(" ± "))
            assert read(width) == pytest.approx(half, rel=0.051), text
            low = high = ""
        # Rounded to two digits of the half-width, or (where a power of ten is written) to two of the value.
        assert read(mean) == pytest.approx(value, abs=0.051 * half, rel=0.051 if low else 0), text
        for shown, end in ((low, ci[0]), (high, ci[1])):
            assert not shown or read(shown) == pytest.approx(end, abs=0.07 * half, rel=0.051), text


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.42, "0.4 s"), (42, "42 s"), (99.6, "2 min"), (3000, "50 min"), (9000, "2.5 h")]
)
def test_durations(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_sizes() -> None:
    assert [size(n) for n in (12, 3400, 5_600_000, 7.8e9, 9e12)] == ["12 B", "3 kB", "5.6 MB", "7.8 GB", "9.0 TB"]
