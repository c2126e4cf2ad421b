"""The command line: quick answers, help with typos; for bad input one line, exit code 2 and nothing written."""

import json
import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from trees import ROOT, Answer, make_tree, session, warm

from common.harness.cli import doctor
from common.harness.cli.main import COMMANDS, main, parsers, split_overrides
from common.harness.cli.new import create
from common.harness.cli.run import as_typed
from common.harness.cli.wishes import parse_seeds, parse_workers
from common.harness.studies.errors import UsageError

HERE = Path(__file__).resolve().parent
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
    (["run", "foo", "--address", "127.0.0.1:0"], "127.0.0.1:0", ""),  # nothing can listen at port 0
    (["run", "foo", "--repetitions", "17"], "no file data/x.gz", "put it there"),
    (["report", "foo"], "no finished runs of foo", "repro run foo"),
    (["report", "foo", "--repetition", "3", "--into", "x"], "(perhaps you meant 'repetitions')", "convergence has"),
    (["report", "foo", "--only", "x", "--into", "x"], "unknown experiment 'x' of foo", "convergence"),
    (["report", "foo", "--seeds", "a", "--into", "x"], "--seeds 'a'", "0..4"),
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


NAMES = ("host-of-nobody", "kernel-of-nobody")
MACHINE = f"""
import os, platform, socket
real = os.uname()
os.uname = lambda: os.uname_result((real.sysname, {NAMES[0]!r}, {NAMES[1]!r}, real.version, real.machine))
socket.gethostname = platform.node = lambda: {NAMES[0]!r}
"""


def test_from_a_run_to_a_report(tree: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(MACHINE)  # a machine whose names can be told from any other word
    runs = tmp_path / "runs"
    planned, some, rest, every, again, state, refused, written = session(
        tree,
        ["run", "foo", "--dry-run"],
        ["run", "foo", "--workers", "0", "--seeds", "0,1"],
        ["run", "foo", "--workers", "0"],
        ["run", "foo", "--long"],
        ["run", "foo", "--json"],
        ["status", "foo", "--json"],
        ["report", "foo", "--into", "/dev/null/reports"],
        ["report", "foo", "--into", str(tmp_path / "reports")],
        cold=True,
        REPRO_RUNS=str(runs),
        HOME=str(tmp_path / "home-of-nobody"),
        PYTHONPATH=os.pathsep.join(map(str, (tmp_path, tree, HERE))),
    )
    assert "20 runs, 20 to make; nothing was run" in planned.out
    assert "8 runs made, 0 reused" in some.out
    assert "`repro report foo --preset quick --seeds 0..1 --into FOLDER`" in " ".join(some.out.split())
    assert not re.search(r"runs/reports|^site ", some.out, re.MULTILINE)
    assert "12 runs made, 8 reused" in rest.out
    for word in ("Published", "measured ± 95 % CI", "-0.5", "✓  rate ", "-0.55 to -0.45", "runs/reports", "site"):
        assert word in rest.out
    assert rest.out.splitlines()[-1] == "foo quick: 1 holds"
    assert "The standard error of" not in rest.out
    assert "The standard error of" in every.out
    too_long = [
        line for line in (*rest.out.splitlines(), *rest.err.splitlines()) if len(line) > 80 and " " in line.strip()
    ]
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
    for name in (str(tree), str(tmp_path), *NAMES, "home-of-nobody"):
        assert not any(name in text for text in about), name


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


def test_a_variation_has_a_report_of_its_own(tree: Path, tmp_path: Path) -> None:
    """More seeds, one experiment or other fields, in a folder of one's own and never in reports/."""
    mine = tmp_path / "mine"
    run = ["run", "foo", "--workers", "0"]
    into = ["--into", str(mine)]
    committed = {path: path.read_bytes() for path in (tree / "reports").rglob("*") if path.is_file()}
    _, seeds, _, unlike, _, fewer, none, astray, inside = session(
        tree,
        [*run, "--seeds", "0..6"],
        ["report", "foo", "--seeds", "0..6", "--into", str(mine / "seeds")],
        [*run, "--repetitions", "64"],
        ["report", "foo", "--repetitions", "64", "--into", str(mine / "fields")],
        [*run, "--n", "4"],
        ["report", "foo", "--n", "4", "--into", str(mine / "few")],
        ["report", "foo", "--n", "5", *into],
        ["report", "foo", "--seeds", "0..6"],
        ["report", "foo", "--only", "convergence", "--into", str(tree / "reports" / "mine")],
        REPRO_RUNS=str(tmp_path / "runs"),
    )
    assert (seeds.code, unlike.code, fewer.code) == (0, 0, 0)
    folders = {name: mine / name / "foo" / "quick" for name in ("seeds", "fields", "few")}
    (record,) = json.loads((folders["seeds"] / "claims.json").read_text())
    assert (record["n_seeds"], record["verdict"]) == (7, "holds")
    assert record["command"] == "repro run foo --preset quick --seeds 0..6"
    about = {name: json.loads((folder / "provenance.json").read_text()) for name, folder in folders.items()}
    assert about["seeds"]["varied"] == {"seeds": [0, 1, 2, 3, 4, 5, 6], "fields": {}, "left_out": {}}
    command = "repro run foo --preset quick --seeds 0..6 && repro report foo --preset quick --seeds 0..6 --into FOLDER"
    assert about["seeds"]["command"] == command

    assert about["fields"]["varied"]["fields"] == {"repetitions": "64"}
    (record,) = json.loads((folders["fields"] / "claims.json").read_text())
    assert record["n_seeds"] == 5, "the claim's slope is there, so it is judged"
    assert json.loads((folders["few"] / "claims.json").read_text()) == []
    assert "left out: rate: a slope needs two values of 'n', not [4]" in fewer.out
    told = "A variation of the preset: n = 4. Claims left out: `rate` (a slope needs two values of 'n', not [4])."
    assert told in (folders["few"] / "convergence.md").read_text()
    assert about["few"]["varied"]["left_out"] == {"rate": "a slope needs two values of 'n', not [4]"}

    for refused, why in (
        (none, "no finished runs of foo in quick --n 5; `repro run foo --n 5` makes them"),
        (astray, "--seeds 0..6 is your own; give it a folder outside reports/"),
        (inside, "--only convergence is your own; give it a folder outside reports/"),
    ):
        assert (refused.code, len(refused.err.splitlines())) == (2, 1)
        assert why in refused.err
    assert committed == {path: path.read_bytes() for path in (tree / "reports").rglob("*") if path.is_file()}


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
    assert "Decided by" not in changed.out
    assert "--repetitions 16 --n 4 --into FOLDER`" in " ".join(changed.out.split())
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
    assert new.out.splitlines()[-2:] == [
        "fails   foo rate, new: reports/foo/quick does not have it so",
        "foo quick: 1 fails",
    ]
    assert known.out.splitlines()[-2] == "fails   foo rate, a recorded finding: reports/foo/quick says so too"
    assert held.code == 1, "a failed run is no finding"
    claims = tree / "reports" / "foo" / "quick" / "claims.json"
    claims.write_text(claims.read_text().replace('"fails"', '"inconclusive"'))
    (turned,) = session(tree, ["run", "foo", "--workers", "0"], REPRO_RUNS=str(tmp_path / "runs"))
    assert turned.code == 1


def test_doctor_names_what_is_wrong_and_what_to_do(tree: Path, tmp_path: Path) -> None:
    as_json, as_table = session(tree, ["doctor", "--json"], ["doctor"], REPRO_DATA=str(tmp_path / "nowhere"))
    findings = {finding["what"]: finding for finding in json.loads(as_json.out)}
    assert findings["Data"]["state"] == "wrong"
    assert "REPRO_DATA" in findings["Data"]["do"]
    assert {"Python", "torch", "GPU", "Ray", "Disk", "Chromium", "git"} <= set(findings)
    assert (as_json.code, as_table.code) == (1, 1)
    assert "unset REPRO_DATA" in as_table.out


def test_doctor_says_that_torch_is_missing_in_place_of_failing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert doctor._torch().state == "wrong"
    assert doctor._gpu().state == "note"


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


def begin(tree: Path, *arguments: str, runs: Path, cold: bool = False, **streams: Any) -> subprocess.Popen[str]:
    """Start `repro` in `tree`, with pipes of its own."""
    return subprocess.Popen(
        [*([sys.executable] if cold else warm()), "-m", "common.harness.cli", *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree), "REPRO_RUNS": str(runs)},
        text=True,
        **streams,
    )


def made(runs: Path) -> int:
    """The number of finished runs of foo."""
    return len([path for path in runs.glob("foo/*/*/run.json") if path.parent.suffix == ""])


def test_a_reader_that_leaves_early_is_no_error(tree: Path, tmp_path: Path) -> None:
    listing = begin(tree, "list", "--json", runs=tmp_path, cold=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert listing.stdout is not None
    listing.stdout.close()
    assert listing.stderr is not None
    assert listing.stderr.read() == ""
    listing.stderr.close()
    assert listing.wait() == 0


@pytest.mark.parametrize("workers", ["0", pytest.param("2", marks=pytest.mark.slow)])
def test_a_reader_that_leaves_does_not_end_the_work(tree: Path, tmp_path: Path, workers: str) -> None:
    """`repro run foo 2>&1 | head -1`: twenty runs and a report, and the exit code of the work."""
    driver = begin(
        tree, "run", "foo", "--workers", workers, runs=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert driver.stdout is not None
    first = driver.stdout.readline()
    assert "started" in first, first + driver.stdout.read()
    driver.stdout.close()
    assert driver.wait(timeout=300) == 0
    assert made(tmp_path) == 20
    assert (tmp_path / "reports" / "foo" / "quick" / "claims.json").exists()


def test_work_that_fails_unseen_is_no_success(tree: Path, tmp_path: Path) -> None:
    unlucky = ("run", "foo", "--workers", "0", "--repetitions=13", "--n", "4")
    driver = begin(tree, *unlucky, runs=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert driver.stdout is not None
    driver.stdout.close()
    assert driver.wait(timeout=300) == 1


def test_progress_that_nobody_hears_neither_ends_the_work_nor_comes_among_the_results(
    tree: Path, tmp_path: Path
) -> None:
    """`repro run foo --json 2>&-`, and a standard error that cannot be written to; then a report into a closed pipe."""
    run = ("run", "foo", "--workers", "0", "--json")
    silent = begin(tree, *run, runs=tmp_path / "1", cold=True, stdout=subprocess.PIPE, preexec_fn=lambda: os.close(2))
    with open("/dev/full", "w") as full:
        deaf = begin(tree, *run, runs=tmp_path / "2", stdout=subprocess.PIPE, stderr=full.fileno())
    for number, driver in enumerate((silent, deaf), 1):
        (record,) = json.loads(driver.communicate(timeout=300)[0])
        assert (driver.returncode, record["verdict"], made(tmp_path / str(number))) == (0, "holds", 20)

    into = tmp_path / "reports"
    report = begin(tree, "report", "foo", "--into", str(into), runs=tmp_path / "1", stdout=subprocess.PIPE)
    assert report.stdout is not None
    report.stdout.close()
    assert report.wait(timeout=300) == 0
    assert (into / "index.json").exists()


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
