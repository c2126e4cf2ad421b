"""Regression: what moves enough to fail, what does not, and that a planted fault turns a check red."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import Toy
from toy import checked
from toy.means import PAPER, RATE

from common.harness.cli import check as command
from common.harness.cli import workplace
from common.harness.cli.main import main
from common.harness.reports import findings, report
from common.harness.reports.compare import Baseline, Change, compare, compare_grid, read_baseline
from common.harness.runs.launch import launch
from common.harness.runs.plan import RunSpec, plan
from common.harness.runs.store import Store
from common.harness.studies.claims import Claim, Judgement, Measurement, Quantity
from common.harness.studies.errors import UsageError
from common.harness.studies.statistics import Scale, student_t

BEFORE = {0: -0.50, 1: -0.49, 2: -0.51}
SLOPE = replace(RATE, tolerance=None)
RECORD = Claim("rate", "", "", (SLOPE,))


def rate(values: dict[int, float], quantity: Quantity = SLOPE) -> Judgement:
    estimate = student_t(list(values.values()), quantity.scale, quantity.deterministic)
    measured = Measurement(quantity, values, estimate, quantity.criterion.judge(estimate))
    return Judgement(replace(RECORD, quantities=(quantity,)), (measured,))


def changes(
    now: dict[int, float],
    before: dict[int, float] = BEFORE,
    verdict: str | None = None,
    quantity: Quantity = SLOPE,
    **others: Any,
) -> list[Change]:
    """The comparison where the committed report is of the same claim, with `before` for its values."""
    committed = rate(before, quantity).as_record("", "") if before else rate(BEFORE, quantity).as_record("", "")
    committed["verdict"] = verdict or rate(now, quantity).verdict
    return compare([rate(now, quantity)], Baseline({"rate": committed}, {("rate", "slope"): before}), **others)


def failed(found: list[Change]) -> list[str]:
    return [change.what for change in found if change.failed]


def scaled(factor: float, values: dict[int, float] = BEFORE) -> dict[int, float]:
    return {seed: value * factor for seed, value in values.items()}


def test_nothing_moves_when_nothing_changes() -> None:
    found = changes(BEFORE)
    assert failed(found) == []
    assert [(change.what, change.why) for change in found] == [("verdict", ""), ("slope", "")]


def test_rounding_is_not_shown_as_a_move() -> None:
    assert [change.why for change in changes(scaled(1 + 1e-9))] == ["", ""]
    assert changes(scaled(1 + 1e-5))[1].why == "within its tolerance"


@pytest.mark.parametrize("factor", [1.1, 1 / 1.1, 1.0002, 1 / 1.0002, -1.0])
def test_where_nothing_is_trained_a_factor_of_two_in_ten_thousand_fails(factor: float) -> None:
    assert failed(changes(scaled(factor))) == ["slope"]


@pytest.mark.parametrize("turn", [1, -1])
@pytest.mark.parametrize("scale", ["linear", "log"])
@pytest.mark.parametrize("of", ["quantity", "experiment"])
def test_a_stated_tolerance_is_a_factor_either_way(of: str, scale: Scale, turn: int) -> None:
    stated: dict[str, Any] = {"tolerance": 0.05}
    if of == "experiment":
        stated = {"experiment": replace(SLOPE.experiment, tolerance=0.05)}
    quantity = replace(SLOPE, scale=scale, **stated)
    before = {seed: abs(value) for seed, value in BEFORE.items()}
    assert failed(changes(scaled(1.0499**turn, before), before, quantity=quantity)) == []
    assert failed(changes(scaled(1.0501**turn, before), before, quantity=quantity)) == ["slope"]


def test_the_tolerance_of_a_quantity_comes_before_that_of_its_experiment() -> None:
    loose = replace(SLOPE.experiment, tolerance=0.5)
    assert failed(changes(scaled(1.02), quantity=replace(SLOPE, experiment=loose, tolerance=0.01))) == ["slope"]
    assert failed(changes(scaled(1.02), quantity=replace(SLOPE, experiment=loose, tolerance=0.0))) == ["slope"]
    assert failed(changes(scaled(1.02), quantity=replace(SLOPE, experiment=loose))) == []
    assert failed(changes(scaled(1 + 1e-8), quantity=SLOPE, tolerance=1e-9)) == ["slope"]


def test_seeds_are_compared_each_with_itself() -> None:
    """Neither a mean that stays nor the spread of the seeds hides one that moved."""
    swapped = {0: BEFORE[1], 1: BEFORE[0], 2: BEFORE[2]}
    found = changes(swapped)
    assert failed(found) == ["slope"]
    assert found[1].before == found[1].now
    assert found[1].why == "seed 0 moved from -0.5 to -0.49, by more than its tolerance of 0.0001"


def test_one_seed_too_many_or_too_few_fails() -> None:
    assert changes(BEFORE | {3: -0.5})[1].why == "measured on one side only in seed 3"
    assert changes({0: -0.50, 1: -0.49})[1].why == "measured on one side only in seed 2"


@pytest.mark.parametrize("before", ["fails", "inconclusive"])
def test_a_verdict_that_turns_fails_even_for_the_better(before: str) -> None:
    assert failed(changes(BEFORE, verdict=before)) == ["verdict"]


def test_values_that_are_not_finite_or_gone_fail() -> None:
    nan, inf = float("nan"), float("inf")
    assert failed(changes({0: nan, 1: -0.5, 2: -0.5})) == ["slope"]
    assert failed(changes({0: inf}, {0: -inf})) == ["slope"]
    assert failed(changes({0: nan}, {0: nan})) == []
    assert failed(changes({0: inf}, {0: inf})) == []
    assert failed(changes({})) == ["slope"]
    assert failed(changes(BEFORE, before={})) == ["slope"]


def test_what_is_zero_but_for_rounding_may_be_another_zero() -> None:
    quantity = replace(SLOPE, zero=1e-12)
    tiny = {0: 3e-14, 1: 0.0}
    assert failed(changes({0: -1e-13, 1: 2e-16}, tiny, quantity=quantity)) == []
    assert failed(changes({0: -1e-13, 1: 2e-16}, tiny)) == ["slope"]
    assert failed(changes({0: 3e-14, 1: 2e-12}, tiny, quantity=quantity)) == ["slope"]
    assert failed(changes(scaled(1.1), quantity=quantity)) == ["slope"]


SAID = {
    "kind": {"kind": "theorem"},
    "headline": {"headline": True},
    "statement": {"statement": "It falls faster."},
    "source": {"source": "Theorem 2"},
    "excludes": {"excludes": "nothing"},
    "published": {"quantities": (replace(SLOPE, published=-0.6),)},
    "expected": {"quantities": (replace(SLOPE, expected=-0.5),)},
    "criterion": {"quantities": (replace(SLOPE, criterion=replace(SLOPE.criterion, lower=-0.56)),)},
}
REASON = {"quantities": (replace(SLOPE, criterion=replace(SLOPE.criterion, reason="seen")),)}


@pytest.mark.parametrize(("key", "other"), [*SAID.items(), ("criterion", REASON)])
def test_a_claim_that_says_otherwise_fails_though_it_still_holds(key: str, other: dict[str, Any]) -> None:
    baseline = Baseline({"rate": rate(BEFORE).as_record("", "")}, {("rate", "slope"): BEFORE})
    (quantity,) = other.get("quantities", (SLOPE,))
    judgement = replace(rate(BEFORE, quantity), claim=replace(RECORD, **other))
    (change,) = [change for change in compare([judgement], baseline) if change.failed]
    assert (change.what, change.why) == (key, "not as in the committed report")
    assert change.before != change.now


def test_a_deviation_may_be_worded_anew() -> None:
    baseline = Baseline({"rate": rate(BEFORE).as_record("", "")}, {("rate", "slope"): BEFORE})
    judgement = replace(rate(BEFORE), claim=replace(RECORD, deviation="Fewer draws."))
    assert failed(compare([judgement], baseline)) == []


def test_of_several_quantities_the_one_is_named_whose_bound_is_loosened() -> None:
    level = replace(SLOPE, name="level")

    def both(second: Quantity) -> Judgement:
        return Judgement(RECORD, (*rate(BEFORE).measurements, *rate(BEFORE, second).measurements))

    values = {("rate", "slope"): BEFORE, ("rate", "level"): BEFORE}
    baseline = Baseline({"rate": both(level).as_record("", "")}, values)
    assert failed(compare([both(level)], baseline)) == []
    loosened = replace(level, criterion=replace(level.criterion, lower=-0.6))
    assert failed(compare([both(loosened)], baseline)) == ["criterion of level"]
    found = compare([rate(BEFORE)], baseline)
    assert [change.why for change in found if change.what == "level"] == ["no longer measured"]
    assert {"criterion", "published", "level"} <= set(failed(found))


def test_a_report_that_lacks_a_key_is_compared_by_what_the_claim_says_of_it() -> None:
    """As one made before claims said it: only what is said today is missing there."""
    several = replace(RECORD, quantities=(SLOPE, replace(SLOPE, name="level", expected=1.0)))
    measurements = [replace(*rate(BEFORE).measurements, quantity=quantity) for quantity in several.quantities]
    judgement = Judgement(several, tuple(measurements))
    record = judgement.as_record("", "")
    old = {key: value for key, value in record.items() if key not in ("expected", "excludes", "kind")}
    baseline = Baseline({"rate": old}, {("rate", name): BEFORE for name in ("slope", "level")})
    assert failed(compare([judgement], baseline)) == ["kind", "expected of level"]


def test_claims_of_one_side_only_fail() -> None:
    found = compare([rate(BEFORE)], Baseline({"old": {"verdict": "holds"}}))
    assert {(change.claim, change.what) for change in found if change.failed} == {
        ("rate", "verdict"),
        ("rate", "slope"),
        ("old", "verdict"),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[RunSpec], Baseline]:
    specs, store = plan(PAPER, "quick"), Store(tmp_path_factory.mktemp("runs"))
    launch(specs, store, progress=False)
    folder = report.write(findings.collect(PAPER, "quick", specs, store), store, tmp_path_factory.mktemp("reports"))
    return specs, read_baseline(folder)


def test_the_grid_of_the_report_is_the_grid_of_today(made: tuple[list[RunSpec], Baseline]) -> None:
    specs, baseline = made
    (same,) = compare_grid(specs, baseline)
    assert (same.claim, same.what, same.before, same.now) == (None, "runs of means", *["9 runs of 3 seeds"] * 2)
    assert (same.failed, same.why) == (False, "")


def test_a_grid_with_fewer_seeds_or_other_configs_fails(made: tuple[list[RunSpec], Baseline]) -> None:
    specs, baseline = made
    (fewer,) = compare_grid([spec for spec in specs if spec.seed < 2], baseline)
    assert (fewer.now, fewer.failed, fewer.why) == (
        "6 runs of 2 seeds",
        True,
        "3 of the report's are not planned today",
    )
    shortened = [replace(spec, config=replace(spec.config, n=min(spec.config.n, 32))) for spec in specs]
    (other,) = compare_grid(shortened, baseline)
    assert other.failed
    assert (
        other.why == "3 of today's are not in the report, as means/means(n=32) seed 0; "
        "3 of the report's are not planned today"
    )
    gone, new = compare_grid([replace(spec, experiment="others") for spec in specs], baseline)[::-1]
    assert (gone.what, gone.now, gone.failed) == ("runs of means", "0 runs of 0 seeds", True)
    assert (new.what, new.before, new.failed) == ("runs of others", "0 runs of 0 seeds", True)


def test_a_report_is_read_back_as_it_was_judged(tmp_path: Path) -> None:
    specs, store = plan(PAPER, "quick"), Store(tmp_path / "runs")
    launch(specs, store, progress=False)
    found = findings.collect(PAPER, "quick", specs, store)
    baseline = read_baseline(report.write(found, store, tmp_path / "reports"))
    assert {claim: record["verdict"] for claim, record in baseline.records.items()} == {
        "rate": "holds",
        "table": "holds",
    }
    assert baseline.addresses == {spec.address for spec in specs}
    assert all(not change.why for change in compare(found.judgements, baseline))


def test_a_planted_fault_turns_the_check_red(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    specs, store = plan(PAPER, "quick"), Store(tmp_path / "runs")
    launch(specs, store, progress=False)
    baseline = read_baseline(report.write(findings.collect(PAPER, "quick", specs, store), store, tmp_path / "reports"))

    from toy import means

    honest = means.means.function

    def wrong(config: means.Draws, seed: int, run: means.Run) -> list[means.Row]:
        (row,) = honest(config, seed, run)
        return [{**row, "error": float(row["error"]) * config.n**-0.04}]  # a rate of -0.54 where -0.5 is right

    monkeypatch.setattr(means, "means", replace(means.means, function=wrong))
    fresh = Store(tmp_path / "fresh")
    launch(specs, fresh, progress=False)
    found = compare(findings.collect(PAPER, "quick", specs, fresh).judgements, baseline)
    assert ("rate", "slope") in {(change.claim, change.what) for change in found if change.failed}


@pytest.mark.parametrize("claims", ["", "[{", '[{"id": "rate"}]', "[1]", "[]"])
def test_a_baseline_that_cannot_be_read_is_bad_input(tmp_path: Path, claims: str) -> None:
    (tmp_path / "claims.json").write_text(claims)
    (tmp_path / "values.csv").write_text("claim,quantity,seed,value\n")
    (tmp_path / "provenance.json").write_text("{}")
    with pytest.raises(UsageError, match="cannot be read"):
        read_baseline(tmp_path)


def test_no_baseline_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no committed report at .*; `repro bless` makes one"):
        read_baseline(tmp_path)


@pytest.fixture
def two_papers(toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two papers with committed reports, and a store that has none of their runs; the folder of the reports."""
    root = tmp_path / "reports"
    for module in (command, workplace):
        monkeypatch.setattr(module, "discover", lambda: checked.PAPERS)
        monkeypatch.setattr(module, "REPORTS", root)
    for slug in checked.PAPERS:
        assert main(["bless", slug, "--workers", "0"]) == 0
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "later"))
    return root


CHECK = ["check", "--workers", "0"]


def test_a_check_of_two_papers_passes_where_nothing_changed(two_papers: Path) -> None:
    assert main(CHECK) == 0


@pytest.mark.parametrize("slug", checked.PAPERS)
@pytest.mark.parametrize(
    ("experiment", "named"),
    [
        ("unclaimed", ["unclaimed() seed 0", "unclaimed(n=2) seed 0"]),  # always, and no claim reads it
        ("claimed 1", ["claimed() seed 1"]),  # one seed of three
    ],
)
def test_a_run_that_raises_fails_the_check_of_any_paper(
    slug: str,
    experiment: str,
    named: list[str],
    two_papers: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("REPRO_TOY_RAISE", f"{slug}/{experiment}")
    capsys.readouterr()
    assert main(CHECK) == 1
    said = capsys.readouterr().out.splitlines()
    for name in named:
        assert f"FAILED  {slug}/{name}: ArithmeticError: two and two are five" in said
    assert main([*CHECK, "--json"]) == 1
    records = json.loads(capsys.readouterr().out)
    failed = [(record["paper"], record["what"]) for record in records if record["failed"] and record["claim"] is None]
    assert failed == [(slug, f"{slug}/{name}") for name in named]


def test_a_run_that_is_missing_fails_the_check(
    two_papers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever became of it: here the launch forgets the last of the runs."""

    def forgetful(specs: list[Any], *others: Any) -> Any:
        return honest(specs[:-1], *others)

    honest = command.start
    monkeypatch.setattr(command, "start", forgetful)
    assert main([*CHECK, "second"]) == 1
    assert "FAILED  second/unclaimed(n=2) seed 0: not run" in capsys.readouterr().out.splitlines()


def test_a_report_with_a_run_that_raises_is_not_blessed(
    two_papers: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (two_papers / "first" / "quick" / "claims.json").read_bytes()
    monkeypatch.setenv("REPRO_TOY_RAISE", "first/unclaimed")
    assert main(["bless", "first", "--workers", "0"]) == 1
    said = capsys.readouterr().out
    assert "FAILED  first/unclaimed() seed 0: ArithmeticError" in said
    assert "stays as it is" in said
    assert (two_papers / "first" / "quick" / "claims.json").read_bytes() == before


def edit(path: Path, before: str, after: str) -> None:
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after, 1))


@pytest.mark.parametrize(
    ("file", "before", "after", "named"),
    [
        ("claims.json", "0.9 to 1.1", "0.95 to 1.05", "criterion"),
        ("claims.json", '"published": null', '"published": 1.0', "published"),
        ("provenance.json", '"seeds": 3,\n      "runs": 3', '"seeds": 4,\n      "runs": 4', "runs of claimed"),
    ],
)
def test_a_check_compares_what_is_said_and_run_and_bless_replaces_it(
    two_papers: Path, capsys: pytest.CaptureFixture[str], file: str, before: str, after: str, named: str
) -> None:
    """As if the committed report had been stricter, or longer, than the study is today."""
    edit(two_papers / "first" / "quick" / file, before, after)
    capsys.readouterr()
    assert main([*CHECK, "--json"]) == 1
    records = json.loads(capsys.readouterr().out)
    assert [(record["paper"], record["what"]) for record in records if record["failed"]] == [("first", named)]
    assert main(["bless", "first", "--workers", "0"]) == 0
    said = capsys.readouterr().out
    assert named in said
    assert "FAILED" not in said, "what is blessed is no failure"
    assert main(CHECK) == 0


def test_bless_replaces_nothing_unasked(two_papers: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in two_papers.rglob("*") if path.is_file()}
    for slip in (["bless"], ["bless", "first", "--all"]):
        assert main([*slip, "--workers", "0"]) == 2
        assert "name one paper" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in two_papers.rglob("*") if path.is_file()} == before
    assert main(["bless", "--all", "--workers", "0"]) == 0


def test_the_report_of_another_preset_is_judged_again_from_its_rows(
    two_papers: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bless", "second", "--preset", "small", "--workers", "0"]) == 0
    edit(two_papers / "second" / "small" / "claims.json", "0.9 to 1.1", "0.95 to 1.05")
    assert main([*CHECK, "first"]) == 0
    assert main([*CHECK, "second", "--preset", "quick"]) == 0
    capsys.readouterr()
    assert main([*CHECK, "--json"]) == 1
    records = json.loads(capsys.readouterr().out)
    failed = [(record["paper"], record["preset"], record["what"]) for record in records if record["failed"]]
    assert failed == [("second", "small", "criterion")]
