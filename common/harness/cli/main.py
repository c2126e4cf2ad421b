"""The `repro` command: reads the command line, and leaves the work to one function per command.

Only the standard library and the cards are imported here, so that `--help` and `list` answer at once. Exit codes: 0, 1
for a failed run or a claim that fails and is not on record as failing, 2 for bad input, 130 for Ctrl-C.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NoReturn

from common.harness.runs.terminal import readers_may_leave
from common.harness.studies.errors import UsageError, unknown
from common.harness.studies.experiment import PRESETS

# command: (module with the function, one line of help)
COMMANDS = {
    "list": ("common.harness.cli.listing:list_papers", "weeks, papers, presets, time each takes, last verdicts"),
    "run": ("common.harness.cli.run:run", "run a paper's experiments and judge its claims"),
    "status": ("common.harness.cli.status:status", "what is finished, under way, broken off or failed, and disk use"),
    "report": ("common.harness.cli.report:report", "write reports/ from finished runs"),
    "check": (
        "common.harness.cli.check:check",
        "make what is not finished of quick, rejudge the others, and compare with the committed reports",
    ),
    "bless": ("common.harness.cli.check:bless", "make what runs now the committed report, showing what moved"),
    "new": ("common.harness.cli.new:new", "start a paper: package, page, test and nav entry"),
    "site": ("common.harness.cli.site:site", "build the site"),
    "doctor": ("common.harness.cli.doctor:doctor", "look at this machine: what is missing and what to do"),
}


class Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")


def parsers() -> tuple[Parser, dict[str, Parser]]:
    """The whole command line, and each command's own part of it."""
    top = Parser(prog="repro", description="Generative-modelling papers, reproduced.", allow_abbrev=False)
    commands = top.add_subparsers(dest="command", metavar="command", required=True)
    sub = {
        name: commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        for name, (_, text) in COMMANDS.items()
    }
    for name in ("list", "run", "status", "report", "check", "bless", "doctor"):
        sub[name].add_argument("--json", action="store_true", help="print tables as JSON")
    for name in COMMANDS:
        sub[name].add_argument("--verbose", action="store_true", help="show the whole traceback of an error")
    for name in ("run", "report", "status", "check", "bless"):
        sub[name].add_argument("slug", nargs="?", metavar="paper", help="a paper's short name, from `repro list`")
        sub[name].add_argument("--preset", help=" | ".join(PRESETS))
    for name in ("run", "report"):
        sub[name].add_argument("--seeds", help="0..4, or 0,2,7 (default: the preset's)")
        sub[name].add_argument(
            "--only", metavar="experiment", help="these experiments (separated by commas), with what they need"
        )
    for name in ("run", "check", "bless"):
        sub[name].add_argument("--workers", help="processes; 0 runs here, one after another (default: one per core)")
    for name in ("run", "report", "check", "bless"):
        sub[name].add_argument("--device", help="cpu | cuda | cuda:1 (default: cpu; cuda in the gpu preset)")

    sub["run"].usage = "repro run [paper | --all] [options] [--<experiment field> value ...]"
    sub["run"].epilog = (
        "A finished run is never made again. Fields of the experiments' configs are options too: --steps 18. "
        "Exit code 1: a run failed, or a claim fails that the committed report does not already record as failing."
    )
    sub["run"].add_argument("--all", action="store_true", help="every paper")
    sub["run"].add_argument("--long", action="store_true", help="show every quantity of every claim")
    sub["run"].add_argument("--address", help="of a running Ray cluster: auto, or host:port")
    sub["run"].add_argument("--dry-run", action="store_true", help="show what would run")
    sub["run"].add_argument("--offline", action="store_true", help="never download: name the data that is missing")
    for name in ("report", "bless"):
        sub[name].add_argument("--into", default="", metavar="folder", help="write there (default: reports/)")
    sub["report"].usage = "repro report [paper] [options] [--<experiment field> value ...]"
    sub["report"].epilog = (
        "With --seeds, --only or fields it reports on your own variation of a preset (quick, unless you say another) "
        "and takes --into. A claim that the variation's runs cannot show is left out."
    )
    sub["report"].add_argument(
        "--partial", action="store_true", help="replace a report by one that lacks more of the preset's runs"
    )
    sub["report"].add_argument(
        "--from-rows", action="store_true", help="judge and word a report anew from its own rows, without the runs"
    )
    for name in ("run", "report"):
        sub[name].add_argument(
            "--accept-stale", action="store_true", help="take finished runs of older code too; the report says so"
        )
    sub["bless"].add_argument("--all", action="store_true", help="every paper that has a committed report")
    for name in ("check", "bless"):
        sub[name].add_argument(
            "--fresh", action="store_true", help="make every run anew, beside the finished ones, which stay"
        )
    sub["new"].add_argument("name", help="week and short name, as in week11-foo")
    sub["new"].add_argument("--title", required=True, help="the paper's title")
    sub["new"].add_argument("--arxiv", required=True, help="its arXiv number, as in 2206.00364")
    sub["site"].add_argument("--serve", action="store_true", help="build, serve on this machine, rebuild on change")
    return top, sub


def split_overrides(argv: Sequence[str], known: argparse.ArgumentParser) -> tuple[list[str], dict[str, str]]:
    """Take the options that `known` does not know, each with its value, out of `argv`: they are experiment fields."""
    ours: list[str] = []
    overrides: dict[str, str] = {}
    rest = iter(argv)
    for token in rest:
        option, equals, value = token.partition("=")
        if not option.startswith("--") or option in known._option_string_actions:
            ours.append(token)
            continue
        if not equals:
            following = next(rest, None)
            if following is None:
                raise UsageError(f"{option} has no value; write {option} VALUE")
            value = following
        overrides[option.removeprefix("--").replace("-", "_")] = value
    return ours, overrides


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    argv = list(sys.argv[1:] if argv is None else argv)
    with readers_may_leave():
        try:
            return _main(argv)
        except UsageError as error:
            if "--verbose" in argv:
                raise
            print(f"repro: {' '.join(str(error).split())}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("repro: stopped", file=sys.stderr)
            return 130


def _main(argv: list[str]) -> int:
    top, sub = parsers()
    if not argv:
        top.print_help()
        return 0
    command = argv[0]
    if not command.startswith("-") and command not in COMMANDS:
        raise unknown("command", command, COMMANDS)
    given, overrides = argv, dict[str, str]()
    if command in ("run", "report"):
        argv, overrides = split_overrides(argv, sub[command])
    try:
        options = top.parse_args(argv)
    except SystemExit as leaving:  # --help
        return int(leaving.code or 0)
    options.argv, options.overrides = given, overrides
    options.known = list(sub[options.command]._option_string_actions)
    module, _, function = COMMANDS[options.command][0].partition(":")
    return int(getattr(importlib.import_module(module), function)(options))
