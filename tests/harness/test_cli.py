"""The command line: quick answers, help with typos; for bad input one line, exit code 2 and nothing written."""

import json
import platform
import re
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from trees import ROOT, Answer, make_tree, session

from common.harness.cli import doctor
from common.harness.cli.main import COMMANDS, main, parsers, split_overrides
from common.harness.cli.new import create
from common.harness.cli.run import as_typed
from common.harness.cli.wishes import parse_seeds, parse_workers
from common.harness.studies.errors import UsageError

HEAVY = {"torch", "numpy", "scipy", "pandas", "ray", "matplotlib", "tyro", "seaborn"}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree with one paper, foo, whose data can be made to be missing, and whose runs can be made to fail."""
    tree = make_tree(tmp_path_factory.mktemp("tree"))
    create(tree, 11, "foo", "Foo: a study", "2401.01234")
    study = tree / "papers" / "foo" / "studies" / "convergence.py"
    text = study.read_text()
    assert "    generator = " in text
    text = text.replace(
        "    generator = ",
        '    if config.repetitions == 13:\n        raise ArithmeticError("unlucky")\n    generator = ',
    )
    text = text.replace('{"error": float},', '{"error": float},\n    prepare=look,')
    text = text.replace(
        "@experiment(",
        "def look(config: ConvergenceConfig) -> None:\n"
        "    if config.repetitions == 17:\n"
        '        raise FileNotFoundError("no file data/x.gz: put it there")\n\n\n'
        "@experiment(",
    )
    study.write_text(text)
    return tree


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


@pytest.fixture(scope="module")
def listed() -> None:
    """After an edit the first list reads the code anew, and keeps what it finds."""
    subprocess.run([sys.executable, "-m", "common.harness.cli", "list"], cwd=ROOT, capture_output=True)


@pytest.mark.parametrize("arguments", [["--help"], ["list"], ["list", "--json"], ["run", "--help"]])
def test_it_answers_in_half_a_second_without_heavy_imports(listed: None, arguments: list[str]) -> None:
    code = (
        "import sys; from common.harness.cli.main import main; code = main(sys.argv[1:]); "
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    before = cpu_seconds()
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not HEAVY & set(done.stderr.split())
    assert cpu_seconds() - before < 0.5  # processor time: other work on the machine does not count


def test_every_command_is_there_and_helps() -> None:
    for command in COMMANDS:
        assert main([command, "--help"]) == 0


BAD = [
    (["rnu", "foo"], "unknown command 'rnu'", "run"),
    (["run", "fooo"], "unknown paper 'fooo'", "foo"),
    (["report", "fooo"], "unknown paper 'fooo'", "foo"),
    (["run"], "name one paper, or --all", ""),
    (["run", "foo", "--all"], "name one paper, or --all", ""),
    (["run", "foo", "--preset", "quik"], "unknown preset 'quik'", "quick"),
    (["run", "foo", "--preset", "gpu"], "has no preset 'gpu'", "quick"),
    (["run", "foo", "--only", "convergance"], "'convergance'", "convergence"),
    (["run", "foo", "--only", ""], "unknown experiment '' of foo in preset 'quick'", "convergence"),
    (["run", "foo", "--repetition", "3"], "(perhaps you meant 'repetitions')", "convergence has n, repetitions"),
    (["run", "foo", "--zzz", "3"], "unknown option or config field 'zzz'", "convergence has n, repetitions"),
    (["run", "foo", "--zzz", "3", "--only", "x"], "unknown experiment 'x' of foo in preset 'quick'", "convergence"),
    (["run", "foo", "--workrs", "3"], "'workrs'", "perhaps you meant 'workers'"),
    (["run", "foo", "--repetitions", "many"], "repetitions takes a whole number, not 'many'", ""),
    (["run", "foo", "--repetitions", "0"], "at least 1", ""),
    (["run", "foo", "--repetitions"], "--repetitions has no value", ""),
    (["run", "foo", "--seeds", "4..0"], "--seeds '4..0' runs backwards", "write 0..4"),
    (["run", "foo", "--seeds", "a"], "--seeds 'a'", "0,2,7"),
    (["run", "foo", "--seeds", "-1"], "--seeds '-1'", "0..4"),
    (["run", "foo", "--workers", "two"], "--workers 'two'", ""),
    (["run", "foo", "--device", "tpu"], "unknown device 'tpu'", "cpu"),
    (["run", "foo", "--device", "cuda"], "'cuda'", "--device cpu"),
    (["run", "foo", "--dry-run", "--device", "mps"], "'mps'", "cpu"),
    (["run", "foo", "--address", "127.0.0.1:1"], "127.0.0.1:1", ""),
    (["run", "foo", "--repetitions", "17"], "no file data/x.gz", "put it there"),
    (["report", "foo"], "no finished runs of foo", "repro run foo"),
    (["report", "foo", "--into", "/dev/null/reports"], "cannot write a report to /dev/null/reports", "writable"),
    (["check", "foo"], "no committed report", "repro bless"),
    (["bless", "foo", "--into", "/dev/null/reports"], "cannot write a report to /dev/null/reports", "writable"),
    (["new", "foo", "--title", "x", "--arxiv", "2401.01234"], "'foo'", "week11-foo"),
    (["new", "week11-bar"], "--title", "repro new --help"),
    (["list", "--jsn"], "--jsn", ""),
]


@pytest.fixture(scope="module")
def refusals(tree: Path) -> dict[str, Answer]:
    """What every bad command did."""
    answers = session(tree, *(arguments for arguments, _, _ in BAD), CUDA_VISIBLE_DEVICES="")
    return {" ".join(bad[0]): answer for bad, answer in zip(BAD, answers, strict=True)}


@pytest.mark.parametrize(("command", "wrong", "allowed"), [(" ".join(bad[0]), *bad[1:]) for bad in BAD])
def test_bad_input_is_one_line_with_code_2_and_nothing_written(
    refusals: dict[str, Answer], command: str, wrong: str, allowed: str
) -> None:
    answer = refusals[command]
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert wrong in line
    assert allowed in line
    assert answer.written == []


def test_run_folder_that_cannot_be_made_is_bad_input(tree: Path) -> None:
    (answer,) = session(tree, ["run", "foo", "--workers", "0"], REPRO_RUNS="/dev/null/runs")
    assert (answer.code, len(answer.err.splitlines()), answer.written) == (2, 1, [])
    assert "REPRO_RUNS" in answer.err


def test_from_a_run_to_a_report(tree: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    planned, some, rest, again, state, refused, written = session(
        tree,
        ["run", "foo", "--dry-run"],
        ["run", "foo", "--workers", "0", "--seeds", "0,1"],
        ["run", "foo", "--workers", "0"],
        ["run", "foo", "--json"],
        ["status", "foo", "--json"],
        ["report", "foo", "--into", "/dev/null/reports"],
        ["report", "foo", "--into", str(tmp_path / "reports")],
        REPRO_RUNS=str(runs),
    )
    assert "20 runs, 20 to make; nothing was run" in planned.out
    assert "8 runs made, 0 reused" in some.out
    assert not re.search(r"runs/reports|^report |^site ", some.out, re.MULTILINE)
    assert "12 runs made, 8 reused" in rest.out
    for word in ("Published", "Measured ± 95 % CI", "-0.5", "holds", "runs/reports", "site"):
        assert word in rest.out
    too_long = [line for line in (*rest.out.splitlines(), *rest.err.splitlines()) if len(line) > 80 and " " in line]
    assert too_long == [], "80 columns where there is no terminal; only a path may be longer"

    (record,) = json.loads(again.out)
    assert (record["paper"], record["preset"], record["id"], record["verdict"]) == ("foo", "quick", "rate", "holds")
    counts = json.loads(state.out)
    assert (counts["runs"][0]["finished"], counts["runs"][0]["missing"]) == (20, 0)
    assert counts["bytes"] > 1000

    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "cannot write a report to /dev/null/reports" in refused.err
    assert written.code == 0
    beside = runs / "reports" / "foo" / "quick"
    for path in beside.rglob("*.*"):
        assert path.read_bytes() == (tmp_path / "reports" / "foo" / "quick" / path.relative_to(beside)).read_bytes()
    assert not (tree / "reports" / "foo").exists(), "a run leaves the committed reports alone"

    about = [path.read_text() for path in (*runs.glob("foo/*/*/run.json"), beside / "provenance.json")]
    assert len(about) == 21
    assert {json.loads(text)["command"] for text in about[:-1]} == {
        "repro run foo --workers 0 --seeds 0,1",
        "repro run foo --workers 0",
    }
    for name in (str(tree), str(tmp_path), str(Path.home()), platform.release(), socket.gethostname()):
        assert not any(re.search(rf"(?<!\w){re.escape(name)}(?!\w)", text) for text in about), name


def test_a_part_of_a_preset_does_not_replace_a_fuller_report_unasked(tree: Path, tmp_path: Path) -> None:
    into = ["--into", str(tmp_path / "reports")]
    runs = ["run", "foo", "--workers", "0"]
    session(tree, runs, ["report", "foo", *into], REPRO_RUNS=str(tmp_path / "all"))
    claims = tmp_path / "reports" / "foo" / "quick" / "claims.json"
    whole = claims.read_bytes()

    _, left, silent, named = session(
        tree,
        [*runs, "--seeds", "0,1"],
        ["report", "foo", *into],
        ["report", *into, "--json"],
        ["report", "foo", "--preset", "quick", *into],
        REPRO_RUNS=str(tmp_path / "some"),
    )
    assert (left.code, silent.code, named.code) == (0, 0, 2)
    assert "12 of its runs are not here" in named.err
    assert "--partial" in named.err
    assert "foo quick: left as it is, 12 of its runs are not here" in left.out
    assert json.loads(silent.out) == []
    assert claims.read_bytes() == whole

    asked, again, _, more = session(
        tree,
        ["report", "foo", "--preset", "quick", "--partial", *into],
        ["report", "foo", *into],
        [*runs, "--seeds", "2"],
        ["report", "foo", *into],
        REPRO_RUNS=str(tmp_path / "some"),
    )
    assert "not run: foo/convergence" in asked.out
    assert "left as it is" not in again.out + more.out, "the old report is no fuller"
    assert json.loads(claims.read_text())[0]["n_seeds"] == 3


def test_a_command_is_recorded_as_typed_but_for_a_machines_address() -> None:
    assert as_typed(["run", "edm", "--workers", "2"]) == "repro run edm --workers 2"
    assert as_typed(["run", "edm", "--address", "auto"], "auto") == "repro run edm --address auto"
    for given in (["--address", "10.1.2.3:6379"], ["--address=10.1.2.3:6379"]):
        assert "10.1.2.3" not in as_typed(["run", "edm", *given], "10.1.2.3:6379")


def test_changed_fields_are_not_judged_and_failed_runs_are_code_1(tree: Path, tmp_path: Path) -> None:
    changed, failed, state = session(
        tree,
        ["run", "foo", "--workers", "0", "--repetitions=16", "--n", "4", "--seeds", "0"],
        ["run", "foo", "--workers", "0", "--repetitions=13", "--n", "4", "--seeds", "0"],
        ["status", "foo"],
        REPRO_RUNS=str(tmp_path / "runs"),
    )
    assert changed.code == 0
    assert "1 runs made" in changed.out
    assert "not judged" in changed.out
    assert "Verdict" not in changed.out
    assert failed.code == 1
    assert "unlucky" in failed.err
    assert "1 failed" in failed.out
    assert "20" in state.out


@pytest.fixture
def failing(tree: Path) -> Iterator[None]:
    """The claim of foo asks for what is not so."""
    card = tree / "papers" / "foo" / "studies" / "convergence.py"
    text = card.read_text()
    assert "Criterion(-0.55, -0.45," in text
    card.write_text(text.replace("Criterion(-0.55, -0.45,", "Criterion(-1.1, -0.9,"))
    yield
    card.write_text(text)
    shutil.rmtree(tree / "reports" / "foo", ignore_errors=True)


def test_a_claim_that_fails_is_code_1_until_the_committed_report_says_so(
    tree: Path, tmp_path: Path, failing: None
) -> None:
    new, some, _, known, held = session(
        tree,
        ["run", "foo", "--workers", "0"],
        ["run", "foo", "--workers", "0", "--seeds", "0..2", "--json"],
        ["report", "foo", "--into", str(tree / "reports")],
        ["run", "foo", "--workers", "0"],
        ["run", "foo", "--workers", "0", "--repetitions=13", "--n", "4", "--seeds", "0"],
        REPRO_RUNS=str(tmp_path / "runs"),
    )
    assert (new.code, some.code, known.code) == (1, 1, 0)
    assert new.out.splitlines()[-1] == "fails   foo rate, new: reports/foo/quick does not have it so"
    assert known.out.splitlines()[-1] == "fails   foo rate, a recorded finding: reports/foo/quick says so too"
    assert held.code == 1, "a failed run is no finding"
    claims = tree / "reports" / "foo" / "quick" / "claims.json"
    claims.write_text(claims.read_text().replace('"fails"', '"inconclusive"'))
    (turned,) = session(tree, ["run", "foo", "--workers", "0"], REPRO_RUNS=str(tmp_path / "runs"))
    assert turned.code == 1


def test_doctor_names_what_is_wrong_and_what_to_do(tree: Path) -> None:
    as_json, as_table = session(tree, ["doctor", "--json"], ["doctor"], REPRO_DATA="/nowhere")
    findings = {finding["what"]: finding for finding in json.loads(as_json.out)}
    assert findings["Data"]["state"] == "wrong"
    assert "REPRO_DATA" in findings["Data"]["do"]
    assert {"Python", "torch", "GPU", "Ray", "Disk", "Chromium", "git"} <= set(findings)
    assert (as_json.code, as_table.code) == (1, 1)
    assert "unset REPRO_DATA" in as_table.out


def test_doctor_heeds_the_markers_of_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of the lock counts where its marker is true: nothing else may be missing, or of another version."""
    ours, torch = metadata.version("packaging"), metadata.version("torch").partition("+")[0]
    here, elsewhere = "python_version >= '3'", "sys_platform == 'nowhere'"
    fine = [
        f"packaging=={ours} ; {here}\n    # via\n    #   pytest",
        f"packaging==0.1 ; {elsewhere}",
        f"nothing-of-this-name==1.0 ; {elsewhere}",
        f"torch=={torch}",  # 2.14.1+cpu is 2.14.1
    ]
    monkeypatch.setattr(doctor, "ROOT", tmp_path)

    def found(*lines: str) -> tuple[str, str]:
        (tmp_path / "requirements.lock").write_text("\n".join(["# made by a tool", *fine, *lines]) + "\n")
        finding = doctor._packages()
        return finding.state, finding.found

    assert found() == ("ok", "as requirements.lock has them")
    assert found(f"packaging==0.1 ; {here}") == ("wrong", "not as locked: packaging")
    assert found("nothing-of-this-name==1.0") == ("wrong", "not as locked: nothing-of-this-name")
    assert found("torch==0.1") == ("wrong", "not as locked: torch")


def test_a_package_without_a_card_is_no_paper_yet(tree: Path) -> None:
    half = tree / "papers" / "half"
    half.mkdir()
    (half / "__init__.py").write_text('"""Begun yesterday."""\n')
    try:
        listed, asked = session(tree, ["list", "--json"], ["run", "half"])
    finally:
        shutil.rmtree(half)
    assert {record["paper"] for record in json.loads(listed.out)} >= {"edm", "foo"}
    assert (asked.code, asked.err.partition(";")[0]) == (2, "repro: unknown paper 'half'")


def test_a_reader_that_leaves_early_is_no_error(tree: Path) -> None:
    listing = subprocess.Popen(
        [sys.executable, "-m", "common.harness.cli", "list", "--json"],
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert listing.stdout is not None
    listing.stdout.close()
    assert listing.stderr is not None
    assert b"Traceback" not in listing.stderr.read()
    listing.stderr.close()
    listing.wait()


def test_experiment_fields_are_taken_out_of_the_command_line() -> None:
    run = parsers()[1]["run"]
    ours, fields = split_overrides(["run", "--n-steps", "18", "edm", "--rho=7", "--seeds", "0", "--low=-3"], run)
    assert ours == ["run", "edm", "--seeds", "0"]
    assert fields == {"n_steps": "18", "rho": "7", "low": "-3"}


def test_seeds_and_workers() -> None:
    assert parse_seeds(None) is None
    assert parse_seeds("0..4") == [0, 1, 2, 3, 4]
    assert parse_seeds("7,0,2,2") == [0, 2, 7]
    assert parse_seeds("3") == [3]
    with pytest.raises(UsageError, match=r"'5\.\.1' runs backwards; write 1\.\.5$"):
        parse_seeds("5..1")
    for wrong in ("", "1-3", "-1", "1,", "a", "0..999999999", "1234567890123"):
        with pytest.raises(UsageError, match=r"0\.\.4 or 0,2,7"):
            parse_seeds(wrong)
    assert (parse_workers(None, 1), parse_workers("0", 9), parse_workers("3", 9)) == (0, 0, 3)
    assert parse_workers(None, 9) >= 1
